"""Downloads of files, only when called by name: nothing in this package calls them by itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import SplitResult, unquote, urlsplit

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.hostile.archives import safe_join, unpack
from ultralytics.utils.settings import find_weights
from ultralytics.utils.system.progress import TQDM

GITHUB_ASSETS_REPO = "ultralytics/assets"
_FAMILIES = {  # weight files that the vendor has published, of models that are here
    "yolo11": ("nsmlx", ("", "-cls", "-seg", "-pose", "-obb")),
    "yolov8": ("nsmlx", ("", "-cls", "-seg", "-pose", "-obb")),
    "yolov5": ("nsmlx", ("u", "6u")),
    "yolov9": ("tsmce", ("",)),
    "yolov10": ("nsmblx", ("",)),
}
GITHUB_ASSETS_NAMES = [
    f"{name}{s}{end}.pt" for name, (scales, ends) in _FAMILIES.items() for s in scales for end in ends
]
GITHUB_ASSETS_NAMES += ["yolov3u.pt", "yolov3-sppu.pt", "yolov3-tinyu.pt"]
GITHUB_ASSETS_STEMS = [name.removesuffix(".pt") for name in GITHUB_ASSETS_NAMES]
JUNK = (".DS_Store", "__MACOSX")  # what macOS leaves in folders and archives
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def safe_download(
    url: str,
    file: str | Path | None = None,
    dir: str | Path | None = None,
    unzip: bool = True,
    delete: bool = False,
    curl: bool = False,
    retry: int = 0,
    min_bytes: float = 1.0,
    exist_ok: bool = False,
    progress: bool = True,
    *,
    timeout: float = 30.0,
    resume: bool = False,
) -> Path:
    """Download one file unless it exists already, and unpack it if it is an archive; a broken transfer leaves no file.

    Args:
        url: an http or https address.
        file: where to put it; by default the file name of the URL in `dir`.
        dir: folder used when `file` is not given, by default this one.
        unzip: unpack a zip or tar into its folder; files that lie there already are kept.
        delete: delete the archive when it is unpacked.
        curl: without effect.
        retry: how often to try again when the connection breaks.
        min_bytes: a shorter file counts as broken.
        exist_ok: without effect, as nothing is replaced.
        progress: without effect.
        timeout: seconds to wait for an answer.
        resume: keep the beginning of a broken transfer as `FILE.part`, and resume there the next time.

    Returns:
        The file, or the folder that it was unpacked into.
    """
    parts = check_url(url)
    name = Path(unquote(parts.path)).name
    target = Path(file) if file else Path(dir or ".") / (name if name.strip(".") else "download")
    if not target.exists():
        _try(str(url), target, max(int(retry), 0), min_bytes, timeout, resume)
    if not unzip or not target.name.lower().endswith(_ARCHIVES):
        return target
    unpack(target, target.parent)
    if delete:
        target.unlink()
    return target.parent


def _try(url: str, target: Path, retry: int, min_bytes: float, timeout: float, resume: bool) -> None:
    """Fetch a file; a connection that breaks is tried again."""
    LOGGER.info(f"Downloading {url} to '{target}'.")
    for left in range(retry, -1, -1):
        try:
            (_fetch_on if resume else _fetch)(url, target, timeout)
            if target.stat().st_size >= min_bytes:
                return
            target.unlink()
            raise http.client.HTTPException(f"it has fewer than {min_bytes:g} bytes")
        except (OSError, http.client.HTTPException) as e:
            reason = e.reason if isinstance(e, urllib.error.URLError) else e
            if not left or isinstance(e, urllib.error.HTTPError):
                raise MissingFileError(
                    f"'{url}' could not be fetched ({reason}). Put it at '{target}' by hand."
                ) from None


def check_url(url: str) -> SplitResult:
    """Split an http or https address into its parts.

    Raises:
        ConfigError: it is not such an address.
    """
    parts = urlsplit(str(url))
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigError(f"'{url}' is not an address to fetch from. It must begin with https:// or http://.")
    return parts


def _fetch(url: str, target: Path, timeout: float) -> None:
    with urllib.request.urlopen(url, timeout=timeout) as response, atomic_write(target) as out:
        _copy(response, out)


def _fetch_on(url: str, target: Path, timeout: float) -> None:
    """Download into `TARGET.part`, from its end on if the server says that the file is still the same."""
    part, note = Path(f"{target}.part"), Path(f"{target}.part.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(url)
    done = part.stat().st_size if part.exists() else 0
    if done and (mark := _mark(note, url)):
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", mark)  # another file by now: the server then sends it whole
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as e:
        if e.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # as long as the file or longer: start over
        response = urllib.request.urlopen(url, timeout=timeout)
    with response:
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise OSError("the server sent another part than was asked for")
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        note.write_text(json.dumps({"url": url, "mark": mark}), encoding="utf-8")
        with open(part, "ab" if goes_on else "wb") as out:
            if goes_on:
                LOGGER.info(f"Going on after the {done} bytes that are here.")
            _copy(response, out)
            out.flush()
            os.fsync(out.fileno())
    os.replace(part, target)
    note.unlink(missing_ok=True)


def _mark(note: Path, url: str) -> str:
    """Return the server's mark of the file that a part belongs to, or '' if it is unknown."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        mark = str(known.get("mark") or "")
        if known.get("url") == url and not mark.startswith("W/"):  # a weak tag does not promise the same bytes
            return mark
    return ""


