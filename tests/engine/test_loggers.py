"""Integrations: what TensorBoard's event file holds, what the others are told, and that none can stop a training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import utils
from ultralytics.engine import integrations
from ultralytics.engine.callbacks import EVENTS, get_default_callbacks
from ultralytics.engine.integrations import Call, Integration, WandB, project_of
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, callbacks
from ultralytics.utils.settings import SettingsManager

VALUES = {
    "train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)",
    "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "val/cls_loss", "val/dfl_loss", "lr/pg0", "lr/pg1",
    "lr/pg2",
}  # fmt: skip
BEST = {"best/precision(B)", "best/recall(B)", "best/mAP50(B)", "best/mAP50-95(B)"}


class Broken(Exception):
    """Stands for whatever goes wrong."""


def broken(*args, **kwargs) -> None:
    raise Broken("the server is on fire\nand more")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsManager:
    """The user's settings, with every integration switched off."""
    manager = SettingsManager(tmp_path / "settings.json")
    manager.update({cls.setting: False for cls in Integration.known})
    monkeypatch.setattr(utils, "SETTINGS", manager, raising=False)
    return manager


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings logged during the test."""
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *args: lines.append(str(text)))
    return lines


def put(monkeypatch: pytest.MonkeyPatch, settings: SettingsManager, setting: str) -> MagicMock:
    """Put a recorder of calls in the place of a package, and switch its integration on."""
    cls = next(cls for cls in Integration.known if cls.setting == setting)
    package = MagicMock(name=cls.package)
    package.run = package.active_run.return_value = package.Task.current_task.return_value = None
    monkeypatch.setitem(sys.modules, cls.package, package)
    settings[setting] = True
    return package


@pytest.fixture
def fake(settings: SettingsManager, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], MagicMock]:
    return lambda setting: put(monkeypatch, settings, setting)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> SimpleNamespace:
    """A run of two epochs with images: its trainer, and what each package was told of it."""
    folder = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_RUN", "first try")
        patch.setenv("COMET_PROJECT_NAME", "mine")
        settings = SettingsManager(folder / "settings.json")
        settings["tensorboard"] = False
        patch.setattr(utils, "SETTINGS", settings, raising=False)
        others = [cls.setting for cls in Integration.known if cls.setting != "tensorboard"]
        fakes = {name: put(patch, settings, name) for name in others}
        args = {**FAST, "model": tiny_model(folder), "data": str(tiny_data), "epochs": 2, "plots": True}
        trainer = DetectionTrainer(overrides={**args, "project": "runs/fire", "name": "a"})
        trainer.train()
    return SimpleNamespace(trainer=trainer, **fakes)


@pytest.fixture
def train(work_dir: Path, tiny_data: Path, settings: SettingsManager) -> Callable[..., DetectionTrainer]:
    def run(events: dict | None = None, **changes) -> DetectionTrainer:
        args = {"model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 2, "project": "runs/fire", "name": "a"}
        trainer = DetectionTrainer(overrides={**FAST, **args, **changes})
        for event, function in (events or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return run


# TensorBoard ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tensorboard(settings: SettingsManager):
    """Switch TensorBoard on; return the class that reads its files."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings["tensorboard"] = True
    return lambda folder: EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


@pytest.mark.slow
def test_event_file_read_back(train, tensorboard):
    trainer = train(plots=True, close_mosaic=0)
    events = tensorboard(trainer.save_dir)
    assert set(events.Tags()["scalars"]) == VALUES | BEST
    rows = [line.split(",") for line in trainer.csv.read_text().splitlines()]
    for column, name in enumerate(cell.strip() for cell in rows[0][1:]):
        written = [float(row[column + 1]) for row in rows[1:]]
        assert [e.step for e in events.Scalars(name)] == [1, 2]
        assert [e.value for e in events.Scalars(name)] == pytest.approx(written, rel=1e-3, abs=1e-5)
    assert [e.step for e in events.Scalars("best/mAP50(B)")] == [2]
    images = {"labels", "train_batch0", "val_batch0_labels", "val_batch0_pred", "results", "confusion_matrix"}
    assert images <= set(events.Tags()["images"])
    assert events.Images("labels")[0].width > 100
    nodes = events.Graph().node
    assert any("GhostConv" in node.name for node in nodes) and any(node.op == "aten::_convolution" for node in nodes)
    assert len([*trainer.save_dir.glob("events.out.tfevents.*")]) == 1
    assert not any(any(functions) for functions in trainer.callbacks.values())  # taken off after the run


def test_a_model_that_cannot_be_traced_has_no_graph(train, tensorboard, warnings, monkeypatch):
    monkeypatch.setattr(torch.jit, "trace", broken)
    events = tensorboard(train(epochs=1, val=False).save_dir)
    assert [line for line in warnings if "no graph" in line and "the server is on fire" in line]
    assert not events.Tags()["graph"] and "train/box_loss" in events.Tags()["scalars"]


