"""The metadata of exported files: its values, and whether they fit the graph, checked once where a file is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import torch

from ultralytics.cfg.tasks import TASKS
from ultralytics.utils.checks import check_class_names
from ultralytics.utils.errors import DataError, ModelError
from ultralytics.utils.hostile import limits

WANTED = ("task", "names", "stride", "imgsz")  # without these a file cannot be run
FLAGS = ("nms", "dynamic", "half", "int8", "end2end")  # in the order of `Facts`
Shape = Sequence[int | None]  # None: a size that the graph leaves open
Run = Callable[[torch.Tensor], list[torch.Tensor]]


class Metadata(TypedDict, total=False):
    """The metadata in an exported file; `Facts` are those that a runner must know."""

    task: str | None
    names: dict[int, str] | dict[str, str]  # JSON has texts as keys
    stride: int
    imgsz: list[int]
    batch: int
    channels: int
    kpt_shape: list[int] | None
    nms: bool
    dynamic: bool
    half: bool
    int8: bool
    end2end: bool
    yaml: object
    author: str
    version: str
    crc32: int | dict[str, int]


class Runner(Protocol):
    """An exported file that can be run; one that knows the shapes of its graph also has them as `shapes`."""

    @property
    def metadata(self) -> Metadata: ...

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]: ...


@dataclass(frozen=True)
class Facts:
    """The metadata that a runner must know, each value of its type and within limits.

    Attributes:
        task: what the model does; None for a bare module.
        names: {class: name}, classes 0 to n - 1.
        stride: of which the sides of images are multiples.
        imgsz: (height, width) of the images.
        batch, channels: of the images of one run.
        kpt_shape: number of keypoints and their dimensions; None without.
        nms: whether the graph ends in NMS.
        dynamic: whether batch size and sides are open.
        half, int8: precision of the weights.
        end2end: whether the model itself makes one prediction for each object.
    """

    task: str | None
    names: dict[int, str]
    stride: int
    imgsz: tuple[int, int]
    batch: int = 1
    channels: int = 3
    kpt_shape: tuple[int, int] | None = None
    nms: bool = False
    dynamic: bool = False
    half: bool = False
    int8: bool = False
    end2end: bool = False

    @classmethod
    def of(cls, found: object, file: str | Path) -> Facts:
        """Read metadata; raise ModelError where something is missing, of another type, or not possible."""
        missing = [key for key in WANTED if not isinstance(found, dict) or key not in found]
        if missing or not isinstance(found, dict):
            raise ModelError(
                f"'{file}' does not say its {', '.join(missing)}, so it was not exported by `yolo export` and cannot "
                "be run here."
            )
        try:
            task = _task(found["task"])
            numbers = {key: _whole(found[key], key) for key in ("batch", "channels") if found.get(key) is not None}
            flags = {key: _flag(found[key], key) for key in FLAGS if found.get(key) is not None}
            points = _points(found.get("kpt_shape")) if task == "pose" else None
            stride, imgsz = _whole(found["stride"], "stride"), _sides(found["imgsz"])
            if task and any(side % stride for side in imgsz):
                raise ValueError(f"its imgsz {list(imgsz)} is not a multiple of its stride {stride}")
            batch, channels = numbers.get("batch", 1), numbers.get("channels", 3)
            names = _names(found["names"], task)
            if task in {None, "classify"} and (flags.get("nms") or flags.get("end2end")):
                raise ValueError(f"it says that its boxes need no NMS, but its task, {task}, has no boxes")
            return cls(task, names, stride, imgsz, batch, channels, points, *(flags.get(key, False) for key in FLAGS))
        except (TypeError, ValueError, OverflowError, DataError) as e:
            reason = " ".join(str(e).split())[:300]
            raise ModelError(f"The metadata of '{file}' cannot be understood ({reason}): export it again.") from e

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (batch, channels, height, width) of the images of one run."""
        return self.batch, self.channels, *self.imgsz

    @property
    def values(self) -> int:
        """Number of values in the images of one run."""
        return self.batch * self.channels * self.imgsz[0] * self.imgsz[1]

    @property
    def rows(self) -> bool:
        """Whether the first output is a list of boxes, which need no NMS."""
        return self.nms or self.end2end

    def outputs(self) -> list[str]:
        """Return the shapes of the task's outputs as text."""
        if self.task == "classify":
            return [f"(batch, {self.nc})"]
        more, nc = self._more(), self.nc
        known = f"{6 + more}" if self.rows else f"{4 + nc + more}"
        width = f"{6 if self.rows else 4 + nc} + masks" if self.task == "segment" else known
        first = f"(batch, boxes, {width})" if self.rows else f"(batch, {width}, boxes)"
        return [first, "(batch, masks, height, width)"] if self.task == "segment" else [first]

    def fits(self, shapes: Sequence[Shape]) -> bool:
        """Return whether the shapes are those of outputs of the task, its classes and its keypoints."""
        if self.task is None:
            return True
        if len(shapes) != (2 if self.task == "segment" else 1):
            return False
        first, nc = shapes[0], self.nc
        if self.task == "classify":
            return len(first) == 2 and _same(first[1], nc)
        if len(first) != 3:
            return False
        width = first[2] if self.rows else first[1]
        left = None if width is None else width - (6 if self.rows else 4 + nc)
        if self.task != "segment":
            return _same(left, self._more())
        protos = shapes[1]
        return len(protos) == 4 and (left is None or (left > 0 and _same(protos[1], left)))

    def _more(self) -> int:
        """Return how many values a box has besides coordinates and scores; 0 for masks, whose number is open."""
        return self.kpt_shape[0] * self.kpt_shape[1] if self.kpt_shape else int(self.task == "obb")


