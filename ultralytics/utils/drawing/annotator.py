"""Drawing of boxes, masks, keypoints and labels on an image, and cropping of boxes."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ultralytics.utils import LOGGER
from ultralytics.utils.checks import has_screen
from ultralytics.utils.drawing.fonts import find_font, opencv_draws, warn_no_font
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import atomic_write, increment_path, writing
from ultralytics.utils.geometry.masks import scale_image
from ultralytics.utils.hostile.names import clean_name

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as PILImage
    from PIL.ImageFont import FreeTypeFont

Color = tuple[int, int, int]  # (b, g, r)
# Twenty colours that stay apart from their neighbours on photographs: warm and cold, dark and light in turn.
PALETTE = (
    "FF3B30", "1E88E5", "2EB85C", "FFB300", "8E44EC", "00BCD4", "FF7A1A", "E83E9C", "8BC922", "3949AB",
    "00897B", "C2185B", "F4E04D", "7B5544", "5AC8FA", "B388FF", "6D8B1F", "FF9E9E", "455A64", "A7F0C4",
)  # fmt: skip


# The limbs of COCO's 17 keypoints: legs, trunk, arms, head. Odd points are on the left of the person.
SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
HEAD, LEFT, RIGHT, TRUNK = (80, 220, 120), (40, 160, 255), (255, 170, 50), (210, 110, 200)  # (b, g, r)


def limb_color(*points: int) -> Color:
    """Return the colour (b, g, r) of one of the 17 points of a person, or of the line between two."""
    if max(points) <= 4:
        return HEAD
    sides = {point % 2 for point in points}
    return TRUNK if len(sides) > 1 else (LEFT if 1 in sides else RIGHT)


class Colors:
    """A palette: `colors(i)` is the colour of class i as (r, g, b), `colors(i, True)` as (b, g, r)."""

    def __init__(self, palette: tuple[str, ...] = PALETTE):
        self.palette = [self.hex2rgb(f"#{c}") for c in palette]
        self.n = len(self.palette)

    def __call__(self, i: int, bgr: bool = False) -> tuple[int, int, int]:
        r, g, b = self.palette[int(i) % self.n]
        return (b, g, r) if bgr else (r, g, b)

    @staticmethod
    def hex2rgb(h: str) -> tuple[int, int, int]:
        """Turn '#RRGGBB' into (r, g, b)."""
        return int(h[1:3], 16), int(h[3:5], 16), int(h[5:7], 16)


colors = Colors()


def contrast(color: Color) -> Color:
    """Return black or white, whichever reads better on a (b, g, r) colour."""
    b, g, r = color
    return (0, 0, 0) if 0.299 * r + 0.587 * g + 0.114 * b > 150 else (255, 255, 255)


def three_channels(im: np.ndarray) -> np.ndarray:
    """Return an image as a writable, contiguous (h, w, 3) uint8 array, without a copy if it is one already."""
    if im.dtype != np.uint8 or im.ndim not in (2, 3) or (im.ndim == 3 and im.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"An image of shape {im.shape} and type {im.dtype} cannot be drawn on. "
            "Give a uint8 array of shape (h, w), (h, w, 1), (h, w, 3) in BGR order, or (h, w, 4)."
        )
    if im.ndim == 2 or im.shape[2] == 1:
        return cv2.cvtColor(im, cv2.COLOR_GRAY2BGR)
    if im.shape[2] == 4:
        return cv2.cvtColor(im, cv2.COLOR_BGRA2BGR)
    return im if im.flags.c_contiguous and im.flags.writeable else np.array(im, order="C")


def _to_bgr(im: np.ndarray | PILImage) -> np.ndarray:
    """Return an array or a PIL image as one to draw on, see `three_channels`."""
    return three_channels(im) if isinstance(im, np.ndarray) else np.array(im.convert("RGB"))[..., ::-1].copy()


@lru_cache(maxsize=32)
def _pil_font(file: str | None, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # without FreeType, Pillow raises for a size
    return font


class Annotator:
    """Draws on an image: with OpenCV by default, with Pillow if a label needs a font that OpenCV lacks or one is named.

    Args:
        im: (h, w, 3) uint8 in BGR order, drawn on in place where that is possible, or a PIL image.
        line_width: of boxes in pixels; by default it grows with the image.
        font_size: of labels in pixels; by default it grows with the image.
        font: path of a font file; a name that is not a file ("Arial.ttf") leaves the choice to the annotator.
        pil: draw with Pillow.
        example: a text such as the class names, to choose a font that has all its characters.
    """

    def __init__(
        self,
        im: np.ndarray | PILImage,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str = "Arial.ttf",
        pil: bool = False,
        example: str | dict | list = "abc",
    ):
        self.im = _to_bgr(im)
        height, width = self.im.shape[:2]
        self.lw = max(int(line_width or round((height + width) / 2 * 0.003)), 2 if line_width is None else 1)
        self.font_size = max(round(font_size or (height + width) / 2 * 0.022), 12 if font_size is None else 4)
        names = example.values() if isinstance(example, dict) else example
        self.example = "".join(map(clean_name, names))
        self.font_file = str(font) if Path(font).is_file() else None
        self.pil = bool(pil) or not isinstance(im, np.ndarray) or self.font_file is not None
        self._choose_font()

    def _choose_font(self) -> None:
        """Switch to Pillow, with a font of the system, if OpenCV cannot draw the example."""
        self.plain_only = False
        if self.font_file or self.example.isascii() or (not self.pil and opencv_draws(self.example)):
            return
        self.font_file = find_font(self.example)
        self.pil = self.pil or self.font_file is not None
        if self.font_file is None and not opencv_draws(self.example):
            self.plain_only = True
            warn_no_font(next(c for c in self.example if not c.isascii()))
        elif self.font_file is None:
            self.pil = False  # OpenCV alone has the characters

    # Text ------------------------------------------------------------------------------------------------------------
    def _text_size(self, text: str, size: float) -> tuple[int, int, int]:
        """Return the width of a text, its height above and its depth below the baseline, in pixels."""
        if self.pil:
            font = _pil_font(self.font_file, max(int(size), 1))
            ascent, descent = font.getmetrics()
            return int(np.ceil(font.getlength(text))), ascent, descent
        scale, thickness = self._cv2_font(size)
        (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        return width, round(size * 0.86), round(size * 0.28)

    @staticmethod
    def _cv2_font(size: float) -> tuple[float, int]:
        return size / 30, 2 if size >= 22 else 1  # OpenCV's scale 1 is about 30 pixels from ascender to descender

    def _write(self, x: int, base: int, text: str, size: float, color: Color) -> None:
        """Write a text whose baseline starts at (x, base)."""
        if not self.pil:
            scale, thickness = self._cv2_font(size)
            cv2.putText(self.im, text, (x, base), cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
            return
        from PIL import Image, ImageDraw

        font = _pil_font(self.font_file, max(int(size), 1))
        width, above, below = self._text_size(text, size)
        y, x, (height, full) = max(base - above, 0), max(x, 0), self.im.shape[:2]
        patch = self.im[y : min(base + below, height), x : min(x + width + 2, full)]  # only what changes is converted
        if patch.size:
            image = Image.fromarray(np.ascontiguousarray(patch))  # BGR stays BGR, so does the colour
            ImageDraw.Draw(image).text((0, base - above - y), text, fill=tuple(color), font=font)
            patch[:] = np.asarray(image)

    def _fit(self, text: str) -> tuple[str, float]:
        """Return a text and a font size at which it fits the width of the image."""
        text = clean_name(text)  # a lone surrogate crashes the font library
        if self.plain_only:
            text = text.encode("ascii", "replace").decode()
        size, room = self.font_size, self.im.shape[1] - 2 * self._pad
        width = self._text_size(text, size)[0]
        return text, size if width <= room else max(size * room / width, 5)

    @property
    def _pad(self) -> int:
        return max(round(self.font_size * 0.2), 2)

    # Public drawing --------------------------------------------------------------------------------------------------
    def box_label(
        self,
        box: ArrayLike,
        label: str = "",
        color: Color = (128, 128, 128),
        txt_color: Color | None = None,
        rotated: bool = False,
    ) -> None:
        """Draw a box (x1, y1, x2, y2 in pixels; four corners if rotated) and its label, kept inside the image.

        Args:
            color: (b, g, r).
            txt_color: (b, g, r); by default black or white, whichever reads better.
        """
        points = np.asarray(box.tolist() if hasattr(box, "tolist") else box, dtype=np.float64)
        if rotated:
            corners = points.reshape(4, 2).round().astype(np.int32)
            cv2.polylines(self.im, [corners], True, color, self.lw, cv2.LINE_AA)
        else:
            x1, y1, x2, y2 = (int(v) for v in points.round())
            cv2.rectangle(self.im, (x1, y1), (x2, y2), color, self.lw)
        if label:
            self._label(*self._label_corner(points), label, color, txt_color or contrast(color))

    @staticmethod
    def _label_corner(points: ArrayLike) -> tuple[int, int]:
        """Return the corner of a box that its label is placed at: the top left, of a rotated box the topmost."""
        corners = np.reshape(points.tolist() if hasattr(points, "tolist") else points, (-1, 2))
        x, y = corners[corners[:, 1].argmin()] if len(corners) == 4 else corners[0]
        return round(float(x)), round(float(y))

    def _label(self, x1: int, y1: int, label: str, color: Color, txt_color: Color) -> None:
        """Draw a filled label above the corner (x1, y1), or below it if there is no room."""
        text, size = self._fit(label)
        width, above, below = self._text_size(text, size)
        pad, half = self._pad, (self.lw + 1) // 2
        box_h, box_w = above + below + pad, width + 2 * pad
        x = int(np.clip(x1 - half, 0, max(self.im.shape[1] - box_w, 0)))
        y = y1 - half - box_h + 1
        if y < 0:
            y = int(np.clip(y1 - half, 0, max(self.im.shape[0] - box_h, 0)))
        cv2.rectangle(self.im, (x, y), (x + box_w - 1, y + box_h - 1), color, -1)
        self._write(x + pad, y + pad // 2 + above, text, size, txt_color)

    def box_labels(
        self,
        boxes: np.ndarray | torch.Tensor | Sequence[ArrayLike],
        labels: Sequence[str],
        colors: Sequence[Color],
        rotated: bool = False,
    ) -> None:
        """Draw boxes (n, 4), or (n, 4, 2) if rotated, and their labels: later ones on top, no line through a label."""
        for box, color in zip(boxes, colors):
            self.box_label(box, "", color, rotated=rotated)
        for box, label, color in zip(boxes, labels, colors):
            if label:
                self._label(*self._label_corner(box), label, color, contrast(color))

    def masks(
        self,
        masks: np.ndarray | torch.Tensor,
        colors: Sequence[Color],
        im_gpu: object = None,
        alpha: float = 0.5,
        retina_masks: bool = False,
    ) -> None:
        """Tint the image where masks are, later ones on top, and draw their outlines.

        Args:
            masks: (n, h, w) of 0 and 1, on the image or on its letterboxed form.
            colors: (b, g, r) of each.
            im_gpu: without effect, for scripts written for 8.3.
            alpha: opacity of the colour, 0..1.
            retina_masks: the masks lie on the image itself, and are stretched if their shape differs.
        """
        array = masks.detach().cpu().numpy() if hasattr(masks, "detach") else np.asarray(masks)
        size = self.im.shape[:2]
        for mask, color in zip(array, colors):
            levels = (mask > 0).astype(np.uint8) * 255
            if levels.shape != size:
                levels = cv2.resize(levels, size[::-1]) if retina_masks else scale_image(levels, size)
            solid = cv2.threshold(levels, 127, 255, cv2.THRESH_BINARY)[1]
            x, y, w, h = cv2.boundingRect(solid)  # the rest of the image is left untouched
            solid, patch = solid[y : y + h, x : x + w], self.im[y : y + h, x : x + w]
            cv2.copyTo(cv2.addWeighted(patch, 1 - alpha, np.full_like(patch, color), alpha, 0), solid, patch)
            outlines = cv2.findContours(solid, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))[0] if w else ()
            cv2.drawContours(self.im, outlines, -1, color, max(self.lw // 2, 1), cv2.LINE_AA)

    def kpts(
        self,
        kpts: ArrayLike,
        shape: tuple[int, int] = (640, 640),
        radius: float = 5,
        kpt_line: bool = True,
        conf_thres: float = 0.25,
        kpt_color: Color | None = None,
    ) -> None:
        """Draw the keypoints of one object: 17 are taken for a person's and joined, others are dots.

        Args:
            kpts: (k, 2) x, y in pixels or (k, 3) with a confidence. Points at the border, as (0, 0), are not drawn.
            shape: (h, w) of the image.
            radius: of the dots in pixels.
            kpt_line: join a person's points.
            conf_thres: points below are left out.
            kpt_color: (b, g, r) of all; by default by limb, or by point.
        """
        points = np.asarray(kpts.tolist() if hasattr(kpts, "tolist") else kpts, dtype=np.float64)
        person, (height, width) = len(points) == 17, shape[:2]
        x, y = points[:, 0], points[:, 1]
        seen = (x > 0) & (x < width) & (y > 0) & (y < height)
        if points.shape[1] == 3:
            seen &= points[:, 2] >= conf_thres
        pixels, r = points[:, :2].round().astype(int).tolist(), max(round(radius), 1)
        for a, b in SKELETON if person and kpt_line else ():
            if seen[a] and seen[b]:
                color, thickness = kpt_color or limb_color(a, b), max((r + 1) // 2, 1)
                cv2.line(self.im, pixels[a], pixels[b], color, thickness, cv2.LINE_AA)
        for i in np.flatnonzero(seen).tolist():
            color = kpt_color or (limb_color(i) if person else colors(i, True))
            cv2.circle(self.im, pixels[i], r, color, -1, cv2.LINE_AA)
            if r > 3:  # a rim, to stand out from a mask or background of the same colour
                cv2.circle(self.im, pixels[i], r, contrast(color), 1, cv2.LINE_AA)

    def panel(self, lines: list[str], top: int = 0, alpha: float = 0.6) -> None:
        """Write lines at the left edge, from `top` downwards, on a dark, translucent background."""
        if not lines:
            return
        fits = [self._fit(line) for line in lines]
        size = min(size for _, size in fits)
        sizes = [self._text_size(text, size) for text, _ in fits]
        pad, step = 2 * self._pad, sizes[0][1] + sizes[0][2] + self._pad
        top += pad
        ground = self.im[top : top + pad + step * len(lines), pad : 3 * pad + max(width for width, *_ in sizes)]
        ground[:] = (ground * (1 - alpha)).astype(np.uint8)
        for i, (text, _) in enumerate(fits):
            self._write(2 * pad, top + pad // 2 + i * step + sizes[i][1], text, size, (255, 255, 255))

    def rectangle(
        self, xy: Sequence[float], fill: Color | None = None, outline: Color | None = None, width: int = 1
    ) -> None:
        """Draw a plain rectangle (x1, y1, x2, y2)."""
        x1, y1, x2, y2 = (int(v) for v in xy)
        if fill is not None:
            cv2.rectangle(self.im, (x1, y1), (x2, y2), fill, -1)
        if outline is not None or fill is None:
            cv2.rectangle(self.im, (x1, y1), (x2, y2), outline or (128, 128, 128), width)

    def text(
        self,
        xy: Sequence[float],
        text: str,
        txt_color: Color = (255, 255, 255),
        anchor: str = "top",
        box_style: bool = False,
    ) -> None:
        """Write a text with its top (anchor 'top') or bottom ('bottom') left corner at xy; `box_style` fills a box."""
        text, size = self._fit(text)
        width, above, below = self._text_size(text, size)
        x, y = int(xy[0]), int(xy[1]) - (above + below if anchor == "bottom" else 0)
        if box_style:
            self.rectangle((x, y, x + width + self._pad, y + above + below), fill=txt_color)
            txt_color = contrast(txt_color)
        self._write(x, y + above, text, size, txt_color)

    # Under the names of 8.3.0 ----------------------------------------------------------------------------------------
    def get_txt_color(self, color: Color = (128, 128, 128), txt_color: Color = (255, 255, 255)) -> Color:
        """Return the colour that reads best on a (b, g, r) colour: black or white, whichever differs more."""
        return contrast(color)

    def circle_label(
        self,
        box: Sequence[float],
        label: str = "",
        color: Color = (128, 128, 128),
        txt_color: Color | None = None,
        margin: int = 2,
    ) -> None:
        """Write the first three characters of a label in a circle at the centre of a box (x1, y1, x2, y2)."""
        text = clean_name(str(label))[:3]
        (x, y), (width, above, below) = self._center(box), self._text_size(text, self.font_size)
        radius = round(math.hypot(width, above + below) / 2) + margin
        cv2.circle(self.im, (x, y), radius, color, -1, cv2.LINE_AA)
        self._write(x - width // 2, y + (above - below) // 2, text, self.font_size, txt_color or contrast(color))

    def text_label(
        self,
        box: Sequence[float],
        label: str = "",
        color: Color = (128, 128, 128),
        txt_color: Color | None = None,
        margin: int = 5,
    ) -> None:
        """Write a label on a filled rectangle at the centre of a box (x1, y1, x2, y2)."""
        text, size = self._fit(str(label))
        (x, y), (width, above, below) = self._center(box), self._text_size(text, size)
        left, top = x - width // 2, y - (above + below) // 2
        self.rectangle((left - margin, top - margin, left + width + margin, top + above + below + margin), fill=color)
        self._write(left, top + above, text, size, txt_color or contrast(color))

    @staticmethod
    def _center(box: Sequence[float]) -> tuple[int, int]:
        return round((float(box[0]) + float(box[2])) / 2), round((float(box[1]) + float(box[3])) / 2)

    def fromarray(self, im: np.ndarray | PILImage) -> None:
        """Go on with another image."""
        self.im = _to_bgr(im)

    def get_bbox_dimension(self, bbox: Sequence[float] | None = None) -> tuple[float, float, float]:
        """Return width, height and area of a box (x1, y1, x2, y2).

        Raises:
            ConfigError: no box is given.
        """
        if bbox is None:
            raise ConfigError("No box was given to measure: pass x1, y1, x2, y2.")
        width, height = bbox[2] - bbox[0], bbox[3] - bbox[1]
        return width, height, width * height

    # Output ----------------------------------------------------------------------------------------------------------
    def result(self) -> np.ndarray:
        """Return the image, (h, w, 3) uint8 in BGR order."""
        return self.im

    def to_pil(self) -> PILImage:
        """Return the image as a PIL image in RGB."""
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(self.im[..., ::-1]))

    def show(self, title: str | None = None) -> None:
        """Open the image in the system's viewer, or in the notebook."""
        if has_screen() or "ipykernel" in sys.modules:
            self.to_pil().show(title=title)
        else:
            LOGGER.warning("WARNING: there is no screen to show images on; save them and look at the files.")

    def save(self, filename: str | Path = "image.jpg") -> None:
        """Write the image to a file."""
        imwrite(filename, self.im)


