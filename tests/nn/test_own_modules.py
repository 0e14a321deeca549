"""Modules in a user's own file: the file and the YAML are all that is touched, and nothing runs without leave."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn import own_modules
from ultralytics.nn.registry import OWN, REGISTRY
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import MissingFileError, ModelError

SCALE = '''
import torch
from torch import nn
from ultralytics.nn import register

open("ran.txt", "a").write("x")


@register
class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, c1, start=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.full((c1, 1, 1), float(start)))

    def forward(self, x):
        return x * self.factor
'''


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a new process would: with no file loaded."""
    monkeypatch.setattr(own_modules, "LOADED", {})


def forget() -> None:
    own_modules.LOADED.clear()


def write(folder: Path, code: str = SCALE, modules: str = "[my_blocks.py]", line: str = "Scale, [0.5]") -> str:
    """Write a module file and a YAML that uses it into a folder; return the YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_blocks.py").write_text(code, encoding="utf-8")
    file = Path(tiny_model(folder))
    text = file.read_text().replace("[16, 3, 2]]\nhead", f"[16, 3, 2]]\n  - [-1, 1, {line}]\nhead")
    file.write_text(f"modules: {modules}\n" + text.replace("[2, 3, 4]", "[2, 3, 5]"), encoding="utf-8")
    return str(file)


def times_run() -> int:
    return len(Path("ran.txt").read_text()) if Path("ran.txt").exists() else 0


# Leave to run ---------------------------------------------------------------------------------------------------------


def test_nothing_runs_without_leave(work_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture):
    yaml = write(work_dir)
    sentence = r"tiny\.yaml.*my_blocks\.py.*trust_modules=True.*trust_modules=true"
    with pytest.raises(ModelError, match=sentence):
        YOLO(yaml)
    with pytest.raises(ModelError, match=sentence):
        DetectionModel(yaml)
    with pytest.raises(ModelError, match=sentence):
        DetectionTrainer(overrides={**FAST, "model": yaml, "data": str(tiny_data)}).train()
    assert main(["train", f"model={yaml}", f"data={tiny_data}"]) == 2
    assert "trust_modules=true" in capsys.readouterr().err
    assert times_run() == 0 and not Path("runs").exists()


def test_with_leave_it_runs_once_for_each_content(work_dir: Path):
    yaml = write(work_dir)
    model = YOLO(yaml, trust_modules=True)
    scale = model.model.model[5]
    assert type(scale).__name__ == "Scale" and scale.factor.shape == (16, 1, 1) and scale.factor[0] == 0.5
    assert sys.modules[type(scale).__module__].Scale is type(scale)
    assert model.overrides["trust_modules"] is True and model.model.args.trust_modules is True
    YOLO(yaml, trust_modules=True)
    YOLO(yaml)  # what runs already needs no leave
    assert times_run() == 1
    write(work_dir, SCALE.replace("x * self.factor", "x + self.factor"))  # the same length, in the same second
    with pytest.raises(ModelError, match="nobody has allowed"):
        YOLO(yaml)
    new = YOLO(yaml, trust_modules=True).model.model[5]
    assert times_run() == 2
    assert new(torch.zeros(1, 16, 1, 1)).max() == 0.5 and scale(torch.zeros(1, 16, 1, 1)).max() == 0


def test_other_models_do_not_see_it(work_dir: Path):
    before = dict(REGISTRY)
    YOLO(write(work_dir / "a"), trust_modules=True)
    YOLO(write(work_dir / "b", SCALE + "\nSCALE = 2\n"), trust_modules=True)  # another class of the same name
    assert before == REGISTRY
    plain = work_dir / "plain.yaml"
    plain.write_text(Path(write(work_dir / "c")).read_text().replace("modules: [my_blocks.py]\n", ""))
    with pytest.raises(ModelError, match=r"unknown module 'Scale'.*modules: \[FILE\.py\]"):
        YOLO(plain, trust_modules=True)


def test_what_the_script_registers_itself_needs_no_leave(work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    yaml = write(work_dir)
    monkeypatch.setitem(REGISTRY, "Scale", None)
    del REGISTRY["Scale"]
    monkeypatch.syspath_prepend(work_dir)
    import my_blocks

    assert type(YOLO(yaml).model.model[5]) is my_blocks.Scale
    assert type(YOLO(yaml, trust_modules=True).model.model[5]) is not my_blocks.Scale  # the YAML's own comes first
    sys.modules.pop("my_blocks")


@pytest.mark.parametrize("folder", ["with spaces", "我的 模块"])
def test_paths_with_spaces_and_chinese(work_dir: Path, folder: str):
    yaml = write(work_dir / folder / "models", modules="[../blocks/我的.py]")
    (work_dir / folder / "blocks").mkdir()
    (work_dir / folder / "models" / "my_blocks.py").rename(work_dir / folder / "blocks" / "我的.py")
    assert type(YOLO(yaml, trust_modules=True).model.model[5]).__name__ == "Scale"


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("import torch\n\nclass A(nn.Module):\n    pass\n", r"my_blocks\.py'.*line 3: NameError: name 'nn'"),
        ("import torch\ndef f(:\n    pass\n", r"my_blocks\.py'.*line 2: SyntaxError: "),
        ("\nimport no_such_package\n", r"my_blocks\.py'.*line 2: ModuleNotFoundError: .*no_such_package"),
        ("def f():\n    raise SystemExit(3)\nf()\n", r"my_blocks\.py'.*line 2: SystemExit: 3"),
        (
            SCALE + "@register(name='Scale')\nclass Conv(nn.Module):\n    pass\n",
            r"line 19: ValueError: A module named 'Scale' is registered",
        ),
    ],
)
def test_a_file_that_fails_says_where(work_dir: Path, code: str, match: str, capsys: pytest.CaptureFixture):
    yaml, before = write(work_dir, code), dict(OWN)
    with pytest.raises(ModelError, match=match):
        YOLO(yaml, trust_modules=True)
    assert before == OWN and not any(name.startswith("own_my_blocks") and name not in before for name in sys.modules)
    assert main(["train", f"model={yaml}", "data=x.yaml", "trust_modules=true"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("The module file") and "Traceback" not in error and error.count("\n") == 1


@pytest.mark.parametrize("modules", ["5", "[5]", "[my_blocks]", "{a: b}", "[a.py, 3]"])
def test_what_is_no_list_of_files(work_dir: Path, modules: str):
    with pytest.raises(ModelError, match=r"not a list of Python files.*modules: \[my_blocks\.py\]"):
        YOLO(write(work_dir, modules=modules), trust_modules=True)


def test_a_file_that_is_not_there_or_registers_nothing(work_dir: Path):
    with pytest.raises(MissingFileError, match=r"'blocks\.py'.*relative to the YAML"):
        YOLO(write(work_dir, modules="[blocks.py]"), trust_modules=True)
    with pytest.raises(ModelError, match="unknown module 'Scale'"):
        YOLO(write(work_dir, "x = 1\n", modules="my_blocks.py"), trust_modules=True)


# Training and checkpoints ---------------------------------------------------------------------------------------------


def train(folder: Path, data: Path, **settings) -> Path:
    """Train by the command line for an epoch; return the run folder."""
    args = {**FAST, "model": write(folder), "data": data, "epochs": 1, "project": "runs", "name": "a", "val": False}
    args = {**args, "trust_modules": "true", **settings}
    assert main(["detect", "train", *(f"{k}={v}" for k, v in args.items())]) == 0
    return Path("runs") / args["name"]


def test_checkpoints_name_the_file_and_do_not_run_it(work_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture):
    run = train(Path("models"), tiny_data)
    best = run / "weights" / "best.pt"
    ckpt = torch.load(best, weights_only=True)
    (entry,) = ckpt["yaml"]["modules"]
    assert entry["file"] == "models/my_blocks.py" and len(entry["sha256"]) == 64
    assert ckpt["args"]["trust_modules"] is True and "trust_modules: true" in (run / "args.yaml").read_text()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = YOLO(best).model(image)[0]

    forget()
    ran = times_run()
    with pytest.raises(ModelError, match=r"best\.pt' uses modules from 'models/my_blocks\.py'.*trust_modules=True"):
        YOLO(best)
    assert main(["predict", f"model={best}"]) == 2
    with pytest.raises(ModelError, match="nobody has allowed"):
        YOLO(tiny_model(work_dir)).load(best)
    assert times_run() == ran
    model = YOLO(best, trust_modules=True)
    assert torch.equal(model.model(image)[0], expected)
    model.save("saved.pt")
    forget()
    assert torch.equal(YOLO("saved.pt", trust_modules=True).model(image)[0], expected)


def test_a_checkpoint_whose_file_went_elsewhere(work_dir: Path, tiny_data: Path):
    YOLO(write(work_dir / "models"), trust_modules=True).save("w.pt")
    file = work_dir / "models" / "my_blocks.py"
    (work_dir / "new place").mkdir()
    moved = file.rename(work_dir / "new place" / "my_blocks.py")
    forget()
    with pytest.raises(MissingFileError, match=r"w\.pt' needs the module file 'my_blocks\.py'.*trust_modules=FOLDER"):
        YOLO("w.pt", trust_modules=True)
    for where in ("new place", str(moved)):
        forget()
        assert YOLO("w.pt", trust_modules=where).overrides["trust_modules"] == where
    forget()
    moved.rename("my_blocks.py")  # beside the weights
    YOLO("w.pt", trust_modules=True)
    forget()
    Path("my_blocks.py").write_text(SCALE + "# more\n")
    with pytest.raises(ModelError, match=r"'my_blocks\.py' has changed.*trust_modules=\."):
        YOLO("w.pt", trust_modules=True)
    YOLO("w.pt", trust_modules=".")  # its content was looked at


def test_no_file_grants_trust_to_itself(work_dir: Path, tiny_data: Path):
    """Resuming takes the settings of the run, save this one."""

    class Interrupted(Exception):
        pass

    def stop(trainer: DetectionTrainer) -> None:
        raise Interrupted

    model = YOLO(write(work_dir), trust_modules=True)
    model.add_callback("on_fit_epoch_end", stop)
    with pytest.raises(Interrupted):
        model.train(**FAST, data=str(tiny_data), epochs=2, project="runs", name="a", val=False)
    last, ran = "runs/a/weights/last.pt", times_run()
    assert torch.load(last, weights_only=True)["args"]["trust_modules"] is True
    forget()
    assert main(["train", f"resume={last}"]) == 2 and times_run() == ran
    trainer = DetectionTrainer(overrides={"resume": last})
    assert trainer.args.trust_modules is False
    with pytest.raises(ModelError, match="nobody has allowed"):
        trainer.train()
    assert times_run() == ran
    forget()
    assert main(["train", f"resume={last}", "trust_modules=true"]) == 0


def test_engines_by_themselves_take_the_setting(work_dir: Path, tiny_data: Path):
    YOLO(write(work_dir), trust_modules=True).save("w.pt")
    for trusts in (False, True):
        forget()
        settings = {"model": "w.pt", "trust_modules": trusts, "imgsz": 64, "device": "cpu", "verbose": False}
        predictor = DetectionPredictor(overrides=settings)
        validator = DetectionValidator(args={**settings, "data": str(tiny_data), "plots": False, "workers": 0})
        jobs = (predictor.setup_model, lambda v=validator: v(model="w.pt"))
        for job in jobs:
            forget()
            if trusts:
                job()
            else:
                with pytest.raises(ModelError, match="nobody has allowed"):
                    job()


@pytest.mark.slow
@pytest.mark.parametrize("launched", ["device", "torchrun"])
def test_two_processes(work_dir: Path, tiny_data: Path, launched: str):
    """Each process loads the file by itself; what is touched is the file and the YAML."""
    yaml = write(work_dir / "models")
    args = {**FAST, "model": Path(yaml).relative_to(work_dir), "data": tiny_data, "epochs": 1, "project": "runs"}
    args |= {"name": "a", "val": False, "trust_modules": "true", "device": "cpu,cpu" if launched == "device" else "cpu"}
    by_hand = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if launched == "torchrun" else []
    command = [sys.executable, *by_hand, "-m", "ultralytics", "train", *(f"{k}={v}" for k, v in args.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    ckpt = torch.load("runs/a/weights/best.pt", weights_only=True)
    assert ckpt["model"]["model.5.factor"].shape == (16, 1, 1)
    assert times_run() == (3 if launched == "device" else 2)
    assert {p.name for p in work_dir.rglob("*.py")} == {"my_blocks.py"}


def test_two_processes_refuse_as_one_does(work_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture):
    assert main(["train", f"model={write(work_dir)}", f"data={tiny_data}", "device=cpu,cpu", "batch=4"]) == 2
    assert "trust_modules=true" in capsys.readouterr().err and times_run() == 0


def test_a_copy_in_another_process_has_the_file_loaded(work_dir: Path):
    model = YOLO(write(work_dir / "a"), trust_modules=True)
    model.predict(torch.zeros(1, 3, 32, 32), verbose=False)
    Path("model.pickle").write_bytes(pickle.dumps(model))
    code = "import pickle; m = pickle.load(open('model.pickle', 'rb')); print(type(m.model.model[5]).__name__, m.names)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith("Scale "), done.stderr
    (work_dir / "a" / "my_blocks.py").unlink()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "needs the module file 'my_blocks.py'" in done.stderr
    assert type(deepcopy(model).model.model[5]).__name__ == "Scale", "in this process it is loaded"
