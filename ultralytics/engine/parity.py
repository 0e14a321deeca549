"""Parity of an exported file with its model: both run on the same image, compared in pixels and scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ultralytics.nn.formats import Format, missing_packages
from ultralytics.nn.formats.facts import Run, checked_runner
from ultralytics.nn.formats.job import Exportable, Job
from ultralytics.nn.formats.nms import WithNMS
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError, UserError

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer

# Largest differences allowed: pixels of boxes and keypoints, scores, and all else as a share of its greatest value.
LIMITS = {"float32": (0.1, 1e-3, 1e-3), "float16": (4.0, 0.03, 0.03), "int8": (64.0, 0.4, 1.0)}
TOP = 100  # positions that count in coarser precisions, where the boxes of background are noise
ALIKE = 0.98  # share of the rows after NMS that must be found again, as rounding may change a close decision
KINDS = ("pixels", "scores", "rest")


@dataclass(frozen=True)
class Parity:
    """The largest differences between the outputs of a file and its model, and the limits for them."""

    pixels: float
    scores: float
    rest: float
    limits: tuple[float, ...]
    precision: str

    @property
    def holds(self) -> bool:
        """True if all differences are numbers within the limits."""
        return all(getattr(self, kind) <= limit for kind, limit in zip(KINDS, self.limits))

    def __str__(self) -> str:
        where = "" if self.precision == "float32" else f" at the {TOP} highest-scoring positions"
        return (
            f"Compared with the model in {self.precision}: boxes differ by {self.pixels:.2g} pixels, "
            f"scores by {self.scores:.2g} at most{where}"
        )


@torch.no_grad()
def check_parity(form: Format, job: Job, net: Exportable, name: str) -> Parity | None:
    """Run a new file and compare it with its model; if they differ, raise ModelError with the first layer that does.

    Args:
        form: of the file.
        job: what it was written from; the writer may have changed `job.net`.
        net: the model as it was, as `Predictions`.
        name: of the file, for the error.
    """
    missing = missing_packages(form.running)
    if missing:
        LOGGER.warning(f"'{name}' was not run, as {' '.join(missing)} is missing: pip install {' '.join(missing)}.")
        return None
    run = form.load().Runner(job.file)
    checked_runner(run, name)
    parity = compare(run, net, job)
    if not parity.holds:
        told = ", ".join(f"{k} by {getattr(parity, k):g} (at most {m:g})" for k, m in zip(KINDS, parity.limits))
        raise ModelError(
            f"'{name}' was not written, as it differs from the model: {told}.{blame(form, job, net)} "
            "Try optimize=False or another opset."
        )
    return parity


def compare(run: Run, net: Exportable, job: Job) -> Parity:
    """Return how much the outputs of `run` differ from those of the model."""
    source = net if job.nms is None else WithNMS(net, job.nms)
    wanted, got = several(source(job.x)), run(job.x)
    shapes = [[tuple(y.shape) for y in ys] for ys in (got, wanted)]
    if shapes[0] != shapes[1]:
        raise ModelError(f"The written file gives {shapes[0]}, but the model gives {shapes[1]}.")
    precision = "int8" if job.int8 else "float16" if job.half else "float32"
    columns = columns_of(net, job)
    differences = _differences(wanted, got, columns, job.rows, precision)
    limits: tuple[float, ...] = LIMITS[precision]
    if precision == "float32" and not job.rows and not all(d <= m for d, m in zip(differences, limits)):
        exact = [y.float() for y in several(deepcopy(net).double()(job.x.double()))]
        rounding = _differences(wanted, exact, columns, False, precision)
        limits = tuple(max(m, 10 * r) for m, r in zip(limits, rounding))  # weights that let rounding grow
    return Parity(*differences, limits, precision)


def several(outputs: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return outputs as a list."""
    return [outputs] if isinstance(outputs, torch.Tensor) else [*outputs]


def columns_of(net: Exportable, job: Job) -> list[str]:
    """Return the kind, one of `KINDS`, of each channel of the first output."""
    meta = job.metadata
    nc, width = len(meta["names"]), several(net(job.x))[0].shape[1]
    if meta["task"] in {"classify", None}:  # None: a bare module, whose outputs may be anything
        return ["scores" if meta["task"] else "rest"] * width
    if meta.get("end2end"):
        return ["pixels"] * 4 + ["scores"] * 2
    more = ["rest"] * (width - 4 - nc)
    if meta["kpt_shape"]:
        points, dims = meta["kpt_shape"]
        more = (["pixels", "pixels", "scores"][:dims]) * points
    scores = ["scores"] * nc if job.nms is None else ["scores", "scores"]
    return ["pixels"] * 4 + scores + more


