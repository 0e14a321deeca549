"""The result of a prediction for one image, and its drawing, label files and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ultralytics.engine.result_types import OBB, Array, BaseTensor, Boxes, Index, Keypoints, Masks, Probs
from ultralytics.utils import LOGGER, ops
from ultralytics.utils.errors import DataError, MissingPackageError
from ultralytics.utils.files import append
from ultralytics.utils.hostile.names import safe_name
from ultralytics.utils.plotting import Annotator, colors, imwrite, save_one_box

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

__all__ = ("OBB", "BaseTensor", "Boxes", "Keypoints", "Masks", "Probs", "Results")


class Results:
    """One image and the objects found in it.

    Args:
        orig_img: (h, w, 3) uint8, BGR.
        path: of the image.
        names: {class: name}.
        boxes: (n, 6) or (n, 7), see `Boxes`.
        masks: (n, h, w), see `Masks`.
        probs: (nc,), see `Probs`.
        keypoints: (n, k, 2) or (n, k, 3), see `Keypoints`.
        obb: (n, 7) or (n, 8), see `OBB`.
        speed: milliseconds of preprocess, inference and postprocess.
    """

    # Each part that an image can have, and its class. Parts that the task does not give are None.
    parts: dict[str, type[BaseTensor]] = {
        "boxes": Boxes,
        "masks": Masks,
        "probs": Probs,
        "keypoints": Keypoints,
        "obb": OBB,
    }
    boxes: Boxes | None
    masks: Masks | None
    probs: Probs | None
    keypoints: Keypoints | None
    obb: OBB | None

    def __init__(
        self,
        orig_img: np.ndarray,
        path: str | Path,
        names: dict[int, str],
        boxes: Array | None = None,
        masks: Array | None = None,
        probs: Array | None = None,
        keypoints: Array | None = None,
        obb: Array | None = None,
        speed: dict[str, float | None] | None = None,
    ):
        self.orig_img = orig_img
        self.orig_shape: tuple[int, int] = (orig_img.shape[0], orig_img.shape[1])
        given = {"boxes": boxes, "masks": masks, "probs": probs, "keypoints": keypoints, "obb": obb}
        for name, data in given.items():
            setattr(self, name, None if data is None else self.parts[name](data, self.orig_shape))
        steps = ("preprocess", "inference", "postprocess")
        self.speed: dict[str, float | None] = dict.fromkeys(steps) if speed is None else speed
        self.names = names
        self.path = str(path)
        self.save_dir: str | None = None

    # A container ---------------------------------------------------------------------------------------------------
    def _present(self) -> dict[str, BaseTensor]:
        """Return the parts that this image has."""
        return {name: part for name in self.parts if (part := getattr(self, name)) is not None}

    def __len__(self) -> int:
        return len(next(iter(self._present().values()), ()))

    def __getitem__(self, idx: Index) -> Results:
        """Return the same image with the objects that an index, a slice, a list or a mask selects."""
        result = self._apply("__getitem__", idx)
        result.probs = self.probs  # of the image, not of an object
        return result

    def __iter__(self) -> Iterator[Results]:
        return (self[i : i + 1] for i in range(len(self)))

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={tuple(part.shape)}" for name, part in self._present().items())
        return (
            f"Results(path={self.path!r}, orig_shape={self.orig_shape}, {found or 'nothing found'}, speed={self.speed})"
        )

    def _apply(self, method: str, *args, **kwargs) -> Results:
        """Return a copy with one method applied to each part."""
        result = self.new()
        for name, part in self._present().items():
            setattr(result, name, getattr(part, method)(*args, **kwargs))
        return result

    @property
    def _rows(self) -> Boxes | OBB | None:
        """The boxes, upright or rotated."""
        return self.boxes if self.obb is None else self.obb

    def new(self) -> Results:
        """Return the same image without objects."""
        result = type(self)(self.orig_img, self.path, self.names, speed=self.speed)
        result.save_dir = self.save_dir
        return result

    def update(
        self,
        boxes: Array | None = None,
        masks: Array | None = None,
        probs: Array | None = None,
        obb: Array | None = None,
        keypoints: Array | None = None,
    ) -> None:
        """Replace the given parts, as in `Results`; boxes are clipped to the image."""
        if isinstance(boxes, torch.Tensor):
            boxes = ops.clip_boxes(boxes.clone(), self.orig_shape)
        elif boxes is not None:
            boxes = ops.clip_boxes(np.array(boxes), self.orig_shape)
        given = {"boxes": boxes, "masks": masks, "probs": probs, "keypoints": keypoints, "obb": obb}
        for name, data in given.items():
            if data is not None:
                setattr(self, name, self.parts[name](data, self.orig_shape))

    def cpu(self) -> Results:
        """Return a copy in main memory."""
        return self._apply("cpu")

    def numpy(self) -> Results:
        """Return a copy that holds arrays."""
        return self._apply("numpy")

    def cuda(self) -> Results:
        """Return a copy on the GPU."""
        return self._apply("cuda")

    def to(self, *args, **kwargs) -> Results:
        """Return a copy on another device or of another type, as `torch.Tensor.to` does."""
        return self._apply("to", *args, **kwargs)

    # Images ------------------------------------------------------------------------------------------------------
    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str = "Arial.ttf",
        pil: bool = False,
        img: np.ndarray | None = None,
        im_gpu: torch.Tensor | None = None,
        kpt_radius: float = 5,
        kpt_line: bool = True,
        labels: bool = True,
        boxes: bool = True,
        masks: bool = True,
        probs: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
    ) -> np.ndarray | Image.Image:
        """Draw the objects, the highest-scoring on top: masks, over them boxes, then keypoints, labels last.

        Args:
            conf: write the confidence after the name.
            line_width: of the boxes in pixels; by default it grows with the image.
            font_size: of the labels in pixels; by default it grows with the image.
            font: path of a font file.
            pil: return a PIL image.
            img: (h, w, 3) uint8 BGR to draw on a copy of, instead of the original.
            im_gpu: without effect, for scripts written for 8.3; masks are drawn in main memory.
            kpt_radius: of keypoints in pixels.
            kpt_line: connect the 17 keypoints of a person.
            labels: write class names.
            boxes: draw boxes.
            masks: draw masks.
            probs: write the five most probable classes.
            show: open the image in a viewer.
            save: write it to `filename`, by default `results_NAME` in the working directory.
            color_mode: "class": one colour a class; "instance": one colour an object.

        Returns:
            (h, w, 3) uint8 BGR, or a PIL image in RGB.
        """
        if color_mode not in ("class", "instance"):
            raise DataError(f"color_mode='{color_mode}' was given, but it can be 'class' or 'instance'.")
        image = np.array(self.orig_img if img is None else img)
        annotator = Annotator(image, line_width, font_size, font, pil, example=self.names)
        if masks and self.masks is not None:
            annotator.masks(self.masks.numpy().data[::-1], self._shades(len(self.masks), color_mode)[::-1])
        if boxes and self._rows is not None:
            self._draw_boxes(annotator, self._rows.numpy(), conf, labels, color_mode)
        for points in () if self.keypoints is None else self.keypoints.numpy().data[::-1]:
            annotator.kpts(points, self.orig_shape, kpt_radius, kpt_line)
        if probs and self.probs is not None:
            lines = [f"{self._name(c)} {float(p):.2f}" for c, p in zip(self.probs.top5, self.probs.top5conf)]
            annotator.panel(lines)
        if show:
            annotator.show(self.path)
        if save:
            annotator.save(filename or f"results_{Path(self.path).name}")
        return annotator.to_pil() if pil else annotator.result()

    def _shades(self, n: int, color_mode: str) -> list[tuple[int, int, int]]:
        """Return the colours (b, g, r) of n objects: by class, or by track id or number."""
        rows = self._rows
        keys = None if rows is None else rows.cls if color_mode == "class" else rows.id
        return [colors(k, True) for k in (range(n) if keys is None else keys.tolist())]

    def _draw_boxes(self, annotator: Annotator, rows: Boxes | OBB, conf: bool, labels: bool, color_mode: str) -> None:
        """Draw boxes and their labels."""
        texts = []
        for i in range(len(rows)):
            name = ("" if rows.id is None else f"id:{int(rows.id[i])} ") + self._name(int(rows.cls[i]))
            label = f"{name} {rows.conf[i]:.2f}" if conf else name
            texts.append(label if labels else "")
        corners = rows.xyxyxyxy if isinstance(rows, OBB) else rows.xyxy
        shades = self._shades(len(rows), color_mode)
        annotator.box_labels(corners[::-1], texts[::-1], shades[::-1], rotated=isinstance(rows, OBB))

    def _name(self, cls: int) -> str:
        """Return the name of a class, or its number if it has none."""
        try:
            return self.names[cls]
        except (KeyError, IndexError):
            return str(cls)

    def show(self, *args, **kwargs) -> None:
        """Open the drawn image in a viewer; arguments as for `plot`."""
        self.plot(*args, **{**kwargs, "show": True})

    def save(self, filename: str | Path | None = None, *args, **kwargs) -> str:
        """Write the drawn image and return the name of the file; further arguments as for `plot`."""
        drawn = self.plot(*args, **kwargs)
        im = drawn if isinstance(drawn, np.ndarray) else np.asarray(drawn)[..., ::-1]
        return str(imwrite(filename or f"results_{Path(self.path).name}", im))

    def save_crop(self, save_dir: str | Path, file_name: str | Path = Path("im.jpg")) -> None:
        """Cut each box out of the image into `save_dir/CLASS/file_name.jpg`; names that are taken get a number."""
        if self.boxes is None:
            LOGGER.warning("WARNING: this result has no upright boxes, so nothing was cut out.")
            return
        for box in self.boxes.numpy():
            stem = safe_name(Path(file_name).name.removesuffix(".jpg"))
            file = Path(save_dir) / safe_name(self._name(int(box.cls[0]))) / f"{stem}.jpg"
            save_one_box(box.xyxy[0], self.orig_img, file=file, BGR=True)

    # Text ----------------------------------------------------------------------------------------------------------
    def verbose(self) -> str:
        """Return the objects as a phrase: '3 persons, 1 bus, ', or for a classification 'cat 0.92, dog 0.05, '."""
        if self.probs is not None:
            best = zip(self.probs.top5, self.probs.top5conf)
            return "".join(f"{self._name(c)} {float(p):.2f}, " for c, p in best)
        if not len(self):
            return "(no detections), "
        counts = Counter(int(c) for c in self._rows.cls.tolist()) if self._rows is not None else {}
        return "".join(f"{n} {self._name(c)}{'s' * (n > 1)}, " for c, n in sorted(counts.items()))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Append the objects to a label file, in shares of the image, one line per object.

        A line is the class, then x, y, w, h (with masks the outline, for rotated boxes the four corners), then the
        keypoints x, y[, confidence], then, if present, the confidence and the track id. For a classification the lines
        are probability and name of the five best classes. No file is written if nothing was found.
        """
        if self.probs is not None:
            best = zip(self.probs.top5, self.probs.top5conf)
            lines = [f"{float(p):.2f} {self._name(c)}\n" for c, p in best]
        else:
            lines = [f"{' '.join(f'{v:g}' for v in numbers)}\n" for numbers in self._label_rows(save_conf)]
        if lines:
            append(txt_file, "".join(lines))
        return str(txt_file)

    def _label_rows(self, save_conf: bool) -> Iterator[list[float]]:
        """Yield the values of each line of a label file."""
        if self._rows is None:
            return
        rows = self._rows.numpy()
        outlines = None if self.masks is None else self.masks.xyn
        points = None if self.keypoints is None else _points_n(self.keypoints.numpy())
        for i in range(len(rows)):
            if outlines is not None:
                shape = outlines[i]
            else:
                shape = np.asarray((rows.xyxyxyxyn if isinstance(rows, OBB) else rows.xywhn)[i])
            numbers = [int(rows.cls[i]), *np.ravel(shape).tolist()]
            numbers += np.ravel(points[i]).tolist() if points is not None else []
            numbers += [float(rows.conf[i])] if save_conf else []
            numbers += [] if rows.id is None else [int(rows.id[i])]
            yield numbers

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, object]]:
        """Return one dictionary per object: name, class, confidence, box[, track_id][, segments][, keypoints].

        A box is x1, y1, x2, y2, a rotated one has its four corners x1, y1 ... x4, y4. For a classification it is one
        dictionary with name, class and confidence of the best class.

        Args:
            normalize: give coordinates as shares of the image.
            decimals: to which values are rounded.
        """
        if self.probs is not None:
            best, conf = self.probs.top1, round(float(self.probs.top1conf), decimals)
            return [{"name": self._name(best), "class": best, "confidence": conf}]
        if self._rows is None:
            return []

        def rounded(values: np.ndarray) -> list[float]:
            return [round(v, decimals) for v in np.asarray(values).tolist()]

        rows = self._rows.numpy()
        size = np.array(self.orig_shape[::-1] if normalize else (1, 1), np.float32)
        corners = np.asarray(rows.xyxyxyxy if isinstance(rows, OBB) else rows.xyxy.reshape(-1, 2, 2))
        points = None if self.keypoints is None else np.asarray(self.keypoints.numpy().data)
        places = [f"{axis}{k}" for k in range(1, corners.shape[1] + 1) for axis in "xy"]
        found = []
        for i in range(len(rows)):
            cls = int(rows.cls[i])
            item: dict[str, object] = {"name": self._name(cls), "class": cls}
            item["confidence"] = round(float(rows.conf[i]), decimals)
            item["box"] = dict(zip(places, rounded((corners[i] / size).ravel())))
            if rows.id is not None:
                item["track_id"] = int(rows.id[i])
            if self.masks is not None:
                x, y = (self.masks.xy[i] / size).T
                item["segments"] = {"x": rounded(x), "y": rounded(y)}
            if points is not None:
                x, y, *visible = points[i].T
                item["keypoints"] = {"x": rounded(x / size[0]), "y": rounded(y / size[1])} | (
                    {"visible": rounded(visible[0])} if visible else {}
                )
            found.append(item)
        return found

    def to_df(self, normalize: bool = False, decimals: int = 5) -> pd.DataFrame:
        """Return `summary` as a pandas table, one row per object."""
        try:
            import pandas
        except ImportError as e:
            raise MissingPackageError("Tables need pandas, which is not installed: pip install pandas.") from e
        return pandas.DataFrame(self.summary(normalize, decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5, *args, **kwargs) -> str | None:
        """Return the table as CSV text; further arguments go to pandas."""
        return self.to_df(normalize, decimals).to_csv(*args, **kwargs)

    def to_xml(self, normalize: bool = False, decimals: int = 5, *args, **kwargs) -> str:
        """Return the table as XML text; further arguments go to pandas."""
        table = self.to_df(normalize, decimals)
        empty = '<?xml version="1.0" encoding="utf-8"?>\n<root></root>'
        return empty if table.empty else table.to_xml(*args, **{"parser": "etree"} | kwargs)

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """Return `summary` as JSON text."""
        return json.dumps(self.summary(normalize, decimals), indent=2, ensure_ascii=False)

    tojson = to_json


def _points_n(points: Keypoints) -> np.ndarray:
    """Return keypoints (n, k, 2 or 3) as shares of the image, with their confidences."""
    return np.concatenate((points.xyn, points.data[..., 2:]), -1)
