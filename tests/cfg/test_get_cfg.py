"""Reading settings: what is accepted, what becomes of it, and what is answered to mistakes."""

from __future__ import annotations

import copy
import pickle
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ultralytics import cfg as cfg_module
from ultralytics.cfg import (
    DEFAULT_CFG,
    DEFAULT_CFG_DICT,
    MODELS,
    TASK2DATA,
    TASK2METRIC,
    TASK2MODEL,
    TASKS,
    cfg2dict,
    check_dict_alignment,
    copy_default_cfg,
    find_model_yaml,
    get_cfg,
    get_save_dir,
    model_yamls,
    smart_value,
)
from ultralytics.cfg.schema import Settings
from ultralytics.utils import IterableSimpleNamespace, yaml_save
from ultralytics.utils.errors import ConfigError, MissingFileError


def test_defaults_and_overrides():
    args = get_cfg(overrides={"epochs": 3, "lr0": 0.5})
    assert (args.epochs, args.lr0, args.imgsz) == (3, 0.5, 640)
    assert dict(get_cfg()) == DEFAULT_CFG_DICT


def test_settings_are_typed_and_keep_the_ways_of_a_namespace():
    args = get_cfg(overrides={"epochs": 3})
    assert isinstance(args, Settings) and isinstance(args, IterableSimpleNamespace)
    assert dict(args) == vars(args) and args.get("epochs") == 3 and args.get("no_such", 5) == 5
    assert "epochs=3\n" in str(args) and repr(args).startswith("Settings(task='detect'")
    args.own = args.save_dir = "mine"  # what users put on it
    for other in (copy.copy(args), copy.deepcopy(args), pickle.loads(pickle.dumps(args))):
        assert other == args and type(other) is Settings and other.own == "mine"
    assert dict(get_cfg()) == DEFAULT_CFG_DICT and get_cfg().save_dir is None


def test_replacing_settings_leaves_the_old_ones():
    args = get_cfg(overrides={"epochs": 3})
    args.own = 1
    other = args.replaced(epochs=5, imgsz=640)
    assert (args.epochs, other.epochs, other.own) == (3, 5, 1)
    assert args.replaced(epochs=3) is args


def test_inputs_stay_as_they_were():
    given = {"hide_labels": True}
    args = get_cfg(DEFAULT_CFG, given)
    args.epochs = 1
    assert given == {"hide_labels": True}
    assert get_cfg().epochs == DEFAULT_CFG.epochs == DEFAULT_CFG_DICT["epochs"] == 100


@pytest.mark.parametrize("form", ["dict", "namespace", "file"])
def test_forms_of_cfg(form, tmp_path):
    values = {"epochs": 7, "name": "测试"}
    yaml_save(tmp_path / "my.yaml", values)
    source = {"dict": values, "namespace": SimpleNamespace(**values), "file": tmp_path / "my.yaml"}[form]
    assert cfg2dict(source) == values
    args = get_cfg(source)
    assert (args.epochs, args.name, args.batch) == (7, "测试", 16)


@pytest.mark.parametrize(
    "key, given, kept",
    [
        ("name", 7, "7"),
        ("project", 1.5, "1.5"),
        ("project", Path("runs/测试"), str(Path("runs/测试"))),
        ("batch", -1, -1),
        ("batch", 0.7, 0.7),
        ("batch", 8.0, 8),
        ("epochs", np.int64(3), 3),
        ("lr0", 1, 1.0),
        ("imgsz", (480, 640), [480, 640]),
        ("device", 0, 0),
        ("device", "cpu", "cpu"),
        ("device", (0, 1), [0, 1]),
        ("classes", 2, 2),
        ("classes", [0, 2], [0, 2]),
        ("classes", (0, 2), [0, 2]),
        ("classes", {2, 0}, [0, 2]),
        ("classes", range(3), [0, 1, 2]),
        ("classes", np.array([0, 2]), [0, 2]),
        ("classes", np.array([0.0, 2.0], np.float32), [0, 2]),
        ("classes", np.array(2), 2),
        ("classes", [np.int64(0), np.float32(2)], [0, 2]),
        ("classes", "2", 2),
        ("classes", "0,2", [0, 2]),
        ("classes", "[0, 2]", [0, 2]),
        ("imgsz", "480, 640", [480, 640]),
        ("freeze", range(2), [0, 1]),
        ("optimizer", "adamw", "AdamW"),
        ("cache", "RAM", "ram"),
        ("cache", True, True),
        ("pretrained", "best.pt", "best.pt"),
        ("conf", None, None),
        ("source", [np.zeros(2)], None),
    ],
)
def test_accepted(key, given, kept):
    value = get_cfg(overrides={key: given}).get(key)
    if key == "source":
        assert value is given
    else:
        assert value == kept and type(value) is type(kept)


