"""Downloads of files, only when called by name: nothing in this package calls them by itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult, unquote, urlsplit

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import atomic_write


def safe_download(
    url: str,
    file: str | Path | None = None,
    dir: str | Path = ".",
    timeout: float = 30.0,
    resume: bool = False,
) -> Path:
    """Download one file unless it exists already; a broken transfer leaves no file.

    Args:
        url: an http or https address.
        file: where to put it; by default the file name of the URL in `dir`.
        dir: folder used when `file` is not given.
        timeout: seconds to wait for an answer.
        resume: keep the beginning of a broken transfer as `FILE.part`, and resume there the next time.
    """
    parts = check_url(url)
    name = Path(unquote(parts.path)).name
    target = Path(file) if file else Path(dir) / (name if name.strip(".") else "download")
    if target.exists():
        return target
    LOGGER.info(f"Downloading {url} to '{target}'.")
    try:
        (_fetch_on if resume else _fetch)(str(url), target, timeout)
    except (OSError, http.client.HTTPException) as e:
        reason = e.reason if isinstance(e, urllib.error.URLError) else e
        raise MissingFileError(f"'{url}' could not be fetched ({reason}). Put it at '{target}' by hand.") from None
    return target


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


def download(url: str | Iterable[str], dir: str | Path = ".") -> list[Path]:
    """Download one or several files into a folder."""
    return [safe_download(one, dir=dir) for one in ([url] if isinstance(url, str) else url)]
