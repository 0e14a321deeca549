"""Files of users' modules that a model YAML names (`modules: [my_blocks.py]`), run only where the caller trusts them.

A YAML or a checkpoint names such files with the hash of their content; neither can make them run. `load_trusted` runs
them, once for each content. What a file registers is visible only to the models that name the file, so two projects or
two versions of a file may use the same class name in one process.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from ultralytics.nn.registry import OWN, Entry, lookup
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import MissingFileError, ModelError, UserError
from ultralytics.utils.losses.boxes import BOX_LOSSES

LOADED: dict[str, dict[str, Entry]] = {}  # classes that each file registered, by the hash of its content


class ModuleFile(NamedTuple):
    """A file that a model names: its path when the YAML was read, and the hash of its content."""

    file: str  # with forward slashes
    sha256: str

    @property
    def name(self) -> str:
        """The name without folders."""
        return self.file.rpartition("/")[2]


class _Loader(SourceFileLoader):
    """Loader of a module from source that was read before, so that what was hashed is run, never a stale .pyc."""

    def __init__(self, name: str, path: str, source: bytes):
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.source, self.path)


def module_files(d: dict) -> list[ModuleFile]:
    """Return the files that a model description names, as `describe_files` or a checkpoint wrote them, or by name.

    Raises:
        ModelError: `modules` is not a list of file names.
    """
    given = d.get("modules") or []
    if isinstance(given, list) and given and all(isinstance(m, dict) and {"file", "sha256"} <= m.keys() for m in given):
        return [ModuleFile(str(m["file"]).replace("\\", "/"), str(m["sha256"])) for m in given]
    return [ModuleFile(**m) for m in describe_files(d, Path(str(d.get("yaml_file") or "")).parent)]


def describe_files(d: dict, folder: Path) -> list[dict[str, str]]:
    """Return path and hash of each file that a YAML in `folder` names; the files are read, but not run."""
    given = d.get("modules") or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(name, str) and name.endswith(".py") for name in given):
        raise ModelError(
            f"modules: {given!r} in '{d.get('yaml_file') or 'the model'}' is not a list of Python files. "
            "Write their names relative to the YAML, such as modules: [my_blocks.py]."
        )
    described = []
    for name in given:
        path = folder / name
        if not path.is_file():
            raise MissingFileError(
                f"The model YAML names the module file '{name}', but there is no '{path}'. Put it there: a name under "
                "'modules' is relative to the YAML."
            )
        described.append({"file": path.as_posix(), "sha256": _hash(path.read_bytes())})
    return described


def own_entries(d: dict, named: str = "", namespace: Mapping[str, object] | None = None) -> dict[str, Entry]:
    """Return the entries that the files of a model have registered.

    Args:
        d: a model description.
        named: the file that holds it, for the error; by default the description's own `yaml_file`.
        namespace: of classes that are not registered (see `lookup`).

    Raises:
        ModelError: a file was not loaded, and a layer is not known otherwise.
    """
    files = module_files(d)
    missing = [f for f in files if f.sha256 not in LOADED]
    if missing and not _all_known(d, namespace):
        named = named or d.get("yaml_file") or "the model"
        names = " and ".join(f"'{f.file}'" for f in missing)
        raise ModelError(
            f"'{named}' uses modules from {names}, which nobody has allowed to run. Look into the file, and if you "
            f"trust it, pass trust_modules=True: YOLO('{named}', trust_modules=True), or trust_modules=true behind "
            "`yolo`. (If the file is elsewhere now, name its folder instead: trust_modules=FOLDER.)"
        )
    return loaded_entries(d)


def loaded_entries(d: dict) -> dict[str, Entry]:
    """Return the entries of those files of a model that were run."""
    return {name: entry for f in module_files(d) for name, entry in LOADED.get(f.sha256, {}).items()}


def _all_known(d: dict, namespace: Mapping[str, object] | None) -> bool:
    """Return whether each layer is known without the files, as when the user's script has imported them itself."""
    try:
        for line in [*d["backbone"], *d["head"]]:
            lookup(line[2], namespace=namespace)
    except (ModelError, IndexError, TypeError):
        return False
    return True


