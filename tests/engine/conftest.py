"""Fixtures for tests of prediction."""

from __future__ import annotations

import cv2
import pytest
from red_finder import scene

from ultralytics.utils import LOGGER


@pytest.fixture
def images(tmp_path):
    """A folder of three images of two shapes; the last is empty."""
    folder = tmp_path / "in put 图"
    folder.mkdir()
    for name, im in (("a.png", scene()), ("b.png", scene(160, 120)), ("c.png", scene(box=None))):
        (folder / name).write_bytes(cv2.imencode(".png", im)[1].tobytes())
    return folder


@pytest.fixture
def log(monkeypatch) -> list[str]:
    lines: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(LOGGER, level, lambda text, *_: lines.append(str(text)))
    return lines
