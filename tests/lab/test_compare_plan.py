"""What is to be compared: names, seeds, the record of what cells have in common, and the words of the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tiny import LAYERS, tiny_model

from ultralytics.cli import main as yolo
from ultralytics.lab.compare.command import parse
from ultralytics.lab.compare.plan import Plan, folder_name, labels_of, make_plan, seed_list
from ultralytics.lab.compare.record import alone_in, keep_record
from ultralytics.lab.compare.runner import device_list
from ultralytics.lab.compare.work import check_unchanged
from ultralytics.utils.errors import ConfigError, MissingFileError


@pytest.fixture
def plan(work_dir: Path, tiny_data: Path):
    """Plan a comparison of two tiny models with some settings."""
    tiny_model(work_dir)
    (work_dir / "other.yaml").write_text(LAYERS.replace("GhostConv", "Conv"), encoding="utf-8")

    def make(models=("tiny.yaml", "other.yaml"), seeds=2, **settings) -> Plan:
        return make_plan(models, seeds, {"data": str(tiny_data), "epochs": 2, **settings})

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
    keep_record(plan(), "yolo compare ...")
    keep_record(plan(), "yolo compare ...")
    keep_record(plan(workers=3, plots=False, device="cpu"), "yolo compare ...")  # none of this changes a result
    keep_record(plan(seeds=5), "yolo compare ...")
    keep_record(plan(models=["other.yaml"]), "yolo compare ...")


@pytest.mark.parametrize(("change", "said"), [
    ({"epochs": 3}, r"epochs=3 \(was 2\)"), ({"lr0": 0.5}, r"lr0=0.5 \(was 0.01\)"), ({"imgsz": 96}, "imgsz=96"),
])  # fmt: skip
def test_changed_settings_are_refused(plan, change, said):
    keep_record(plan(), "yolo compare ...")
    with pytest.raises(ConfigError, match=said) as e:
        keep_record(plan(**change), "yolo compare ...")
    assert "name=" in str(e.value)


def test_a_changed_model_is_refused(plan, work_dir):
    keep_record(plan(), "yolo compare ...")
    file = work_dir / "tiny.yaml"
    file.write_text(file.read_text().replace("[16, 3, 2]", "[24, 3, 2]"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"content of 'tiny\.yaml'"):
        keep_record(plan(), "yolo compare ...")


def test_a_model_keeps_its_name_when_more_are_added(plan, work_dir):
    """Two weight files of one name are told apart by their folders, but cells of the first one are there already."""
    text = (work_dir / "tiny.yaml").read_text(encoding="utf-8")
    for folder, channels in (("a", 16), ("b", 24)):
        (work_dir / folder).mkdir()
        file = work_dir / folder / "net.yaml"
        file.write_text(text.replace("[16, 3, 2]", f"[{channels}, 3, 2]", 1), encoding="utf-8")
    first = plan(models=["a/net.yaml"])
    keep_record(first, "yolo compare ...")
    both = plan(models=["a/net.yaml", "b/net.yaml"])
    assert both.cells[0].folder == first.cells[0].folder
    assert both.cells[1].folder != first.cells[0].folder
    keep_record(both, "yolo compare ...")


def test_a_folder_of_another_model_is_refused(plan, work_dir):
    text = (work_dir / "tiny.yaml").read_text(encoding="utf-8")
    (work_dir / "my net.yaml").write_text(text.replace("[16, 3, 2]", "[24, 3, 2]", 1), encoding="utf-8")
    (work_dir / "my-net.yaml").write_text(text.replace("[16, 3, 2]", "[32, 3, 2]", 1), encoding="utf-8")
    keep_record(plan(models=["my net.yaml"]), "yolo compare ...")
    with pytest.raises(ConfigError, match="holds the cells of 'my net'"):
        keep_record(plan(models=["my-net.yaml"]), "yolo compare ...")


def test_changed_data_is_refused(plan, tiny_data, work_dir):
    keep_record(plan(), "yolo compare ...")
    copy = work_dir / tiny_data.name
    described = {**yaml.safe_load(tiny_data.read_text()), "path": str(tiny_data.parent), "names": ["a", "b"]}
    copy.write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.raises(ConfigError, match="data="):
        keep_record(plan(data=str(copy)), "yolo compare ...")


def test_changed_labels_are_refused(plan, tiny_data, work_dir):
    data = shutil.copytree(tiny_data.parent, work_dir / "data") / tiny_data.name
    keep_record(plan(data=str(data)), "yolo compare ...")
    moved = shutil.move(data.parent, work_dir / "elsewhere")
    keep_record(plan(data=str(Path(moved) / data.name)), "yolo compare ...")  # where it lies does not matter
    label = next(Path(moved, "labels", "train").glob("*.txt"))
    label.write_text("1 0.5 0.5 0.25 0.25\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="content of data="):
        keep_record(plan(data=str(Path(moved) / data.name)), "yolo compare ...")


def test_a_setting_that_is_newer_than_the_record_had_its_default(plan):
    keep_record(plan(), "yolo compare ...")
    file = plan().folder / "comparison.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["recipe"]["lr0"], record["recipe"]["content of data"]
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lr0=0.5 \(was 0.01\)"):
        keep_record(plan(lr0=0.5), "yolo compare ...")
    keep_record(plan(), "yolo compare ...")


def test_a_cell_refuses_what_was_changed_after_the_plan(plan, work_dir):
    tiny, other = plan(seeds=1).cells
    check_unchanged(tiny)
    Path("tiny.yaml").write_text(LAYERS.replace("[16, 3, 2]", "[24, 3, 2]", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model=tiny\.yaml names has changed"):
        check_unchanged(tiny)
    check_unchanged(other)


def test_another_version_of_the_package_is_refused(plan, monkeypatch):
    keep_record(plan(), "yolo compare ...")
    monkeypatch.setattr("ultralytics.lab.compare.record.__build__", "8.3.0+ghost.99")
    with pytest.raises(ConfigError, match=r"package=8\.3\.0\+ghost\.99 \(was 8\.3\.0"):
        keep_record(plan(), "yolo compare ...")


def test_a_damaged_record_is_told(plan):
    found = plan()
    found.folder.mkdir(parents=True)
    (found.folder / "comparison.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        keep_record(found, "yolo compare ...")
    record = {"task": "detect", "models": {"tiny": 3}, "recipe": {}}
    (found.folder / "comparison.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match="Delete it"):
        plan()


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
    (["results=nowhere"], "no finished run"),
    (["models=a.yaml", "runtimes=onnxruntim"], "Did you mean 'onnxruntime'"),
    (["models=a.yaml", "threads=0"], "threads=0"),
])  # fmt: skip
def test_mistakes_are_sentences(work_dir, capsys, words, said):
    assert yolo(["compare", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(work_dir.iterdir())


def test_the_verb_alone_says_how(capsys):
    assert yolo(["compare"]) == 0
    assert "models=a.yaml,b.yaml" in capsys.readouterr().out
