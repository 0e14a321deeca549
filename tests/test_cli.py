"""The `yolo` command: its grammar against a model that only notes what it is asked, and every verb as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import tiny_model

import ultralytics
from ultralytics.cfg import DEFAULT_CFG_PATH, TASK2DATA, merge_equals_args
from ultralytics.cli import main, parse
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.settings import SettingsManager


class NotingModel:
    """Stands for YOLO: has three modes, and notes how it was made and called."""

    calls: list[tuple]
    overrides: dict = {}
    task = "detect"

    def __init__(self, model, task=None):
        self.made = (model, task)

    def train(self, **kwargs):
        self.calls.append(("train", *self.made, kwargs))

    def val(self, **kwargs):
        self.calls.append(("val", *self.made, kwargs))

    def predict(self, **kwargs):
        self.calls.append(("predict", *self.made, kwargs))
        return iter(())


@pytest.fixture
def calls(monkeypatch, work_dir):
    """The list into which calls of the model go; the working directory is empty."""
    monkeypatch.setattr(NotingModel, "calls", [], raising=False)
    monkeypatch.setitem(vars(ultralytics), "YOLO", NotingModel)
    return NotingModel.calls


def answer(capsys, *words: str) -> str:
    """Run a command that is a mistake and return the one sentence that it answers."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith(("\n", "?\n")) and "Traceback" not in err
    return err


# Grammar --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "detect train model=yolo11n.yaml data=d.yaml epochs=3 lr0=1e-3",
        "train detect data=d.yaml epochs=3 lr0=0.001 model=yolo11n.yaml",
        "epochs=3 lr0=.001 model=yolo11n.yaml data=d.yaml train detect",
        "detect train model = yolo11n.yaml data= d.yaml epochs =3 lr0 = 0.001",
        "detect, train, model=yolo11n.yaml, data=d.yaml, epochs=3, lr0=0.001,",
        "task=detect mode=train --model=yolo11n.yaml --data=d.yaml --epochs=3 --lr0=0.001",
    ],
)
def test_any_order_and_spacing(words, calls):
    assert main(words.split()) == 0
    assert calls == [("train", "yolo11n.yaml", "detect", {"data": "d.yaml", "epochs": 3, "lr0": 0.001})]


def test_the_task_may_be_left_out(calls):
    assert main(["train", "model=yolo11s-GhostConv.yaml", "data=d.yaml"]) == 0
    assert calls == [("train", "yolo11s-GhostConv.yaml", None, {"data": "d.yaml"})]


@pytest.mark.parametrize(
    "words, joined",
    [
        (["a", "=", "b"], ["a=b"]),
        (["a=", "b", "c=1"], ["a=b", "c=1"]),
        (["a", "=b", "c"], ["a=b", "c"]),
        (["a=", "b=1"], ["a=", "b=1"]),
        (["source", "=", "http://x/?a=b"], ["source=http://x/?a=b"]),
        (["classes=[0,", "1]", "show"], ["classes=[0,1]", "show"]),
        (["source=a=b", "c"], ["source=a=b", "c"]),
    ],
)
def test_words_are_joined_around_equals_signs(words, joined):
    assert merge_equals_args(words) == joined


@pytest.mark.parametrize(
    "word, key, value",
    [
        ("show", "show", True),
        ("val=False", "val", False),
        ("device=0,1", "device", [0, 1]),
        ("device=cpu", "device", "cpu"),
        ("imgsz=[480,640]", "imgsz", [480, 640]),
        ("name=007", "name", "007"),
        ("name=1_000", "name", "1_000"),
        ("name=none", "name", None),
        ("source=0", "source", 0),
        ("source=图片/a b.jpg", "source", "图片/a b.jpg"),
        ("batch=0.7", "batch", 0.7),
        ("cache=ram", "cache", "ram"),
        ("resume=runs/a=b/last.pt", "resume", "runs/a=b/last.pt"),
    ],
)
def test_values(word, key, value):
    parsed = parse([word])[key]
    assert parsed == value and type(parsed) is type(value)


def test_values_are_never_run(work_dir):
    parse(["source=__import__('pathlib').Path('ran').touch()"])
    assert not (work_dir / "ran").exists()


def test_settings_from_a_file_come_after_those_of_the_command(work_dir, calls):
    (work_dir / "my.yaml").write_text("epochs: 9\nimgsz: 320\nsave_dir: runs/old\nmodel: yolo11n.yaml\ndata: d.yaml\n")
    assert main(["train", "epochs=3", "cfg=my.yaml"]) == 0
    ((mode, model, _, kwargs),) = calls
    assert (mode, model, kwargs) == ("train", "yolo11n.yaml", {"epochs": 3, "imgsz": 320, "data": "d.yaml"})
    (work_dir / "my.yaml").write_text("epoch: 9\n")
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        parse(["cfg=my.yaml"])