def test_recording_changes_nothing(train, tensorboard, settings):
    """A traced copy and a writer must leave weights and random numbers alone."""
    kept = []
    for on in (True, False):
        settings["tensorboard"] = on
        keep = {"on_train_epoch_end": lambda t: kept.append(t.model.state_dict()["model.0.conv.weight"].clone())}
        train(keep, epochs=1, val=False)
    assert torch.equal(*kept)


def test_a_wrong_model_leaves_no_folder(train, tensorboard, work_dir: Path):
    with pytest.raises(Broken):
        train({"on_pretrain_routine_start": broken})
    assert not Path("runs").exists()


def test_only_rank_0_records(fake, monkeypatch):
    fake("wandb")
    for rank, count in ((0, 3), (1, 0), (-1, 3)):
        monkeypatch.setattr(integrations, "RANK", rank)
        engine = SimpleNamespace(callbacks=get_default_callbacks())
        integrations.add_integration_callbacks(engine)
        assert sum(map(len, engine.callbacks.values())) == count


# The packages that need a server --------------------------------------------------------------------------------------


def names(values: list[dict]) -> list[set[str]]:
    return [set(v) for v in values]


def test_wandb(record):
    wandb, trainer = record.wandb, record.trainer
    begin = wandb.init.call_args.kwargs
    assert begin["project"] == "runs-fire" and begin["name"] == trainer.save_dir.name == "a"
    assert begin["config"]["epochs"] == 2 and begin["config"]["lr0"] == 0.01
    run = wandb.init.return_value
    sent = [(set(call.args[0]), call.kwargs["step"]) for call in run.log.call_args_list]
    assert [step for keys, step in sent if keys == VALUES] == [1, 2]
    assert [step for keys, step in sent if keys == BEST] == [2]
    assert {"labels", "train_batch0", "results", "val_batch0_pred"} <= {k for keys, _ in sent for k in keys}
    wandb.Artifact.return_value.add_file.assert_called_once_with(str(trainer.best))
    run.finish.assert_called_once_with(exit_code=0)


def test_mlflow(record):
    mlflow, trainer = record.mlflow, record.trainer
    mlflow.set_experiment.assert_called_once_with("runs-fire")
    mlflow.start_run.assert_called_once_with(run_name="first try")
    assert mlflow.log_params.call_args.args[0]["batch"] == 4
    sent = [(call.args[0], call.kwargs["step"]) for call in mlflow.log_metrics.call_args_list]
    assert [step for _, step in sent] == [1, 2, 2]
    assert {"metrics/mAP50-95B", "train/box_loss"} <= set(sent[0][0])  # MLflow takes no brackets
    assert (str(trainer.best), "weights") in [call.args for call in mlflow.log_artifact.call_args_list]
    mlflow.end_run.assert_called_once_with("FINISHED")


def test_comet(record):
    comet, trainer = record.comet, record.trainer
    comet.start.assert_called_once_with(project_name="mine")
    experiment = comet.start.return_value
    assert names(c.args[0] for c in experiment.log_metrics.call_args_list) == [VALUES, VALUES, BEST]
    assert any(c.kwargs["name"] == "results" for c in experiment.log_image.call_args_list)
    assert experiment.log_model.call_args.kwargs["file_or_folder"] == str(trainer.best)
    experiment.end.assert_called_once_with()


def test_clearml(record):
    clearml, trainer = record.clearml, record.trainer
    assert clearml.Task.init.call_args.kwargs["project_name"] == "runs-fire"
    task = clearml.Task.init.return_value
    calls = task.get_logger.return_value.report_scalar.call_args_list
    assert {"/".join(c.args[:2]) for c in calls} == VALUES | BEST
    assert task.get_logger.return_value.report_image.called
    assert task.update_output_model.call_args.kwargs["model_path"] == str(trainer.best)
    task.close.assert_called_once_with()
    assert not task.mark_failed.called


def test_dvclive(record):
    dvclive, trainer = record.dvc, record.trainer
    live = dvclive.Live.return_value
    assert live.log_params.call_args.args[0]["epochs"] == 2
    assert {c.args[0] for c in live.log_metric.call_args_list} == VALUES | BEST
    assert live.step == 2 and live.make_summary.call_count == 3
    assert "results.png" in {c.args[0] for c in live.log_image.call_args_list}
    assert live.log_artifact.call_args.args == (str(trainer.best),)
    live.end.assert_called_once_with()


def test_a_run_of_the_users_own_stays_open(fake, train):
    wandb = fake("wandb")
    wandb.run = MagicMock()
    train(epochs=1, val=False)
    wandb.init.assert_not_called()
    assert wandb.run.log.called and not wandb.run.finish.called


# Off, absent, broken --------------------------------------------------------------------------------------------------


