"""Modules that bear names of 8.3.0 and lead to where the things live."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import YOLO, utils
from ultralytics.engine.callbacks import EVENTS, get_default_callbacks
from ultralytics.engine.integrations import Call, Integration
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import autobatch, benchmarks, dist
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.settings import SettingsManager
from ultralytics.utils.triton import TritonRemoteModel

LOGGERS = {
    "wb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "clearml": "clearml",
    "comet": "comet",
    "dvc": "dvc",
}


def module(name: str):
    return importlib.import_module(f"ultralytics.utils.callbacks.{name}")


# Callbacks ------------------------------------------------------------------------------------------------------------


def test_default_callbacks_by_name():
    base = module("base")
    assert all(getattr(base, event)(None) is None for event in EVENTS)
    assert base.get_default_callbacks() == get_default_callbacks()
    assert base.default_callbacks.keys() == {*EVENTS} and callable(base.add_integration_callbacks)
    with pytest.raises(AttributeError, match="no attribute 'on_nothing'"):
        _ = base.on_nothing


def test_importing_them_imports_nothing_else():
    names = [*LOGGERS, "base", "raytune", "neptune"]
    code = f"""import importlib, sys
for name in {names}: importlib.import_module("ultralytics.utils.callbacks." + name)
for name in "autobatch dist tuner triton benchmarks".split(): importlib.import_module("ultralytics.utils." + name)
print([m for m in ("torch", "ultralytics.engine", "wandb", "mlflow", "ray") if m in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsManager:
    manager = SettingsManager(tmp_path / "settings.json")
    manager.update({cls.setting: False for cls in Integration.known})
    monkeypatch.setattr(utils, "SETTINGS", manager, raising=False)
    return manager


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_that_is_off_has_no_callbacks(name: str, settings: SettingsManager):
    assert module(name).callbacks == {} and module("neptune").callbacks == {}
    with pytest.raises(AttributeError, match="has no 'on_train_end', or is not installed and switched on"):
        _ = module(name).on_train_end


def test_a_logger_records_an_engine_of_ones_own_once(settings: SettingsManager, monkeypatch: pytest.MonkeyPatch):
    package = MagicMock(name="wandb", run=None)
    monkeypatch.setitem(sys.modules, "wandb", package)
    settings["wandb"] = True
    found = module("wb").callbacks
    assert {*found} == {"on_pretrain_routine_end", "on_fit_epoch_end", "on_train_end"}
    assert module("wb").on_train_end == found["on_train_end"]
    trainer = SimpleNamespace(
        callbacks=get_default_callbacks(), epoch=0, metrics={"a": 1.0}, lr={}, tloss=None, plots={}, validator=None,
        save_dir=Path("runs/a"), args=SimpleNamespace(project="p"), recorded_args=dict, label_loss_items=lambda _: {},
    )  # fmt: skip
    trainer.callbacks["on_fit_epoch_end"].append(found["on_fit_epoch_end"])
    for _ in range(2):
        for function in trainer.callbacks["on_fit_epoch_end"]:
            function(trainer)
        trainer.epoch += 1
    run = package.init.return_value
    assert package.init.call_count == 1 and [c.kwargs["step"] for c in run.log.call_args_list] == [1, 2]
    importlib.import_module("ultralytics.engine.integrations").remove_integration_callbacks(trainer)
    run.finish.assert_called_once_with(exit_code=1)
    assert not any(isinstance(f, Call) for functions in trainer.callbacks.values() for f in functions)


# Processes ------------------------------------------------------------------------------------------------------------


def test_a_free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", dist.find_free_network_port()))


@pytest.fixture
def two(work_dir: Path, tiny_data: Path) -> DetectionTrainer:
    given = {"model": tiny_model(work_dir), "data": str(tiny_data), "project": "runs", "name": "a", "epochs": 1}
    return DetectionTrainer(overrides={**FAST, **given, "imgsz": 32, "device": "cpu,cpu"})


def test_the_command_of_a_launcher(two: DetectionTrainer):
    command, file = dist.generate_ddp_command(2, two)
    assert command[:5] == [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    assert command[5] == "--master_port" and command[6].isdecimal() and command[7:] == [file]
    assert "launch import main" in Path(file).read_text() and (Path(file).parent / "job.json").is_file()
    dist.ddp_cleanup(two, file)
    assert not Path(file).parent.exists()
    Path("mine.py").touch()
    dist.ddp_cleanup(two, "mine.py")  # is not one of its own
    assert Path("mine.py").exists()


@pytest.mark.slow
def test_the_command_trains(two: DetectionTrainer):
    command, file = dist.generate_ddp_command(2, two)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path("runs/a/weights/best.pt").is_file() and len(Path("runs/a/results.csv").read_text().splitlines()) == 2
    dist.ddp_cleanup(two, file)


# Batches, benchmarks, servers -----------------------------------------------------------------------------------------


def test_the_batch_of_a_cpu():
    model = torch.nn.Linear(1, 1)
    assert autobatch.autobatch(model, imgsz=32, batch_size=3) == 3
    assert autobatch.check_train_batch_size(model, imgsz=32) == 16


def test_models_side_by_side(work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    given = []
    table = MagicMock()
    table["median_ms"].iloc.__getitem__.return_value = 2.5
    monkeypatch.setattr(YOLO, "benchmark", lambda self, **settings: given.append(settings) or table)
    (row,) = benchmarks.ProfileModels([tiny_model(work_dir)], num_timed_runs=6, imgsz=64, device="cpu").profile()
    assert row["model/name"] == "tiny" and row["model/parameters"] > 100_000 and row["model/GFLOPs"] > 0
    assert (row["model/speed_ONNX(ms)"], row["model/speed_TensorRT(ms)"]) == (2.5, None)
    assert given == [{"format": "onnx", "imgsz": 64, "half": False, "device": "cpu", "rounds": 3}]


def test_servers_are_not_called():
    with pytest.raises(ConfigError, match="no client for Triton servers"):
        TritonRemoteModel("http://localhost:8000/m")
    assert YOLO.is_triton_model("grpc://host/m") and not YOLO.is_triton_model("best.pt")
    assert YOLO.is_hub_model("https://hub.ultralytics.com/models/abc") and not YOLO.is_hub_model("a" * 20)
    for address in ("http://localhost:8000/m", "https://hub.ultralytics.com/models/abc"):
        with pytest.raises(ConfigError, match="is a model on a server, which this package does not call"):
            YOLO(address)