def test_classes_of_a_tensor():
    torch = pytest.importorskip("torch")
    for given in (torch.tensor([0.0, 2.0]), torch.tensor([0, 2]), [torch.tensor(0.0), torch.tensor(2)]):
        assert get_cfg(overrides={"classes": given}).classes == [0, 2]
    assert get_cfg(overrides={"classes": torch.tensor(2.0)}).classes == 2


def test_a_torch_device_is_kept_by_name():
    torch = pytest.importorskip("torch")
    assert get_cfg(overrides={"device": torch.device("cpu")}).device == "cpu"


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("imgsz", 0, "a whole number of at least 1"),
        ("imgsz", [640, 0], "at least 1"),
        ("imgsz", "big", "a whole number"),
        ("imgsz", [1.5, 2], "a list of whole numbers"),
        ("batch", 0, "-1 to choose it by the GPU's memory"),
        ("batch", 2.5, "a fraction of that memory"),
        ("batch", -2, "at least 1"),
        ("epochs", 0, "at least 1"),
        ("epochs", 2.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", None, "a whole number"),
        ("lr0", "high", "a number from 0 to 1"),
        ("conf", 1.1, "a number from 0 to 1"),
        ("conf", float("nan"), "a number from 0 to 1"),
        ("box", -0.1, "a number of at least 0"),
        ("fraction", 0, "a number above 0 up to 1"),
        ("val", "yes", "True or False"),
        ("val", 1, "True or False"),
        ("device", True, "a whole number or a text or a list"),
        ("workers", -1, "at least 0"),
        ("classes", [-1], "at least 0"),
        ("classes", "-1", "at least 0"),
        ("classes", "fire", "a list of whole numbers"),
        ("classes", np.array([0.5]), "a list of whole numbers"),
        ("classes", np.array([[0]]), "a list of whole numbers"),
        ("classes", [], "a list of whole numbers"),
        ("imgsz", "__import__('os')", "a whole number"),
        ("optimizer", "AdamX", "Did you mean 'Adam'"),
        ("task", "detekt", "Did you mean 'detect'"),
        ("mode", "trian", "Did you mean 'train'"),
        ("cache", "dusk", "Did you mean 'disk'"),
        ("name", ["a"], "a text or none"),
    ],
)
def test_refused_with_a_sentence(key, value, words):
    with pytest.raises(ConfigError) as e:
        get_cfg(overrides={key: value})
    assert words in str(e.value) and f"'{key}={value}' is not possible" in str(e.value)


@pytest.mark.parametrize("where", ["cfg", "overrides"])
@pytest.mark.parametrize("key, nearest", [("epoch", "epochs"), ("learning_rate", None), ("img_sz", "imgsz")])
def test_unknown_key(where, key, nearest):
    with pytest.raises(ConfigError, match=f"'{key}' is not a setting") as e:
        get_cfg(**{where: {key: 1}})
    assert (f"Did you mean '{nearest}'?" if nearest else "yolo help") in str(e.value)


def test_unknown_key_is_a_syntax_error_as_in_8_3_0():
    with pytest.raises(SyntaxError) as e:
        get_cfg(overrides={"epoch": 1})
    copy = pickle.loads(pickle.dumps(e.value))
    shown = traceback.format_exception_only(e.value)[-1]
    assert str(copy) == str(e.value) == e.value.msg and shown.rstrip().endswith("Did you mean 'epochs'?")


def test_several_unknown_keys_are_all_named():
    with pytest.raises(ConfigError, match=r"\['epoch', 'batchsize'\] are not settings.*'epochs'.*'batch'"):
        check_dict_alignment(DEFAULT_CFG_DICT, {"epoch": 1, "batchsize": 2, "imgsz": 3})


def test_old_names():
    args = get_cfg(overrides={"hide_labels": True, "hide_conf": False, "boxes": False, "line_thickness": 3})
    assert (args.show_labels, args.show_conf, args.show_boxes, args.line_width) == (False, True, False, 3)


def test_save_dir_is_kept_from_a_run_and_passed_over_in_overrides():
    assert get_cfg({"save_dir": "runs/a"}).save_dir == "runs/a"
    assert get_cfg({"save_dir": "runs/a"}, {"save_dir": "runs/b"}).save_dir == "runs/b"
    assert "save_dir" not in vars(get_cfg(overrides={"save_dir": "runs/b"}))


def test_run_called_after_its_model():
    assert get_cfg(overrides={"name": "model", "model": "yolo11n-GhostConv.yaml"}).name == "yolo11n-GhostConv"


def test_settings_can_be_copied_and_pickled():
    args = get_cfg(overrides={"epochs": 3})
    assert copy.deepcopy(args) == pickle.loads(pickle.dumps(args)) == args
    assert not hasattr(args, "nothing")


