"""Ghost-lightened YOLO11 under the public API of ultralytics 8.3.0; an independent implementation."""

from __future__ import annotations

__version__ = "8.3.0+ghost.1"

# Public names and where they live; each is imported when it is first asked for.
_PUBLIC = {
    "YOLO": "ultralytics.models.yolo.model:YOLO",
    "ASSETS": "ultralytics.utils:ASSETS",
    "settings": "ultralytics.utils:SETTINGS",
    "checks": "ultralytics.utils.checks:checks",
    "download": "ultralytics.utils.downloads:download",
}
# Names of the vendor's package that stand for other products.
_ELSEWHERE = frozenset({"SAM", "FastSAM", "RTDETR", "NAS", "YOLOWorld", "Explorer", "hub", "solutions"})

__all__ = ("ASSETS", "YOLO", "__version__", "checks", "download", "settings")


def __getattr__(name: str):
    if name in _PUBLIC:
        from ultralytics.cfg.tasks import load

        value = globals()[name] = load(_PUBLIC[name])
        return value
    if name in _ELSEWHERE:
        raise AttributeError(
            f"'ultralytics.{name}' is not part of this package, which holds YOLO and its Ghost versions only. "
            "Use 'ultralytics.YOLO'."
        )
    raise AttributeError(f"module 'ultralytics' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