def test_nothing_is_imported_unless_switched_on(work_dir: Path):
    code = (
        "import sys\nfrom ultralytics.engine import trainer\n"
        f"print([p for p in {[cls.package for cls in Integration.known]} if p in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "[]", done.stderr


def test_defaults_are_off_save_for_tensorboard(tmp_path: Path):
    defaults = SettingsManager(tmp_path / "none.json")
    assert [cls.setting for cls in Integration.known if defaults[cls.setting]] == ["tensorboard"]


@pytest.mark.parametrize("cls", Integration.known, ids=lambda cls: cls.setting)
def test_a_package_that_is_not_installed(cls, settings, warnings, monkeypatch):
    """It is named with the line that installs it, unless nobody has asked for it."""
    monkeypatch.setitem(sys.modules, cls.package, None)  # an import of it fails
    monkeypatch.setattr(integrations, "quiet_import", lambda name: missing(cls))
    settings[cls.setting] = True
    assert not [*integrations.switched_on()]
    if cls.by_default:
        assert not warnings
    else:
        assert len(warnings) == 1 and f"pip install {cls.install}" in warnings[0] and "not installed" in warnings[0]


def missing(cls: type[Integration]) -> None:
    raise ModuleNotFoundError(f"No module named '{cls.install}'", name=cls.install)


def test_a_folder_of_that_name_is_no_package(settings, warnings, work_dir: Path, monkeypatch):
    """Weights & Biases itself makes a folder `wandb` in the working directory."""
    (work_dir / "wandb_folder").mkdir()
    monkeypatch.syspath_prepend(work_dir)
    monkeypatch.setattr(WandB, "package", "wandb_folder")
    settings["wandb"] = True
    assert not [*integrations.switched_on()] and "not installed" in warnings[0]


@pytest.mark.parametrize("where", ["init", "log", "Artifact", "finish"])
def test_a_failing_integration_stops_nothing(fake, train, warnings, where: str):
    wandb, other = fake("wandb"), fake("dvc")
    for part in (wandb, wandb.init.return_value):
        setattr(part, where, MagicMock(side_effect=broken))
    trainer = train()
    assert trainer.best.exists() and len(trainer.csv.read_text().splitlines()) == 3
    said = [line for line in warnings if "WandB" in line]
    assert len(said) == 1 and "the server is on fire" in said[0] and "and more" not in said[0]
    assert "wandb=False" in said[0]
    assert wandb.init.return_value.finish.call_count == (where != "init")  # also after a failure
    assert getattr(wandb if where in {"init", "Artifact"} else wandb.init.return_value, where).call_count == 1
    other.Live.return_value.end.assert_called_once_with()


def test_a_training_that_breaks_off_is_closed_as_failed(fake, train):
    wandb, mlflow, clearml = fake("wandb"), fake("mlflow"), fake("clearml")
    with pytest.raises(Broken):
        train({"on_train_epoch_end": broken})
    wandb.init.return_value.finish.assert_called_once_with(exit_code=1)
    mlflow.end_run.assert_called_once_with("FAILED")
    clearml.Task.init.return_value.mark_failed.assert_called_once_with()
    fake("comet")
    with pytest.raises(Broken):
        train({"on_pretrain_routine_start": broken})
    assert wandb.init.call_count == 1  # the second training never began


def test_training_twice_records_twice(fake, work_dir: Path, tiny_data: Path):
    from ultralytics import YOLO

    wandb, model = fake("wandb"), YOLO(tiny_model(work_dir))
    for _ in range(2):
        model.train(**FAST, data=str(tiny_data), epochs=1, val=False)
        assert not any(isinstance(call, Call) for functions in model.callbacks.values() for call in functions)
    assert wandb.init.call_count == wandb.init.return_value.finish.call_count == 2


# Names ----------------------------------------------------------------------------------------------------------------


def test_names_of_8_3_0(fake):
    fake("wandb")
    engine = SimpleNamespace(callbacks=callbacks.get_default_callbacks())
    assert list(engine.callbacks) == list(EVENTS) == list(callbacks.default_callbacks)
    for _ in range(2):  # the second time changes nothing
        callbacks.add_integration_callbacks(engine)
        assert {e: len(f) for e, f in engine.callbacks.items() if f} == {
            "on_pretrain_routine_end": 1, "on_fit_epoch_end": 1, "on_train_end": 1
        }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = callbacks.nothing


def test_functions_for_everything(monkeypatch):
    seen = []
    monkeypatch.setitem(callbacks.default_callbacks, "on_train_start", [seen.append])
    callbacks.get_default_callbacks()["on_train_start"].append(print)
    assert callbacks.get_default_callbacks()["on_train_start"] == [seen.append]


@pytest.mark.parametrize(
    ("project", "name"),
    [(None, "ultralytics"), ("runs", "runs"), ("./a/b/", "a-b"), ("C:\\x", "C:-x"), (".", "ultralytics")],
)
def test_project_names(project, name):
    assert project_of(SimpleNamespace(args=SimpleNamespace(project=project))) == name
