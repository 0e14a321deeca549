"""The names that public scripts import from 8.3.0, from the modules where they look for them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

LINES = (Path(__file__).parent / "reference" / "public_names.txt").read_text(encoding="utf-8").splitlines()
NAMES = {module: names for module, *names in (line.split() for line in LINES if not line.startswith("#"))}
# What is left out, and why; each is answered by a sentence or, of a network, is not there.
LEFT_OUT = {
    "ultralytics.hub": ("login", "the vendor's service"),
    "ultralytics.data.annotator": ("auto_annotate", "needs SAM, another product"),
    "ultralytics.nn.modules": ("C2fAttn RTDETRDecoder", "of YOLO-World and RT-DETR, other products"),
    "ultralytics.nn.modules.head": ("RTDETRDecoder", "of RT-DETR, another product"),
    "ultralytics.utils.triton": ("TritonRemoteModel", "a client of another server"),
}


def missing(module: str) -> list[str]:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return NAMES[module]
    return [name for name in NAMES[module] if not hasattr(found, name)]


@pytest.mark.parametrize("module", NAMES)
def test_names_of_8_3_0_can_be_imported(module):
    left_out = LEFT_OUT.get(module, ("", ""))[0].split()
    assert [name for name in missing(module) if name not in left_out] == []


def test_of_459_names_at_least_450_are_here():
    assert sum(map(len, NAMES.values())) == 459
    assert sum(len(missing(module)) for module in NAMES) <= 9


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("ultralytics.data.converter", "yolo_bbox2segment('images')"),
        ("ultralytics.data.utils", "HUBDatasetStats('coco8.yaml')"),
        ("ultralytics.data.loaders", "get_best_youtube_url('https://youtu.be/x')"),
        ("ultralytics.utils.downloads", "attempt_download_asset('yolo11n.pt')"),
    ],
)
def test_what_is_not_here_says_what_to_do(module, call, tmp_path, monkeypatch):
    from ultralytics.utils.errors import UserError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        eval(call, vars(importlib.import_module(module)))
    assert str(error.value).endswith(".") or "https://" in str(error.value)
