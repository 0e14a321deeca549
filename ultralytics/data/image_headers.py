"""The size of a JPEG, PNG, WebP or BMP file from its header, where the file is whole: nothing is decoded."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

Read = Callable[[int, int], bytes]  # (place, number of bytes) to bytes, fewer at the end of the file

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_HEAD = 4096  # bytes that hold the header of most files
_END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"
_MOST = 65_536  # segments or chunks that are looked at
_FRAMES = {0xC0, 0xC1, 0xC2}  # JPEG's markers of baseline, extended and progressive images
_TABLES = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # and those of what may come before
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits by PNG's color type
_ORIENTATION, _TRANSPOSED = 274, {5, 6, 7, 8}  # of EXIF


def whole_size(file: str | Path, length: int) -> tuple[int, int] | None:
    """Return (height, width) as displayed of a JPEG, PNG, WebP or BMP file that is whole.

    Whole is a file whose parts follow one another from the first byte, and which ends as its format does or has the
    length that it claims; what is between may still be damaged. Where only a decoder can tell, this is None.

    Args:
        file: a regular file.
        length: bytes that it has.
    """
    descriptor = _open(file)
    try:
        head = os.read(descriptor, _HEAD)

        def read(place: int, n: int) -> bytes:
            if place + n <= len(head):
                return head[place : place + n]
            os.lseek(descriptor, place, os.SEEK_SET)
            return os.read(descriptor, n)

        return next((size(read, length) for start, size in _SIZES.items() if head.startswith(start)), None)
    finally:
        os.close(descriptor)


def read_at_once(file: str | Path, n: int) -> bytes:
    """Return the first n bytes of a file, all if it has fewer."""
    descriptor = _open(file)
    try:
        return os.read(descriptor, n)
    finally:
        os.close(descriptor)


def _open(file: str | Path) -> int:
    """Open a file without waiting, should it have become a pipe; buffers would take longer than to read so little."""
    return os.open(file, _FLAGS)


def _jpeg_size(read: Read, length: int) -> tuple[int, int] | None:
    if read(length - 2, 2) != b"\xff\xd9":
        return None
    place, exif, xmp = 2, b"", False
    for _ in range(_MOST):
        start = read(place, 10)
        if len(start) < 10 or start[0] != 0xFF:
            return None
        kind, n = start[1], int.from_bytes(start[2:4], "big")
        if kind in _FRAMES:
            h, w = int.from_bytes(start[5:7], "big"), int.from_bytes(start[7:9], "big")
            if start[4] != 8 or start[9] not in (1, 3, 4) or not h or not w:
                return None
            turned = _is_transposed(exif, xmp) if exif or xmp else False
            return None if turned is None else (w, h) if turned else (h, w)
        if kind not in _TABLES or n < 2:
            return None
        if kind == 0xE1 and start[4:] == b"Exif\0\0":
            if exif:
                return None
            exif = read(place + 4, n - 2)
        elif kind == 0xE1 and start[4:] == b"http:/":
            xmp = xmp or b"tiff:Orientation" in read(place + 4, n - 2)
        place += 2 + n
    return None


def _is_transposed(exif: bytes, xmp: bool) -> bool | None:
    """Whether EXIF says that the image is shown with its sides swapped; None if XMP says how it is shown."""
    from PIL import Image

    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = tags.get(_ORIENTATION)
    except Exception:  # Pillow's readers raise whatever their format calls for
        return None
    return None if xmp and orientation is None else orientation in _TRANSPOSED


def _png_size(read: Read, length: int) -> tuple[int, int] | None:
    if read(length - 12, 12) != _END_OF_PNG:
        return None
    header = read(8, 25)  # length, name, 13 bytes, checksum
    w, h = int.from_bytes(header[8:12], "big"), int.from_bytes(header[12:16], "big")
    known = header[:8] == b"\0\0\0\rIHDR" and zlib.crc32(header[4:21]) == int.from_bytes(header[21:], "big")
    if not known or not h or not w or header[16] not in _DEPTHS.get(header[17], ()):
        return None
    place, pixels = 33, False
    for _ in range(_MOST):
        start = read(place, 20)
        n, kind = int.from_bytes(start[:4], "big"), start[4:8]
        if kind == b"IEND":
            return (h, w) if pixels and place + 12 == length else None
        if len(start) < 12 or kind == b"eXIf" or start[8:].startswith((b"XML:com", b"Raw profile")):
            return None  # these may say that the image is shown turned
        pixels = pixels or kind == b"IDAT"
        place += 12 + n
    return None


def _webp_size(read: Read, length: int) -> tuple[int, int] | None:
    head = read(0, 30)
    kind, whole = head[8:16], 8 + int.from_bytes(head[4:8], "little") == length
    if not whole or len(head) < 30:
        return None
    if kind == b"WEBPVP8X" and not head[20] & 0x0E:  # no EXIF, XMP or animation
        return 1 + int.from_bytes(head[27:30], "little"), 1 + int.from_bytes(head[24:27], "little")
    if kind == b"WEBPVP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[28:30], "little") & 0x3FFF, int.from_bytes(head[26:28], "little") & 0x3FFF
    if kind == b"WEBPVP8L" and head[20] == 0x2F:
        sides = int.from_bytes(head[21:25], "little")
        return 1 + (sides >> 14 & 0x3FFF), 1 + (sides & 0x3FFF)
    return None


def _bmp_size(read: Read, length: int) -> tuple[int, int] | None:
    head = read(0, 34)
    if len(head) < 34:
        return None
    total, _, start, kind, w, h, planes, bits, packed = struct.unpack("<4I2i2HI", head[2:])
    rows = (w * bits + 31) // 32 * 4 * abs(h)
    known = kind >= 40 and planes == 1 and bits in (8, 24, 32) and not packed and w > 0 and h
    return (abs(h), w) if known and total == length and 14 + kind <= start and start + rows <= length else None


_SIZES = {b"\xff\xd8\xff": _jpeg_size, b"\x89PNG\r\n\x1a\n": _png_size, b"RIFF": _webp_size, b"BM": _bmp_size}
