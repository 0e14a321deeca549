"""Metadata of files that have no place for it: a zip archive behind their last byte, as TensorFlow Lite keeps its own.

Readers of such files start at the front and pay the end no heed. The checksum in the metadata tells a damaged file
before a native library, which may end the process on it, gets to see it.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from ultralytics.nn.formats.job import from_text, to_text
from ultralytics.utils.errors import ModelError

NAME = "metadata.json"
GREATEST = 2**24  # bytes of metadata; what unpacks to more is none
FAULTS = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def attach(file: Path, metadata: dict[str, Any]) -> None:
    """Put metadata, and the checksum of what is there, behind a file."""
    text = to_text({**metadata, "crc32": zlib.crc32(file.read_bytes())})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(NAME, text)


def read_attached(file: str | Path, title: str) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes in front of the metadata, and the metadata; raise ModelError if the file is not whole.

    Args:
        file: to read.
        title: of the format, for the error.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(NAME)
            if info.file_size > GREATEST:
                raise ValueError("too much metadata")
            text = archive.read(info).decode("utf-8", errors="replace")
        payload = Path(file).read_bytes()[: info.header_offset]
    except FAULTS as e:
        raise ModelError(
            f"'{file}' is no {title} file that `yolo export` wrote: it is damaged, of another kind or from elsewhere."
        ) from e
    metadata = from_text(text, file)
    if metadata.get("crc32") != zlib.crc32(payload):
        raise ModelError(f"'{file}' is damaged, for its checksum is wrong: export it again.")
    return payload, metadata
