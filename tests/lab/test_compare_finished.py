"""`yolo compare results=`: finished runs as cells, what makes rows of them, and what is said of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from comparisons import write_run
from tiny import LAYERS

from ultralytics.lab.compare.cell import write_json
from ultralytics.lab.compare.finished import FinishedRuns, read_runs
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.tasks import DetectionModel, describe
from ultralytics.utils.errors import ConfigError


def finished_run(folder: Path, **settings) -> str:
    """Write what a finished run leaves, with nothing for weights."""
    write_run(folder, "detect")
    args = {"task": "detect", "model": "yolo11n.yaml", "data": "my.yaml", "seed": 0, "epochs": 3, **settings}
    (folder / "args.yaml").write_text(yaml.safe_dump(args), encoding="utf-8")
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pt").write_bytes(folder.name.encode())
    return str(folder)


def measure(runs: FinishedRuns) -> None:
    """Write results for cells, as their processes would."""
    for cell in runs.cells:
        write_json(cell.folder / "result.json", {"hashes": cell.hashes})


def is_kept(*runs: str) -> bool:
    """Whether what was measured of runs still counts."""
    found = read_runs(runs)
    found.drop_outdated()
    return found.cells[0].result is not None


def test_runs_that_differ_in_the_seed_are_one_row(work_dir):
    runs = [finished_run(work_dir / f"r{i}", seed=i % 2, model=("a.yaml", "b.yaml")[i // 2], name=f"r{i}", workers=i)
            for i in range(4)]  # fmt: skip
    found = read_runs(runs)
    assert [(c.label, c.seed) for c in found.cells] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert found.notes == ["These are finished runs of `yolo train`."]
    assert found.settings["epochs"] == 3


def test_runs_of_other_layers_under_one_name_are_two_rows(work_dir):
    runs = []
    for i, text in enumerate((LAYERS, LAYERS, LAYERS.replace("GhostConv", "Conv"))):
        (work_dir / "tiny.yaml").write_text(text, encoding="utf-8")
        runs.append(finished_run(work_dir / f"r{i}", seed=i, model="tiny.yaml"))
        save_checkpoint(Path(runs[-1], "weights", "best.pt"), describe(DetectionModel("tiny.yaml", verbose=False)))
    found = read_runs(runs)
    assert [(c.label, c.seed) for c in found.cells] == [("tiny (r0)", 0), ("tiny (r0)", 1), ("tiny (r2)", 2)]


def test_a_run_that_has_not_finished_is_told(work_dir):
    (work_dir / "tiny.yaml").write_text(LAYERS, encoding="utf-8")
    runs, model = [], describe(DetectionModel("tiny.yaml", verbose=False))
    for name, more in (("r0", {}), ("r1", {"optimizer": {}, "epoch": 1})):
        runs.append(finished_run(work_dir / name, seed=len(runs)))
        save_checkpoint(Path(runs[-1], "weights", "last.pt"), {**model, **more})
    _, note = read_runs(runs).notes
    assert "r1' is incomplete: 2 of 3 epochs" in note


def test_results_on_changed_data_are_forgotten(work_dir, tiny_data):
    data = shutil.copytree(tiny_data.parent, work_dir / "data") / tiny_data.name
    runs = [finished_run(work_dir / "r0", data=str(data))]
    measure(read_runs(runs))
    assert is_kept(*runs)
    next((data.parent / "labels" / "val").glob("*.txt")).write_text("1 0.5 0.5 0.25 0.25\n", encoding="utf-8")
    assert not is_kept(*runs)


def test_results_stay_when_the_data_have_gone(work_dir, tiny_data):
    data = shutil.copytree(tiny_data.parent, work_dir / "data") / tiny_data.name
    run = finished_run(work_dir / "r0", data=str(data))
    measure(read_runs([run]))
    shutil.rmtree(data.parent)
    assert is_kept(run)


def test_unlike_recipes_are_told(work_dir):
    runs = [finished_run(work_dir / "r0"), finished_run(work_dir / "r1", epochs=9, lr0=0.1)]
    found = read_runs(runs, "p", "n")
    assert [c.label for c in found.cells] == ["yolo11n (r0)", "yolo11n (r1)"]
    _, note = found.notes
    assert "epochs (yolo11n (r0): 3, yolo11n (r1): 9)" in note and "lr0 (" in note and "imgsz" not in note
    assert "epochs" not in found.settings


def test_a_run_that_repeats_another_is_left_out(work_dir):
    found = read_runs([finished_run(work_dir / "r0"), finished_run(work_dir / "r1")])
    assert len(found.cells) == 1
    assert "r1' repeats yolo11n, seed 0" in found.notes[1]


def test_results_of_replaced_weights_are_forgotten(work_dir):
    runs = [finished_run(work_dir / "r0")]
    measure(read_runs(runs))
    assert is_kept(*runs)
    Path(runs[0], "weights", "best.pt").write_bytes(b"trained again")
    assert not is_kept(*runs)


def test_costs_are_counted_at_one_size(work_dir):
    """What was measured at a smaller size does not count any more when a larger model comes in."""
    small = finished_run(work_dir / "r0", model="a.yaml", imgsz=64)
    large = finished_run(work_dir / "r1", model="b.yaml", imgsz=96)
    measure(read_runs([small]))
    assert is_kept(small)
    both = read_runs([small, large])
    assert [cell.cost_size for cell in both.cells] == [96, 96]
    assert "imgsz (a: 64, b: 96)" in both.notes[1]
    assert not is_kept(small, large)


def test_another_folder_has_the_same_cells(work_dir):
    found = read_runs([finished_run(work_dir / "r0")], name="mine")
    moved = found.at(work_dir / "other")
    assert moved.cells[0].folder == work_dir / "other" / found.cells[0].folder.relative_to(found.folder)
    assert moved.cells[0].run == found.cells[0].run and found.folder.name == "mine"


def test_runs_of_two_tasks_are_refused(work_dir):
    runs = [finished_run(work_dir / "r0"), finished_run(work_dir / "r1", task="pose")]
    with pytest.raises(ConfigError, match="detect, pose"):
        read_runs(runs)


def test_no_runs_at_all_are_refused():
    with pytest.raises(ConfigError, match="none"):
        read_runs([])
