"""Names, sizes and dates of files, safe reading, and atomic writing."""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.hostile import limits
from ultralytics.utils.system.logger import LOGGER


def increment_path(path: str | Path, exist_ok: bool = False, sep: str = "", mkdir: bool = False) -> Path:
    """Return the path if it is unused, else the first unused one of path2, path3, ...: `runs/exp` gives `runs/exp2`.

    Args:
        path: file or folder; a file keeps its suffix (`a.txt` gives `a2.txt`).
        exist_ok: return the path itself even if it exists.
        sep: separator between the name and the number.
        mkdir: create the folder. Of two processes that ask at once, each gets its own.
    """
    path = Path(path)
    stem, suffix = (path.with_suffix(""), path.suffix) if path.is_file() else (path, "")
    n = 1
    while True:
        candidate = path if n == 1 else Path(f"{stem}{sep}{n}{suffix}")
        n += 1
        if not exist_ok and os.path.lexists(candidate):
            continue
        if not mkdir:
            return candidate
        with contextlib.suppress(FileExistsError):  # another process was faster: take the next number
            candidate.mkdir(parents=True, exist_ok=exist_ok)
            return candidate
        if exist_ok:
            raise FileExistsError(f"'{candidate}' is a file, but a folder is wanted there. Choose another name.")


