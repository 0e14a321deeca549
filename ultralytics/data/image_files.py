"""Image files: allowed formats, verification, decoding to BGR arrays, and letterbox geometry."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ultralytics.data.image_headers import whole_size
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.files import open_regular, walk
from ultralytics.utils.hostile import limits

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


IMG_FORMATS = {"bmp", "dng", "heic", "jpeg", "jpg", "mpo", "pfm", "png", "tif", "tiff", "webp"}
VID_FORMATS = {"asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"}
FORMATS_HELP = f"Images: {', '.join(sorted(IMG_FORMATS))}. Videos: {', '.join(sorted(VID_FORMATS))}."

_SEEN_BY_PILLOW = IMG_FORMATS | {"ppm", "heif"}  # its names of pfm and heic
_EXIF_ORIENTATION, _EXIF_TRANSPOSED = 274, {5, 6, 7, 8}


def suffix(file: str | Path) -> str:
    """Return the file name's extension in lower case, without the dot."""
    return os.path.splitext(file)[1][1:].lower()


def is_image(file: str | Path) -> bool:
    """Whether a file name is that of an image; the `._` files of macOS are not."""
    return suffix(file) in IMG_FORMATS and not os.path.basename(file).startswith("._")


def list_images(folder: str | Path) -> list[str]:
    """List the images in a folder and its subfolders, sorted."""
    return sorted(os.path.join(root, f) for root, files in walk(folder) for f in files if is_image(f))


def exif_size(img: PILImage) -> tuple[int, int]:
    """Return (width, height) of an open PIL image as displayed, after its EXIF rotation."""
    w, h = img.size
    try:
        turned = img.getexif().get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED
    except Exception:  # a damaged EXIF block is no reason to refuse the image
        turned = False
    return (h, w) if turned else (w, h)


def header_size(file: str | Path) -> tuple[int, int] | None:
    """Return (height, width) as displayed from an image's header, or None if it cannot be read."""
    from PIL import Image

    try:
        with open_regular(file) as f, Image.open(f) as image:
            w, h = exif_size(image)
    except Exception:  # Pillow's decoders raise whatever their format calls for
        return None
    return h, w


def verify_image(file: str | Path, deep: bool = False, found: os.stat_result | None = None) -> tuple[int, int]:
    """Check an image and return (height, width) as displayed.

    Of a JPEG, PNG, WebP or BMP that has its beginning and its end, only the header is read; damage between them is
    noticed when the image is first used, see `ChangingDataset`. All else is decoded, which also says what is wrong.

    Pillow refuses images that claim more than twice `PIL.Image.MAX_IMAGE_PIXELS`: a file of a few bytes can make a
    decoder allocate gigabytes. For larger images, raise that limit or set it to None.

    Args:
        file: path.
        deep: decode it in any case.
        found: what `os.stat` says of it, where that is known.

    Raises:
        DataError: `KIND: DETAIL`, where the image is empty, damaged, truncated, too small or of another format.
    """
    from PIL import Image

    try:
        length = _check_bytes(file, found)
        size = None if deep else whole_size(file, length)
        if size is None or (Image.MAX_IMAGE_PIXELS and size[0] * size[1] > Image.MAX_IMAGE_PIXELS):
            size = _decoded_size(file)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError("missing image: there is no such file") from None
    except Exception as e:  # Pillow's decoders raise whatever their format calls for
        kind = "truncated image" if "truncated" in str(e).lower() else "unreadable image"
        raise DataError(f"{kind}: {str(e).replace(str(file), '').strip() or type(e).__name__}") from None
    if min(size) < 10:
        raise DataError(f"tiny image: {size[1]}x{size[0]} pixels; each side must have at least 10")
    return size


