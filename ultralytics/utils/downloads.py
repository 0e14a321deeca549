"""Fetching files, only when called by name: nothing in this package calls it by itself."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import atomic_write


def safe_download(url: str, file: str | Path | None = None, dir: str | Path = ".", timeout: float = 30.0) -> Path:
    """Fetch one file unless it is there already; a broken transfer leaves no file.

    Args:
        url: an http or https address.
        file: where to put it; by default the address's own file name in `dir`.
        dir: folder used when `file` is not given.
        timeout: seconds to wait for an answer.
    """
    parts = urlsplit(str(url))
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigError(f"'{url}' is not an address to fetch from. It must begin with https:// or http://.")
    target = Path(file) if file else Path(dir) / (Path(unquote(parts.path)).name or "download")
    if target.exists():
        return target
    LOGGER.info(f"Downloading {url} to '{target}'.")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response, atomic_write(target) as out:
            shutil.copyfileobj(response, out)
            size = response.headers.get("Content-Length")
            if size and out.tell() != int(size):
                raise OSError(f"{out.tell()} of {size} bytes came")
    except OSError as e:
        reason = e.reason if isinstance(e, urllib.error.URLError) else e
        raise MissingFileError(f"'{url}' could not be fetched ({reason}). Put it at '{target}' by hand.") from None
    return target


def download(url: str | Iterable[str], dir: str | Path = ".") -> list[Path]:
    """Fetch one or several files into a folder."""
    return [safe_download(one, dir=dir) for one in ([url] if isinstance(url, str) else url)]
