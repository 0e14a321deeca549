"""Ghost-lightened YOLO11 under the public API of ultralytics 8.3.0; an independent implementation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType

__version__ = "8.3.0"  # whose public API this is; scripts split it at the points and read three whole numbers
__build__ = "8.3.0+ghost.1"  # the version of this package, which pip takes for 8.3.0 too

# Public names and where they live; each is imported when it is first asked for.
_PUBLIC = {
    "YOLO": "ultralytics.models.yolo.model:YOLO",
    "ASSETS": "ultralytics.utils:ASSETS",
    "SETTINGS": "ultralytics.utils:SETTINGS",
    "settings": "ultralytics.utils:SETTINGS",
    "checks": "ultralytics.utils.checks:checks",
    "download": "ultralytics.utils.downloads:download",
}
# Names of the vendor's package that stand for other products, and their modules.
_ELSEWHERE = frozenset(
    {"SAM", "FastSAM", "RTDETR", "NAS", "YOLOWorld", "Explorer", "hub", "solutions"}
    | {"sam", "fastsam", "rtdetr", "nas", "world", "explorer", "annotator", "RTDETRDecoder", "WorldDetect"}
)

__all__ = ("ASSETS", "SETTINGS", "YOLO", "__version__", "checks", "download", "settings")


def not_here(name: str) -> str:
    """Return the message for a name of another product."""
    return (
        f"'{name}' is not part of this package, which holds YOLO and its Ghost versions only. Use 'ultralytics.YOLO'."
    )


def modules_of(package: str) -> Callable[[str], ModuleType]:
    """Return a package's `__getattr__`: its modules are there as attributes, and imported when first asked for."""

    def __getattr__(name: str) -> ModuleType:
        full = f"{package}.{name}"
        try:
            there = not name.startswith("_") and find_spec(full)
        except ImportError as e:  # of other products, see `_Elsewhere`
            raise AttributeError(str(e)) from None
        if not there:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return importlib.import_module(full)

    return __getattr__


def __getattr__(name: str):
    if name in _PUBLIC:
        from ultralytics.cfg.tasks import load

        value = globals()[name] = load(_PUBLIC[name])
        return value
    if name in _ELSEWHERE:
        raise AttributeError(not_here(f"ultralytics.{name}"))
    return _module(name)


_module = modules_of(__name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Elsewhere:
    """Comes last among the finders of modules: says of other products that they are not here.

    `from ultralytics import SAM` asks for a module when there is no such attribute, so that ends here too.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        package, _, last = name.rpartition(".")
        if package.partition(".")[0] == "ultralytics" and last in _ELSEWHERE:
            raise ImportError(not_here(name), name=name)


sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "_Elsewhere"] + [_Elsewhere]