def load_trusted(d: dict, where: bool | str, named: str | Path) -> None:
    """Load the files that a model names, as the caller trusts them.

    Args:
        d: a model description from a YAML or a checkpoint.
        where: True: as recorded, beside the model's file, or in the working directory, with unchanged content.
            A folder, or a file in it: from there, whatever their content.
        named: the YAML or weight file.

    Raises:
        UserError: a file is missing, has changed, or cannot be run.
    """
    for f in module_files(d):
        if f.sha256 in LOADED and where is True:
            continue
        path = _find(f, where, Path(named))
        LOADED[f.sha256] = load_file(path)


def _find(f: ModuleFile, where: bool | str, named: Path) -> Path:
    """Return the path of a module file."""
    if where is not True:
        folder = Path(str(where))
        path = (folder.parent if folder.suffix == ".py" else folder) / f.name
        if not path.is_file():
            raise MissingFileError(f"'{named}' needs the module file '{f.name}', but there is no '{path}'.")
        if _hash(path.read_bytes()) != f.sha256:
            LOGGER.warning(f"'{path}' has changed since '{named}' was made with it.")
        return path
    places = dict.fromkeys([Path(f.file), named.parent / f.name, Path(f.name)])
    there = [path for path in places if path.is_file()]
    if found := next((path for path in there if _hash(path.read_bytes()) == f.sha256), None):
        return found
    if there:
        raise ModelError(
            f"The module file '{there[0]}' has changed since '{named}' was made with it. Bring back the old content, "
            f"or take the new all the same by naming its folder: trust_modules={there[0].parent.as_posix()}"
        )
    tried = " or ".join(f"'{path}'" for path in places)
    raise MissingFileError(
        f"'{named}' needs the module file '{f.name}', which is not at {tried}. "
        "Put it there, or name its folder: trust_modules=FOLDER."
    )


def load_file(path: Path) -> dict[str, Entry]:
    """Run a module file, unless its content was run before; return the entries that it registered.

    Raises:
        ModelError: it fails; the message names file and line.
    """
    source = path.read_bytes()
    sha256 = _hash(source)
    if sha256 in LOADED:
        return LOADED[sha256]
    name = "own_" + re.sub(r"\W", "_", path.stem) + "_" + sha256[:12]
    loader = _Loader(name, str(path.resolve()), source)
    spec = spec_from_file_location(name, loader.path, loader=loader)
    assert spec is not None  # as there is a loader
    module = module_from_spec(spec)
    OWN[name] = {}
    sys.modules[name] = module  # before it runs, as an import does: dataclasses and pickle look there
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as e:
        del sys.modules[name], OWN[name]
        raise ModelError(f"The module file '{path}' cannot be loaded: {_fault(e, module)}. Correct it there.") from e
    found = [*OWN[name], *(f"box_loss={key}" for key, loss in BOX_LOSSES.items() if loss.__module__ == name)]
    if not found:
        LOGGER.warning(f"The module file '{path}' registers nothing: put @register above its classes.")
    else:
        LOGGER.info(f"Modules from '{path}': {', '.join(found)}.")
    LOADED[sha256] = OWN[name]
    return OWN[name]


def _fault(e: BaseException, module: ModuleType) -> str:
    """Return 'line 3: NameError: ...' for an error in a module file."""
    lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == module.__file__]
    line = e.lineno if isinstance(e, SyntaxError) and e.filename == module.__file__ else lines[-1] if lines else None
    reason = e.msg if isinstance(e, SyntaxError) else " ".join(str(e).split()).removesuffix(".")
    kind = "" if isinstance(e, UserError) else f"{type(e).__name__}: "
    return (f"line {line}: " if line else "") + kind + reason


def _hash(source: bytes) -> str:
    """Return the hash of a file's content, the same for both kinds of line ends."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()
