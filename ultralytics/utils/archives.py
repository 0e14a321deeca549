"""Unpacking zip and tar files from strangers: no path leaves the folder, no links, no bombs, no half-filled folder."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError, MissingFileError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_RATIO = 100  # pictures and labels shrink far less; what unpacks to more is a bomb
MIN_LIMIT = 1 << 30  # bytes that any archive may unpack to
_CHUNK = 1 << 20
_MOST_PADDING = 64  # chunks behind the last member of a tar that are looked at
_JUNK = {"__MACOSX", ".DS_Store"}
_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)

Member = tuple[str, bool, Callable[[], IO[bytes]]]  # name, whether a folder, and what opens it


def is_archive(file: str | Path) -> bool:
    """Tell whether a file is called like an archive that `unpack` reads."""
    return str(file).lower().endswith(SUFFIXES)


def safe_join(root: str | Path, name: str) -> Path:
    """Return `root / name`, a path inside of root.

    Raises:
        DataError: the name is absolute, climbs with `..`, or has a drive letter or a NUL.
    """
    plain = str(name).replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or PureWindowsPath(plain).drive or ".." in parts or "\0" in plain:
        raise DataError(f"The path '{name}' leads out of the folder it belongs in, which is not allowed.")
    return Path(root, *parts)


def unpack(file: str | Path, folder: str | Path, strip: str = "", limit: int | None = None) -> list[Path]:
    """Unpack an archive into a folder; what lies there already is kept.

    Everything is first unpacked beside the folder and moved when it is complete, so a failure leaves nothing behind.

    Args:
        file: a zip, or a tar that may be compressed.
        folder: where its content goes; made if needed.
        strip: leave out this topmost folder of the archive, if all its content is in it.
        limit: bytes that may be written; by default 100 times the archive's size, at least 1 GiB.

    Returns:
        The files that are new.

    Raises:
        DataError: the archive is damaged or too large, or holds a link, a device or a path that leaves the folder.
    """
    file, folder = Path(file), Path(folder)
    if not file.is_file():
        raise MissingFileError(f"The archive '{file}' does not exist. Check the path.")
    limit = limit or max(MIN_LIMIT, MAX_RATIO * file.stat().st_size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        with _refused(file), _members(file) as members:
            _extract(members, stage, limit, file)
        inner = [p.name for p in stage.iterdir()]
        top = stage / strip if strip and inner == [strip] and (stage / strip).is_dir() else stage
        return move_into(top, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def move_into(source: Path, folder: Path, exist_ok: bool = False) -> list[Path]:
    """Move all files under `source` to the same place under `folder` and return those moved.

    A file that lies there already is kept, or with `exist_ok` replaced.
    """
    moved, kept = [], 0
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_links(source, folder)
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif target.exists() and not exist_ok:
            kept += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            moved.append(target)
    if kept:
        LOGGER.info(f"{kept} files lay in '{folder}' already and were kept.")
    return moved


def _refuse_links(source: Path, folder: Path) -> None:
    """Raise if a link below `folder` would carry a file elsewhere; the folder itself may be one."""
    for path in source.rglob("*"):
        if path.is_dir() and (folder / path.relative_to(source)).is_symlink():
            link = folder / path.relative_to(source)
            raise DataError(f"'{link}' is a link, through which nothing is unpacked. Remove it, or unpack elsewhere.")


@contextmanager
def _refused(file: Path) -> Iterator[None]:
    """Turn whatever the decoders raise into a sentence."""
    try:
        yield
    except DataError as e:
        raise DataError(f"'{file}' was not unpacked. {e}") from None
    except _DAMAGES as e:
        if isinstance(e, OSError) and e.errno:  # the disk's fault, such as no space left
            raise
        raise DataError(f"The archive '{file}' is damaged ({e}). Delete it and fetch it again.") from None


@contextmanager
def _members(file: Path) -> Iterator[Iterator[Member]]:
    """Give the members of an archive, told by its content."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield _zip_members(archive)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            yield _tar_members(archive)
            for _ in range(_MOST_PADDING):  # what compresses a tar has its checksum at the very end
                if not archive.fileobj.read(_CHUNK):
                    break
    else:
        raise DataError("Its content is neither zip nor tar; it may be damaged: delete it and fetch it again.")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise DataError(f"'{info.filename}' in it is a link or a device, which is not allowed.")
        if info.flag_bits & 1:
            raise DataError(f"'{info.filename}' in it is locked with a password.")
        yield info.filename, info.is_dir(), lambda info=info: archive.open(info)


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if not (info.isfile() or info.isdir()):
            raise DataError(f"'{info.name}' in it is a link or a device, which is not allowed.")
        yield info.name, info.isdir(), lambda info=info: archive.extractfile(info)


def _extract(members: Iterator[Member], stage: Path, limit: int, file: Path) -> None:
    """Write members into an empty folder. The bytes are counted as they come: what a header says may be a lie."""
    written = 0
    for name, is_folder, open_member in members:
        target = safe_join(stage, name)
        if _JUNK & {*PurePosixPath(name).parts}:
            continue
        try:
            (target if is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"A folder and a file of the same name stand in it: '{name}'.") from None
        if is_folder:
            continue
        if target.exists():
            raise DataError(f"'{name}' stands in it twice.")
        with open(target, "xb") as out, open_member() as source:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    size = file.stat().st_size
                    raise DataError(f"Its {size} bytes unpack to more than {limit}: it may be a bomb, or damaged.")
                out.write(chunk)
