"""What a prediction found in one picture, with its drawings, files and tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ultralytics.utils import LOGGER, ops
from ultralytics.utils.errors import DataError, MissingPackageError
from ultralytics.utils.plotting import Annotator, colors, imwrite, save_one_box

if TYPE_CHECKING:
    import pandas as pd


class BaseTensor:
    """Numbers of n objects (`data`, first dimension n; tensor or array) and the (h, w) of the picture they lie on."""

    def __init__(self, data: torch.Tensor | np.ndarray, orig_shape: tuple[int, int]):
        if not isinstance(data, (torch.Tensor, np.ndarray)):
            raise DataError(f"{type(self).__name__} takes a tensor or an array, but a {type(data).__name__} was given.")
        self.data = data
        self.orig_shape = orig_shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def cpu(self) -> BaseTensor:
        """Return a copy in main memory."""
        return self if isinstance(self.data, np.ndarray) else type(self)(self.data.cpu(), self.orig_shape)

    def numpy(self) -> BaseTensor:
        """Return a copy that holds an array."""
        return self if isinstance(self.data, np.ndarray) else type(self)(self.data.cpu().numpy(), self.orig_shape)

    def cuda(self) -> BaseTensor:
        """Return a copy on the GPU."""
        return type(self)(torch.as_tensor(self.data).cuda(), self.orig_shape)

    def to(self, *args, **kwargs) -> BaseTensor:
        """Return a copy of another device or type, as `torch.Tensor.to` does."""
        return type(self)(torch.as_tensor(self.data).to(*args, **kwargs), self.orig_shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, idx) -> BaseTensor:
        """Return the objects that a number, a slice, a list or a mask picks."""
        return type(self)(self.data[idx], self.orig_shape)

    def __iter__(self) -> Iterator[BaseTensor]:
        return (self[i : i + 1] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, orig_shape={tuple(self.orig_shape)})\n{self.data}"


class Boxes(BaseTensor):
    """Boxes of one picture.

    Args:
        boxes: (n, 6) x1, y1, x2, y2 in pixels, confidence, class; or (n, 7) with a track id before the confidence.
            One box may come as (6,) or (7,).
        orig_shape: (h, w) of the picture.

    Raises:
        DataError: the shape is another.
    """

    def __init__(self, boxes: torch.Tensor | np.ndarray, orig_shape: tuple[int, int]):
        super().__init__(boxes, orig_shape)
        if boxes.ndim == 1:
            self.data = boxes = boxes[None]
        if boxes.ndim != 2 or boxes.shape[1] not in (6, 7):
            raise DataError(
                f"Boxes of shape {tuple(boxes.shape)} were given. Allowed are (n, 6) with x1, y1, x2, y2, confidence, "
                "class, and (n, 7) with a track id before the confidence."
            )
        self.is_track = boxes.shape[1] == 7

    @property
    def xyxy(self) -> torch.Tensor | np.ndarray:
        """(n, 4) corners, pixels."""
        return self.data[:, :4]

    @property
    def conf(self) -> torch.Tensor | np.ndarray:
        """(n,) confidences in 0..1."""
        return self.data[:, -2]

    @property
    def cls(self) -> torch.Tensor | np.ndarray:
        """(n,) classes, as floats."""
        return self.data[:, -1]

    @property
    def id(self) -> torch.Tensor | np.ndarray | None:
        """(n,) track ids, or None where nothing was tracked."""
        return self.data[:, -3] if self.is_track else None

    @property
    def xywh(self) -> torch.Tensor | np.ndarray:
        """(n, 4) centre and size, pixels."""
        return ops.xyxy2xywh(self.xyxy)

    @property
    def xyxyn(self) -> torch.Tensor | np.ndarray:
        """(n, 4) corners as shares of the picture."""
        return self._shares(self.xyxy)

    @property
    def xywhn(self) -> torch.Tensor | np.ndarray:
        """(n, 4) centre and size as shares of the picture."""
        return self._shares(self.xywh)

    def _shares(self, boxes: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
        h, w = self.orig_shape
        size = (w, h, w, h)
        return boxes / (np.array(size, boxes.dtype) if isinstance(boxes, np.ndarray) else boxes.new_tensor(size))


class Results:
    """One picture and what was found in it.

    Args:
        orig_img: (h, w, 3) uint8, BGR.
        path: of the picture.
        names: {class: name}.
        boxes: (n, 6) or (n, 7), see `Boxes`.
        speed: milliseconds of preprocess, inference and postprocess.
    """

    # Each part that a picture can have, and the class that holds it. What no task has given is None.
    parts: dict[str, type[BaseTensor]] = {"boxes": Boxes}
    masks = keypoints = probs = obb = None

    def __init__(
        self,
        orig_img: np.ndarray,
        path: str | Path,
        names: dict[int, str],
        boxes: torch.Tensor | np.ndarray | None = None,
        speed: dict[str, float | None] | None = None,
    ):
        self.orig_img = orig_img
        self.orig_shape: tuple[int, int] = tuple(orig_img.shape[:2])
        self.boxes: Boxes | None = None if boxes is None else Boxes(boxes, self.orig_shape)
        self.speed = {"preprocess": None, "inference": None, "postprocess": None} if speed is None else speed
        self.names = names
        self.path = str(path)
        self.save_dir: str | None = None

    # A container ---------------------------------------------------------------------------------------------------
    def _present(self) -> dict[str, BaseTensor]:
        """Return the parts that this picture has."""
        return {name: part for name in self.parts if (part := getattr(self, name)) is not None}

    def __len__(self) -> int:
        return len(next(iter(self._present().values()), ()))

    def __getitem__(self, idx) -> Results:
        """Return the same picture with the objects that a number, a slice, a list or a mask picks."""
        return self._apply("__getitem__", idx)

    def __iter__(self) -> Iterator[Results]:
        return (self[i : i + 1] for i in range(len(self)))

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={tuple(part.shape)}" for name, part in self._present().items())
        return (
            f"Results(path={self.path!r}, orig_shape={self.orig_shape}, {found or 'nothing found'}, speed={self.speed})"
        )

    def _apply(self, method: str, *args, **kwargs) -> Results:
        """Return a copy whose parts went through one of their methods."""
        result = self.new()
        for name, part in self._present().items():
            setattr(result, name, getattr(part, method)(*args, **kwargs))
        return result

    def new(self) -> Results:
        """Return the same picture with nothing found in it."""
        result = type(self)(self.orig_img, self.path, self.names, speed=self.speed)
        result.save_dir = self.save_dir
        return result

    def update(self, boxes: torch.Tensor | np.ndarray | None = None) -> None:
        """Replace the boxes; they are cut at the borders of the picture."""
        if boxes is not None:
            copy = boxes.clone() if isinstance(boxes, torch.Tensor) else np.array(boxes)
            self.boxes = Boxes(ops.clip_boxes(copy, self.orig_shape), self.orig_shape)

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
        """Return a copy of another device or type, as `torch.Tensor.to` does."""
        return self._apply("to", *args, **kwargs)

    # Pictures ------------------------------------------------------------------------------------------------------
    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str = "Arial.ttf",
        pil: bool = False,
        img: np.ndarray | None = None,
        *,
        labels: bool = True,
        boxes: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
    ):
        """Draw what was found, the surest on top.

        Args:
            conf: write the confidence behind the name.
            line_width: of the boxes in pixels; by default it grows with the picture.
            font_size: of the labels in pixels; by default it grows with the picture.
            font: path of a font file.
            pil: return a Pillow image.
            img: (h, w, 3) uint8 BGR to draw on a copy of, instead of the original.
            labels: write class names.
            boxes: draw boxes.
            show: open the picture in a viewer.
            save: write it to `filename`, by default `results_NAME` in the working directory.
            color_mode: "class": one colour a class; "instance": one colour an object.

        Returns:
            (h, w, 3) uint8 BGR, or a Pillow image in RGB.
        """
        if color_mode not in ("class", "instance"):
            raise DataError(f"color_mode='{color_mode}' was given, but it can be 'class' or 'instance'.")
        picture = np.array(self.orig_img if img is None else img)
        annotator = Annotator(picture, line_width, font_size, font, pil, example=self.names)
        if boxes and self.boxes is not None:
            self._draw_boxes(annotator, conf, labels, color_mode)
        if show:
            annotator.show(self.path)
        if save:
            annotator.save(filename or f"results_{Path(self.path).name}")
        return annotator.to_pil() if pil else annotator.result()

    def _draw_boxes(self, annotator: Annotator, conf: bool, labels: bool, color_mode: str) -> None:
        rows, texts, shades = self.boxes.numpy(), [], []
        for i in range(len(rows) - 1, -1, -1):
            cls, track = int(rows.cls[i]), None if rows.id is None else int(rows.id[i])
            name = ("" if track is None else f"id:{track} ") + self._name(cls)
            label = f"{name} {rows.conf[i]:.2f}" if conf else name
            instance = i if track is None else track
            texts.append(label if labels else "")
            shades.append(colors(cls if color_mode == "class" else instance, True))
        annotator.box_labels(rows.xyxy[::-1], texts, shades)

    def _name(self, cls: int) -> str:
        """Return the name of a class; a class without one is called by its number."""
        try:
            return self.names[cls]
        except (KeyError, IndexError):
            return str(cls)

    def show(self, *args, **kwargs) -> None:
        """Open the drawn picture in a viewer; arguments as for `plot`."""
        self.plot(*args, show=True, **kwargs)

    def save(self, filename: str | Path | None = None, *args, **kwargs) -> str:
        """Write the drawn picture and return the name of the file; further arguments as for `plot`."""
        drawn = self.plot(*args, **kwargs)
        im = drawn if isinstance(drawn, np.ndarray) else np.asarray(drawn)[..., ::-1]
        return str(imwrite(filename or f"results_{Path(self.path).name}", im))

    def save_crop(self, save_dir: str | Path, file_name: str | Path = Path("im.jpg")) -> None:
        """Cut each box out of the picture into `save_dir/CLASS/file_name.jpg`; names that are taken get a number."""
        if self.boxes is None:
            LOGGER.warning("WARNING: this result has no boxes, so nothing was cut out.")
            return
        for box in self.boxes.numpy():
            folder = self._name(int(box.cls[0])).replace("/", "_").replace("\\", "_")
            file = Path(save_dir) / folder / f"{Path(file_name).name.removesuffix('.jpg')}.jpg"
            save_one_box(box.xyxy[0], self.orig_img, file=file, BGR=True)

    # Text ----------------------------------------------------------------------------------------------------------
    def verbose(self) -> str:
        """Return what was found as a phrase: '3 persons, 1 bus, '."""
        if not len(self):
            return "(no detections), "
        counts = Counter(int(c) for c in self.boxes.cls.tolist())
        return "".join(f"{n} {self._name(c)}{'s' * (n > 1)}, " for c, n in sorted(counts.items()))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Append one line a box to a label file: class, x, y, w, h as shares of the picture[, confidence][, track id].

        No file is made where nothing was found.
        """
        rows = () if self.boxes is None else self.boxes.numpy()
        lines = []
        for box in rows:
            numbers = [int(box.cls[0]), *box.xywhn[0].tolist()]
            numbers += [float(box.conf[0])] if save_conf else []
            numbers += [int(box.id[0])] if box.is_track else []
            lines.append(" ".join(f"{v:g}" for v in numbers) + "\n")
        if lines:
            Path(txt_file).parent.mkdir(parents=True, exist_ok=True)
            with open(txt_file, "a", encoding="utf-8") as f:
                f.writelines(lines)
        return str(txt_file)

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """Return one dictionary an object: name, class, confidence, box (x1, y1, x2, y2)[, track_id].

        Args:
            normalize: give the box as shares of the picture.
            decimals: to which numbers are rounded.
        """
        if self.boxes is None:
            return []
        boxes = self.boxes.numpy()
        corners = (boxes.xyxyn if normalize else boxes.xyxy).tolist()
        found = []
        for i, corner in enumerate(corners):
            cls = int(boxes.cls[i])
            item = {"name": self._name(cls), "class": cls, "confidence": round(float(boxes.conf[i]), decimals)}
            item["box"] = dict(zip(("x1", "y1", "x2", "y2"), (round(v, decimals) for v in corner)))
            if boxes.is_track:
                item["track_id"] = int(boxes.id[i])
            found.append(item)
        return found

    def to_df(self, normalize: bool = False, decimals: int = 5) -> pd.DataFrame:
        """Return `summary` as a pandas table, one row an object."""
        try:
            import pandas
        except ImportError as e:
            raise MissingPackageError("Tables need pandas, which is not installed: pip install pandas.") from e
        return pandas.DataFrame(self.summary(normalize, decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5, *args, **kwargs) -> str | None:
        """Return the table as CSV text; further arguments go to pandas."""
        return self.to_df(normalize, decimals).to_csv(*args, **kwargs)

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """Return `summary` as JSON text."""
        return json.dumps(self.summary(normalize, decimals), indent=2, ensure_ascii=False)

    tojson = to_json