# Defaults -------------------------------------------------------------------------------------------------------------


def test_training_without_a_model_starts_from_the_yaml_of_the_default(calls, capsys):
    assert main(["train", "data=d.yaml"]) == 0
    assert calls[0][1] == "yolo11n.yaml"
    Path("yolo11n.pt").touch()
    assert main(["train", "data=d.yaml"]) == 0
    assert calls[1][1] == "yolo11n.pt"


def test_training_without_data_takes_the_task_s_own(calls):
    assert main(["train", "model=yolo11n.yaml"]) == 0
    assert calls[0][3] == {"data": "coco8.yaml"}


def test_training_without_data_says_where_to_put_it(calls, capsys, monkeypatch):
    monkeypatch.setitem(TASK2DATA, "detect", "absent.yaml")
    text = answer(capsys, "train", "model=yolo11n.yaml")
    assert "'absent.yaml'" in text and "nothing is downloaded" in text and str(Path.cwd()) in text
    assert not calls
    Path("absent.yaml").touch()
    assert main(["train", "model=yolo11n.yaml"]) == 0
    assert calls[0][3] == {"data": "absent.yaml"}


def test_data_that_the_model_remembers_is_used(calls, monkeypatch):
    monkeypatch.setattr(NotingModel, "overrides", {"data": "mine.yaml"})
    assert main(["val", "model=yolo11n.yaml"]) == 0
    assert calls[0][3] == {}


def test_prediction_saves_unless_told_otherwise(calls):
    Path("best.pt").touch()
    assert main(["predict", "model=best.pt", "source=a.jpg"]) == 0
    assert main(["predict", "model=best.pt", "save=False"]) == 0
    assert [call[3] for call in calls] == [
        {"source": "a.jpg", "save": True, "stream": True},
        {"save": False, "stream": True},
    ]


def test_resume(calls, capsys):
    Path("last.pt").touch()
    assert main(["train", "resume=last.pt"]) == 0
    assert main(["train", "resume", "model=last.pt"]) == 0
    assert [call[1:] for call in calls] == [
        ("last.pt", None, {"resume": "last.pt"}),
        ("last.pt", None, {"resume": True}),
    ]
    Path("last.pt").unlink()
    assert "no interrupted run" in answer(capsys, "train", "resume")


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        ("train epoch=3", "'epoch' is not a setting. Did you mean 'epochs'?"),
        ("train modle=yolo11n.yaml", "Did you mean 'model'?"),
        ("train epochs=ten", "'epochs' takes a whole number of at least 1"),
        ("train imgsz=0", "'imgsz=0' is not possible"),
        ("train batch=0", "'batch=0' is not possible"),
        ("train epochs=", "'epochs=' has no value"),
        ("train epochs", "needs a value, such as 'epochs=100'"),
        ("trian model=yolo11n.yaml", "Did you mean 'train'?"),
        ("detct train", "Did you mean 'detect'?"),
        ("chekcs", "Did you mean 'checks'?"),
        ("xyzzyq", "`yolo help`"),
        ("detect", "No mode was given"),
        ("train yolo11n.yaml", "Did you mean 'model=yolo11n.yaml'"),
        ("train task=segmnt", "'task' takes one of detect, segment"),
        ("train model=yolo11n-GostConv.yaml", "Did you mean 'yolo11-GhostConv.yaml'"),
        ("train model=yolo11n", "Did you mean 'yolo11n.yaml'?"),
        ("predict model=bst.pt", "The weight file 'bst.pt' does not exist"),
        ("val model=yolo11s.pt", "write 'model=yolo11s.yaml'"),
        ("predict", "'yolo11n.pt' does not exist"),
        ("train cfg=nothing.yaml", "'nothing.yaml' does not exist"),
        ("settings run_dir=x", "Did you mean 'runs_dir'?"),
        ("settings sync=maybe", "'sync' takes True or False"),
        ("settings rset", "Did you mean 'reset'?"),
        ("version 3", "takes nothing more"),
        ("cfg epochs=3", "takes nothing more"),
        ("help epoch", "Did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(words, said, calls, capsys):
    assert said in answer(capsys, *words.split())
    assert not calls


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export model=yolo11n.yaml format=onx", "format='onx' is not known. Choose executorch, mnn"),
        ("export model=yolo11n.yaml format=torchscript int8=true", "TorchScript has no 'int8'"),
        ("benchmark model=yolo11n.yaml format=pt", "format='pt' is not known"),
    ],
)
def test_a_format_that_does_not_fit_is_answered_with_one_sentence(words, said, work_dir, capsys):
    assert said in answer(capsys, *words.split())