def _decoded_size(file: str | Path) -> tuple[int, int]:
    """Decode an image and return (height, width) as displayed."""
    from PIL import Image

    with Image.open(file) as image:
        if (name := (image.format or "?").lower()) not in _SEEN_BY_PILLOW:
            allowed = ", ".join(sorted(IMG_FORMATS))
            raise DataError(f"image format: its content is '{name}'; allowed are {allowed}")
        w, h = exif_size(image)
        image.draft("L", (max(w // 8, 1), max(h // 8, 1)))  # a JPEG is read whole, but at an eighth of its size
        image.load()
    return h, w


def read_image(file: str | Path) -> np.ndarray:
    """Read an image as a uint8 (h, w, 3) BGR array: EXIF rotation applied, alpha dropped, 16 bits reduced to 8.

    Reads the bytes itself, because `cv2.imread` cannot open non-ASCII paths on Windows.

    Raises:
        MissingFileError: there is no such file.
        DataError: it cannot be decoded, or claims more pixels than `verify_image` allows.
    """
    try:
        _check_bytes(file)
        data = np.fromfile(file, np.uint8)
    except FileNotFoundError:
        raise MissingFileError(f"The image '{file}' does not exist. Check the path.") from None
    except OSError as e:
        raise DataError(f"The image '{file}' cannot be opened: {e.strerror or e}. Check its permissions.") from None
    except DataError as e:
        raise DataError(f"The image '{file}' cannot be used: {e}. Replace it or leave it out.") from None
    _check_pixels(data, file)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if _is_whole(data) else None
    except (cv2.error, MemoryError):
        image = None
    return _read_with_pillow(file) if image is None else image


def _check_bytes(file: str | Path, found: os.stat_result | None = None) -> int:
    """Return the number of bytes; raise DataError if a path is no regular file, or is empty or far too large."""
    found = found or os.stat(file)
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would block
        raise DataError("unreadable image: it is not a regular file")
    if not found.st_size:
        raise DataError("empty image: the file has 0 bytes")
    if found.st_size > limits.IMAGE_BYTES:
        raise DataError(f"large image: the file has {found.st_size} bytes; allowed are {limits.IMAGE_BYTES}")
    return found.st_size


def _is_whole(data: np.ndarray) -> bool:
    """Return False for a PNG with a chunk beyond its end, for which OpenCV would allocate up to 4 GB."""
    if data[:8].tobytes() != b"\x89PNG\r\n\x1a\n":
        return True
    i = 8
    while i + 8 <= len(data):
        i += 12 + int.from_bytes(data[i : i + 4].tobytes(), "big")
    return i <= len(data)


def _check_pixels(data: np.ndarray, file: str | Path) -> None:
    """Raise DataError for an image that claims more pixels than Pillow allows, which OpenCV would allocate.

    What Pillow cannot open is refused, since OpenCV may see more pixels in it; all but colour .pfm, which is not
    compressed: its pixels are either in the file or not read.
    """
    from PIL import Image

    try:
        Image.open(io.BytesIO(data.data)).close()
    except Image.DecompressionBombError as e:
        raise DataError(f"The image '{file}' is too large, or not what it claims to be ({e}).") from None
    except Exception as e:
        if data[:2].tobytes() != b"PF":
            reason = "not an image" if isinstance(e, Image.UnidentifiedImageError) else str(e).replace(str(file), "")
            raise DataError(f"The image '{file}' cannot be decoded ({reason}). Replace it or leave it out.") from None


def _read_with_pillow(file: str | Path) -> np.ndarray:
    """Read what OpenCV cannot: rare formats, and HEIC if Pillow has a plug-in for it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            return np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1])
    except Exception as e:
        reason = f"{type(e).__name__}: {e}".replace(str(file), "")
        raise DataError(f"The image '{file}' cannot be decoded ({reason}). Replace it or leave it out.") from None


def scaled_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the (height, width) at which the longer side has `size` pixels and the aspect ratio is kept."""
    h, w = shape
    r = size / max(h, w)
    return min(int(np.ceil(h * r)), size), min(int(np.ceil(w * r)), size)


def resize_long_side(image: np.ndarray, size: int) -> np.ndarray:
    """Scale an image so that its longer side has `size` pixels, keeping the aspect ratio."""
    if max(image.shape[:2]) == size:
        return image
    height, width = scaled_shape(image.shape[:2], size)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def letterbox_geometry(
    shape: tuple[int, int],
    frame: tuple[int, int],
    auto: bool = False,
    fill: bool = False,
    enlarge: bool = True,
    center: bool = True,
    stride: int = 32,
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Compute the size to which an image is scaled to fit a frame, and the padding around it.

    Args:
        shape: height and width of the image.
        frame: height and width of the frame.
        auto: pad only up to the next multiple of `stride`.
        fill: stretch to the frame, without padding.
        enlarge: allow a gain above 1.
        center: split the padding between both sides.
        stride: of the model.

    Returns:
        (w, h) and (left, top, right, bottom) pixels.
    """
    (h, w), (frame_h, frame_w) = shape, (int(frame[0]), int(frame[1]))
    gain = min(frame_h / h, frame_w / w)
    if not enlarge:
        gain = min(gain, 1.0)
    new_w, new_h = max(round(w * gain), 1), max(round(h * gain), 1)
    pad_w, pad_h = frame_w - new_w, frame_h - new_h
    if auto:
        pad_w, pad_h = pad_w % stride, pad_h % stride
    elif fill:
        new_w, new_h, pad_w, pad_h = frame_w, frame_h, 0, 0
    left, top = (pad_w // 2, pad_h // 2) if center else (0, 0)  # an odd pixel goes right and below
    return (new_w, new_h), (left, top, pad_w - left, pad_h - top)