def _same(size: int | None, wanted: int) -> bool:
    return size is None or size == wanted


def _task(value: object) -> str | None:
    if value is None or value == "None":  # as the texts in an ONNX file of a bare module have it
        return None
    if not isinstance(value, str) or value not in TASKS:
        raise ValueError(f"its task is {str(value)[:100]!r}, but there are {', '.join(TASKS)}")
    return value


def _whole(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"its {key} is not a whole number, but {str(value)[:100]}")
    if not 1 <= value <= limits.SIDE:
        raise ValueError(f"its {key} is {str(value)[:30]}, not 1 to {limits.SIDE}")
    return int(value)


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"its {key} is neither true nor false, but {str(value)[:100]}")
    return value


def _sides(value: object) -> tuple[int, int]:
    sides = value if isinstance(value, (list, tuple)) else [value, value]
    if len(sides) != 2:
        raise ValueError(f"its imgsz is not a height and a width, but {str(value)[:100]}")
    return _whole(sides[0], "imgsz"), _whole(sides[1], "imgsz")


def _points(value: object) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"its kpt_shape is not a number of points and of dimensions, but {str(value)[:100]}")
    points, dims = (_whole(each, "kpt_shape") for each in value)
    if dims not in {2, 3}:
        raise ValueError(f"its keypoints have {dims} dimensions, not 2 or 3")
    return points, dims


def _names(value: object, task: str | None) -> dict[int, str]:
    if not isinstance(value, (dict, list, tuple)):
        raise ValueError(f"its names are not a list, but {str(value)[:100]}")
    if len(value) > limits.CLASSES or not (value or task is None):
        raise ValueError(f"it has {len(value)} names, not 1 to {limits.CLASSES}")
    plain = value.values() if isinstance(value, dict) else value
    if any(isinstance(name, (dict, list, tuple)) for name in plain):
        raise ValueError("a name is not a text")
    return check_class_names(value)


def check_graph(facts: Facts, inputs: Sequence[Shape], outputs: Sequence[Shape], file: str | Path) -> None:
    """Raise ModelError if a graph's inputs or outputs have other shapes than its metadata says."""
    wanted = [None, facts.channels, None, None] if facts.dynamic else facts.shape
    takes = inputs[0] if len(inputs) == 1 else ()
    if len(takes) != 4 or not all(a is None or b is None or a == b for a, b in zip(takes, wanted)):
        raise ModelError(
            f"The metadata of '{file}' does not fit its graph: it says that it takes images {_shown([wanted])}, and "
            f"the graph takes {_shown(inputs)}. Export it again."
        )
    if facts.dynamic and any(takes[i] is not None for i in (0, 2, 3)):
        raise ModelError(
            f"The metadata of '{file}' does not fit its graph: it says that its sizes are open, and the graph takes "
            f"only {_shown(inputs)}. Export it again."
        )
    check_outputs(facts, outputs, file)


def check_outputs(facts: Facts, outputs: Sequence[Shape], file: str | Path) -> None:
    """Raise ModelError if the outputs are not those of the task that the metadata names."""
    if not facts.fits(outputs):
        raise ModelError(
            f"The metadata of '{file}' does not fit its graph: a model that can {facts.task} {facts.nc} classes "
            f"gives {' and '.join(facts.outputs())}, and the graph gives {_shown(outputs)}. Export it again."
        )


def _shown(shapes: Sequence[Shape]) -> str:
    """Return shapes as text; a size that is open is a question mark."""
    texts = ["(" + ", ".join("?" if side is None else str(side) for side in shape) + ")" for shape in shapes[:8]]
    return " and ".join(texts) or "nothing"


def checked_runner(run: Runner, file: str | Path) -> Facts:
    """Return the metadata of a runner's file, once it is known to fit the graph.

    Graphs whose shapes cannot be read are run once on black images, which must be few and small.
    """
    facts = Facts.of(run.metadata, file)
    graph: tuple[Sequence[Shape], Sequence[Shape]] | None = getattr(run, "shapes", None)
    if graph:
        inputs, outputs = graph
        check_graph(facts, inputs, outputs, file)
    if facts.values > limits.TRIED_VALUES and (facts.dynamic or not graph):
        raise ModelError(
            f"'{file}' wants {' x '.join(map(str, facts.shape))} values in one run, and its graph does not say so: "
            f"more than {limits.TRIED_VALUES} are not taken from metadata alone. Export it for fewer or smaller images."
        )
    if not graph:
        check_outputs(facts, [tuple(y.shape) for y in run_once(run, torch.zeros(facts.shape), file)], file)
    return facts


def run_once(run: Run, x: torch.Tensor, file: str | Path) -> list[torch.Tensor]:
    """Run a file once; raise ModelError if it fails or its outputs are not floating point."""
    try:
        outputs = run(x)
        if not all(y.is_floating_point() for y in outputs):
            raise TypeError("its outputs are not floating point")
        return outputs
    except Exception as e:  # the errors of the runtimes share no base
        reason = " ".join(str(e).split())[:200]
        raise ModelError(
            f"'{file}' cannot be run on images {_shown([tuple(x.shape)])}, which its metadata names: {reason}. "
            "Export it again."
        ) from e
