"""Metadata of files that have no place for it: a zip archive behind their last byte, as TensorFlow Lite keeps its own.

Readers of such files start at the front and ignore the rest. The checksum in the metadata finds a damaged file before
a native library, which may crash the process, opens it.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from ultralytics.nn.formats.facts import Metadata
from ultralytics.nn.formats.job import from_text, to_text
from ultralytics.utils.errors import ModelError

NAME = "metadata.json"
MAX_BYTES = 2**24  # of metadata
FAULTS = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def attach(file: Path, metadata: Metadata) -> None:
    """Append metadata to a file, with the checksum of its content."""
    text = to_text({**metadata, "crc32": zlib.crc32(file.read_bytes())})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(NAME, text)


def read_attached(file: str | Path, title: str) -> tuple[bytes, Metadata]:
    """Return the bytes in front of the metadata, and the metadata; raise ModelError if the file is damaged.

    Args:
        file: to read.
        title: of the format, for the error.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(NAME)
            if info.file_size > MAX_BYTES:
                raise ValueError("too much metadata")
            text = archive.read(info).decode("utf-8", errors="replace")
        payload = Path(file).read_bytes()[: info.header_offset]
    except FAULTS as e:
        raise ModelError(
            f"'{file}' is not a {title} file of `yolo export`: it is damaged, of another kind or from elsewhere."
        ) from e
    metadata = from_text(text, file)
    if metadata.get("crc32") != zlib.crc32(payload):
        raise ModelError(f"'{file}' is damaged, as its checksum is wrong: export it again.")
    return payload, metadata
