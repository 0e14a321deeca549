"""Folders of formats that consist of several files: one file of a kind, and metadata.json beside it."""

from __future__ import annotations

import zlib
from pathlib import Path

from ultralytics.nn.formats.facts import Metadata
from ultralytics.nn.formats.job import checked, from_text, to_text
from ultralytics.utils import yaml_load
from ultralytics.utils.errors import MissingFileError, ModelError
from ultralytics.utils.files import read_text
from ultralytics.utils.hostile import limits

NAME = "metadata.json"


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Write metadata.json, with the checksums of all other files, into a folder that is otherwise complete."""
    sums = {file.name: zlib.crc32(file.read_bytes()) for file in sorted(folder.iterdir()) if file.name != NAME}
    (folder / NAME).write_text(to_text({**metadata, "crc32": sums}), encoding="utf-8")


def read_metadata(folder: Path) -> Metadata:
    """Read metadata.json of a folder, or metadata.yaml as 8.x writes it; raise ModelError if a file is damaged."""
    if (folder / NAME).is_file():
        found = from_text(read_text(folder / NAME, limits.RECORD_BYTES, errors="replace"), folder / NAME)
        sums = found.get("crc32")
        for name, crc in sums.items() if isinstance(sums, dict) else ():
            file = folder / Path(name).name
            if not file.is_file() or zlib.crc32(file.read_bytes()) != crc:
                raise ModelError(f"'{file}' is damaged or missing, as its checksum is wrong: export it again.")
        return found
    if (folder / "metadata.yaml").is_file():
        return checked(yaml_load(folder / "metadata.yaml"), folder)
    raise ModelError(f"'{folder}' has no {NAME}, so it was not exported by `yolo export` and cannot be run here.")


def find_one(folder: Path, pattern: str, title: str) -> Path:
    """Return the only file in a folder that matches a pattern."""
    if not folder.is_dir():
        raise MissingFileError(f"The {title} folder '{folder}' does not exist.")
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ModelError(f"'{folder}' is not a {title} model: it must hold one {pattern} file, but holds {len(found)}.")
    return found[0]
