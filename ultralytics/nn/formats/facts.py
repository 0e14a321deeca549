"""What a file says of itself, and whether its graph can be meant by it: checked once, where a file is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ultralytics.cfg.tasks import TASKS
from ultralytics.utils.checks import check_class_names
from ultralytics.utils.errors import DataError, ModelError
from ultralytics.utils.hostile import limits

WANTED = ("task", "names", "stride", "imgsz")  # without these a file cannot be run
FLAGS = ("nms", "dynamic", "half", "int8")
Shape = Sequence[int | None]  # None: a size that the graph leaves open


@dataclass(frozen=True)
class Facts:
    """The metadata of a file, each value of its type and within limits.

    Attributes:
        task: what the model does; None for a bare module.
        names: {class: name}, classes 0 to n - 1.
        stride: that the sides of images are multiples of.
        imgsz: (height, width) of the images.
        batch, channels: of one run.
        kpt_shape: number of key points and their dimensions; None without.
        nms: whether the graph ends in NMS.
        dynamic: whether batch and sides are open.
        half, int8: precision of the weights.
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

    @classmethod
    def of(cls, found: Any, file: str | Path) -> Facts:
        """Read metadata; raise ModelError where something is missing, of another type, or not possible."""
        missing = [key for key in WANTED if not isinstance(found, dict) or key not in found]
        if missing:
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
                raise ValueError(f"its imgsz {list(imgsz)} is no multiple of its stride {stride}")
            return cls(task, _names(found["names"], task), stride, imgsz, kpt_shape=points, **numbers, **flags)
        except (TypeError, ValueError, OverflowError, DataError) as e:
            reason = " ".join(str(e).split())[:300]
            raise ModelError(f"The metadata of '{file}' cannot be understood ({reason}): export it again.") from e

    @property
    def nc(self) -> int:
        """Number of the classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the images of one run."""
        return self.batch, self.channels, *self.imgsz

    @property
    def values(self) -> int:
        """Numbers in the images of one run."""
        return self.batch * self.channels * self.imgsz[0] * self.imgsz[1]

    def outputs(self) -> list[str]:
        """Return the shapes of the outputs that the task has, in words."""
        if self.task == "classify":
            return [f"(batch, {self.nc})"]
        more, nc = self._more(), self.nc
        known = f"{6 + more}" if self.nms else f"{4 + nc + more}"
        width = f"{6 if self.nms else 4 + nc} + masks" if self.task == "segment" else known
        first = f"(batch, boxes, {width})" if self.nms else f"(batch, {width}, boxes)"
        return [first, "(batch, masks, height, width)"] if self.task == "segment" else [first]

    def fits(self, shapes: Sequence[Shape]) -> bool:
        """Tell whether outputs of such shapes are those of the task, its classes and its key points."""
        if self.task is None:
            return True
        if len(shapes) != (2 if self.task == "segment" else 1):
            return False
        first, nc = shapes[0], self.nc
        if self.task == "classify":
            return len(first) == 2 and _same(first[1], nc)
        if len(first) != 3:
            return False
        width = first[2] if self.nms else first[1]
        left = None if width is None else width - (6 if self.nms else 4 + nc)
        if self.task != "segment":
            return _same(left, self._more())
        protos = shapes[1]
        return len(protos) == 4 and (left is None or (left > 0 and _same(protos[1], left)))

    def _more(self) -> int:
        """Return how many numbers a box has besides its place and its scores; 0 for masks, whose number is open."""
        return self.kpt_shape[0] * self.kpt_shape[1] if self.kpt_shape else int(self.task == "obb")


def _same(size: int | None, wanted: int) -> bool:
    return size is None or size == wanted


def _task(value: Any) -> str | None:
    if value is None or value == "None":  # as ONNX files of a bare module have it, whose metadata are texts
        return None
    if not isinstance(value, str) or value not in TASKS:
        raise ValueError(f"its task is {str(value)[:100]!r}, but there are {', '.join(TASKS)}")
    return value


def _whole(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"its {key} is no whole number, but {str(value)[:100]}")
    if not 1 <= value <= limits.SIDE:
        raise ValueError(f"its {key} is {str(value)[:30]}, not 1 to {limits.SIDE}")
    return int(value)


def _flag(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"its {key} is neither true nor false, but {str(value)[:100]}")
    return value


def _sides(value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, (list, tuple)) else [value, value]
    if len(sides) != 2:
        raise ValueError(f"its imgsz is no height and width, but {str(value)[:100]}")
    return _whole(sides[0], "imgsz"), _whole(sides[1], "imgsz")


def _points(value: Any) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"its kpt_shape is no number of points and of dimensions, but {str(value)[:100]}")
    points, dims = (_whole(each, "kpt_shape") for each in value)
    if dims not in {2, 3}:
        raise ValueError(f"its key points have {dims} dimensions, not 2 or 3")
    return points, dims


def _names(value: Any, task: str | None) -> dict[int, str]:
    if not isinstance(value, (dict, list, tuple)):
        raise ValueError(f"its names are no list, but {str(value)[:100]}")
    if len(value) > limits.CLASSES or not (value or task is None):
        raise ValueError(f"it has {len(value)} names, not 1 to {limits.CLASSES}")
    plain = value.values() if isinstance(value, dict) else value
    if any(isinstance(name, (dict, list, tuple)) for name in plain):
        raise ValueError("a name is no text")
    return check_class_names(value)


def check_graph(facts: Facts, inputs: Sequence[Shape], outputs: Sequence[Shape], file: str | Path) -> None:
    """Raise ModelError if a graph takes or gives other shapes than its metadata says."""
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
            f"{_shown(inputs)} alone. Export it again."
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


def checked_runner(run: Any, file: str | Path) -> Facts:
    """Return what the file of a runner says of itself, once it is known to fit what the runner does.

    Graphs whose shapes cannot be read are run once, on black images; so they must be of a size that takes little.
    """
    facts = Facts.of(run.metadata, file)
    graph = getattr(run, "shapes", None)
    if graph:
        check_graph(facts, *graph, file)
    if facts.values > limits.TRIED_VALUES and (facts.dynamic or not graph):
        raise ModelError(
            f"'{file}' wants {' x '.join(map(str, facts.shape))} numbers in one run, and its graph does not say so: "
            f"more than {limits.TRIED_VALUES} are not taken from metadata alone. Export it for fewer or smaller images."
        )
    if not graph:
        check_outputs(facts, [tuple(y.shape) for y in run_once(run, torch.zeros(facts.shape), file)], file)
    return facts


def run_once(run: Callable[[torch.Tensor], list[torch.Tensor]], x: torch.Tensor, file: str | Path) -> list:
    """Run a file; raise ModelError if it cannot, or gives no tensors of floating point."""
    try:
        outputs = run(x)
        if not all(y.is_floating_point() for y in outputs):
            raise TypeError("its outputs are no numbers of floating point")
        return outputs
    except Exception as e:  # the errors of the runtimes share no base
        reason = " ".join(str(e).split())[:200]
        raise ModelError(
            f"'{file}' cannot be run on images {_shown([tuple(x.shape)])}, which its metadata speaks of: {reason}. "
            "Export it again."
        ) from e