def imwrite(file: str | Path, im: np.ndarray) -> Path:
    """Write a BGR image and return its path; paths that OpenCV cannot open (Chinese names on Windows) work too.

    A suffix that OpenCV cannot write (.heic, .gif, none) becomes .jpg.

    Raises:
        DataError: the image is empty, or the folder cannot be written to.
    """
    file = Path(file)
    if not cv2.haveImageWriter(f"x{file.suffix}"):
        file = file.with_suffix(".jpg")
    try:
        ok, data = cv2.imencode(file.suffix, im)
    except cv2.error:
        ok = False
    if not ok:
        raise DataError(f"An image of shape {im.shape} and type {im.dtype} cannot be written as '{file}'.")
    with writing(file), atomic_write(file, sync=False) as f:
        f.write(data)
    return file


def save_one_box(
    xyxy: ArrayLike,
    im: np.ndarray,
    file: str | Path = "im.jpg",
    gain: float = 1.02,
    pad: int = 10,
    square: bool = False,
    BGR: bool = False,
    save: bool = True,
) -> np.ndarray:
    """Crop a slightly enlarged box from an image, and save it under an unused name.

    Args:
        xyxy: box of 4 numbers in pixels.
        im: (h, w, 3) BGR.
        gain: factor on width and height.
        pad: pixels added to width and height.
        square: use the longer side for both.
        BGR: return the crop in BGR order, else in RGB. The file always has true colours.
    """
    x1, y1, x2, y2 = np.asarray(xyxy.tolist() if hasattr(xyxy, "tolist") else xyxy, dtype=np.float64).reshape(-1)[:4]
    width, height = x2 - x1, y2 - y1
    if square:
        width = height = max(width, height)
    width, height, cx, cy = width * gain + pad, height * gain + pad, (x1 + x2) / 2, (y1 + y2) / 2
    left, right = (int(np.clip(v, 0, im.shape[1])) for v in (cx - width / 2, cx + width / 2))
    top, bottom = (int(np.clip(v, 0, im.shape[0])) for v in (cy - height / 2, cy + height / 2))
    crop = im[top:bottom, left:right]
    if save:
        if crop.size:
            imwrite(increment_path(Path(file).with_suffix(".jpg")), crop)
        else:
            corners = [round(float(v), 1) for v in (x1, y1, x2, y2)]
            LOGGER.warning(f"WARNING: the box {corners} holds no pixel, so no cut-out was saved.")
    return crop if BGR else crop[..., ::-1]
