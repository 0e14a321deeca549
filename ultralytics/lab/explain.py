"""What a model looks at: heat maps on images (EigenCAM, LayerCAM), and `yolo explain`.

The maps are made here and not by the package pytorch-grad-cam: that one imports torchvision, scikit-learn and ttach at
once, takes models that return one tensor, and leaves the sign of EigenCAM to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.cfg import run_folder, smart_value
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.cfg.words import key_values
from ultralytics.engine.results import Results
from ultralytics.lab import receptive_field
from ultralytics.lab.tables import aligned, csv_text
from ultralytics.models.yolo.model import YOLO
from ultralytics.nn.features import choose_layers, feature_maps
from ultralytics.utils import LOGGER
from ultralytics.utils.drawing.annotator import Annotator, imwrite, three_channels
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.geometry.masks import scale_image
from ultralytics.utils.system.console import say

USAGE = """yolo explain model=best.pt source=images/            heat maps (EigenCAM) beside what was found
yolo explain model=best.pt source=a.jpg method=layercam layers=[16,19,22] classes=[0]
yolo explain model=yolo11n.yaml receptive_field=true layers=[4,6,9]
                                                       what a unit in the middle of a layer sees

  method   eigencam: what most of a layer's channels agree on; layercam: what speaks for the objects that were found
  layers   indices as in the model's YAML; else those that the head reads
  also     imgsz, conf, iou, max_det, classes, vid_stride, device, project, name, exist_ok, trust_modules;
           for the receptive field samples (8 images of noise), imgsz, device, project, name, exist_ok, trust_modules
"""

Settings = dict[str, Any]  # of the command, by key

# Heat maps ------------------------------------------------------------------------------------------------------------


def eigen_cam(activation: torch.Tensor, gradient: torch.Tensor | None = None) -> torch.Tensor:
    """Project each position onto the first principal component of a layer's channels: (h, w).

    Muhammad and Yeasin, Eigen-CAM, arXiv 2008.00299; channels are centred. A component has no sign of its own: here it
    points to where the activation is strong.

    Args:
        activation: (channels, h, w).
        gradient: not used.
    """
    rows = activation.detach().cpu().double().flatten(1).T
    centred = rows - rows.mean(0)
    component = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    projection = centred @ component
    strength = rows.norm(dim=1)
    sign = torch.sign(projection @ (strength - strength.mean()))
    return (projection * (sign if sign else 1)).view(activation.shape[1:]).float()


def layer_cam(activation: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor:
    """Return the evidence for the target at each position: relu(gradient) x activation, over all channels: (h, w).

    Jiang et al., LayerCAM, IEEE TIP 2021, equations 7 and 8.

    Args:
        activation: (channels, h, w).
        gradient: of the target with respect to it.
    """
    assert gradient is not None
    return (gradient.relu() * activation.detach()).sum(0).float()


@dataclass(frozen=True)
class Method:
    """How a layer's map becomes heat, and whether that needs the gradient of a target."""

    cam: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    needs_gradient: bool


METHODS = {"eigencam": Method(eigen_cam, False), "layercam": Method(layer_cam, True)}


def choose_method(name: str) -> Method:
    """Return a method by name."""
    if name not in METHODS:
        hint = did_you_mean(name, METHODS, n=1)
        raise ConfigError(f"method='{name}' is not known; it can be {' or '.join(METHODS)}.{hint}")
    return METHODS[name]


def heat_of(cam: torch.Tensor) -> np.ndarray:
    """Scale a map to heat from 0 to 1; negative values are evidence against, and become 0."""
    heat = cam.detach().clamp(min=0).float().cpu().numpy()
    return heat / max(float(heat.max()), 1e-12)


def target_of(
    preds: object, result: Results, classes: Sequence[int] | None = None, end2end: bool = False
) -> torch.Tensor | None:
    """Return the target of LayerCAM: the sum of the logits of an image's detections, or None without any.

    Logits, for the gradient of a score fades as the score comes near 1.

    Args:
        preds: what the model gave for this image alone.
        result: what became of it.
        classes: for a classifier, the classes to be explained in the place of the first guess.
        end2end: what the model gave is a list of boxes, see `non_max_suppression`.
    """
    scores = preds[0] if isinstance(preds, (tuple, list)) else preds
    assert isinstance(scores, torch.Tensor)
    if result.probs is not None:
        chosen = scores[0, list(classes) if classes else [int(result.probs.top1)]]
    else:
        rows = result.obb if result.obb is not None else result.boxes
        if rows is None or not len(rows):
            return None
        cls, conf = torch.as_tensor(rows.cls).long(), torch.as_tensor(rows.conf)
        of_class = scores[0, :, 4].expand(len(cls), -1) if end2end else scores[0, 4 : 4 + len(result.names)][cls]
        at = (of_class.detach() - conf[:, None]).abs().argmin(1)  # the position that a row came from
        chosen = of_class.gather(1, at[:, None])
    return torch.logit(chosen.float(), eps=1e-6).sum()


