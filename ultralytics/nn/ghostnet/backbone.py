"""GhostNet as a detection backbone: one line of a model YAML that gives the feature maps of all five strides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch

from ultralytics.nn.checkpoint import load_state_dict_file
from ultralytics.nn.ghostnet.ghostnet import STAGES, TAPS, GhostTrunk
from ultralytics.nn.ghostnet.layers import round_channels
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError

# What a published file holds and detection has no use for.
CLASSIFIER = (f"blocks.{len(STAGES)}.", "conv_head.", "classifier.")
_READ_FILES: ContextVar[bool] = ContextVar("read_weight_files", default=True)


@contextmanager
def without_weight_files() -> Iterator[None]:
    """Build backbones without the weight files that YAMLs name: a checkpoint brings weights of its own."""
    token = _READ_FILES.set(False)
    try:
        yield
    finally:
        _READ_FILES.reset(token)


class GhostBackbone(GhostTrunk):
    """The trunk of a GhostNet with the last map of each stride as its outputs.

    Shapes: (b, c1, h, w) -> five maps (b, out_channels[i], ceil(h / 2^(i+1)), ceil(w / 2^(i+1))).

    The scale letter of a model (n, s, m, l, x) does not widen the backbone: `width` does, so that a weight file fits
    whatever the scale of the head.

    Args:
        c1: input channels.
        width: factor on all channels; None is 1.0.
        weights: weight file of the classification network at the same width to start from; its classifier is left out.

    Raises:
        MissingFileError: there is no such weight file.
        CheckpointError: the file cannot be read or belongs to another network or width.
    """

    def __init__(self, c1: int, width: float | None = 1.0, weights: str | Path | None = None):
        super().__init__(c1, 1.0 if width is None else width)
        self.out_channels: list[int] = [round_channels(STAGES[i][-1].c * self.width) for i in TAPS]
        if weights and _READ_FILES.get() and not self.conv_stem.weight.is_meta:
            self.load_classifier_file(weights)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [m for i, m in enumerate(self.stages(x)) if i in TAPS]

    def load_classifier_file(self, file: str | Path) -> None:
        """Take over the weights of a classification network; say in one log line what was loaded."""
        found = load_state_dict_file(file)
        own = self.state_dict()
        trunk = {name: value for name, value in found.items() if not name.startswith(CLASSIFIER)}
        stem, c1, note = trunk.get("conv_stem.weight"), self.conv_stem.in_channels, ""
        if stem is not None and stem.ndim == 4 and stem.shape[1] != c1:
            # The sum over colours, spread evenly: a grey picture gives the same response as before.
            note = f", its stem spread from {stem.shape[1]} to {c1} input channels"
            trunk["conv_stem.weight"] = stem.sum(1, keepdim=True).expand(-1, c1, -1, -1) / c1
        self._check(file, own, trunk)
        self.load_state_dict(trunk)
        left = len(found) - len(trunk)
        LOGGER.info(
            f"{type(self).__name__}: {len(trunk)} of {len(own)} entries loaded from '{file}', "
            f"{left} of the classifier left out{note}."
        )

    def _check(self, file: str | Path, own: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
        """Raise one sentence with counts if `found` is not entry for entry what this backbone holds."""
        missing, unknown = own.keys() - found.keys(), found.keys() - own.keys()
        shapes = [n for n in own if n in found and own[n].shape != found[n].shape]
        if not (missing or unknown or shapes):
            return
        first = ""
        if shapes:
            name, ours, theirs = shapes[0], tuple(own[shapes[0]].shape), tuple(found[shapes[0]].shape)
            first = f" ('{name}' is {theirs}, not {ours})"
        raise CheckpointError(
            f"'{file}' does not fit {type(self).__name__} at width {self.width:g}: of its {len(own)} entries "
            f"{len(missing)} are missing and {len(shapes)} have another shape{first}; {len(unknown)} entries of the "
            "file are unknown. Give the width and the version (V1 or V2) the file was trained with."
        )
