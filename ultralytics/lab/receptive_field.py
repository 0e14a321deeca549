"""The effective receptive field of layers: the pixels that influence the central unit of a feature map.

Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, arXiv 1701.04128.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ultralytics.lab.tables import aligned, csv_text
from ultralytics.models.yolo.model import YOLO
from ultralytics.nn.features import choose_layers, feature_maps
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.drawing.curves import ACCENT, INK, new_figure, save_figure
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import select_device

SHARES = (0.5, 0.95)  # of the energy
SEEN = 1e-12  # of the largest gradient: below it a pixel counts as not seen


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a layer's central unit; lengths are in pixels of the model's input.

    Attributes:
        layer: index as in the model's YAML.
        kind: class of the layer.
        stride: pixels from a unit of the layer to the next.
        energy: (h, w) squared gradient of each pixel, summed over colours, mean over images; the sum is 1.
        width, height: of the rectangle around all pixels that have any gradient.
        cut: whether that rectangle reaches the border, so that it may be larger.
        radii: of the circles around the centre of the energy that hold SHARES of it.
    """

    layer: int
    kind: str
    stride: int
    energy: np.ndarray
    width: int
    height: int
    cut: bool
    radii: tuple[float, ...]
    centre: tuple[float, float]  # x, y

    @classmethod
    def of(cls, layer: int, kind: str, stride: int, energy: np.ndarray) -> ReceptiveField:
        """Measure a map of energy (h, w) of any scale."""
        energy = energy / max(energy.sum(), 1e-300)
        rows, columns = np.nonzero(energy > SEEN * energy.max())
        if not len(rows):
            return cls(layer, kind, stride, energy, 0, 0, False, (0.0,) * len(SHARES), (0.0, 0.0))
        h, w = energy.shape
        y, x = np.mgrid[:h, :w]
        cy, cx = float((energy * y).sum()), float((energy * x).sum())
        distance = np.hypot(y - cy, x - cx).ravel()
        order = distance.argsort()
        held = energy.ravel()[order].cumsum()
        # A pixel is a square: its half side belongs to the radius, so that a single pixel has one
        radii = [distance[order[min(np.searchsorted(held, s - 1e-9), len(held) - 1)]] + 0.5 for s in SHARES]
        cut = min(rows.min(), columns.min()) == 0 or rows.max() == h - 1 or columns.max() == w - 1
        width, height = int(np.ptp(columns) + 1), int(np.ptp(rows) + 1)
        return cls(layer, kind, stride, energy, width, height, bool(cut), tuple(map(float, radii)), (cx, cy))

    def row(self) -> dict[str, object]:
        """Return the row of the table."""
        size = f"{self.width}x{self.height}" + " or more" * self.cut
        radii = {f"radius of {share:.0%}": round(r, 1) for share, r in zip(SHARES, self.radii)}
        return {"layer": self.layer, "module": self.kind, "stride": self.stride, "sees, w x h": size, **radii}


