"""Unpacking of untrusted zip and tar files: no path leaves the folder, no links, no bombs, no half-filled folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.hostile.limits import DEPTH, FOLDERS, MAX_RATIO, MEMBERS, MIB

MIN_LIMIT = 1 << 30  # bytes that any archive may unpack to
_CHUNK = 1 << 20
_MOST_PADDING = 64  # chunks after the last member of a tar that are read
_MOST_REMARKS = MIB  # bytes of a long name or extended header of a tar's member
_REMARKS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
}  # fmt: skip
_JUNK = {"__MACOSX", ".DS_Store"}
_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)

Member = tuple[str, bool, Callable[[], IO[bytes]]]  # name, whether a folder, and what opens it


def safe_join(root: str | Path, name: str) -> Path:
    """Return `root / name`, checked to lie inside root.

    Raises:
        DataError: the name is absolute, climbs with `..`, or has a drive letter or a NUL.
    """
    plain = str(name).replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or PureWindowsPath(plain).drive or ".." in parts or "\0" in plain:
        raise DataError(f"The path '{name}' leads out of the folder it belongs in, which is not allowed.")
    return Path(root, *parts)


def unpack(file: str | Path, folder: str | Path, strip: str = "", limit: int | None = None) -> list[Path]:
    """Unpack an archive into a folder; files that exist already are kept.

    Everything is first unpacked beside the folder and moved when it is complete, so a failure leaves nothing behind.

    Args:
        file: a zip, or a tar that may be compressed.
        folder: where its content goes; created if needed.
        strip: leave out this top folder of the archive, if all its content is in it.
        limit: bytes that may be written; by default 100 times the archive's size, at least 1 GiB.

    Returns:
        The new files.

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

    A file that exists already is kept, or with `exist_ok` replaced.
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
    """Raise DataError if a link below `folder` would lead a file elsewhere; the folder itself may be one."""
    for path in source.rglob("*"):
        if path.is_dir() and (folder / path.relative_to(source)).is_symlink():
            link = folder / path.relative_to(source)
            raise DataError(f"'{link}' is a link, through which nothing is unpacked. Remove it, or unpack elsewhere.")


def check_zip(archive: zipfile.ZipFile, least: int = 64 * MIB) -> None:
    """Raise ValueError if the members of a zip that is read in memory would unpack to a multiple of its size.

    A member's stated size can be relied on: `zipfile` reads no more than that. Up to `least` bytes are always fine.
    """
    members = archive.infolist()
    there = os.fstat(archive.fp.fileno()).st_size if archive.fp and hasattr(archive.fp, "fileno") else 0
    if sum(info.file_size for info in members) > max(least, MAX_RATIO * there):
        raise ValueError(f"its {there} bytes would unpack to more than {MAX_RATIO} times as many")
    if len({info.filename for info in members}) < len(members):
        raise ValueError("a name occurs in it twice")


@contextmanager
def _refused(file: Path) -> Iterator[None]:
    """Turn whatever the decoders raise into a DataError with a sentence."""
    try:
        yield
    except DataError as e:
        raise DataError(f"'{file}' was not unpacked. {e}") from None
    except _DAMAGES as e:
        if isinstance(e, OSError) and e.errno == errno.ENAMETOOLONG:
            raise DataError(f"'{file}' was not unpacked. A name in it is longer than this system allows.") from None
        if isinstance(e, OSError) and e.errno:  # the disk's fault, such as no space left
            raise
        raise DataError(f"The archive '{file}' is damaged ({e}). Delete it and fetch it again.") from None


@contextmanager
def _members(file: Path) -> Iterator[Iterator[Member]]:
    """Yield the members of an archive, whose format is told by its content."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield _zip_members(archive)
        return
    try:
        tar = tarfile.open(file, tarinfo=_Info)  # noqa: SIM115 - opened here for its error, used below
    except tarfile.TarError:
        message = "Its content is neither zip nor tar; it may be damaged: delete it and fetch it again."
        raise DataError(message) from None
    with tar:
        yield _tar_members(tar)
        for _ in range(_MOST_PADDING):  # a compressed tar has its checksum at the very end
            if not tar.fileobj or not tar.fileobj.read(_CHUNK):
                break


class _Info(tarfile.TarInfo):
    """A member of a tar whose long names and extended headers are bounded; `tarfile` reads them whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _REMARKS and self.size > _MOST_REMARKS:
            raise DataError(f"The remarks on a member of it have {self.size} bytes: it may be a bomb, or damaged.")
        return super()._proc_member(archive)  # type: ignore[misc]  # private, hence not in the stub


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise DataError(f"'{info.filename}' in it is a link or a device, which is not allowed.")
        if info.flag_bits & 1:
            raise DataError(f"'{info.filename}' in it is locked with a password.")
        yield info.filename, info.filename.endswith("/"), partial(archive.open, info)


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if not (info.isfile() or info.isdir()):
            raise DataError(f"'{info.name}' in it is a link or a device, which is not allowed.")
        yield info.name, info.isdir(), partial(_open_file, archive, info)


def _open_file(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = archive.extractfile(info)
    assert opened is not None  # None is for folders and devices
    return opened


def _count_folders(folders: set[Path], folder: Path, members: int) -> None:
    """Add a folder and its parents to a set, and refuse too many: 2 kB can hold 90,000."""
    while folder not in folders:
        folders.add(folder)
        folder = folder.parent
        if len(folders) > FOLDERS + 2 * members:
            raise DataError(f"It holds more than {FOLDERS} folders and far more than files: it may be a bomb.")


def _extract(members: Iterator[Member], stage: Path, limit: int, file: Path) -> None:
    """Write members into an empty folder. The bytes are counted as they come, since a header may lie about them."""
    written, folders = 0, {stage}
    for i, (name, is_folder, open_member) in enumerate(members):
        if i >= MEMBERS:
            raise DataError(f"It holds more than {MEMBERS} files: it may be a bomb.")
        target = safe_join(stage, name)
        if target == stage and not is_folder:
            raise DataError("It holds a file without a name.")
        if len(target.parts) - len(stage.parts) > DEPTH:
            raise DataError(f"It has more than {DEPTH} nested folders: it may be a bomb.")
        _count_folders(folders, target if is_folder else target.parent, i)
        if _JUNK & {*PurePosixPath(name).parts}:
            continue
        try:
            (target if is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"It holds a folder and a file of the same name: '{name}'.") from None
        if is_folder:
            continue
        if target.exists():
            raise DataError(f"It holds '{name}' twice.")
        with open(target, "xb") as out, open_member() as source:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    size = file.stat().st_size
                    raise DataError(f"Its {size} bytes unpack to more than {limit}: it may be a bomb, or damaged.")
                out.write(chunk)
