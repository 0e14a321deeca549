"""What goes into a writer, and what comes with every file: its metadata."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ultralytics.nn.formats.facts import Facts
from ultralytics.utils.errors import ModelError


@dataclass
class Job:
    """A model to write, and how.

    Attributes:
        net: on the CPU in float32, in eval mode, fused; gives a tensor or a tuple of tensors.
        x: a batch of images (b, c, h, w) in 0..1 that it takes.
        file: the file or folder to write.
        metadata: what the file says of itself.
        half, int8: precision of the weights; float32 if neither.
        dynamic: leave batch, height and width open.
        simplify: let the format's own optimiser work on the graph.
        opset: of ONNX; the format's choice if None.
        workspace: gigabytes that TensorRT may use.
        images: gives batches (b, c, h, w) float32 in 0..1 of the user's images, for int8.
        nms: settings of the NMS to append, or None.
    """

    net: nn.Module
    x: torch.Tensor
    file: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    half: bool = False
    int8: bool = False
    dynamic: bool = False
    simplify: bool = True
    opset: int | None = None
    workspace: float | None = None
    images: Callable[[], Iterable[np.ndarray]] | None = None
    nms: Any = None

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return self.net.outputs


class HalfInside(nn.Module):
    """Computes in half precision between float32 images and float32 outputs."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.outputs = net.half(), net.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        y = self.net(x.half())
        return y.float() if isinstance(y, torch.Tensor) else tuple(part.float() for part in y)


def to_text(metadata: dict[str, Any]) -> str:
    """Return metadata as JSON."""
    return json.dumps(metadata, ensure_ascii=False)


def from_text(text: str, file: str | Path) -> dict[str, Any]:
    """Read metadata from JSON; raise ModelError if it is none, or does not say what a runner must know."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"The metadata of '{file}' is no JSON ({e}): the file is damaged; export it again.") from e
    return checked(found, file)


def from_texts(texts: dict[str, str], file: str | Path) -> dict[str, Any]:
    """Read metadata of which every value is JSON, or, as in files of 8.x, a Python literal or plain text."""
    return checked({key: _value(text) for key, text in texts.items()}, file)


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def checked(found: Any, file: str | Path) -> dict[str, Any]:
    """Return metadata, what a runner must know as `Facts` has it; raise ModelError where that is missing or odd."""
    facts = Facts.of(found, file)
    return {**found, **vars(facts), "imgsz": [*facts.imgsz], "kpt_shape": facts.kpt_shape and [*facts.kpt_shape]}
