"""TorchScript from strangers: a graph is data, but its operators may write files, even while it is loaded.

`torch.jit.load` runs what a file calls `__setstate__`, and `aten::save` and `aten::from_file` write and read any file.
So the source in the file is looked through before PyTorch sees it, and PyTorch gets what was looked through: a zip
written anew, since two readers may find two contents in one zip.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

from ultralytics.utils.archives import check_zip
from ultralytics.utils.errors import ModelError
from ultralytics.utils.pickles import names_in

# What no model needs: files, and PyTorch's classes in C++ (`torch.classes`), of which some load libraries or connect.
_DOT = r"\.(?:\s|\\|#[^\n]*\n)*"  # blanks and remarks may stand behind it
_FORBIDDEN = re.compile(_DOT + r"(save|from_file|load_tensor|classes|load_library)\b")
_OPERATORS = re.compile(r"\bops\b(?:\s|\\|#[^\n]*\n)*" + _DOT + r"(\w+)")
_SPACES = {"aten", "prim", "prims", "torchvision", "quantized"}
_LOOK_UP = re.compile(r"\bgetattr\b")  # of a submodule whose name is a number
_PLAIN_LOOK_UP = re.compile(r"""\bgetattr\([\w.]+, "(\w+)"\)""")
_HARMLESS = re.compile(
    r"__torch__\.(?!torch\.classes)[\w.]+|torch\.\w+Storage|torch\.jit\._pickle\.\w+|collections\.OrderedDict"
    r"|torch\._utils\._rebuild_\w+|torch\.(float|double|half|bfloat|u?int|bool|long)\w*"
)


def checked_script(file: str | Path) -> io.BytesIO:
    """Return the content of a TorchScript file for `torch.jit.load`.

    Raises:
        ModelError: it is none, or asks for something that a model has no use for; the message names it.
    """
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(made, "w") as copy:
            check_zip(archive)
            for info in archive.infolist():
                content = archive.read(info)
                _refuse(info.filename, content, file)
                if not info.filename.endswith(".debug_pkl"):  # lines of the Python source, for messages
                    copy.writestr(info.filename, content)
    except ModelError:
        raise
    except Exception as e:  # zipfile and its decoders raise whatever the damage calls for
        raise ModelError(f"'{file}' is no TorchScript file that can be read: damaged, or of another kind.") from e
    made.seek(0)
    return made


def _refuse(name: str, content: bytes, file: str | Path) -> None:
    """Raise ModelError for a pickle or a source in a TorchScript file that asks for more than a model needs."""
    wanted = ""
    if name.endswith(".pkl"):
        wanted = next((found for found in names_in(content) if not _HARMLESS.fullmatch(found)), "")
    elif name.endswith(".py"):
        wanted = _wanted_by(content.decode("utf-8"))
    if wanted:
        raise ModelError(
            f"The TorchScript file '{file}' asks for {wanted[:200]}, which a model has no use for and which could "
            "change files. Nothing in it was run. Take the file from a source that you trust, or export it again."
        )


def _wanted_by(source: str) -> str:
    """Return the first thing that TorchScript source asks for and should not; '' if there is none."""
    if found := _FORBIDDEN.search(source):
        return f"'{found[1]}'"
    if strange := next((space for space in _OPERATORS.findall(source) if space not in _SPACES), ""):
        return f"'ops.{strange}'"
    if len(_LOOK_UP.findall(source)) != len(_PLAIN_LOOK_UP.findall(source)):
        return "'getattr' of a name that is made up as it runs"
    return ""
