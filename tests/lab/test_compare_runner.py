"""Running cells with a stand-in for the work: what fails, what is interrupted, and what goes on side by side."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import PATIENCE

from ultralytics.lab.compare import runner
from ultralytics.lab.compare.cell import Cell
from ultralytics.lab.compare.latencies import latencies
from ultralytics.lab.latency import Latency

# Does what the model's name says; leaves its times and device behind.
WORKER = """
import json, os, pathlib, signal, sys, threading, time
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(job["folder"])
def watch():
    while os.read(0, 1024): pass
    (folder / "orphan").write_text("")
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
(folder / "started").write_text("")
if job["model"] == "fails":
    (folder / "error.json").write_text('{"error": "It has no layers."}')
    sys.exit(1)
if job["model"] == "dies":
    os.kill(os.getpid(), signal.SIGTERM)
if job["model"] == "slow":
    time.sleep(600)
if job["model"].startswith("with"):  # ends only if another has been started meanwhile
    other = folder.parent / job["model"].removeprefix("with") / "started"
    until = time.monotonic() + 600
    while not other.exists():
        if time.monotonic() > until: sys.exit(1)
        time.sleep(0.01)
times = {"device": job["device"], "threads": os.getenv("OMP_NUM_THREADS")}
(folder / "result.json").write_text(json.dumps({"metrics": {}, **times}))
"""


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make cells that do what their models' names say."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(runner, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(runner, "POLL", 0.02)

    def make(*models: str) -> list[Cell]:
        return [Cell(m, m, i, "detect", tmp_path / f"{i}", tmp_path / f"{i}" / "run") for i, m in enumerate(models)]

    return make


def test_a_failure_does_not_stop_the_others(cells):
    made = cells("fails", "dies", "works")
    runner.run_cells(made, ["cpu"])
    assert made[0].error == "It has no layers."
    assert "signal 15" in made[1].error and "log.txt" in made[1].error
    assert made[2].result["device"] == "cpu" and made[2].error is None


def test_what_is_finished_is_not_repeated_and_what_failed_is_tried_again(cells):
    made = cells("works", "fails")
    runner.run_cells(made, [None])
    before = (made[0].folder / "result.json").stat().st_mtime_ns
    made[1].model = "works"
    runner.run_cells(made, [None])
    assert (made[0].folder / "result.json").stat().st_mtime_ns == before
    assert made[1].result and made[1].error is None


def test_devices_work_at_the_same_time(cells, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made = cells("with1", "with0", "works")
    runner.run_cells(made, ["cpu", "cpu"])
    assert all(int(cell.result["threads"]) >= 1 for cell in made)


def test_an_interruption_ends_what_was_started(cells, monkeypatch):
    (cell,) = made = cells("slow")

    def interrupt(seconds: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (cell.folder / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "GRACE", PATIENCE)
    monkeypatch.setattr(runner, "time", SimpleNamespace(sleep=interrupt, monotonic=time.monotonic))
    with pytest.raises(KeyboardInterrupt):
        runner.run_cells(made, [None])
    assert (cell.folder / "orphan").exists()  # it noticed and went
    assert cell.result is None and cell.error is None


# Latency --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What stands in for the measurement was asked for."""
    found: list[tuple] = []

    def measure(models, imgsz, runtimes, threads):
        found.append((list(models), imgsz, runtimes, threads))
        return [Latency(m, "eager", 5.0, 6.0, threads=threads, device="cpu", rounds=4) for m in models]

    monkeypatch.setattr("ultralytics.lab.compare.latencies.measure", measure)
    monkeypatch.setattr("ultralytics.lab.compare.latencies.attempt_load_weights", lambda path, trusted: object())
    return found


def finished_cell(folder: Path) -> Cell:
    """Return a cell with something for weights."""
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "best.pt").write_bytes(folder.name.encode())
    return Cell("a", "a.yaml", 0, "detect", folder, folder)


def test_latency_is_measured_of_all_models_in_one_go(tmp_path, asked):
    cells = {label: finished_cell(tmp_path / label) for label in "ab"}
    rows, notes = latencies(cells, 64, ("eager", "onnxruntime"), 1)
    assert [row.model for row in rows] == ["a", "b"]
    assert asked == [(["a", "b"], 64, ("eager", "onnxruntime"), 1)]
    assert "1 thread," in notes[0] and "Only eager" in notes[0] and "ONNX Runtime was not measured" in notes[1]


def test_a_failing_measurement_loses_nothing(tmp_path):
    rows, notes = latencies({"a": finished_cell(tmp_path / "a")}, 64, ("eager",), 1)
    assert rows == [] and "could not be measured" in notes[0]


def test_latency_may_be_left_out(tmp_path):
    assert latencies({"a": finished_cell(tmp_path)}, 64, (), 1) == ([], ["Latency was not measured."])
    assert latencies({}, 64, ("eager",), 1) == ([], ["No model was trained, so there is no latency."])
