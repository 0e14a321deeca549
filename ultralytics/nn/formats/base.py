"""The description of an export format: its name, its suffix, and the packages it needs."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ultralytics.utils.errors import MissingPackageError


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: what `format=` calls it.
        title: its proper name.
        suffix: of the file; where it has no dot in front, the end of a folder's name.
        module: dotted name of the module that writes and runs it: `__name__` there.
        writing, running: packages that the module needs, by their pip names.
        options: settings of `export` that it supports, besides those that every format supports.
        note: what it is for.
        threaded: whether its runner takes a number of threads.
    """

    name: str
    title: str
    suffix: str
    module: str
    writing: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    note: str = ""
    threaded: bool = True

    def load(self) -> ModuleType:
        """Return the module that writes and runs it."""
        return importlib.import_module(self.module)

    def file(self, stem: Path) -> Path:
        """Return the path of the file, or folder, of the model called `stem`."""
        return stem.with_name(stem.name + self.suffix)

    def require(self, *, writing: bool) -> None:
        """Raise MissingPackageError, with the line that installs them, if packages are missing."""
        missing = missing_packages(self.writing if writing else self.running)
        if missing:
            what = "Writing" if writing else "Running"
            raise MissingPackageError(
                f"{what} {self.title} needs {' and '.join(missing)}, not installed here: "
                f"pip install {' '.join(missing)}."
            )


def missing_packages(names: tuple[str, ...]) -> list[str]:
    """Return the packages, by their pip names, that are not installed."""
    return [name for name in dict.fromkeys(names) if not importlib.util.find_spec(name.replace("-", "_"))]
