"""`yolo compare` as a whole: killed in the middle of a cell, started again, and its runs compared once more."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import PATIENCE, await_end
from tiny import LAYERS, tiny_model

from ultralytics.cli import main as yolo
from ultralytics.lab.compare.cell import read_json
from ultralytics.lab.compare.work import POINTS, plain

pytestmark = pytest.mark.slow  # six processes start; the parts of a comparison have quick tests of their own
EPOCHS = 5
# `yolo` with other cells than `python -m ultralytics.lab.compare.work`: the second model waits before its third epoch
HOLDING = """
import sys
from ultralytics.cli import main
from ultralytics.lab.compare import runner
runner.COMMAND = (sys.executable, "cell.py")
sys.exit(main(sys.argv[1:]))
"""
CELL = """
import os, pathlib, sys, time
from ultralytics.engine import callbacks
from ultralytics.lab.compare.work import main
def hold(trainer):
    if "dense" in trainer.save_dir.parts and trainer.epoch == 2:
        pathlib.Path("held.part").write_text(str(os.getpid()))
        os.replace("held.part", "held")
        time.sleep(3600)
callbacks.default_callbacks["on_train_epoch_start"].append(hold)
sys.exit(main(sys.argv[1]))
"""


def command(data: Path) -> list[str]:
    """The words of the comparison of two tiny models."""
    return [
        "compare", "models=tiny.yaml,dense.yaml", f"data={data}", f"epochs={EPOCHS}", "seeds=1", "imgsz=64", "batch=4",
        "workers=0", "device=cpu", "plots=False", "name=both", "project=compared", "runtimes=none",
    ]  # fmt: skip


def until(ready, process: subprocess.Popen) -> None:
    """Wait for something that a process brings about."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def epochs_of(cell: Path) -> list[int]:
    return [int(float(next(iter(row.values())))) for row in rows_of(cell / "run" / "results.csv")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> dict:
    """A comparison that was killed in its second cell and started again."""
    folder = tmp_path_factory.mktemp("compare")
    tiny_model(folder)
    (folder / "dense.yaml").write_text(LAYERS.replace("GhostConv", "Conv"), encoding="utf-8")
    (folder / "holding.py").write_text(HOLDING, encoding="utf-8")
    (folder / "cell.py").write_text(CELL, encoding="utf-8")
    words = command(tiny_data)
    cells = folder / "compared" / "both" / "cells"
    first, second = cells / "tiny" / "seed0", cells / "dense" / "seed0"

    with open(folder / "out.txt", "wb") as out:
        process = subprocess.Popen([sys.executable, "holding.py", *words], cwd=folder, stdout=out, stderr=out)
    until((folder / "held").exists, process)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    await_end([int((folder / "held").read_text())])  # the cell's process sees that it is alone, and goes
    found = {"folder": folder, "first": first, "second": second, "stood": epochs_of(second)}
    found["result_of_second"] = (second / "result.json").exists()
    found["before"] = (first / "result.json").stat().st_mtime_ns
    words = [sys.executable, "-m", "ultralytics", *words]
    again = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    return {**found, "code": again.returncode, "said": again.stdout + again.stderr}


def test_the_kill_came_in_the_middle(killed):
    assert killed["stood"] == [1, 2]
    assert not killed["result_of_second"]


def test_the_finished_cell_is_not_repeated(killed):
    assert killed["code"] == 0, killed["said"]
    assert (killed["first"] / "result.json").stat().st_mtime_ns == killed["before"]
    assert "1 of 2 cells are finished" in killed["said"]


def test_the_terminal_shows_plain_tables(killed):
    said = killed["said"]
    assert re.search(r"^model +tiny +dense\n-+\nP +\d", said, re.MULTILINE) and "Cost (change from the first" in said
    assert "\\" not in said and "|" not in said.partition("Accuracy (one seed)")[2]


def test_the_killed_cell_went_on(killed):
    assert epochs_of(killed["second"]) == list(range(1, EPOCHS + 1))
    log = (killed["second"] / "log.txt").read_text(encoding="utf-8")
    assert "Resuming" in log


def test_all_files_are_there(killed):
    folder = killed["folder"] / "compared" / "both"
    for name in ("table.csv", "cells.csv", "differences.csv", "table.md", "table.tex", "index.html", "training.png",
                 "gflops.png"):  # fmt: skip
        assert (folder / name).stat().st_size > 50
    assert np.ptp(cv2.imread(str(folder / "pr.png"))) > 100
    table = rows_of(folder / "table.csv")
    assert [row["model"] for row in table] == ["tiny", "dense"]
    assert all(0 <= float(row["mAP50-95 mean"]) <= 1 and int(row["params"]) > 1000 for row in table)
    assert not list(folder.rglob("*.tmp"))


def test_results_say_what_was_run(killed):
    result = read_json(killed["first"] / "result.json")
    assert (result["epochs"], result["nc"], result["images"], result["imgsz"]) == (EPOCHS, 2, 4, 64)
    assert result["cost"]["params"] > result["cost"]["params_fused"] > 0
    curve = result["curves"]["Precision-Recall(B)"]
    assert len(curve["x"]) == len(curve["y"]) == POINTS and np.all(np.diff(curve["y"]) <= 0)
    assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx(result["metrics"]["metrics/mAP50(B)"], abs=0.02)
    assert result["device"] == "cpu" and result["versions"]["torch"]
    text = (killed["folder"] / "compared" / "both" / "table.md").read_text(encoding="utf-8")
    assert "compare models=tiny.yaml,dense.yaml" in text and "With one seed" in text


def test_other_settings_are_refused(killed, tiny_data, monkeypatch, capsys):
    monkeypatch.chdir(killed["folder"])
    words = [w if w != "imgsz=64" else "imgsz=96" for w in command(tiny_data)]
    assert yolo(words) == 2
    assert "imgsz=96 (was 64)" in capsys.readouterr().err


def test_a_failing_cell_stands_in_the_table(killed, tiny_data, monkeypatch):
    monkeypatch.chdir(killed["folder"])
    broken = LAYERS.replace("Conv, [16, 3, 2]", "Conv, [16, 3, 3]", 1).replace("[2, 3, 4]", "[1, 3, 4]")
    Path("broken.yaml").write_text(broken.replace("GhostConv", "NoSuchLayer"), encoding="utf-8")
    words = [w.replace("dense.yaml", "dense.yaml,broken.yaml") for w in command(tiny_data)]
    assert yolo(words) == 1
    rows = rows_of(Path("compared/both/cells.csv"))
    assert [(row["model"], bool(row["error"])) for row in rows] == [("tiny", False), ("dense", False), ("broken", True)]
    assert "NoSuchLayer" in rows[2]["error"]


def test_finished_runs_are_judged_alike(killed, monkeypatch):
    monkeypatch.chdir(killed["folder"])
    words = [f"results={killed['first'] / 'run'}", "project=compared", "name=runs", "device=cpu", "runtimes=none"]
    assert yolo(["compare", *words]) == 0
    (row,), (trained, *_) = rows_of(Path("compared/runs/cells.csv")), rows_of(Path("compared/both/cells.csv"))
    figures = ("model", "seed", "epochs", "P", "R", "mAP50", "mAP50-95")
    assert [row[k] for k in figures] == [trained[k] for k in figures]
    assert "These are finished runs" in Path("compared/runs/table.md").read_text(encoding="utf-8")
    measured = next(Path("compared/runs/cells").rglob("result.json"))
    before = measured.stat().st_mtime_ns
    assert yolo(["compare", *words]) == 0
    assert measured.stat().st_mtime_ns == before


OWN = """
from torch import nn
from ultralytics.nn import register
@register
class Halved(nn.Module):
    def __init__(self, c1: int):
        super().__init__()
    def forward(self, x):
        return x / 2
"""


def test_models_of_own_modules_are_trained_measured_and_judged_again(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("halved.py").write_text(OWN, encoding="utf-8")
    layers = LAYERS.replace("Conv, [16, 3, 2]]\nhead", "Halved, []]\nhead")
    Path("own.yaml").write_text(f"modules: [halved.py]\n{layers}", encoding="utf-8")
    words = ["device=cpu", "trust_modules=True", "project=compared"]
    training = [f"data={tiny_data}", "epochs=1", "seeds=1", "imgsz=64", "batch=4", "workers=0", "plots=False"]
    assert yolo(["compare", "models=own.yaml", *training, *words, "runtimes=eager", "name=own"]) == 0
    table = Path("compared/own/table.md").read_text(encoding="utf-8")
    assert "Latency: milliseconds" in table
    run = "compared/own/cells/own/seed0/run"
    assert yolo(["compare", f"results={run}", *words, "runtimes=none", "name=again"]) == 0


def test_what_is_no_number_is_none():
    assert plain({"a": float("nan"), 1: [float("inf"), 2, "x"]}) == {"a": None, "1": [None, 2, "x"]}
