"""The guides to own modules and to records of trainings stay true: the example trains, names and commands exist."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

from ultralytics import YOLO
from ultralytics.cfg import find_model_yaml
from ultralytics.cli import main, parse
from ultralytics.engine.integrations import Integration
from ultralytics.nn.registry import REGISTRY
from ultralytics.utils.settings import DEFAULTS

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return [code for found, code in BLOCKS.findall((DOCS / name).read_text(encoding="utf-8")) if found == language]


@pytest.fixture
def example(work_dir: Path) -> Path:
    """A folder with the two files of the example, and nothing else."""
    for code in (blocks("own-modules.md", "python")[0], *blocks("own-modules.md", "yaml")):
        (work_dir / re.match(r"# (\S+)\n", code)[1]).write_text(code, encoding="utf-8")
    return work_dir


def test_example_trains(example: Path, tiny_data: Path):
    """The commands of the guide, with a smaller dataset, work; nothing but the two files was written before."""
    assert {f.name for f in example.iterdir()} == {"my_blocks.py", "my_model.yaml"}
    before = dict(REGISTRY)
    small = ["imgsz=64", "epochs=1", "batch=4", "workers=0", "device=cpu", "plots=False", f"data={tiny_data}"]
    train, predict = (shlex.split(line)[1:] for line in blocks("own-modules.md", "bash")[0].splitlines())
    parse(train), parse(predict)
    assert main([*train, *small, "project=runs/detect", "name=train"]) == 0
    assert main([*predict, f"source={tiny_data.parent / 'images' / 'val'}", "imgsz=64", "device=cpu"]) == 0
    assert before == REGISTRY
    model = YOLO("runs/detect/train/weights/best.pt", trust_modules=True).model.model
    assert [type(m).__name__ for m in model].count("ECA") == 3
    x = torch.rand(2, 5, 4, 4)
    assert type(model[5])(5).eval()(x).shape == x.shape


def test_python_example_uses_settings_that_exist(example: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def train(self: YOLO, **settings) -> None:
        calls.append(parse([f"{k}={v}" for k, v in settings.items()]))
        self.save("best.pt")
        self.trainer = type("Trainer", (), {"best": "best.pt"})

    monkeypatch.setattr(YOLO, "train", train)
    (example / "script.py").write_text(blocks("own-modules.md", "python")[1], encoding="utf-8")
    runpy.run_path("script.py")
    assert calls[0]["epochs"] == 30


def test_table_of_integrations():
    text = (DOCS / "logging.md").read_text(encoding="utf-8")
    for cls in Integration.known:
        (row,) = [line for line in text.splitlines() if line.startswith("|") and f"install {cls.install}`" in line] or [
            line for line in text.splitlines() if '".[logging]"' in line and line.startswith("|")
        ]
        assert cls.by_default or f"`yolo settings {cls.setting}=True`" in row
        assert DEFAULTS[cls.setting] is cls.by_default
    (code,) = blocks("logging.md", "python")
    assert find_model_yaml(re.search(r'YOLO\("(.*?)"', code)[1])


@pytest.mark.parametrize("name", ["own-modules.md", "logging.md"])
def test_files_that_are_named_exist(name: str):
    text = (DOCS / name).read_text(encoding="utf-8")
    paths = [p for p in re.findall(r"`([\w./-]+\.\w+)`", text) if "/" in p]
    assert not [p for p in paths if not (DOCS.parent / p).exists()]
    assert re.search("[一-鿿]{8}", text)  # a Chinese part
