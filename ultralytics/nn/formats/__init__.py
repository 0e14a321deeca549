"""Export formats: the kinds of files that a model can be written to and run from, one module each.

A module of this folder is a format if it has `FORMAT`, a row that describes it. It then has `write(job)`, which writes
`job.file`, and a class `Runner`, which runs such a file. Packages that it needs are imported in these two alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from ultralytics.nn.formats.base import Format, missing_packages
from ultralytics.utils.errors import ConfigError, did_you_mean

__all__ = "ALIASES", "FORMATS", "Format", "format_named", "format_of", "missing_packages"

_MODULES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
FORMATS: dict[str, Format] = {m.FORMAT.name: m.FORMAT for m in _MODULES if hasattr(m, "FORMAT")}
ALIASES = {"tensorrt": "engine", "trt": "engine"}  # as 8.3.0 has them


def format_named(name: str) -> Format:
    """Return the format that `format=` names, in upper or lower case; raise ConfigError if there is none."""
    key = str(name).strip().lower()
    key = ALIASES.get(key, key)
    if key not in FORMATS:
        raise ConfigError(
            f"format='{name}' is not known. Choose {', '.join(FORMATS)}.{did_you_mean(str(name), FORMATS)}"
        )
    return FORMATS[key]


def format_of(path: str | Path) -> Format | None:
    """Return the format of a file or folder by the end of its name, or None."""
    name = Path(path).name.lower()
    return next((f for f in FORMATS.values() if name.endswith(f.suffix)), None)
