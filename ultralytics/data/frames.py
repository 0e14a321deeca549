"""What loaders of sources yield: batches of frames, each of which knows where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import numpy as np
import torch

Images = list[np.ndarray] | torch.Tensor
Kind = Literal["image", "video", "stream", "array"]


@dataclass
class SourceTypes:
    """The kind of source that a loader reads."""

    stream: bool = False
    screenshot: bool = False
    from_img: bool = False
    tensor: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One image of a source, and where it comes from.

    Attributes:
        image: (h, w, 3) uint8 BGR; of a batch that was given as a tensor, (3, h, w) RGB in 0..1.
        path: of the file, or the address of the stream, or a name for what was given in memory.
        kind: where it comes from; an 'array' was given in memory.
        index: of the file, stream or array in the source, from 0.
        total: files, streams or arrays in the source.
        number: of the frame in its video or stream, from 1, those left out not counted; None for an image.
        length: frames that the video says to have; 0 for all else.
        fps: frames a second that the video or stream says to have; 0 where it does not.
    """

    image: np.ndarray | torch.Tensor
    path: str
    kind: Kind
    index: int
    total: int
    number: int | None = None
    length: int = 0
    fps: float = 0.0

    @property
    def text(self) -> str:
        """How the log line of a file begins; empty for streams and arrays, as in 8.3.0."""
        if self.kind not in {"image", "video"}:
            return ""
        position = "" if self.number is None else f" (frame {self.number}/{self.length})"
        return f"{self.kind} {self.index + 1}/{self.total}{position} {self.path}: "


class Batch(tuple[list[str], Images, list[str]]):
    """Paths, images and texts of a batch, unpacked as in 8.3.0, and its `frames`.

    Args:
        frames: of the batch.
        images: of the frames, where they are one tensor (b, 3, h, w) instead of a list.
    """

    frames: Sequence[Frame]

    def __new__(cls, frames: Sequence[Frame], images: torch.Tensor | None = None) -> Batch:
        own = cast(Images, [frame.image for frame in frames]) if images is None else images
        batch = super().__new__(cls, ([f.path for f in frames], own, [f.text for f in frames]))
        batch.frames = frames
        return batch

    def __getnewargs__(self) -> tuple[Sequence[Frame], torch.Tensor | None]:
        return self.frames, self[1] if isinstance(self[1], torch.Tensor) else None


class Loader(Protocol):
    """Yields the batches of a source, with `frames` or, from a custom loader, as plain tuples."""

    source_type: SourceTypes
    bs: int  # images at a time
    mode: str  # 'image', 'video' or 'stream', as of what was read last

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[list[str], Images, list[str]]]: ...