class RunFolder:
    """The folder of a run: chosen at once, but created and numbered by `make`, so that no two runs share one.

    `with RunFolder(...) as path:` creates it, and removes it in the end if nothing was written into it.

    Args:
        wanted: the folder, which gets a number if it exists.
        numbered: whether it does; else an existing one is used.

    Attributes:
        path: the folder, unused when it was chosen; only `make` settles it.
    """

    def __init__(self, wanted: str | Path, numbered: bool = True):
        self.wanted, self.numbered = Path(wanted), numbered
        self.path = increment_path(self.wanted, exist_ok=not numbered)
        self.made: list[Path] = []  # the innermost first

    def make(self) -> Path:
        """Create the folder once; if another run was faster, create the next unused one.

        Raises:
            ConfigError: it cannot be created.
        """
        tries = 0
        while not self.made:
            missing = [p for p in (self.path, *self.path.parents) if not p.exists()]
            try:
                self.path.mkdir(parents=True, exist_ok=not self.numbered)
                self.made = missing
                break
            except (OSError, ValueError) as e:
                if self.numbered and os.path.lexists(self.path):  # another run was faster
                    self.path = increment_path(self.wanted)
                elif isinstance(e, FileNotFoundError) and tries < 10:  # one has just removed an empty folder above it
                    tries += 1
                else:
                    raise ConfigError(
                        f"The run folder '{self.path}' cannot be written: {getattr(e, 'strerror', None) or e}. "
                        "Make room or choose another with project=FOLDER."
                    ) from None
        return self.path

    def remove_if_empty(self) -> None:
        """Remove the folders that `make` created, if nothing was written into them."""
        for folder in self.made:
            try:
                folder.rmdir()
            except OSError:
                break
        if self.made and not self.path.exists():
            self.made = []

    def __enter__(self) -> Path:
        return self.make()

    def __exit__(self, *_: object) -> None:
        self.remove_if_empty()


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn an OSError in this block into a DataError that says which file cannot be written and why."""
    try:
        yield
    except OSError as e:
        raise DataError(
            f"'{path}' cannot be written: {e.strerror or e}. Make room, or choose a folder that you may write to."
        ) from None


def append(path: str | Path, text: str) -> None:
    """Append text to a file, whole or not at all; missing folders are created.

    Raises:
        DataError: it cannot be written.
    """
    path, data = Path(path), memoryview(text.encode("utf-8", "replace"))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as f:
            before = f.tell()
            try:
                while data:
                    data = data[f.write(data) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    f.truncate(before)
                    if not before:
                        path.unlink()
                raise


@contextlib.contextmanager
def atomic_write(
    path: str | Path, mode: str = "wb", keep: str | Path | None = None, sync: bool = True, **kwargs
) -> Iterator[IO]:
    """Open a temporary file beside `path` for writing; it replaces `path` only if the block ends without an error.

    If the block, the disk or the rename fails, the old file is untouched, the temporary is removed and the error is
    raised. Missing folders are created. Usage: `with atomic_write("best.pt") as f: torch.save(x, f)`. With `keep` the
    old file gets that name in the same folder, and at no moment is either name without a whole file. Without `sync`
    that holds for whatever happens to this process, but not to the machine.
    """
    path = Path(os.path.realpath(path))  # a link stays a link, and its target is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, mode, **kwargs) as f:
            yield f
            f.flush()
            if sync:
                os.fsync(f.fileno())  # else a crash of the machine may leave an empty file under the new name
        if path.exists():
            shutil.copymode(path, temporary)
            if keep:
                _keep(path, Path(keep))
        os.replace(temporary, path)
    except BaseException:  # also Ctrl+C
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _keep(file: Path, name: Path) -> None:
    """Make `name` a copy of `file`, atomically."""
    temporary = name.with_name(f".{name.name[:40]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            os.link(file, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(file, temporary)
        os.replace(temporary, name)
    finally:
        temporary.unlink(missing_ok=True)


def move_into_place(made: str | Path, path: str | Path) -> None:
    """Move a new file or folder from anywhere to `path`; what exists there stays until the new one lies beside it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent))
    try:
        new, old = beside / "new", beside / "old"
        shutil.move(made, new)
        if path.is_dir():  # a folder is not replaced in one step as a file is
            path.rename(old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def open_regular(path: str | Path) -> IO[bytes]:
    """Open a regular file to read its bytes; a pipe could block forever, and a device yield bytes without end.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is a folder, a pipe or a device, or cannot be read.
    """
    try:
        _refuse_odd(os.stat(path), path)
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            _refuse_odd(os.fstat(fd), path)  # it may have been changed since
            return os.fdopen(fd, "rb")
        except BaseException:
            os.close(fd)
            raise
    except DataError:
        raise
    except FileNotFoundError:
        raise MissingFileError(f"The file '{path}' does not exist. Check the path.") from None
    except (OSError, ValueError) as e:  # the latter for a name with a NUL in it
        reason = getattr(e, "strerror", None) or e
        raise DataError(f"'{path}' cannot be read: {reason}. Check the path and its permissions.") from None


def _refuse_odd(found: os.stat_result, path: str | Path) -> None:
    """Raise DataError for anything but a regular file."""
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise DataError(f"'{path}' is {what}, not a file. Name a file.")


def check_regular(path: str | Path) -> None:
    """Raise DataError if a file, or one in a folder, is a pipe or a device, on which a runtime would block."""
    for file in [path, *Path(path).iterdir()] if os.path.isdir(path) else [path]:
        with contextlib.suppress(OSError):  # reported by whoever opens it
            if not os.path.isdir(file):
                _refuse_odd(os.stat(file), file)


def walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and all below it, with their files. Links are followed, but no folder is yielded twice.

    Two links to the folder that they lie in would be 2 ** 40 folders for `os.walk` and `glob`.
    """
    seen, starts = set(), [os.fspath(folder)]
    for start in starts:  # links come last, so that a folder is yielded by its own name if it has one here
        for path, folders, files in os.walk(start):
            real = os.path.realpath(path)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            starts += [link for name in folders if os.path.islink(link := os.path.join(path, name))]
            yield path, files


def read_text(path: str | Path, limit: int = limits.TEXT_BYTES, errors: str = "strict") -> str:
    """Read the text of a file of up to `limit` bytes; see `decode` for its encoding.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is too large, not text, or cannot be read.
    """
    try:
        with open_regular(path) as f:
            data = f.read(limit + 1)
        if len(data) > limit:
            raise DataError(f"'{path}' has more than {limit} bytes, which no honest file of its kind has.")
        return decode(data, path, errors)
    except UnicodeDecodeError as e:
        raise DataError(f"'{path}' is not text in UTF-8 (byte {e.start}). Save it as UTF-8.") from None
    except MissingFileError:
        raise
    except OSError as e:
        raise DataError(f"'{path}' cannot be read: {e.strerror or e}. Check its permissions.") from None


def decode(data: bytes, path: str | Path, errors: str = "strict") -> str:
    """Decode a file's bytes: UTF-8; UTF-16 if it starts with its mark; else GBK, which is logged once.

    Raises:
        UnicodeDecodeError: it is none of these, and `errors` is 'strict'.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        with contextlib.suppress(UnicodeDecodeError):
            if b"\0" not in data:  # binary data, which GBK would accept
                text = data.decode("gb18030")
                _warn_of_gbk(str(path))
                return text
        return data.decode("utf-8-sig", errors)


@functools.lru_cache(maxsize=1000)
def _warn_of_gbk(path: str) -> None:
    LOGGER.warning(
        f"WARNING ⚠️ '{path}' is not in UTF-8 and was read as GBK. Save it as UTF-8 to be sure that its text is right."
    )


def read_json(path: str | Path, limit: int = limits.RECORD_BYTES) -> Any:
    """Read a JSON file; raises like `read_text`, and DataError if it is not JSON."""
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise DataError(f"'{path}' is not valid JSON ({e}).") from None


def file_age(path: str | Path = __file__) -> int:
    """Return the number of whole days since a file was changed."""
    return int((time.time() - Path(path).stat().st_mtime) // 86400)


def file_date(path: str | Path = __file__) -> str:
    """Return the day on which a file was changed, for instance '2024-9-30'."""
    t = datetime.fromtimestamp(Path(path).stat().st_mtime)
    return f"{t.year}-{t.month}-{t.day}"


def file_size(path: str | Path) -> float:
    """Return the size of a file, or of all files in a folder, in MB (2**20 bytes); 0 if there is none."""
    path = Path(path)
    files = [path] if path.is_file() else path.glob("**/*")
    return sum(f.stat().st_size for f in files if f.is_file()) / (1 << 20)


def get_latest_run(search_dir: str | Path = ".") -> str:
    """Return the newest `last*.pt` below a folder, to resume from; '' if there is none."""
    runs = list(Path(search_dir).glob("**/last*.pt"))
    return str(max(runs, key=lambda p: p.stat().st_mtime)) if runs else ""


class WorkingDirectory(contextlib.ContextDecorator):
    """Work in another folder within a block, or in a function: `with WorkingDirectory("runs"): ...`."""

    def __init__(self, new_dir: str | Path):
        self.dir, self.cwd = new_dir, Path.cwd().resolve()

    def __enter__(self) -> None:
        self.cwd = Path.cwd().resolve()
        os.chdir(self.dir)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.cwd)


@contextlib.contextmanager
def spaces_in_path(path: str | Path) -> Iterator[str | Path]:
    """Yield a path without blanks, for tools that cannot bear them, of a copy that is copied back in the end.

    A path without blanks is yielded as it is, in the type that was given.
    """
    if " " not in str(path):
        yield path
        return
    original = Path(path)
    with tempfile.TemporaryDirectory(prefix="plain-") as folder:
        copy = Path(folder) / original.name.replace(" ", "_")
        if original.is_dir():
            shutil.copytree(original, copy)
        elif original.is_file():
            shutil.copy2(original, copy)
        try:
            yield type(path)(str(copy))
        finally:
            if copy.is_dir():
                shutil.copytree(copy, original, dirs_exist_ok=True)
            elif copy.is_file():
                shutil.copy2(copy, original)
