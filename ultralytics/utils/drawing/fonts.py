"""Fonts for names beyond ASCII (火焰, огонь, ไฟ): found on the system, or else a hint which to install."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category

from ultralytics.utils import LOGGER

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


SUFFIXES = (".ttf", ".ttc", ".otf")
# Fonts with many scripts, most readable first; every other font on the system is tried after them.
PREFERRED = (
    "notosanscjk", "notosanssc", "sourcehansans", "msyh", "pingfang", "hiragino", "wqy-microhei", "wqy-zenhei",
    "droidsansfallback", "simhei", "stheiti", "arialuni", "arial unicode", "simsun", "noto", "dejavusans",
)  # fmt: skip


def font_folders() -> list[Path]:
    """Return the font folders of this system; some may not exist."""
    home = Path.home()
    if sys.platform == "win32":
        local = Path(os.getenv("LOCALAPPDATA", str(home / "AppData/Local")))
        return [Path(os.getenv("WINDIR", "C:/Windows")) / "Fonts", local / "Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    shared = [Path(d) / "fonts" for d in os.getenv("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":") if d]
    return [*shared, home / ".local/share/fonts", home / ".fonts"]


STYLES = ("bold", "oblique", "italic", "light", "thin", "black", "serif", "mono", "condensed", "math")


def _rank(file: Path) -> tuple[int, int, str]:
    """Return the sort key of a font: preferred families first, and of each the plain upright style."""
    name = file.name.lower()
    family = next((i for i, part in enumerate(PREFERRED) if part in name), len(PREFERRED))
    return family, sum(style in name for style in STYLES), name


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Return the font files of this system, the preferred ones first."""
    files = [
        Path(folder, name)
        for top in font_folders()
        for folder, _, names in os.walk(top)
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]
    return tuple(sorted(files, key=_rank))


def _characters(text: str) -> list[str]:
    """Return the distinct characters of a text that a font may lack."""
    return [c for c in dict.fromkeys(text) if not c.isascii() and not c.isspace() and category(c) != "Cf"]


def covers(font: FreeTypeFont, text: str) -> bool:
    """Check whether a Pillow font has a glyph of its own for each character of a text."""

    def drawn(char: str) -> tuple:
        mask = font.getmask(char, mode="L")
        return mask.size, bytes(mask)

    try:
        missing = drawn("\U0010ffff")  # never a character, so this is what the font draws for unknown ones
        return all(drawn(c) != missing for c in _characters(text))
    except (OSError, ValueError, UnicodeError):  # a bitmap font, or one that FreeType cannot read
        return False


@lru_cache(maxsize=128)
def find_font(text: str = "火焰") -> str | None:
    """Find a font of this system that has every character of a text; return its path, or None."""
    from PIL import ImageFont

    for file in font_files():
        try:
            font = ImageFont.truetype(str(file), 24)
        except OSError:
            continue
        if covers(font, text):
            return str(file)
    return None


@lru_cache(maxsize=128)
def opencv_draws(text: str) -> bool:
    """Check whether OpenCV draws a text itself: version 5 has a font with many scripts, older ones know ASCII only."""
    import cv2
    import numpy as np

    if text.isascii():
        return True
    if int(cv2.__version__.split(".")[0]) < 5:
        return False

    def drawn(char: str) -> bytes:
        canvas = np.zeros((48, 64), np.uint8)
        return cv2.putText(canvas, char, (8, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 1, cv2.LINE_AA).tobytes()

    missing = drawn("?")  # what OpenCV draws for a character that it does not know
    return all(drawn(c) != missing for c in _characters(text))


_warned: set[str] = set()


def warn_no_font(text: str) -> None:
    """Warn once per process that names cannot be drawn here, and say which font to install."""
    if _warned:
        return
    _warned.add(text)
    LOGGER.warning(
        f"WARNING: no font on this system can draw '{text}', so such names are replaced on images and figures. "
        "Install one (Debian, Ubuntu: apt-get install fonts-noto-cjk; Fedora: dnf install google-noto-sans-cjk-fonts), "
        f"or put a font file such as NotoSansCJK-Regular.ttc into {font_folders()[-1]}, and start again."
    )