# Images -------------------------------------------------------------------------------------------------------------


@dataclass
class Explanation:
    """The detections of a model in an image, and the heat (h, w) of each layer, 0 to 1 on the original image."""

    path: str
    result: Results
    heat: dict[int, np.ndarray]
    kinds: dict[int, str] = field(default_factory=dict)  # class and stride of each layer, for people

    @property
    def together(self) -> np.ndarray:
        """(h, w) the mean heat of all layers, 0 to 1."""
        mean = np.mean([*self.heat.values()], 0)
        return mean / max(float(mean.max()), 1e-12)

    def boxes(self) -> np.ndarray | None:
        """Return the mask (h, w) of all boxes, or None if the task has none."""
        obb, boxes = self.result.obb, self.result.boxes
        if obb is not None:
            rows = torch.as_tensor(obb.xyxyxyxy)
        elif boxes is not None:
            rows = torch.as_tensor(boxes.xyxy)
        else:
            return None
        mask = np.zeros(self.result.orig_shape, np.uint8)
        for row in rows.cpu().numpy().round().astype(int):
            if row.ndim == 1:
                cv2.rectangle(mask, row[:2].tolist(), (row[2:] - 1).tolist(), 1, -1)
            else:
                cv2.fillPoly(mask, [row], 1)
        return mask.astype(bool)

    def row(self) -> dict[str, object]:
        """Return the summary row: the share of the heat inside the boxes, and the share of the image they cover."""
        inside = self.boxes()
        said = self.result.verbose().strip().rstrip(",") or "nothing"
        line: dict[str, object] = {"image": Path(self.path).name, "found": said}
        if inside is None:
            return line
        line["boxes cover"] = round(float(inside.mean()), 3)
        maps = {"heat in boxes": self.together, **{f"layer {i}": heat for i, heat in self.heat.items()}}
        for name, heat in maps.items() if inside.any() else ():
            if heat.any():  # LayerCAM: from this layer nothing was found
                line[name] = round(float(heat[inside].sum() / heat.sum()), 3)
        return line

    def draw(self, method: str) -> np.ndarray:
        """Draw the detections and the heat maps side by side, each at the image's size: (h, w, 3) BGR."""
        image = three_channels(self.result.orig_img)
        panels = [("found", three_channels(np.asarray(self.result.plot())))]
        if len(self.heat) > 1:
            panels.append((f"{method}, all layers", overlay(image, self.together)))
        for i, heat in self.heat.items():
            title = f"layer {i} {self.kinds.get(i, '')}" + " (nothing from here)" * (not heat.any())
            panels.append((title, overlay(image, heat)))
        return side_by_side(panels)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return an image (h, w, 3) BGR with heat (h, w), 0 to 1, in colours: blue is cold, red is hot."""
    colour = cv2.applyColorMap(np.uint8(heat * 255), cv2.COLORMAP_JET)
    share = (0.3 + 0.3 * heat)[..., None]
    return np.uint8(image * (1 - share) + colour * share)


def side_by_side(panels: Sequence[tuple[str, np.ndarray]], gap: int = 4) -> np.ndarray:
    """Return panels of one size in a row, each under its title."""
    h, w = panels[0][1].shape[:2]
    strip = max(18, round(min(h, w) * 0.07))
    sheet = np.full((h + strip, len(panels) * (w + gap) - gap, 3), 255, np.uint8)
    pen = Annotator(sheet, font_size=strip * 0.6, example="".join(title for title, _ in panels))
    for k, (title, _) in enumerate(panels):
        pen.text((k * (w + gap) + strip // 4, strip // 6), title, txt_color=(40, 40, 40))
    sheet = pen.result()
    for k, (_, panel) in enumerate(panels):
        sheet[strip:, k * (w + gap) : k * (w + gap) + w] = panel
    return sheet


def onto_original(heat: np.ndarray, shape: tuple[int, int], cut: float | None = None) -> np.ndarray:
    """Map heat (h, w) from a model's input onto the original image; what the model did not see is 0.

    Args:
        heat: 0 to 1.
        shape: of the original.
        cut: None: the input is letterboxed; else the share of the original's shorter side that was cut out.
    """
    if cut is None:
        return scale_image(heat, shape).clip(0, 1)
    h, w = (min(shape),) * 2 if heat.shape[0] == heat.shape[1] else shape
    h, w = round(h * cut), round(w * cut)
    top, left = (shape[0] - h) // 2, (shape[1] - w) // 2
    full = np.zeros(shape, np.float32)
    full[top : top + h, left : left + w] = cv2.resize(heat, (w, h)).clip(0, 1)
    return full


def _detached(x: object) -> object:
    """Return copies of all tensors of a model's output, out of the graph."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(_detached, x))
    return x.detach().clone() if isinstance(x, torch.Tensor) else x


