"""The effective receptive field of layers: which pixels a unit in the middle of a feature map really sees.

Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, arXiv 1701.04128.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ultralytics.cfg.tasks import TASKS, load
from ultralytics.lab.rows import table, write_csv
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
    """What a unit in the middle of a layer sees; lengths are in pixels of the model's input.

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

    def row(self) -> dict[str, Any]:
        """Return the line of the table."""
        size = f"{self.width}x{self.height}" + " or more" * self.cut
        radii = {f"radius of {share:.0%}": round(r, 1) for share, r in zip(SHARES, self.radii)}
        return {"layer": self.layer, "module": self.kind, "stride": self.stride, "sees, w x h": size, **radii}


def measure_field(energy: np.ndarray, shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """Return width, height, cut, radii and centre (see `ReceptiveField`) of a map of energy (h, w)."""
    rows, columns = np.nonzero(energy > SEEN * energy.max())
    if not len(rows):
        return {"width": 0, "height": 0, "cut": False, "radii": (0.0,) * len(shares), "centre": (0.0, 0.0)}
    h, w = energy.shape
    y, x = np.mgrid[:h, :w]
    total = energy.sum()
    cy, cx = (energy * y).sum() / total, (energy * x).sum() / total
    distance = np.hypot(y - cy, x - cx).ravel()
    order = distance.argsort()
    held = energy.ravel()[order].cumsum() / total
    # A pixel is a square: its half side belongs to the radius, so that a single pixel has one
    radii = tuple(float(distance[order[min(np.searchsorted(held, s - 1e-9), len(held) - 1)]] + 0.5) for s in shares)
    cut = min(rows.min(), columns.min()) == 0 or rows.max() == h - 1 or columns.max() == w - 1
    return {
        "width": int(np.ptp(columns) + 1), "height": int(np.ptp(rows) + 1), "cut": bool(cut), "radii": radii,
        "centre": (float(cx), float(cy)),
    }  # fmt: skip


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
            _, maps = feature_maps(lambda x=x: model(x), model)
            for i in choose_layers(model, maps, layers):
                kind, y = maps[i]
                h, w = y.shape[2:]
                (gradient,) = torch.autograd.grad(
                    y[:, :, h // 2, w // 2].sum(), x, retain_graph=True, allow_unused=True
                )
                gradient = torch.zeros_like(x) if gradient is None else gradient
                sums[i] = sums.get(i, 0) + gradient.cpu().double().square().sum((0, 1)).numpy()
                about[i] = kind, round(x.shape[2] / h)
    return [
        ReceptiveField(i, *about[i], energy / max(energy.sum(), 1e-300), **measure_field(energy))
        for i, energy in sums.items()
    ]


def noise(samples: int, ch: int, imgsz: Sequence[int], seed: int = 0) -> list[torch.Tensor]:
    """Return images of noise (1, ch, h, w), 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
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
            model(torch.cat(images[start : start + 4]))
    for m, momentum in zip(norms, momenta):
        m.momentum = momentum
    model.eval()


def _real(yolo: YOLO, source: Any, imgsz: Any, samples: int, device: torch.device) -> list[torch.Tensor]:
    """Return the first images of a source as the model takes them, all of one shape."""
    predictor = load(TASKS[yolo.task].predictor)(overrides={"imgsz": imgsz, "device": str(device)})
    predictor.setup_model(yolo.model, verbose=False)
    predictor.model.pt = False  # squares: all images of one shape
    predictor.setup_source(source)
    found: list[torch.Tensor] = []
    for _, images, _ in predictor.dataset:
        found += predictor.preprocess(images).float().split(1)
        if len(found) >= samples:
            break
    return found[:samples]


def draw(fields: Sequence[ReceptiveField], file: Path, title: str) -> Path:
    """Draw the fields side by side: energy over five decades, and the circles that hold SHARES of it."""
    columns = min(len(fields), 4)
    rows = -(-len(fields) // columns)
    figure, axes = new_figure(3.6 * columns, 3.9 * rows + 0.3, rows, columns)
    figure.suptitle(title, color=INK, fontsize=11)
    for ax in axes[len(fields) :]:
        ax.axis("off")
    for ax, f in zip(axes, fields):
        decades = np.log10(np.maximum(f.energy / max(f.energy.max(), 1e-300), 1e-5))
        shown = ax.imshow(decades, cmap="inferno", vmin=-5, vmax=0, interpolation="nearest")
        for radius, style in zip(f.radii, ("-", "--")):
            ax.add_patch(_circle(f.centre, radius, style))
        ax.set_title(
            f"layer {f.layer} {f.kind}, stride {f.stride}\n"
            + ", ".join(f"{s:.0%} within {r:.0f} px" for s, r in zip(SHARES, f.radii)),
            fontsize=9, color=INK,
        )  # fmt: skip
    figure.colorbar(shown, ax=axes, shrink=0.7, label="log10 of energy", aspect=30)
    return save_figure(figure, file, dpi=110)


def _circle(centre: tuple[float, float], radius: float, style: str) -> Any:
    from matplotlib.patches import Circle

    return Circle(
        centre, radius, fill=False, color="#4FA3FF" if style == "-" else ACCENT, linestyle=style, linewidth=1.2
    )


def report(
    yolo: YOLO,
    save_dir: str | Path,
    source: Any = None,
    layers: Sequence[int] | None = None,
    imgsz: int | Sequence[int] | None = None,
    samples: int = 8,
    device: str = "",
    **other: Any,
) -> str:
    """Measure, draw receptive_field.png and write receptive_field.csv into a folder; return the table.

    Args:
        yolo: the model; one that is not trained (from a YAML) gets the batch statistics of the images first.
        save_dir: of the files.
        source: images, whose first `samples` are taken; None: noise.
        layers: see `receptive_fields`.
        imgsz: side of the images; None: that of the training, else 640, or 224 for a classifier.
        samples: number of images.
        device: to run on.
        other: settings of prediction, which have no use here.
    """
    if useless := [key for key in other if key != "trust_modules"]:
        raise ConfigError(f"'{useless[0]}' is for heat maps and has no use with receptive_field=true: leave it out.")
    if not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"samples={samples} is no number of images; give a whole number from 1 on.")
    if not isinstance(yolo.model, torch.nn.Module):
        raise ConfigError(f"Receptive fields come from PyTorch models, and '{yolo.model}' is none: give a .pt file.")
    where = select_device(device, verbose=False)
    model = deepcopy(yolo.model).to(where).float().eval().requires_grad_(False)
    imgsz = imgsz or yolo.overrides.get("imgsz") or (224 if yolo.task == "classify" else 640)
    size = check_imgsz(imgsz, stride=max(int(torch.as_tensor(model.stride).max()), 1), min_dim=2)
    if source is None:
        images = noise(samples, model.yaml.get("ch", 3), size)
    else:
        images = _real(yolo, source, size, samples, where)
    images = [p.to(where) for p in images]
    if yolo.ckpt_path is None:
        settle_norms(model, images)
        LOGGER.info("The model is not trained: its batch norms take the statistics of these images.")
    fields = receptive_fields(model, images, layers)
    kind = "images of noise" if source is None else "images"
    name = Path(str(yolo.model_name)).name
    draw(fields, Path(save_dir) / "receptive_field.png", f"{name}, {len(images)} {kind} at {size[1]}x{size[0]}")
    rows = [f.row() for f in fields]
    write_csv(Path(save_dir) / "receptive_field.csv", rows)
    return table(rows)
