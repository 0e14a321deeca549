"""What is to be compared: names, seeds, the record of what cells have in common, and the words of the command."""

from __future__ import annotations

import importlib.util
import json
import linecache
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from comparisons import write_run
from tiny import LAYERS, tiny_model

from ultralytics.cli import main as yolo
from ultralytics.lab.compare import code
from ultralytics.lab.compare.cell import check_code, check_unchanged
from ultralytics.lab.compare.command import parse
from ultralytics.lab.compare.finished import read_runs
from ultralytics.lab.compare.plan import Plan, alone_in, folder_name, labels_of, make_plan, seed_list, write_json
from ultralytics.lab.compare.runner import device_list
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.modules import GhostConv
from ultralytics.nn.tasks import DetectionModel, describe
from ultralytics.utils.errors import ConfigError, MissingFileError


@pytest.fixture
def plan(work_dir: Path, tiny_data: Path):
    """Plan a comparison of two tiny models with some settings."""
    tiny_model(work_dir)
    (work_dir / "other.yaml").write_text(LAYERS.replace("GhostConv", "Conv"), encoding="utf-8")

    def make(models=("tiny.yaml", "other.yaml"), seeds=2, **settings) -> Plan:
        return make_plan(models, seeds, {"data": str(tiny_data), "epochs": 2, **settings}, "yolo compare ...")

    return make


def test_cells_are_models_times_seeds(plan, work_dir):
    found = plan(project="p", name="n", lr0=0.02, device="cpu")
    assert [(c.label, c.seed) for c in found.cells] == [("tiny", 0), ("other", 0), ("tiny", 1), ("other", 1)]
    assert found.folder == work_dir / "p" / "n"
    assert len({c.folder for c in found.cells}) == 4
    assert found.cells[0].settings["lr0"] == 0.02
    assert not {"device", "project", "name"} & found.cells[0].settings.keys()


@pytest.mark.parametrize(("files", "labels"), [
    (["a/x.yaml", "b/y.yaml"], ["x", "y"]),
    (["x.yaml", "x.pt"], ["x.yaml", "x.pt"]),
    (["a/weights/best.pt", "b/weights/best.pt"], ["a/weights/best.pt", "b/weights/best.pt"]),
])  # fmt: skip
def test_labels_differ(files, labels):
    assert labels_of(files) == labels


def test_names_become_folders():
    assert folder_name("a/weights/best.pt") == "a-weights-best.pt"
    assert folder_name("火焰 <b>") == "火焰-b-"
    assert folder_name("..") == "model"


def test_a_model_takes_part_once(plan):
    with pytest.raises(ConfigError, match="given twice"):
        plan(models=["tiny.yaml", "./tiny.yaml"])


@pytest.mark.parametrize(("seeds", "expected"), [(3, [0, 1, 2]), ([7], [7]), ((4, 0), [4, 0])])
def test_seeds(seeds, expected):
    assert seed_list(seeds) == expected


@pytest.mark.parametrize("seeds", [0, -1, True, "x", [1, 1], [0.5], [], [-3]])
def test_seeds_that_are_none(seeds):
    with pytest.raises(ConfigError, match="seeds"):
        seed_list(seeds)


@pytest.mark.parametrize(("device", "expected"), [
    (None, [None]), (0, ["0"]), ("0,1", ["0", "1"]), ("cpu,cpu", ["cpu", "cpu"]), ([0, 1], ["0", "1"]),
    ("cuda:1", ["1"]),
])  # fmt: skip
def test_devices(device, expected):
    assert device_list(device) == expected


def test_devices_that_are_none():
    with pytest.raises(ConfigError, match="device"):
        device_list("gpu")


# The record -----------------------------------------------------------------------------------------------------------


def test_the_same_plan_goes_on(plan):
    plan().record()
    plan().record()
    plan(workers=3, plots=False, device="cpu").record()  # none of this changes a result
    plan(seeds=5).record()
    plan(models=["other.yaml"]).record()


@pytest.mark.parametrize(("change", "said"), [
    ({"epochs": 3}, r"epochs=3 \(was 2\)"), ({"lr0": 0.5}, r"lr0=0.5 \(was 0.01\)"), ({"imgsz": 96}, "imgsz=96"),
])  # fmt: skip
def test_changed_settings_are_refused(plan, change, said):
    plan().record()
    with pytest.raises(ConfigError, match=said) as e:
        plan(**change).record()
    assert "name=" in str(e.value)