class Explainer:
    """Makes the heat maps of a model: `Explainer("best.pt").stream("images/")` gives an Explanation each.

    Args:
        model: weight file, model YAML, or a YOLO.
        method: a key of METHODS.
        layers: indices as in the model's YAML; None: those that the head reads.
        trust_modules: run the module files that the model names, if it is not a YOLO.
        settings: of prediction: imgsz, conf, iou, classes, device, ...
    """

    def __init__(
        self,
        model: str | Path | YOLO,
        method: str = "eigencam",
        layers: Sequence[int] | None = None,
        trust_modules: bool | str = False,
        **settings: object,
    ):
        self.method, self.layers = choose_method(method), layers
        self.yolo = model if isinstance(model, YOLO) else YOLO(model, trust_modules=trust_modules)
        known = {k: v for k, v in self.yolo.overrides.items() if k == "imgsz"}
        self.predictor = load(TASKS[self.yolo.task].predictor)(overrides={**known, **settings, "save": False})
        self.predictor.setup_model(self.yolo.model, verbose=False)
        self.predictor.model.network("Heat maps come")
        self.predictor.imgsz = self.predictor.input_size()

    def stream(self, source: object) -> Iterator[Explanation]:
        """Explain the images and frames of a source one by one."""
        self.predictor.setup_source(source)
        for paths, images, _ in self.predictor.dataset:
            for i, path in enumerate(paths):
                yield self.explain(path, images[i : i + 1])

    def explain(self, path: str, images: list[np.ndarray] | torch.Tensor) -> Explanation:
        """Explain one image, given as a list or batch of one."""
        p = self.predictor
        x = p.preprocess(images).requires_grad_(self.method.needs_gradient)
        with torch.set_grad_enabled(self.method.needs_gradient):
            preds, maps = feature_maps(lambda: p.model(x), p.model.model)
        with torch.no_grad():
            result = p.make_results(_detached(preds), x.detach(), images, [path])[0]
        layers = choose_layers(p.model.model, maps, self.layers)
        chosen = {i: maps[i][1] for i in layers}
        size, shape = tuple(x.shape[2:]), result.orig_shape
        cut = p.args.crop_fraction if result.probs is not None and not isinstance(images, torch.Tensor) else None
        heat = {}
        for i, cam in self._cams(preds, result, chosen).items():
            large = F.interpolate(cam[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            heat[i] = onto_original(heat_of(large), shape, cut)
        kinds = {i: f"{maps[i][0]} 1/{round(size[0] / maps[i][1].shape[2])}" for i in layers}
        return Explanation(path, result, heat, kinds)

    def _cams(self, preds: object, result: Results, maps: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Return the map (h, w) of each layer; zeros where there is nothing to explain."""
        if not self.method.needs_gradient:
            return {i: self.method.cam(y[0], None) for i, y in maps.items()}
        classes = self.predictor.args.classes
        target = target_of(
            preds, result, [classes] if isinstance(classes, int) else classes, self.predictor.model.end2end
        )
        if target is None:
            return {i: torch.zeros(y.shape[2:]) for i, y in maps.items()}
        gradients = torch.autograd.grad(target, [*maps.values()], allow_unused=True)
        return {
            i: torch.zeros(y.shape[2:]) if g is None else self.method.cam(y[0], g[0])
            for (i, y), g in zip(maps.items(), gradients)
        }


def explain(
    model: str | Path | YOLO,
    source: object,
    method: str = "eigencam",
    layers: Sequence[int] | None = None,
    save_dir: str | Path = "runs/explain",
    trust_modules: bool | str = False,
    **settings: object,
) -> list[dict[str, object]]:
    """Draw the heat maps of all images of a source as PNG files into a folder; return the lines of summary.csv.

    Args:
        model: weight file, model YAML, or a YOLO.
        source: as for prediction.
        method: a key of METHODS.
        layers: indices as in the model's YAML; None: those that the head reads.
        save_dir: of the files.
        trust_modules: run the module files that the model names.
        settings: of prediction.
    """
    folder, taken = Path(save_dir), set()
    rows: list[dict[str, object]] = []
    for found in Explainer(model, method, layers, trust_modules, **settings).stream(source):
        stem = name = Path(found.path).stem or "image"
        number = 1
        while name in taken:  # frames of a video, or images of one name in several folders
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        rows.append({**found.row(), "file": imwrite(folder / f"{name}.png", found.draw(method)).name})
        if not any(heat.any() for heat in found.heat.values()):
            LOGGER.warning(f"WARNING: nothing was found in '{found.path}', so {method} has nothing to explain there.")
    (folder / "summary.csv").write_text(csv_text(rows), encoding="utf-8-sig")  # whose mark Excel looks for
    return rows


def table(rows: Sequence[Mapping[str, object]], most: int = 40) -> str:
    """Return a summary as an aligned text table, with the means of its numbers below.

    Images in which nothing was found have no heat in boxes, so they have no part in the mean of what boxes cover.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[str(row.get(c, "")) for c in columns] for row in rows[:most]]
    if len(rows) > 1 and (found := [row for row in rows if "heat in boxes" in row]):
        numbers = [[v for row in found if isinstance(v := row.get(c), float)] for c in columns[1:]]
        cells.append(["mean", *(f"{np.mean(n):.3f}" if n else "" for n in numbers)])
    return aligned([columns, *cells], left=len(columns), rules=())


# Command --------------------------------------------------------------------------------------------------------------

_TEXTS = ("model", "source", "method", "project", "name", "device")
_PREDICTION = ("imgsz", "conf", "iou", "max_det", "classes", "vid_stride", "agnostic_nms", "trust_modules")
_KEYS = (*_TEXTS, "layers", "receptive_field", "samples", "exist_ok", *_PREDICTION)


def parse(words: Sequence[str]) -> Settings:
    """Parse `key=value` words into settings.

    Raises:
        ConfigError: a key is not known, or has no value.
    """
    words = ["receptive_field=True" if word == "receptive_field" else word for word in words]
    texts = key_values(words, "explain", _KEYS)
    found: Settings = {key: text if key in _TEXTS else smart_value(text) for key, text in texts.items()}
    for key in ("layers", "classes"):
        value = found.get(key)
        found[key] = [value] if isinstance(value, int) and not isinstance(value, bool) else value
        if value is not None and not (
            isinstance(found[key], (list, tuple)) and all(isinstance(i, int) for i in found[key]) and found[key]
        ):
            raise ConfigError(f"{key}={value} is no list of indices: write {key}=[4,6,9] or {key}=4.")
    return {k: v for k, v in found.items() if v is not None}


def main(words: Sequence[str]) -> int:
    """Run `yolo explain` and return the exit code."""
    if not words:
        say(USAGE, end="")
        return 0
    given = parse(words)
    field_only = given.pop("receptive_field", False)
    if "model" not in given or not (field_only or "source" in given):
        missing = [f"{key}=..." for key in ("model", "source") if key not in given][: 1 if field_only else 2]
        raise ConfigError(f"`yolo explain` needs {' and '.join(missing)}; `yolo explain` alone shows examples.")
    yolo = YOLO(given.pop("model"), trust_modules=given.pop("trust_modules", False))
    places = {key: given.pop(key, None) for key in ("project", "name", "exist_ok")}
    if "samples" in given and not field_only:
        raise ConfigError("'samples' is for the receptive field: write receptive_field=true, or leave it out.")
    with run_folder(SimpleNamespace(**places, task=yolo.task, mode="explain", save_dir=None)) as folder:
        if field_only:
            text = receptive_field.report(yolo, save_dir=folder, **given)
        else:
            text = table(explain(yolo, save_dir=folder, **given))
    say(text)
    say(f"\nImages and table are in '{folder}'.")
    return 0