def receptive_fields(
    model: nn.Module, images: Iterable[torch.Tensor], layers: Sequence[int] | None = None
) -> list[ReceptiveField]:
    """Return the effective receptive fields of layers.

    The gradient of the unit in the middle of a layer's map, summed over its channels, is taken with respect to the
    pixels, squared, summed over colours, and averaged over images.

    Args:
        model: in eval mode, fused or not.
        images: batches (b, ch, h, w) of one size, on the model's device.
        layers: indices as in the model's YAML; None: those that the head reads.

    Raises:
        ConfigError: a layer that is wanted gives no feature map.
    """
    sums: dict[int, np.ndarray] = {}
    about: dict[int, tuple[str, int]] = {}
    for batch in images:
        x = batch.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            _, maps = feature_maps(partial(model, x), model)
            for i in choose_layers(model, maps, layers):
                kind, y = maps[i]
                h, w = y.shape[2:]
                (gradient,) = torch.autograd.grad(
                    y[:, :, h // 2, w // 2].sum(), x, retain_graph=True, allow_unused=True
                )
                gradient = torch.zeros_like(x) if gradient is None else gradient
                sums[i] = sums.get(i, 0) + gradient.cpu().double().square().sum((0, 1)).numpy()
                about[i] = kind, round(x.shape[2] / h)
    return [ReceptiveField.of(i, *about[i], energy) for i, energy in sums.items()]


def noise(samples: int, ch: int, imgsz: Sequence[int]) -> list[torch.Tensor]:
    """Return images of noise (1, ch, h, w), 0 to 1, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, ch, *imgsz, generator=generator) for _ in range(samples)]


def settle_norms(model: nn.Module, images: Sequence[torch.Tensor]) -> None:
    """Give an untrained model the batch statistics of images: without them its signals fade from layer to layer."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the plain mean over all images
        m.train()
    with torch.no_grad():
        for start in range(0, len(images), 4):
            model(torch.cat([*images[start : start + 4]]))
    for m, momentum in zip(norms, momenta):
        m.momentum = momentum
    model.eval()


def draw(fields: Sequence[ReceptiveField], file: Path, title: str) -> Path:
    """Draw the fields side by side: energy over five decades, and the circles that hold SHARES of it."""
    from matplotlib.patches import Circle

    columns = min(len(fields), 4)
    rows = -(-len(fields) // columns)
    figure, axes = new_figure(3.6 * columns, 3.9 * rows + 0.3, rows, columns)
    figure.suptitle(title, color=INK, fontsize=11)
    for ax in axes[len(fields) :]:
        ax.axis("off")
    for ax, f in zip(axes, fields):
        decades = np.log10(np.maximum(f.energy / max(f.energy.max(), 1e-300), 1e-5))
        shown = ax.imshow(decades, cmap="inferno", vmin=-5, vmax=0, interpolation="nearest")
        for radius, style, color in zip(f.radii, ("-", "--"), ("#4FA3FF", ACCENT)):
            ax.add_patch(Circle(f.centre, radius, fill=False, color=color, linestyle=style, linewidth=1.2))
        ax.set_title(
            f"layer {f.layer} {f.kind}, stride {f.stride}\n"
            + ", ".join(f"{s:.0%} within {r:.0f} px" for s, r in zip(SHARES, f.radii)),
            fontsize=9, color=INK,
        )  # fmt: skip
    figure.colorbar(shown, ax=axes, shrink=0.7, label="log10 of energy", aspect=30)
    return save_figure(figure, file, dpi=110)


def report(
    yolo: YOLO,
    save_dir: str | Path,
    layers: Sequence[int] | None = None,
    imgsz: int | Sequence[int] | None = None,
    samples: int = 8,
    device: str = "",
    **other: object,
) -> str:
    """Measure, draw receptive_field.png and write receptive_field.csv into a folder; return the table.

    Args:
        yolo: the model; one that is not trained (from a YAML) gets the batch statistics of the images first.
        save_dir: of the files.
        layers: see `receptive_fields`.
        imgsz: side of the images; None: that of the training, else 640, or 224 for a classifier.
        samples: number of images of noise.
        device: to run on.
        other: settings of prediction, which have no use here.
    """
    if useless := next(iter(other), ""):
        raise ConfigError(f"'{useless}' is for heat maps and has no use with receptive_field=true: leave it out.")
    if not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"samples={samples} is no number of images; give a whole number from 1 on.")
    if not isinstance(yolo.model, torch.nn.Module):
        raise ConfigError(f"Receptive fields come from PyTorch models, and '{yolo.model}' is not one: give a .pt file.")
    where = select_device(device, verbose=False)
    model = deepcopy(yolo.model).to(where).float().eval().requires_grad_(False)
    imgsz = imgsz or yolo.overrides.get("imgsz") or (224 if yolo.task == "classify" else 640)
    size = check_imgsz(imgsz, stride=max(int(torch.as_tensor(model.stride).max()), 1), min_dim=2)
    assert isinstance(size, list)
    images = [x.to(where) for x in noise(samples, model.yaml.get("ch", 3), size)]
    if yolo.ckpt_path is None:
        settle_norms(model, images)
        LOGGER.info("The model is not trained: its batch norms take the statistics of these images.")
    fields = receptive_fields(model, images, layers)
    title = f"{Path(str(yolo.model_name)).name}, {samples} images of noise at {size[1]}x{size[0]}"
    draw(fields, Path(save_dir) / "receptive_field.png", title)
    rows = [f.row() for f in fields]
    (Path(save_dir) / "receptive_field.csv").write_text(csv_text(rows), encoding="utf-8")
    return aligned([[*rows[0]], *([str(value) for value in row.values()] for row in rows)], left=len(rows[0]), rules=())