def _copy(response: http.client.HTTPResponse, out: IO[bytes]) -> None:
    """Copy a response, and raise OSError if it is shorter than announced."""
    before, size = out.tell(), response.headers.get("Content-Length")
    if size and int(size) > (free := shutil.disk_usage(os.path.dirname(os.path.abspath(out.name))).free):
        raise OSError(f"it has {size} bytes, and the disk has room for {free}")
    shutil.copyfileobj(response, out, 1 << 20)
    if size and out.tell() - before != int(size):
        raise OSError(f"{out.tell() - before} of {size} bytes came")


def download(
    url: str | Iterable[str],
    dir: str | Path = ".",
    unzip: bool = True,
    delete: bool = False,
    curl: bool = False,
    threads: int = 1,
    retry: int = 0,
    exist_ok: bool = False,
) -> list[Path]:
    """Download one or several files into a folder, `threads` of them at a time; for the rest see `safe_download`."""
    fetch = partial(safe_download, dir=dir, unzip=unzip, delete=delete, retry=retry)
    with ThreadPoolExecutor(max(int(threads), 1)) as pool:
        return list(pool.map(fetch, [url] if isinstance(url, str) else url))


def is_url(url: object, check: bool = False) -> bool:
    """Check whether a text is an address; `check` asks the server whether something is there."""
    parts = urlsplit(str(url))
    if not (parts.scheme and parts.netloc):
        return False
    if not check:
        return True
    try:
        with urllib.request.urlopen(str(url), timeout=30) as answer:
            return answer.status == http.HTTPStatus.OK
    except (OSError, ValueError, http.client.HTTPException):
        return False


def attempt_download_asset(file: str | Path, repo: str = GITHUB_ASSETS_REPO, release: str = "v8.3.0", **kwargs) -> str:
    """Return the path of a weight file: as given, or in `weights_dir` (`yolo settings`).

    Raises:
        MissingFileError: it is in neither; weights are not fetched by themselves, and the message says from where.
    """
    name = str(file).strip().replace("'", "")
    found = find_weights(name)
    if os.path.isfile(found):
        return str(found)
    source = ""
    if Path(name).name in GITHUB_ASSETS_NAMES:
        source = f" It comes from https://github.com/{repo}/releases/download/{release}/{Path(name).name}."
    raise MissingFileError(f"The weight file '{name}' is not here, and nothing is downloaded by itself.{source}")


def delete_dsstore(path: str | Path, files_to_delete: Sequence[str] = JUNK) -> None:
    """Delete the files that macOS leaves in folders and archives."""
    for name in files_to_delete:
        for found in Path(path).rglob(name):
            shutil.rmtree(found) if found.is_dir() else found.unlink()


def zip_directory(
    directory: str | Path, compress: bool = True, exclude: Sequence[str] = JUNK, progress: bool = True
) -> Path:
    """Pack a folder into a zip of its name beside it, without files whose path has a text of `exclude` in it."""
    folder = Path(directory)
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder '{directory}' to pack.")
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not any(part in str(p) for part in exclude)]
    target, kind = folder.with_suffix(".zip"), zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with atomic_write(target) as out, zipfile.ZipFile(out, "w", kind) as archive:
        for file in TQDM(files, desc=f"Packing {folder}", disable=not progress):
            archive.write(file, file.relative_to(folder))
    return target


def unzip_file(
    file: str | Path,
    path: str | Path | None = None,
    exclude: Sequence[str] = JUNK,
    exist_ok: bool = False,
    progress: bool = True,
) -> Path:
    """Unpack a zip into a folder of its name, or of its one top folder; `hostile.archives` says what is refused.

    Args:
        file: the archive.
        path: folder in which the new folder is made; the archive's own if None.
        exclude: without effect, as what macOS leaves is always left out.
        exist_ok: without effect, as files that exist already are kept.
        progress: without effect.

    Returns:
        The folder.
    """
    if not zipfile.is_zipfile(file):
        raise DataError(f"'{file}' is not a zip file, or it is damaged.")
    with zipfile.ZipFile(file) as archive:
        tops = {PurePosixPath(name).parts[0] for name in archive.namelist() if PurePosixPath(name).parts} - {*JUNK}
        only = tops.pop() if len(tops) == 1 else ""
        single = bool(only) and any(name.startswith(f"{only}/") for name in archive.namelist())
    folder = safe_join(Path(path or Path(file).parent), only if single else Path(file).stem)
    unpack(file, folder, strip=only if single else "")
    return folder


def check_disk_space(url: str, sf: float = 1.5, hard: bool = True) -> bool:
    """Check whether the disk of this folder has room for `sf` times the file of an address, whose server is asked.

    Raises:
        DataError: it has not, and `hard` is set.
    """
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
            need = int(answer.headers.get("Content-Length") or 0)
    except (OSError, ValueError, http.client.HTTPException):
        return True  # unknown; the download itself says more
    free = shutil.disk_usage(os.getcwd()).free
    if need * sf < free:
        return True
    text = f"'{url}' needs {need * sf / 2**30:.1f} GB, and {free / 2**30:.1f} GB are free. Make room."
    if hard:
        raise DataError(text)
    LOGGER.warning(f"WARNING ⚠️ {text}")
    return False
