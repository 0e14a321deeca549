"""Names that a pickle imports, listed without running it."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ultralytics.utils.files import open_regular
from ultralytics.utils.hostile.limits import MIB

_LONGEST = 200  # characters of a name that is reported; one of a megabyte could be reported a million times
_MEMBERS = 50  # of a zip that are searched
_DULL = ("numpy.", "_codecs.", "collections.", "torch._utils.")  # what every array imports
_START = re.compile(rb"\x80[\x01-\x05]|c[\w.]+\n\w+\n|\(")  # of protocol 1 and later; of 0, mostly


def names_in(data: bytes) -> Iterator[str]:
    """Yield the names `module.name` that a pickle imports, as far as it can be read."""
    texts: list[str] = []  # those pushed on the stack, the latest last
    memo: dict[int, str] = {}
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name in {"GLOBAL", "INST"}:
                yield str(argument).replace(" ", ".", 1)[:_LONGEST]
            elif code.name == "STACK_GLOBAL":
                yield ".".join(text[:_LONGEST] for text in texts[-2:])[:_LONGEST]
            elif code.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif isinstance(argument, int) and code.name.endswith("PUT"):
                memo[argument] = texts[-1] if texts else ""
            elif isinstance(argument, int) and code.name.endswith("GET"):
                texts.append(memo.get(argument, ""))
            elif isinstance(argument, str):
                texts.append(argument)
    except Exception:  # truncated or damaged: what came before counts
        return


def pickle_in(file: str | Path) -> str:
    """Return the most telling name that a pickle in a file, or in an array of objects, imports; '' if there is none."""
    for data in _beginnings(file):
        if data.startswith(b"\x93NUMPY") and b"}" in data:  # the pickle follows the header
            data = data[data.index(b"}") + 1 :].lstrip(b" \n")
        first = ""
        for name in names_in(data) if _START.match(data) else ():
            first = first or name
            if not name.startswith(_DULL):
                return name
        if first:
            return first
    return ""


def _beginnings(file: str | Path) -> Iterator[bytes]:
    """Yield the beginning of a file, or of each member of a zip."""
    try:
        with open_regular(file) as f:
            data = f.read(MIB)
        if not data.startswith(b"PK"):
            yield data
            return
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist()[:_MEMBERS]:
                with archive.open(info) as member:
                    yield member.read(MIB)
    except Exception:  # zipfile and its decoders raise whatever the damage calls for
        return
