"""The input of a writer, and the metadata of every file as text."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ultralytics.nn.formats.facts import Facts, Metadata
from ultralytics.nn.formats.nms import NMS, WithNMS
from ultralytics.utils.errors import ModelError


class Exportable(nn.Module):
    """A network to write: it gives a tensor or a tuple of tensors, named by `outputs`."""

    outputs: list[str]


@dataclass
class Job:
    """A model to write, and how.

    Attributes:
        net: on the CPU in float32, in eval mode, fused.
        x: a batch of images (b, c, h, w) in 0..1 that it takes.
        file: the file or folder to write.
        metadata: to put into the file.
        half, int8: precision of the weights; float32 if neither.
        dynamic: leave batch size, height and width open.
        simplify: let the format's own optimizer simplify the graph.
        opset: of ONNX; the format's choice if None.
        workspace: gigabytes that TensorRT may use.
        images: gives batches (b, c, h, w) float32 in 0..1 of the user's images, for int8.
        nms: settings of the NMS to append, or None.
    """

    net: Exportable
    x: torch.Tensor
    file: Path
    metadata: Metadata = field(default_factory=Metadata)
    half: bool = False
    int8: bool = False
    dynamic: bool = False
    simplify: bool = True
    opset: int | None = None
    workspace: float | None = None
    images: Callable[[], Iterable[np.ndarray]] | None = None
    nms: NMS | None = None

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return self.net.outputs

    @property
    def rows(self) -> bool:
        """Whether the first output is a list of boxes, which need no NMS."""
        return self.nms is not None or bool(self.metadata.get("end2end"))

    @property
    def head(self) -> str:
        """Number of the model's last layer, as in the names of its modules."""
        return [name for name, _ in self.net.get_submodule("model.model").named_children()][-1]


class HalfInside(nn.Module):
    """Computes in half precision between float32 images and float32 outputs."""

    def __init__(self, net: Exportable | WithNMS):
        super().__init__()
        self.net, self.outputs = net.half(), net.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        y = self.net(x.half())
        return y.float() if isinstance(y, torch.Tensor) else tuple(part.float() for part in y)


def to_text(metadata: Mapping[str, object]) -> str:
    """Return metadata as JSON."""
    return json.dumps(metadata, ensure_ascii=False)


def from_text(text: str, file: str | Path) -> Metadata:
    """Read metadata from JSON; raise ModelError if it is damaged or lacks what a runner must know."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"The metadata of '{file}' is not JSON ({e}): the file is damaged; export it again.") from e
    return checked(found, file)


def from_texts(texts: dict[str, str], file: str | Path) -> Metadata:
    """Read metadata whose values are each JSON, or, as in files of 8.x, a Python literal or plain text."""
    return checked({key: _value(text) for key, text in texts.items()}, file)


def _value(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def checked(found: object, file: str | Path) -> Metadata:
    """Return metadata with the values of `Facts`; raise ModelError where one is missing or not possible."""
    facts = Facts.of(found, file)
    given = found if isinstance(found, dict) else {}
    plain = {"imgsz": [*facts.imgsz], "kpt_shape": facts.kpt_shape and [*facts.kpt_shape]}
    return cast(Metadata, {**given, **vars(facts), **plain})