def test_missing_weights_point_at_those_that_are_there(calls, capsys):
    Path("best.pt").touch()
    assert "Did you mean 'best.pt'?" in answer(capsys, "predict", "model=bst.pt")
    trained = Path("runs/detect/train/weights/best.pt")
    trained.parent.mkdir(parents=True)
    trained.touch()
    assert f"'{trained.as_posix()}'" in answer(capsys, "predict", "model=zzz.pt")


def test_other_errors_keep_their_traceback_and_interrupts_give_130(calls, monkeypatch, capsys):
    def fail(self, **kwargs):
        raise ZeroDivisionError

    def interrupt(self, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(NotingModel, "val", fail)
    with pytest.raises(ZeroDivisionError):
        main(["val", "model=yolo11n.yaml", "data=d.yaml"])
    monkeypatch.setattr(NotingModel, "val", interrupt)
    assert main(["val", "model=yolo11n.yaml", "data=d.yaml"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


# Verbs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"], ["settings", "--help"], ["detect", "help"]])
def test_help(words, capsys):
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "yolo TASK MODE key=value" in out and "copy-cfg" in out


def test_help_on_a_setting_and_on_a_mode(capsys):
    assert main(["help", "imgsz"]) == 0
    assert "a whole number of at least 1" in capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "lr0=0.01" in out and "vid_stride" not in out


def test_settings(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setitem(vars(ultralytics.utils), "SETTINGS", SettingsManager())
    assert main(["settings", "wandb=true,"]) == 0
    assert "wandb=True" in capsys.readouterr().out
    assert main(["settings", "runs_dir", "=", "007"]) == 0
    assert "runs_dir=007" in capsys.readouterr().out
    assert main(["settings", "reset"]) == 0
    out = capsys.readouterr().out
    assert "wandb=False" in out and "runs_dir=runs" in out and str(tmp_path) in out


# As a process ---------------------------------------------------------------------------------------------------------


def yolo(*words: str, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ultralytics", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=timeout)


def test_version_as_a_process(tmp_path):
    done = yolo("version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ultralytics.__build__}\n", "")


def test_entrypoint_of_the_installed_script(tmp_path):
    code = "import sys; sys.argv = ['yolo', 'version']; from ultralytics.cfg import entrypoint; sys.exit(entrypoint())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, f"{ultralytics.__build__}\n")


def test_mistake_as_a_process(tmp_path):
    done = yolo("train", "epoch=3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "'epoch' is not a setting. Did you mean 'epochs'?\n"


def test_help_and_settings_as_processes(tmp_path):
    assert "yolo TASK MODE" in yolo("help", cwd=tmp_path).stdout
    assert "runs_dir=" in yolo("settings", cwd=tmp_path).stdout


def test_cfg_and_copy_cfg_as_processes(tmp_path):
    shown = yolo("cfg", cwd=tmp_path).stdout
    assert shown == DEFAULT_CFG_PATH.read_text(encoding="utf-8")
    assert yolo("copy-cfg", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "default_copy.yaml").read_text(encoding="utf-8")) == yaml.safe_load(shown)
    assert yolo("copy-cfg", cwd=tmp_path).returncode == 2


def test_checks_as_a_process(tmp_path):
    done = yolo("checks", cwd=tmp_path)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("Python", "torch", "torchvision", "CUDA", "opencv", "memory"))


def test_train_val_and_predict_as_processes(tmp_path, tiny_data):
    """One epoch on the tiny dataset, then validation and prediction with its weights."""
    small = ("imgsz=64", "device=cpu", "workers=0", "plots=False")
    words = ("detect", "train", f"model={tiny_model(tmp_path)}", f"data={tiny_data}", "epochs=1", "batch=4", *small)
    done = yolo(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "detect" / "train"
    assert {"args.yaml", "results.csv", "weights"} <= {p.name for p in run.iterdir()}
    best = run / "weights" / "best.pt"
    assert best.is_file() and (run / "weights" / "last.pt").is_file()

    done = yolo("val", f"model={best}", f"data={tiny_data}", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mAP50" in done.stdout + done.stderr

    source = tiny_data.parent / "images" / "val"
    done = yolo("predict", f"model={best}", f"source={source}", "conf=0.01", "save_txt", *small[:2], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "detect" / "predict").glob("*.jpg"))) == 4