def test_a_changed_model_is_refused(plan, work_dir):
    plan().record()
    file = work_dir / "tiny.yaml"
    file.write_text(file.read_text().replace("[16, 3, 2]", "[24, 3, 2]"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"content of 'tiny\.yaml'"):
        plan().record()


def test_a_model_keeps_its_name_when_more_are_added(plan, work_dir):
    """Two weight files of one name are told apart by their folders, but cells of the first one are there already."""
    text = (work_dir / "tiny.yaml").read_text(encoding="utf-8")
    for folder, channels in (("a", 16), ("b", 24)):
        (work_dir / folder).mkdir()
        file = work_dir / folder / "net.yaml"
        file.write_text(text.replace("[16, 3, 2]", f"[{channels}, 3, 2]", 1), encoding="utf-8")
    first = plan(models=["a/net.yaml"])
    first.record()
    both = plan(models=["a/net.yaml", "b/net.yaml"])
    assert both.cells[0].folder == first.cells[0].folder
    assert both.cells[1].folder != first.cells[0].folder
    both.record()


def test_a_folder_of_another_model_is_refused(plan, work_dir):
    text = (work_dir / "tiny.yaml").read_text(encoding="utf-8")
    (work_dir / "my net.yaml").write_text(text.replace("[16, 3, 2]", "[24, 3, 2]", 1), encoding="utf-8")
    (work_dir / "my-net.yaml").write_text(text.replace("[16, 3, 2]", "[32, 3, 2]", 1), encoding="utf-8")
    plan(models=["my net.yaml"]).record()
    with pytest.raises(ConfigError, match="holds the cells of 'my net'"):
        plan(models=["my-net.yaml"]).record()


def test_changed_data_is_refused(plan, tiny_data, work_dir):
    plan().record()
    copy = work_dir / tiny_data.name
    described = {**yaml.safe_load(tiny_data.read_text()), "path": str(tiny_data.parent), "names": ["a", "b"]}
    copy.write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.raises(ConfigError, match="data="):
        plan(data=str(copy)).record()


def test_changed_labels_are_refused(plan, tiny_data, work_dir):
    data = shutil.copytree(tiny_data.parent, work_dir / "data") / tiny_data.name
    plan(data=str(data)).record()
    moved = shutil.move(data.parent, work_dir / "elsewhere")
    plan(data=str(Path(moved) / data.name)).record()  # where it lies does not matter
    label = next(Path(moved, "labels", "train").glob("*.txt"))
    label.write_text("1 0.5 0.5 0.25 0.25\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="content of data="):
        plan(data=str(Path(moved) / data.name)).record()


def test_a_setting_that_is_newer_than_the_record_had_its_default(plan):
    plan().record()
    file = plan().folder / "comparison.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["recipe"]["lr0"], record["recipe"]["content of data"]
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lr0=0.5 \(was 0.01\)"):
        plan(lr0=0.5).record()
    plan().record()


def test_a_cell_refuses_what_was_changed_after_the_plan(plan, work_dir):
    tiny, other = plan(seeds=1).cells
    check_unchanged(tiny.job(None))
    Path("tiny.yaml").write_text(LAYERS.replace("[16, 3, 2]", "[24, 3, 2]", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model=tiny\.yaml names has changed"):
        check_unchanged(tiny.job(None))
    check_unchanged(other.job(None))


def test_changed_code_is_refused(plan, monkeypatch):
    """Cells that other code of the same YAML has trained are another model's, whether finished or half trained."""
    found = plan(seeds=1)
    found.record()
    tiny, other = found.cells
    monkeypatch.setattr(code, "_hash", lambda cls, old=code._hash: old(cls) + ("x" if cls is GhostConv else ""))
    plan(models=["other.yaml"]).record()  # has none of it
    with pytest.raises(ConfigError, match=r"the code of GhostConv in 'tiny\.yaml'.*another name="):
        plan().record()
    with pytest.raises(ConfigError, match=r"The code of GhostConv in 'tiny\.yaml' has changed"):
        check_code(tiny.job(None))
    check_code(other.job(None))


def test_a_record_without_code_gets_that_of_now(plan):
    plan().record()
    file = plan().folder / "comparison.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    for model in record["models"].values():
        del model["code"]
    file.write_text(json.dumps(record), encoding="utf-8")
    plan().record()
    assert json.loads(file.read_text(encoding="utf-8"))["models"]["tiny"]["code"]


SOURCE = """
import torch

class Block(torch.nn.Conv2d):{doc}
    def forward(self, x):
        {comment}
        return super().forward(x){change}
"""


def hashes_of(folder: Path, **parts: str) -> dict[str, str]:
    """Return the code of a model with one layer, as if a process had begun with this source."""
    file = folder / "my_layers.py"
    file.write_text(SOURCE.format(**{"doc": "", "comment": "# a", "change": "", **parts}), encoding="utf-8")
    linecache.clearcache()
    spec = importlib.util.spec_from_file_location("my_layers", file)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, my_layers=module):
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            spec.loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = before
        return code.code_of(torch.nn.Sequential(module.Block(1, 1, 1), torch.nn.ReLU()))


def test_code_is_what_is_run(tmp_path):
    """Comments and docstrings are not; nor are torch's classes part of it."""
    first = hashes_of(tmp_path)
    assert list(first) == ["my_layers.Block"]
    assert hashes_of(tmp_path, comment="# another") == first == hashes_of(tmp_path, doc='\n    """Says something."""')
    assert code.changed_code(first, hashes_of(tmp_path, change=" * 2")) == ["Block"]
    assert code.changed_code({}, first) == code.changed_code(None, first) == code.changed_code(first, {}) == []


def test_a_damaged_record_is_told(plan):
    found = plan()
    found.folder.mkdir(parents=True)
    (found.folder / "comparison.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        found.record()


@pytest.mark.parametrize(("settings", "said"), [
    ({"batch": -1}, "batch=-1"), ({"seed": 3}, "seeds="), ({"resume": True}, "decides 'resume'"),
    ({"time": 1}, "epochs"),
    ({"data": None}, "No data"), ({"epochs": 0}, "epochs"), ({"task": "pose"}, "do not compare"),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused_at_once(plan, settings, said):
    with pytest.raises(ConfigError, match=said):
        plan(**settings)


def test_models_of_two_tasks_are_refused(plan):
    with pytest.raises(ConfigError, match="do not compare"):
        plan(models=["tiny.yaml", "yolo11n-cls.yaml"])


def test_a_missing_model_is_refused_at_once(plan):
    with pytest.raises(MissingFileError, match=r"nothing\.yaml"):
        plan(models=["tiny.yaml", "nothing.yaml"])
    with pytest.raises(MissingFileError, match=r"nothing\.pt"):
        plan(models=["tiny.yaml", "nothing.pt"])


def test_two_do_not_share_a_folder(tmp_path, log):
    folder = tmp_path / "compare"
    with alone_in(folder) as one, alone_in(folder) as two, alone_in(folder) as three:
        assert [one, two, three] == [folder, tmp_path / "compare2", tmp_path / "compare3"]
    assert f"Another process works in '{folder}', so this comparison is made in '{two}'." in log
    with alone_in(folder) as again:  # which has been let go of
        assert again == folder


def test_a_plan_is_that_of_another_folder(plan, tmp_path):
    moved = (first := plan(models=["tiny.yaml"])).at(tmp_path / "other")
    assert [c.folder.relative_to(tmp_path / "other") for c in moved.cells] == [
        c.folder.relative_to(first.folder) for c in first.cells
    ]


# Words ----------------------------------------------------------------------------------------------------------------


def test_the_device_of_a_settings_file_counts(plan, work_dir, capsys):
    data = plan().settings["data"]
    (work_dir / "my.yaml").write_text(yaml.safe_dump({"device": "cup", "data": data}), encoding="utf-8")
    assert yolo(["compare", "models=tiny.yaml", "cfg=my.yaml", "name=n"]) == 2
    assert "device='cup'" in capsys.readouterr().err
    assert not (work_dir / "runs").exists()


def test_words_are_read():
    words = ["models=a.yaml,b.yaml", "seeds=[0,7]", "epochs=3", "lr0=0.1", "device=0,1", "name=12", "runtimes=none"]
    assert parse(words) == {
        "models": ["a.yaml", "b.yaml"], "seeds": [0, 7], "epochs": 3, "lr0": 0.1, "device": "0,1", "name": "12",
        "runtimes": [],
    }  # fmt: skip


@pytest.mark.parametrize(("words", "said"), [
    (["model=a.yaml"], "models="), (["modles=a.yaml"], "Did you mean 'models'"), (["a.yaml"], "key=value"),
    (["models="], "key=value"), (["data=x.yaml"], "Which models"), (["results=a", "epochs=3"], "'epochs' has no place"),
    (["results=nowhere"], "no finished run"), (["models=a.yaml", "runtimes=onnxruntim"], "Did you mean 'onnxruntime'"),
    (["models=a.yaml", "threads=0"], "threads=0"),
])  # fmt: skip
def test_mistakes_are_sentences(work_dir, capsys, words, said):
    assert yolo(["compare", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(work_dir.iterdir())


def test_the_verb_alone_says_how(capsys):
    assert yolo(["compare"]) == 0
    assert "models=a.yaml,b.yaml" in capsys.readouterr().out


# Finished runs --------------------------------------------------------------------------------------------------------


def finished_run(folder: Path, **settings) -> str:
    """Write what a finished run leaves, with nothing for weights."""
    write_run(folder, "detect")
    args = {"task": "detect", "model": "yolo11n.yaml", "data": "my.yaml", "seed": 0, "epochs": 3, **settings}
    (folder / "args.yaml").write_text(yaml.safe_dump(args), encoding="utf-8")
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pt").write_bytes(folder.name.encode())
    return str(folder)


def test_runs_that_differ_in_the_seed_are_one_row(work_dir):
    runs = [finished_run(work_dir / f"r{i}", seed=i % 2, model=("a.yaml", "b.yaml")[i // 2], name=f"r{i}", workers=i)
            for i in range(4)]  # fmt: skip
    found = read_runs(runs, None, None)
    assert [(c.label, c.seed) for c in found.cells] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert found.notes == []
    assert found.settings["epochs"] == 3


def test_runs_of_other_layers_under_one_name_are_two_rows(work_dir):
    runs = []
    for i, text in enumerate((LAYERS, LAYERS, LAYERS.replace("GhostConv", "Conv"))):
        (work_dir / "tiny.yaml").write_text(text, encoding="utf-8")
        runs.append(finished_run(work_dir / f"r{i}", seed=i, model="tiny.yaml"))
        save_checkpoint(Path(runs[-1], "weights", "best.pt"), describe(DetectionModel("tiny.yaml", verbose=False)))
    found = read_runs(runs, None, None)
    assert [(c.label, c.seed) for c in found.cells] == [("tiny (r0)", 0), ("tiny (r0)", 1), ("tiny (r2)", 2)]


def test_a_run_that_has_not_finished_is_told(work_dir):
    (work_dir / "tiny.yaml").write_text(LAYERS, encoding="utf-8")
    runs, model = [], describe(DetectionModel("tiny.yaml", verbose=False))
    for name, more in (("r0", {}), ("r1", {"optimizer": {}, "epoch": 1})):
        runs.append(finished_run(work_dir / name, seed=len(runs)))
        save_checkpoint(Path(runs[-1], "weights", "last.pt"), {**model, **more})
    (note,) = read_runs(runs, None, None).notes
    assert "r1' has not come to its end: it stands at 2 of 3 epochs" in note


def test_results_on_changed_data_are_forgotten(work_dir, tiny_data):
    data = shutil.copytree(tiny_data.parent, work_dir / "data") / tiny_data.name
    runs = [finished_run(work_dir / "r0", data=str(data))]
    (cell,) = read_runs(runs, None, None).cells
    write_json(cell.folder / "result.json", {"epochs": 3})
    assert read_runs(runs, None, None).cells[0].result
    next((data.parent / "labels" / "val").glob("*.txt")).write_text("1 0.5 0.5 0.25 0.25\n", encoding="utf-8")
    assert read_runs(runs, None, None).cells[0].result is None


def test_unlike_recipes_are_told(work_dir):
    runs = [finished_run(work_dir / "r0"), finished_run(work_dir / "r1", epochs=9, lr0=0.1)]
    found = read_runs(runs, "p", "n")
    assert [c.label for c in found.cells] == ["yolo11n (r0)", "yolo11n (r1)"]
    (note,) = found.notes
    assert "epochs (yolo11n (r0): 3, yolo11n (r1): 9)" in note and "lr0 (" in note and "imgsz" not in note
    assert "epochs" not in found.settings


def test_a_run_that_repeats_another_is_left_out(work_dir):
    found = read_runs([finished_run(work_dir / "r0"), finished_run(work_dir / "r1")], None, None)
    assert len(found.cells) == 1
    assert "repeats yolo11n with seed 0" in found.notes[0]


def test_results_of_replaced_weights_are_forgotten(work_dir):
    runs = [finished_run(work_dir / "r0")]
    (cell,) = read_runs(runs, None, None).cells
    write_json(cell.folder / "result.json", {"epochs": 3})
    assert read_runs(runs, None, None).cells[0].result == {"epochs": 3}
    cell.best.write_bytes(b"trained again")
    assert read_runs(runs, None, None).cells[0].result is None


def test_runs_of_two_tasks_are_refused(work_dir):
    runs = [finished_run(work_dir / "r0"), finished_run(work_dir / "r1", task="pose")]
    with pytest.raises(ConfigError, match="several tasks"):
        read_runs(runs, None, None)
