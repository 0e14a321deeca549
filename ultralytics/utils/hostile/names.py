"""Names from untrusted files, made safe for file systems, fonts, consoles and native code."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping

from ultralytics.utils.errors import DataError

LONGEST = 300  # characters of a class name; the longest of ImageNet-21k has 166
_LONGEST_FILE = 100  # bytes of a part of a path; file systems take 255, and numbers and suffixes are appended
_NEVER = re.compile(r'[<>:"/\\|?*]')  # forbidden in file names on one system or another
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows reserves


def odd_characters(name: str) -> str:
    """Return the invisible characters of a name: control characters and lone surrogates."""
    return "".join(c for c in name if unicodedata.category(c) in {"Cc", "Cs"})


def clean_name(name: object) -> str:
    """Make a class name from a file safe to draw, print and write: odd characters become '\ufffd'."""
    text = str(name)
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    odd = {*odd_characters(text)}
    return "".join("\ufffd" if c in odd else c for c in text) if odd else text


def clean_names(names: Mapping) -> dict[int, str]:
    """Clean all names of {class: name} from a file."""
    return {int(k): clean_name(v) for k, v in names.items()}


def for_opencv(path: object) -> str:
    """Return a path as text for OpenCV, which crashes on lone surrogates.

    Raises:
        DataError: there are some, as in a name written in GBK where this system reads names as UTF-8.
    """
    text = str(path)
    if any(unicodedata.category(c) == "Cs" for c in text) or "\0" in text:
        raise DataError(f"The path {ascii(text)[:300]} holds bytes that are no text in UTF-8. Rename it.")
    return text


def shortened(stem: str, most: int = 200) -> str:
    """Shorten a stem to at most `most` bytes, so that with a number and a suffix it stays below 255."""
    encoded = stem.encode(errors="surrogateescape")  # as bytes that are no UTF-8 come from a file system
    return stem if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def safe_name(name: object) -> str:
    """Make a name usable as one part of a path on any system: 'a/b' gives 'a_b', '..' gives '_'."""
    text = _NEVER.sub("_", clean_name(name)).strip()
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # file names are ASCII under LANG=C without UTF-8 mode: '_u706b' for '火'
        text = text.encode("ascii", "backslashreplace").decode().replace("\\", "_")
    text = shortened(text, _LONGEST_FILE).rstrip(" .") or "_"
    return f"_{text}" if _DEVICES.fullmatch(text) else text
