"""Experiment loggers: records of a training for TensorBoard, MLflow, Weights & Biases, Comet, ClearML and DVCLive.

Each is used when its package is installed and `yolo settings` has it switched on (`yolo settings wandb=True`); all but
TensorBoard, which stays on this machine, are off until then. One that fails says so once and leaves the training alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from PIL import Image

from ultralytics.engine.callbacks import Callbacks
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.flops import input_channels
from ultralytics.utils.system.telemetry import quiet_import

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

MAX_SIDE = 1024  # pixels of images in an event file, which stores them without loss
RECORDED = ("on_pretrain_routine_end", "on_fit_epoch_end", "on_train_end")  # events at which something is recorded


class Integration:
    """The record of one training by a package; a subclass implements `close` and the methods below it.

    A subclass is registered where it is defined. A method with the name of an event runs at that event (see
    `engine/callbacks.py`).
    """

    known: ClassVar[list[type[Integration]]] = []  # all subclasses, in the order of their definition
    setting: str  # key in `yolo settings`; a missing one has the value of `by_default`
    package: str  # to import
    install: str  # what `pip install` calls it
    by_default = False  # switched on unless the user says otherwise, without a warning if the package is missing

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        Integration.known.append(cls)

    def __init__(self, package: ModuleType):
        self.api = package
        self.works, self.opened, self.finished = True, False, False  # finished: the training completed
        self.logged = -1  # the last epoch that was sent
        self.sent: dict[Path, int] = {}  # modification time of the images that were sent

    def on_pretrain_routine_end(self, trainer: BaseTrainer) -> None:
        """Begin the record: model, data and settings are checked by now, and the run folder exists."""
        self.open(trainer)
        self.opened = True

    def on_fit_epoch_end(self, trainer: BaseTrainer) -> None:
        """Send losses, metrics and learning rates after an epoch; after the run, the metrics of the best weights."""
        if trainer.epoch == self.logged:
            values = {name.replace("metrics/", "best/"): v for name, v in trainer.metrics.items()}
        else:
            values = {**trainer.label_loss_items(trainer.tloss), **trainer.metrics, **trainer.lr}
        self.logged = trainer.epoch
        self.log_values({name: float(value) for name, value in values.items()}, trainer.epoch + 1)
        self._send_images(trainer)

    def on_train_end(self, trainer: BaseTrainer) -> None:
        """Send the last images and the weights."""
        self.finished = True
        self._send_images(trainer)
        weights = next((file for file in (trainer.best, trainer.last) if file.exists()), None)
        if weights:
            self.log_weights(weights)

    def _send_images(self, trainer: BaseTrainer) -> None:
        """Send images that were drawn or changed since the last time."""
        for file in {**trainer.plots, **getattr(trainer.validator, "plots", {})}:
            if file.is_file() and self.sent.get(file) != file.stat().st_mtime_ns:
                self.sent[file] = file.stat().st_mtime_ns
                self.log_image(file.stem, file, trainer.epoch + 1)

    def close(self) -> None:
        """End the record, also of a training that failed (see `finished`)."""

    def open(self, trainer: BaseTrainer) -> None:
        """Begin the record."""

    def log_values(self, values: dict[str, float], step: int) -> None:
        """Send values; `step` counts epochs from 1, as results.csv does."""

    def log_image(self, name: str, file: Path, step: int) -> None:
        """Send an image."""

    def log_weights(self, file: Path) -> None:
        """Send the best weights."""


def project_of(trainer: BaseTrainer) -> str:
    """Return the name under which a service groups runs."""
    return str(trainer.args.project or "ultralytics").replace("\\", "/").strip("./").replace("/", "-") or "ultralytics"


def settings_of(trainer: BaseTrainer) -> dict[str, bool | int | float | str]:
    """Return the settings of a run as plain values."""
    return {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in trainer.recorded_args().items()}


class TensorBoard(Integration):
    """Writes an event file into the run folder: scalars, the model's graph, images."""

    setting, package, install, by_default = "tensorboard", "torch.utils.tensorboard", "tensorboard", True

    def open(self, trainer: BaseTrainer) -> None:
        begin = trainer.start_epoch + 1
        self.writer = self.api.SummaryWriter(str(trainer.save_dir), purge_step=begin if begin > 1 else None)
        LOGGER.info(f"TensorBoard: run `tensorboard --logdir {trainer.save_dir}` and open http://localhost:6006/")
        self._log_graph(trainer)

    def _log_graph(self, trainer: BaseTrainer) -> None:
        """Trace a copy of the model once, on a small image; a model that cannot be traced has no graph."""
        try:
            model = deepcopy(trainer.ema.ema).cpu().float().eval()
            side = 2 * int(torch.as_tensor(getattr(model, "stride", 32)).max())
            image = torch.zeros(1, input_channels(model), side, side)
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                warnings.simplefilter("ignore")  # of the tracer, about what is constant in a graph
                graph = torch.jit.trace(model, image, strict=False, check_trace=False)  # a check traces it twice more
                self.writer.add_graph(graph, image)
        except Exception as e:  # a tracer has many ways to fail, and none of them matters to the training
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
            LOGGER.warning(f"TensorBoard: the model has no graph, as it cannot be traced ({reason}).")

    def log_values(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def log_image(self, name: str, file: Path, step: int) -> None:
        with Image.open(file) as image:
            image = image.convert("RGB")
            image.thumbnail((MAX_SIDE, MAX_SIDE))
            self.writer.add_image(name, np.asarray(image), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class MLflow(Integration):
    """Writes to the place that MLflow is set to ($MLFLOW_TRACKING_URI, or a file in the working directory).

    $MLFLOW_EXPERIMENT_NAME and $MLFLOW_RUN name experiment and run.
    """

    setting, package, install = "mlflow", "mlflow", "mlflow"

    def open(self, trainer: BaseTrainer) -> None:
        self.own = self.api.active_run() is None
        if self.own:
            self.api.set_experiment(os.getenv("MLFLOW_EXPERIMENT_NAME") or project_of(trainer))
            self.api.start_run(run_name=os.getenv("MLFLOW_RUN") or trainer.save_dir.name)
        self.api.log_params(settings_of(trainer))
        self.folder = trainer.save_dir

    def log_values(self, values: dict[str, float], step: int) -> None:
        self.api.log_metrics({re.sub(r"[^\w./ -]", "", name): v for name, v in values.items()}, step=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        self.api.log_artifact(str(file))

    def log_weights(self, file: Path) -> None:
        self.api.log_artifact(str(file), "weights")
        for name in ("args.yaml", "results.csv"):
            self.api.log_artifact(str(self.folder / name))

    def close(self) -> None:
        if self.own:
            self.api.end_run("FINISHED" if self.finished else "FAILED")


class WandB(Integration):
    """Sends the run to Weights & Biases."""

    setting, package, install = "wandb", "wandb", "wandb"

    def open(self, trainer: BaseTrainer) -> None:
        self.own = self.api.run is None
        self.run = self.api.run or self.api.init(
            project=project_of(trainer), name=trainer.save_dir.name, config=settings_of(trainer)
        )

    def log_values(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        self.run.log({name: self.api.Image(str(file))}, step=step)

    def log_weights(self, file: Path) -> None:
        artifact = self.api.Artifact(type="model", name=f"run_{self.run.id}_model")
        artifact.add_file(str(file))
        self.run.log_artifact(artifact, aliases=["best"])

    def close(self) -> None:
        if self.own:
            self.run.finish(exit_code=0 if self.finished else 1)


class Comet(Integration):
    """Sends the run to Comet, set up by its environment variables ($COMET_API_KEY, $COMET_PROJECT_NAME, ...).

    $COMET_MODE=offline writes it into a file instead, in $COMET_OFFLINE_DIRECTORY.
    """

    setting, package, install = "comet", "comet_ml", "comet-ml"

    def open(self, trainer: BaseTrainer) -> None:
        name = os.getenv("COMET_PROJECT_NAME") or project_of(trainer)
        offline = {"online": False} if os.getenv("COMET_MODE", "").lower() == "offline" else {}
        self.experiment = self.api.start(project_name=name, **offline)
        self.experiment.set_name(trainer.save_dir.name)
        self.experiment.log_parameters(settings_of(trainer))

    def log_values(self, values: dict[str, float], step: int) -> None:
        self.experiment.log_metrics(values, step=step, epoch=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        self.experiment.log_image(str(file), name=name, step=step)

    def log_weights(self, file: Path) -> None:
        self.experiment.log_model("best", file_or_folder=str(file), file_name=file.name, overwrite=True)

    def close(self) -> None:
        self.experiment.end()


class ClearML(Integration):
    """Sends the run to a ClearML server, or with $CLEARML_OFFLINE_MODE=1 writes it into a file."""

    setting, package, install = "clearml", "clearml", "clearml"

    def open(self, trainer: BaseTrainer) -> None:
        current = self.api.Task.current_task()
        self.own = current is None
        self.task = current or self.api.Task.init(
            project_name=project_of(trainer),
            task_name=trainer.save_dir.name,
            reuse_last_task_id=False,
            auto_connect_frameworks={"pytorch": False, "matplotlib": False},  # what is sent is sent here
        )
        self.task.connect(settings_of(trainer), name="General")

    def log_values(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            title, _, series = name.rpartition("/")
            self.task.get_logger().report_scalar(title or name, series, value, iteration=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        self.task.get_logger().report_image("Images", name, iteration=step, local_path=str(file))

    def log_weights(self, file: Path) -> None:
        if self.api.Task.is_offline() is True:  # where it has no models
            self.task.upload_artifact(file.stem, str(file))
        else:
            self.task.update_output_model(model_path=str(file), model_name=file.stem, auto_delete_file=False)

    def close(self) -> None:
        if self.own:
            if not self.finished:
                self.task.mark_failed()
            self.task.close()


class DVCLive(Integration):
    """Writes the run into the `dvclive` folder of the working directory, for DVC."""

    setting, package, install = "dvc", "dvclive", "dvclive"

    def open(self, trainer: BaseTrainer) -> None:
        self.live = self.api.Live(save_dvc_exp=True, cache_images=True)
        self.live.log_params(settings_of(trainer))

    def log_values(self, values: dict[str, float], step: int) -> None:
        self.live.step = step
        for name, value in values.items():
            self.live.log_metric(name, value)
        self.live.make_summary()

    def log_image(self, name: str, file: Path, step: int) -> None:
        self.live.log_image(file.name, str(file))

    def log_weights(self, file: Path) -> None:
        self.live.log_artifact(str(file), type="model", copy=True)

    def close(self) -> None:
        self.live.end()


@dataclass(frozen=True)
class Call:
    """Runs one method of an integration at its event; an error switches the integration off."""

    integration: Integration
    event: str

    def __call__(self, engine: BaseTrainer | None = None) -> None:
        it = self.integration
        if not it.works:
            return
        try:
            getattr(it, self.event)(*([] if engine is None else [engine]))
        except Exception as e:  # of another package, or of the network
            it.works = False
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
            LOGGER.warning(
                f"{type(it).__name__} failed and is switched off for this training, which goes on ({reason}). "
                f"`yolo settings {it.setting}=False` switches it off for good."
            )


@dataclass(frozen=True)
class Begin:
    """A callback of one logger for an engine of one's own: records a trainer, unless the trainer does that by itself.

    It adds the logger to all events of the trainer, so that the record is closed whatever happens.
    """

    cls: type[Integration]
    event: str

    def __call__(self, trainer: BaseTrainer) -> None:
        calls = [call for functions in trainer.callbacks.values() for call in functions if isinstance(call, Call)]
        if RANK > 0 or any(isinstance(call.integration, self.cls) for call in calls):
            return
        if integration := _made(self.cls):
            for event in RECORDED:  # not into the lists at hand, which are being gone through
                trainer.callbacks[event] = [*trainer.callbacks.get(event, ()), Call(integration, event)]
            for event in dict.fromkeys((RECORDED[0], self.event)):
                Call(integration, event)(trainer)


def callbacks_of(setting: str) -> dict[str, Begin]:
    """Return the callbacks of a logger by event, none unless it is installed and switched on in `yolo settings`."""
    cls = next(cls for cls in Integration.known if cls.setting == setting)
    package = cls.install.replace("-", "_")
    installed = package in sys.modules or importlib.util.find_spec(package)
    return {event: Begin(cls, event) for event in RECORDED} if installed and _is_on(cls) else {}


def _is_on(cls: type[Integration]) -> bool:
    from ultralytics.utils import SETTINGS

    return bool(SETTINGS.get(cls.setting, cls.by_default))


def _made(cls: type[Integration]) -> Integration | None:
    """Return a new record of an integration; None, with a warning, if its package cannot be imported."""
    try:
        package = quiet_import(cls.package)
        if hasattr(package, "__path__") and not getattr(package, "__file__", None):
            raise ModuleNotFoundError(name=cls.package)  # a folder of that name, such as the one that wandb makes
        return cls(package)
    except Exception as e:
        absent = isinstance(e, ModuleNotFoundError) and e.name in {cls.package, cls.install}
        reason = "its package is not installed" if absent else f"its package cannot be imported ({e})"
        if not (absent and cls.by_default):
            LOGGER.warning(
                f"{cls.__name__} is switched on in `yolo settings`, but {reason}: `pip install {cls.install}`, or "
                f"`yolo settings {cls.setting}=False`."
            )
    return None


def switched_on() -> Iterator[Integration]:
    """Yield the integrations that are installed and switched on in the user's settings."""
    yield from filter(None, (_made(cls) for cls in Integration.known if _is_on(cls)))


def add_integration_callbacks(engine: Callbacks) -> None:
    """Add the integrations that are switched on to the events of a trainer, and remove those of an earlier run."""
    remove_integration_callbacks(engine)
    if RANK > 0:
        return
    for integration in switched_on():
        for event in RECORDED:
            engine.callbacks.setdefault(event, []).append(Call(integration, event))


def remove_integration_callbacks(engine: Callbacks) -> None:
    """Remove the integrations from an engine's events and close their records."""
    calls = [call for functions in engine.callbacks.values() for call in functions if isinstance(call, Call)]
    for functions in engine.callbacks.values():
        functions[:] = [function for function in functions if not isinstance(function, Call)]
    for integration in dict.fromkeys(call.integration for call in calls):
        if integration.opened and integration.works:
            Call(integration, "close")()
        elif integration.opened:  # it failed with a warning, but the next training must not find it open
            with contextlib.suppress(Exception):
                integration.close()
