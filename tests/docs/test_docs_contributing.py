"""CONTRIBUTING.md: what it adds to one file each is applied to a copy of the package, and works there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import FAST, tiny_model

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (?:(at the end of|after `(.*?)` in) )?(\S+)\n(.*?)```", TEXT, re.DOTALL)
PATHS = sorted({*re.findall(r"`((?:ultralytics|tests|docs|tools|benchmarks)/[\w./]+)`", TEXT)})
USE = """
import csv, json, sys
import ultralytics
from pathlib import Path
from ultralytics import YOLO

if __name__ == "__main__":
    yaml, data, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    model = YOLO(yaml)
    model.train(data=data, epochs=1, gate=0.5, project="runs", name="a", exist_ok=True, **settings)
    run = Path(model.trainer.save_dir)
    print(json.dumps({
        "package": ultralytics.__file__,
        "layers": [type(m).__name__ for m in model.model.model],
        "gate": model.trainer.args.gate,
        "columns": [key.strip() for key in next(csv.reader(open(run / "results.csv")))],
        "lines": [json.loads(line) for line in (run / "lines.jsonl").read_text().splitlines()],
        "exported": model.export(format="pt2", imgsz=64),
        "boxes": len(YOLO(run / "weights" / "best.pt2").predict(data.replace("data.yaml", "images/val"), imgsz=64)),
    }))
"""


def apply(block: tuple[str, str, str, str], folder: Path) -> None:
    """Write a block of CONTRIBUTING.md where its first line says."""
    where, anchor, name, code = block
    file = folder / name
    if not where:
        assert not file.exists()
        return file.write_text(code, encoding="utf-8") and None
    text = file.read_text(encoding="utf-8")
    if not anchor:
        file.write_text(f"{text}\n\n{code}", encoding="utf-8")
        return None
    (line,) = [line for line in text.splitlines(keepends=True) if line.strip().startswith(anchor)]
    file.write_text(text.replace(line, line + code), encoding="utf-8")
    return None


def test_each_addition_is_one_file():
    assert [name for *_, name, _ in BLOCKS] == [
        "ultralytics/nn/modules/block.py",
        "ultralytics/cfg/schema.py",
        "ultralytics/utils/metrics.py",
        "ultralytics/engine/integrations.py",
        "ultralytics/nn/formats/pt2.py",
    ]


@pytest.mark.slow
def test_what_is_added_works(tmp_path: Path, tiny_data: Path):
    shutil.copytree(ROOT / "ultralytics", tmp_path / "ultralytics", ignore=shutil.ignore_patterns("__pycache__"))
    for block in BLOCKS:
        apply(block, tmp_path)
    yaml = Path(tiny_model(tmp_path))
    layers = yaml.read_text(encoding="utf-8").replace("head:", "  - [-1, 1, ChannelGate, []]\nhead:")
    yaml.write_text(layers.replace("[2, 3, 4]", "[2, 3, 5]"), encoding="utf-8")
    script = tmp_path / "use.py"
    script.write_text(USE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(yaml), str(tiny_data), json.dumps(FAST)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(tmp_path / "ultralytics" / "__init__.py")
    assert "ChannelGate" in found["layers"] and found["gate"] == 0.5
    assert "metrics/F1(B)" in found["columns"] and "metrics/F1(B)" in found["lines"][0]
    assert found["exported"].endswith("best.pt2") and found["boxes"] == 4


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:ultralytics|tests|docs|tools|benchmarks)/[\w./]+)`", TEXT)))
)
def test_paths_that_are_named_exist(path: str):
    assert (ROOT / path).exists()


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("https://") or (ROOT / link).exists(), link
