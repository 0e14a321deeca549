"""Ghost-lightened YOLO11 under the public API of ultralytics 8.3.0; an independent implementation."""

from __future__ import annotations

import sys

__version__ = "8.3.0+ghost.1"

# Public names and where they live; each is imported when it is first asked for.
_PUBLIC = {
    "YOLO": "ultralytics.models.yolo.model:YOLO",
    "ASSETS": "ultralytics.utils:ASSETS",
    "settings": "ultralytics.utils:SETTINGS",
    "checks": "ultralytics.utils.checks:checks",
    "download": "ultralytics.utils.downloads:download",
}
# Names of the vendor's package that stand for other products, and their modules.
_ELSEWHERE = frozenset(
    {"SAM", "FastSAM", "RTDETR", "NAS", "YOLOWorld", "Explorer", "hub", "solutions"}
    | {"sam", "fastsam", "rtdetr", "nas", "world", "explorer", "annotator"}
)
_NOT_HERE = "'{}' is not part of this package, which holds YOLO and its Ghost versions only. Use 'ultralytics.YOLO'."

__all__ = ("ASSETS", "YOLO", "__version__", "checks", "download", "settings")


def __getattr__(name: str):
    if name in _PUBLIC:
        from ultralytics.cfg.tasks import load

        value = globals()[name] = load(_PUBLIC[name])
        return value
    if name in _ELSEWHERE:
        raise AttributeError(_NOT_HERE.format(f"ultralytics.{name}"))
    raise AttributeError(f"module 'ultralytics' has no attribute '{name}'")


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
            raise ImportError(_NOT_HERE.format(name), name=name)


sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "_Elsewhere"] + [_Elsewhere]