def _differences(
    wanted: list[torch.Tensor], got: list[torch.Tensor], columns: list[str], rows: bool, precision: str
) -> tuple[float, float, float]:
    """Return the greatest difference of each of `KINDS`."""
    first, second = wanted[0], got[0]
    if rows:
        first, second = _paired(first, second)
    elif first.ndim > 2:
        first, second = first.transpose(1, 2).flatten(0, 1), second.transpose(1, 2).flatten(0, 1)
    if precision != "float32" and not rows and len(first) > TOP:
        scores = [i for i, kind in enumerate(columns) if kind == "scores"]
        best = first[:, scores].amax(1).topk(TOP).indices
        first, second = first[best], second[best]
    found = {kind: 0.0 for kind in KINDS}
    for kind in {*columns}:
        chosen = [i for i, each in enumerate(columns) if each == kind]
        if len(first):
            found[kind] = _greatest(first[:, chosen], second[:, chosen], relative=kind == "rest")
    others = [_greatest(a, b, relative=True) for a, b in zip(wanted[1:], got[1:])]
    found["rest"] = max([found["rest"], *others], key=lambda d: float("inf") if d != d else d)
    return found["pixels"], found["scores"], found["rest"]


def _greatest(a: torch.Tensor, b: torch.Tensor, relative: bool) -> float:
    difference = float((a.float() - b.float()).abs().max())
    return difference / max(1.0, float(a.abs().max())) if relative else difference


def _paired(wanted: torch.Tensor, got: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows after NMS of both sides, each paired with its nearest."""
    pairs = []
    for a, b in zip(wanted, got):
        a, b = a[a[:, 4] > 0], b[b[:, 4] > 0]
        if len(a) and len(b):
            weight = a.new_tensor((1, 1, 1, 1, 100, 100))
            nearest = torch.cdist(a[:, :6] * weight, b[:, :6] * weight).min(1)
            kept = nearest.values.argsort()[: max(int(len(a) * ALIKE), 1)]
            pairs.append((a[kept], b[nearest.indices[kept]]))
        if abs(len(a) - len(b)) > max(2, (1 - ALIKE) * len(a)):
            raise ModelError(f"The written file gives {len(b)} boxes, but the model gives {len(a)}.")
    if not pairs:
        return wanted[0, :0], got[0, :0]
    return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])


class _Upto(Exportable):
    """The first layers of a model up to `last`, which must give one tensor."""

    def __init__(self, layers: nn.Sequential, last: int):
        super().__init__()
        self.layers = layers[: last + 1]
        self.outputs = ["output0"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list = []
        for layer in cast("Iterable[Layer]", self.layers):
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            inputs = [x if i == -1 else kept[i] for i in sources]
            x = layer(inputs[0] if isinstance(layer.f, int) else inputs)
            kept.append(x)
        return x


def blame(form: Format, job: Job, net: Exportable) -> str:
    """Return a sentence on the first layer whose outputs differ, found by bisection; or an empty text."""
    layers = getattr(getattr(net, "model", None), "model", None)
    if job.nms is not None or job.half or job.int8 or not isinstance(layers, nn.Sequential):
        return ""
    low, high = -1, len(layers) - 1  # after `low` they are equal, after `high` they are not
    try:
        while high - low > 1:
            middle = (low + high) // 2
            if _equal_up_to(form, job, layers, middle):
                low = middle
            else:
                high = middle
    except (UserError, RuntimeError, TypeError, ValueError):  # part of a model that cannot be written by itself
        return ""
    return f" The first layer whose outputs differ is {high}, {type(layers[high]).__name__}."


def _equal_up_to(form: Format, job: Job, layers: nn.Sequential, last: int) -> bool:
    part = _Upto(deepcopy(layers), last)
    file = job.file.with_name(f"upto{last}{form.suffix}")
    module = form.load()
    module.write(Job(part, job.x, file, job.metadata, opset=job.opset, simplify=job.simplify))
    wanted, got = part(job.x), module.Runner(file)(job.x)[0]
    return bool((wanted - got).abs().max() <= 1e-3 * max(1.0, float(wanted.abs().max())))