@pytest.mark.parametrize(
    "text, value",
    [
        ("none", None),
        ("True", True),
        ("false", False),
        ("3", 3),
        ("-0.5", -0.5),
        ("1e-3", 0.001),
        ("0,1", (0, 1)),
        ("[640, 480]", [640, 480]),
        ("a.jpg", "a.jpg"),
        ("007", "007"),
        ("火焰", "火焰"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("[" * 2000, "[" * 2000),
    ],
)
def test_smart_value(text, value):
    assert smart_value(text) == value


def test_a_number_that_no_message_could_quote_stays_a_text():
    with pytest.raises(ConfigError, match="'seed=0xfff"):
        get_cfg(overrides={"seed": smart_value("0x" + "f" * 5000)})


def test_save_dir(work_dir):
    args = get_cfg(overrides={"mode": "val"})
    first = get_save_dir(args)
    assert first == Path("runs/detect/val")
    first.mkdir(parents=True)
    assert get_save_dir(args) == Path("runs/detect/val2")
    assert get_save_dir(get_cfg(overrides={"mode": "val", "exist_ok": True})) == first
    assert get_save_dir(get_cfg(overrides={"project": "p", "name": "n"})) == Path("p/n")
    assert get_save_dir(get_cfg({"save_dir": "elsewhere"})) == Path("elsewhere")
    assert get_save_dir(args, name="track") == Path("runs/detect/track")


def test_runs_dir_of_the_user(work_dir, monkeypatch):
    from ultralytics.utils.settings import SettingsManager

    settings = SettingsManager(work_dir / "settings.json")
    settings["runs_dir"] = "mine"
    monkeypatch.setattr("ultralytics.utils.SETTINGS", settings, raising=False)
    assert get_save_dir(get_cfg()) == Path("mine/detect/train")


def test_copy_default_cfg_spares_an_edited_copy(work_dir):
    file = copy_default_cfg()
    assert get_cfg(file) == get_cfg()
    file.write_text("epochs: 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists already"):
        copy_default_cfg()
    assert get_cfg(file).epochs == 5


def test_task_tables():
    assert set(TASK2DATA) == set(TASK2MODEL) == set(TASK2METRIC) == set(TASKS)
    assert TASK2MODEL["detect"] == "yolo11n.pt" and "yolo11n.pt" in MODELS
    assert TASK2METRIC["detect"] == "metrics/mAP50-95(B)"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("part", ["model", "trainer", "validator", "predictor"])
def test_the_task_table_names_classes_that_exist(task, part):
    assert isinstance(cfg_module.load(getattr(task, part)), type)


def test_model_yamls_are_found_whatever_scale_and_hyphen():
    names = [file.name for file in model_yamls().values()]
    assert {"yolo11.yaml", "yolo11-GhostConv.yaml", "yolo11-GhostNetV1.yaml", "yolo11-GhostNetV2.yaml"} <= set(names)
    for given in ("yolo11-GhostConv.yaml", "yolo11s-GhostConv.yaml", "yolo11x_GhostConv.yaml", "yolo11_ghostconv.yaml"):
        assert find_model_yaml(given).name == "yolo11-GhostConv.yaml"
    assert find_model_yaml("yolo11m.yaml").name == "yolo11.yaml"
    assert find_model_yaml("models/11/yolo11n.yaml").name == "yolo11.yaml"


def test_a_model_yaml_here_comes_before_the_package(work_dir):
    (work_dir / "yolo11-GhostConv.yaml").write_text("nc: 1\n", encoding="utf-8")
    assert find_model_yaml("yolo11s_GhostConv.yaml").resolve() == work_dir / "yolo11-GhostConv.yaml"


@pytest.mark.parametrize("name", ["yolo11-GostConv.yaml", "yolo11q.yaml", "elsewhere/yolo11-GhostConv.yaml"])
def test_a_missing_model_yaml_names_the_nearest(name, work_dir):
    with pytest.raises(MissingFileError, match="Did you mean 'yolo11"):
        find_model_yaml(name)


def test_networks_with_a_file_for_each_scale(work_dir):
    assert [find_model_yaml(f"yolov9{s}.yaml").name for s in "tsm"] == ["yolov9t.yaml", "yolov9s.yaml", "yolov9m.yaml"]
    assert find_model_yaml("yolov10b.yaml").name == "yolov10b.yaml"
    with pytest.raises(MissingFileError):
        find_model_yaml("yolov9x.yaml")
    (work_dir / "yolov9m.yaml").write_text("nc: 1\n", encoding="utf-8")
    assert find_model_yaml("yolov9s.yaml").parent.name == "v9"
