"""The images of a split: from folders, and from lists in text files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from ultralytics.data.image_files import FORMATS_HELP, is_image, list_images
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.files import read_text


def find_images(img_path: str | Path | Sequence[str | Path] | None) -> list[str]:
    """Return the images of folders and lists (see `read_list`), sorted; an image listed twice is returned twice.

    Raises:
        MissingFileError: a folder or file does not exist, or none of a list's images does.
        DataError: there is no image in them.
    """
    paths = [img_path] if isinstance(img_path, (str, Path)) else list(img_path or ())
    if not paths:
        raise DataError("The data name no images for this. Write their folder into the data YAML.")
    files: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += list_images(path)
        elif path.is_file() and is_image(path):
            files.append(str(path))
        elif path.is_file():
            files += read_list(path)
        else:
            raise MissingFileError(
                f"The images '{path}' do not exist. Check the paths in the data YAML, or put them there."
            )
    if not files:
        raise DataError(
            f"There are no images in {', '.join(repr(str(p)) for p in paths)}. Put images there, with their "
            f"labels in the folder of the same name under 'labels'. {FORMATS_HELP.split(' Videos')[0]}"
        )
    if repeated := len(files) - len(set(files)):
        LOGGER.info(f"{len(set(files))} images are listed, some of them repeatedly: {repeated} more samples of them.")
    return sorted(files)


def read_list(file: Path) -> list[str]:
    """Return the images named in a text file, one a line, in its order; empty lines and comments (#) are skipped.

    A line is relative to the text file's folder or, if that has no such image and the line does not begin with `./`,
    to the working folder. Both `/` and `\\` are accepted on every system.

    Raises:
        MissingFileError: none of the images is there.
    """
    lines = [line.strip().strip("\"'") for line in read_text(file).splitlines()]
    folder, here = str(file.parent), cache(os.getcwd)  # the working folder, once it is needed
    named = [(*_find(folder, here, line), line) for line in lines if is_image(line)]
    found = [(image, there) for image, there, line in named if there or not line.startswith("#")]
    if others := [line for line in lines if line and not line.startswith("#") and not is_image(line)]:
        LOGGER.warning(
            f"WARNING ⚠️ {len(others)} lines of '{file}' name no image, such as '{others[0][:80]}', and are left out."
        )
    if found and not any(there for _, there in found):
        raise MissingFileError(
            f"None of the {len(found)} images that '{file}' lists is there; the first would be '{found[0][0]}'. Lines "
            f"count from the list's folder or from the working folder, which is '{os.getcwd()}'."
        )
    return [image for image, _ in found]


def _find(folder: str, here: Callable[[], str], line: str) -> tuple[str, bool]:
    """Return the path of an image in a list and whether it exists; if not, the path is that beside the list."""
    first = ""
    for name in dict.fromkeys((line, line.replace("\\", "/"))):
        path = _join(folder, name)
        if os.path.isfile(path):
            return path, True
        first = first or path
        if not name.startswith(("./", "/")) and os.path.isfile(path := _join(here(), name)):
            return path, True
    return first, False


def _join(folder: str, name: str) -> str:
    """Return the path of a name in a folder, without the `.` and `//` that may be in it, as `Path` writes it."""
    name = os.path.expanduser(name)
    path = os.path.join(folder, name if name.startswith(".//") else name.removeprefix("./"))
    return path if folder != "." and os.sep == "/" and "//" not in path and "/./" not in path else str(Path(path))
