"""Model: one object with train, val, predict and the rest, whatever its task."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import torch
from torch import nn

from ultralytics.cfg import KEPT_FROM_CHECKPOINT, TASK2DATA, get_cfg, read_settings
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.training.resume import RunFinished, last_state
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.formats import FORMATS, Format, format_of
from ultralytics.nn.formats.facts import checked_runner
from ultralytics.nn.own_modules import load_trusted
from ultralytics.nn.parse import without_weight_files, yaml_model_load
from ultralytics.nn.tasks import (
    BaseModel,
    attempt_load_one_weight,
    describe,
    description,
    guess_model_task,
    read_weights,
)
from ultralytics.nn.trust import trust_modules
from ultralytics.utils import ASSETS, DEFAULT_CFG_DICT, LOGGER, RANK
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError, did_you_mean
from ultralytics.utils.files import check_regular
from ultralytics.utils.settings import find_weights

if TYPE_CHECKING:
    import pandas as pd
    from ray.tune import ResultGrid

    from ultralytics.engine.predictor import BasePredictor
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.engine.validator import BaseValidator

Predictions = Any  # a list of Results, with `stream` an iterator of them; with `embed` of tensors
Metrics = Any  # DetMetrics, or those of another task

# Settings that no code acts on yet, and why; said when one of them is given.
WITHOUT_EFFECT = {
    "dnn": "is for OpenCV's way to run ONNX, which this package leaves to ONNX Runtime",
    "profile": "is for trainings; `yolo benchmark` measures exported formats",
    "label_smoothing": "is not applied by the loss of any task",
}


def _say_what_idles(settings: dict) -> None:
    for key in [key for key in WITHOUT_EFFECT if settings.get(key)]:
        LOGGER.warning(f"WARNING: {key}={settings[key]} {WITHOUT_EFFECT[key]}; it has no effect.")


class Model(Callbacks, nn.Module):
    """A model from a YAML (new, untrained), a weight file (of this package or of ultralytics 8.x) or an exported file.

    An exported file predicts, validates and tracks; `model` is then its path, and what needs the network says so.

    Args:
        model: 'yolo11n-GhostConv.yaml', 'best.pt', 'best.onnx', 'best_openvino_model', or a Path.
        task: 'detect' and so on; found from the model where it is not given.
        verbose: log the table of layers of a new model.
        trust_modules: run the module files that the model names; a text is the folder where they lie.

    Raises:
        UserError: the file does not exist or cannot be used.
    """

    model: BaseModel
    predictor: BasePredictor | None
    trainer: BaseTrainer | None
    metrics: Metrics | None
    ckpt_path: str | None
    cfg: str | None

    def __init__(
        self,
        model: str | Path = "yolo11n.pt",
        task: str | None = None,
        verbose: bool = False,
        trust_modules: bool | str = False,
    ):
        nn.Module.__init__(self)
        self._lock = threading.RLock()  # of making the predictor
        self.callbacks = get_default_callbacks()
        self.predictor = self.trainer = self.metrics = self.ckpt_path = self.session = self.cfg = None
        self.ckpt: dict = {}
        self.overrides: dict = {}
        self.trusted = trust_modules
        name = str(model).strip()
        if self.is_triton_model(name) or self.is_hub_model(name):
            raise ConfigError(
                f"'{name}' is a model on a server, which this package does not call: download its file and name that."
            )
        if Path(name).suffix in {".yaml", ".yml"}:
            self._new(name, task, verbose)
        elif form := format_of(name):
            self._open(name, form, task)
        else:
            self._load(name, task)

    def _new(self, cfg: str, task: str | None = None, verbose: bool = False) -> None:
        """Build an untrained model from a YAML."""
        trust_modules(cfg, self.trusted)
        d = yaml_model_load(cfg)
        self.cfg = cfg
        self.task = self._checked_task(task or guess_model_task(d))
        self.model = self._smart_load("model")(d, verbose=verbose and RANK in {-1, 0})
        self.overrides = {"model": cfg, "task": self.task, **self._trusts()}
        self.model.args = get_cfg(overrides=self.overrides)
        self.model.task = self.task
        self.model_name = cfg

    def _load(self, weights: str, task: str | None = None) -> None:
        """Load a weight file, which names its own task; `task`, an argument of 8.3.0, has no effect."""
        file = find_weights(weights)
        if file.suffix != ".pt":
            endings = ", ".join(f.suffix for f in FORMATS.values())
            raise ConfigError(
                f"'{weights}' cannot be loaded: give a .yaml (a new model), a .pt file (trained weights) "
                f"or an exported model ({endings})."
            )
        if not os.path.isfile(file):
            there = file.parent.glob("*.pt") if os.path.isdir(file.parent) else ()
            near = did_you_mean(file.name, [f.name for f in there])
            raise MissingFileError(
                f"The weight file '{weights}' does not exist.{near} Nothing is downloaded by itself: "
                f"put the file there, or start from an untrained model such as {file.stem}.yaml."
            )
        try:
            self.model, self.ckpt = attempt_load_one_weight(file, trusted=self.trusted)
        except CheckpointError:
            file = last_state(file)[0]  # raises the same where there is no state before it
            self.model, self.ckpt = attempt_load_one_weight(file, trusted=self.trusted)
        self.task = self._checked_task(self.model.task)
        kept = {k: v for k, v in self.ckpt["args"].items() if k in KEPT_FROM_CHECKPOINT}
        self.ckpt_path = self.model_name = str(file)
        self.overrides = {**kept, "model": str(file), "task": self.task, **self._trusts()}
        self.model.args = get_cfg(overrides=self.overrides)

    def _open(self, file: str, form: Format, task: str | None = None) -> None:
        """Open an exported file, whose metadata name its task."""
        if not os.path.exists(file):
            raise MissingFileError(
                f"The {form.title} model '{file}' does not exist: "
                f"`yolo export model=best.pt format={form.name}` makes one."
            )
        check_regular(file)
        form.require(writing=False)
        trust_modules(file, self.trusted)
        facts = checked_runner(form.load().Runner(file), file)
        if task and facts.task and task != facts.task:
            raise ConfigError(f"task='{task}' does not fit '{file}', whose task is {facts.task}: leave task= out.")
        self.ckpt_path = self.model_name = file
        self.model = cast(BaseModel, file)  # as in 8.3.0; see `_need_network`
        self.task = self._checked_task(facts.task or task)
        self.exported_names = facts.names
        self.overrides = {"model": file, "task": self.task, "imgsz": [*facts.imgsz], **self._trusts()}

    @staticmethod
    def is_triton_model(model: str) -> bool:
        """Check whether a text is the address of a model on a Triton server, such as http://host:8000/name."""
        url = urlsplit(model)
        return url.scheme in {"http", "grpc"} and bool(url.netloc and url.path)

    @staticmethod
    def is_hub_model(model: str) -> bool:
        """Check whether a text is the address of a model on the vendor's hub."""
        return model.startswith("https://hub.ultralytics.com/models/")

    def _trusts(self) -> dict[str, bool | str]:
        """Return the setting that lets later calls trust this model's files, if they are trusted."""
        return {"trust_modules": self.trusted} if self.trusted else {}

    def _need_network(self, what: str) -> None:
        """Raise ConfigError if this is an exported file, which has no layers to work on."""
        if not isinstance(self.model, nn.Module):
            raise ConfigError(
                f"'{self.model}' is an exported file and cannot {what}: take the weight file (.pt) that it came from."
            )

    @staticmethod
    def _checked_task(task: str | None) -> str:
        if task not in TASKS:
            near = did_you_mean(str(task), TASKS)
            raise ConfigError(f"task='{task}' is not known. Choose {', '.join(TASKS)}.{near}")
        return task

    def _smart_load(self, part: str) -> Callable:
        """Return the class of a part (model, trainer, validator or predictor) for this task; see `task_map`."""
        return self.task_map[self.task][part]

    def __getattr__(self, name: str) -> Any:
        """Look up attributes of the network inside, such as `yaml`, `stride` or `args`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            network = self.__dict__.get("_modules", {}).get("model")
            if network is not None and not name.startswith("__") and hasattr(network, name):
                return getattr(network, name)
        kind = type(self).__name__
        raise AttributeError(
            f"'{kind}' object has no attribute '{name}', nor has the network inside.{did_you_mean(name, dir(self))}"
        )

    def __call__(self, source: object = None, stream: bool = False, **kwargs) -> Predictions:
        return self.predict(source, stream, **kwargs)

    # Modes -----------------------------------------------------------------------------------------------------------

    def train(  # type: ignore[override]  # as in 8.3.0
        self, trainer: Callable[..., BaseTrainer] | bool | None = None, **kwargs
    ) -> Metrics:
        """Train with any settings (`data=`, `epochs=`, ...), then hold the best weights; return the last metrics.

        `train(True)` and `train(False)` only set the mode of the layers, as for any `torch.nn.Module`.
        """
        if isinstance(trainer, bool):
            return nn.Module.train(self, trainer)
        try:
            self.trainer = made = self.make_trainer(trainer, **kwargs)
        except RunFinished as e:
            LOGGER.info(e)
            self._load(str(e.weights))
            return None
        made.train()
        if RANK in {-1, 0}:
            file = made.best if made.best.exists() else made.last
            if file.exists():
                self._load(str(file))
            self.metrics = getattr(made.validator, "metrics", None)
            self.predictor = None
        return self.metrics

    def eval(self) -> Model:
        """Set the layers to inference."""
        return nn.Module.train(self, False)

    def make_trainer(self, trainer: Callable[..., BaseTrainer] | None = None, **kwargs) -> BaseTrainer:
        """Return a trainer that starts from this model, which is not changed."""
        self._need_network("be trained")
        _say_what_idles(kwargs)
        overrides = read_settings(kwargs["cfg"]) if kwargs.get("cfg") else self.overrides
        data = overrides.get("data") or DEFAULT_CFG_DICT["data"] or TASK2DATA[self.task]
        own = {"data": data, "model": self.overrides["model"]}
        args = {**overrides, **own, **kwargs, "mode": "train", "task": self.task}
        if args.get("resume") is True:
            args["resume"] = self.ckpt_path or True
        made = (trainer or self._smart_load("trainer"))(overrides=args, _callbacks=self.callbacks)
        if not made.args.resume and not isinstance(made.args.pretrained, str):
            cfg = description(self.model)
            trained = self.ckpt or "widths" in cfg  # nobody prunes weights that mean nothing
            weights = self.model if trained and made.args.pretrained else None
            cfg = without_weight_files(cfg) if weights else cfg
            with made.seeded():
                made.model = made.get_model(weights=weights, cfg=cfg, verbose=True)
        return made

    def val(self, validator: Callable[..., BaseValidator] | None = None, **kwargs) -> Metrics:
        """Validate on a split of a dataset and return the metrics (`metrics.box.map` and so on)."""
        _say_what_idles(kwargs)
        args = {**self.overrides, "rect": True, **kwargs, "mode": "val"}
        args["data"] = args.get("data") or TASK2DATA[self.task]
        made = (validator or self._smart_load("validator"))(args=args, _callbacks=self.callbacks)
        made(model=self.model)
        self.metrics = metrics = made.metrics
        return metrics  # not those of another thread

    def predict(
        self,
        source: object = None,
        stream: bool = False,
        predictor: type[BasePredictor] | BasePredictor | None = None,
        **kwargs,
    ) -> Predictions:
        """Return a list (with `stream` a generator) of Results for images, videos, folders, arrays, streams, ...

        `predictor` is the class of the predictor, by default the task's, or one that is made already.
        """
        if source is None:
            source = ASSETS
            LOGGER.warning(f"No source was given, so the package's own images are taken: {source}.")
        prompts = kwargs.pop("prompts", None)
        if prompts is not None:
            raise ConfigError("prompts= belongs to promptable segmentation models, which this package leaves out.")
        _say_what_idles(kwargs)
        args = {"conf": 0.25, "batch": 1, "save": False, **self.overrides, **kwargs, "mode": "predict", "rect": True}
        ready = self._ready_predictor(args, predictor)
        with ready.new_run(get_cfg(overrides=args)):
            return ready(source=source, stream=stream)

    def track(
        self,
        source: object = None,
        stream: bool = False,
        persist: bool = False,
        predictor: type[BasePredictor] | None = None,
        **kwargs,
    ) -> Predictions:
        """Predict on consecutive frames and give each object an ID: `result.boxes.id`.

        Args:
            source: as for `predict`; each video, and each folder of images, is tracked by itself.
            stream: return a generator instead of a list.
            persist: continue the tracks of the previous call, for those who read the frames themselves.
            predictor: class of the predictor, by default the task's.
            kwargs: settings; `tracker='bytetrack.yaml'` chooses the tracker.
        """
        from ultralytics.trackers import register_tracker

        if source is None:
            raise ConfigError("No source was given to track in: write source= and a video, stream, folder or frame.")
        own = {
            "conf": kwargs.pop("conf", None) or 0.1,
            "batch": kwargs.pop("batch", None) or 1,
        }  # unsure ones count too
        args = {"save": False, **self.overrides, **kwargs, **own, "mode": "track", "rect": True}
        ready = self._ready_predictor(args, predictor)
        with ready.new_run(get_cfg(overrides=args)):
            register_tracker(ready, persist)
            return ready(source=source, stream=stream)

    def _ready_predictor(
        self, args: dict, predictor: type[BasePredictor] | BasePredictor | None = None
    ) -> BasePredictor:
        """Return the predictor, whose fused model is kept from call to call, or another one as `predict` is given."""
        with self._lock:
            ready = self.predictor
            if ready is None or (predictor and predictor not in {ready, type(ready)}):
                if predictor is None or isinstance(predictor, type):
                    predictor = (predictor or self._smart_load("predictor"))(overrides=args, _callbacks=self.callbacks)
                ready = cast("BasePredictor", predictor)
                ready.setup_model(model=self.model, verbose=False)
                self.predictor = ready
            return ready

    def embed(self, source: object = None, stream: bool = False, **kwargs) -> Predictions:
        """Return the features of each image, a tensor (channels,); `embed=[...]` names the layers.

        By default the layer before the head is taken. Features are averaged over the image.
        """
        self._need_network("give features")
        if kwargs.get("embed") is None:
            kwargs["embed"] = [cast(int, self.model.model[-1].i) - 1]
        return self.predict(source, stream, **kwargs)

    def tune(
        self, use_ray: bool = False, iterations: int = 10, *, space: dict | None = None, **kwargs
    ) -> dict | ResultGrid:
        """Search for better hyperparameters by short trainings; return the best (see `engine.tuner.Tuner`).

        Args:
            use_ray: search with Ray Tune, on this machine or a cluster; return its results (see `engine.ray_tune`).
            iterations: trainings.
            space: {setting: (least, greatest)}, by default that of the learning rate, losses and augmentation.
            **kwargs: settings of the trainings; `search="random"` instead of `"evolution"`; `resume=True` goes on
                with an earlier search of the same project and name. With Ray also `grace_period` and `gpu_per_trial`.
        """
        from ultralytics.engine.ray_tune import run_ray_tune
        from ultralytics.engine.tuner import Tuner

        self._need_network("be tuned")
        if use_ray:
            return run_ray_tune(self, space, max_samples=iterations, **kwargs)
        args = {**self.overrides, **kwargs, "mode": "train", "task": self.task}
        return Tuner({**args, "space": space}, self.callbacks)(self, iterations)

    def export(self, **kwargs) -> str:
        """Write the model as a file of another runtime, compare it with the model, and return its path.

        `format="onnx"` and so on; the other settings are those of `yolo help export`. The image size is that of the
        training unless `imgsz` is given.
        """
        from ultralytics.engine.exporter import Exporter

        self._need_network("be exported again")
        kept = {k: v for k, v in self.overrides.items() if k != "device"}
        args = {**kept, "batch": 1, "data": None, **kwargs, "mode": "export", "task": self.task}
        self.model.yaml_file = self.model_name
        return Exporter(overrides=args, _callbacks=self.callbacks)(self.model)

    def benchmark(self, **kwargs) -> pd.DataFrame:
        """Export to every format that is installed; measure size, accuracy and latency (see `lab.benchmark`)."""
        self._need_network("be benchmarked")
        return load("ultralytics.lab.benchmark:benchmark")(self, **kwargs)

    def info(self, detailed: bool = False, verbose: bool = True) -> tuple[int, int, int, float] | None:
        """Log and return layers, parameters, gradients and GFLOPs."""
        self._need_network("be described")
        return self.model.info(detailed=detailed, verbose=verbose)

    def fuse(self) -> Model:
        """Fuse batch norms into convolutions, for inference."""
        self._need_network("be fused")
        self.model.fuse()
        self.predictor = None  # it holds a copy of the model
        return self

    def load(self, weights: str | Path | nn.Module | dict = "yolo11n.pt") -> Model:
        """Load the weights that fit from a weight file, a bare state dict, or another model (see `nn.transfer`)."""
        self._need_network("take weights")
        if isinstance(weights, (str, Path)):
            weights, self.ckpt = read_weights(weights, self.trusted)
        if isinstance(weights, Model):
            weights = weights.model
        self.model.load(weights)
        self.predictor = None
        self.ckpt = self.ckpt or {"model": self.model.state_dict()}
        return self

    def save(self, filename: str | Path = "saved_model.pt", use_dill: bool = True) -> None:
        """Write the model as a weight file, which holds plain data; so `use_dill`, of 8.3.0, has no effect."""
        self._need_network("be saved")
        save_checkpoint(filename, describe(self.model))

    def reset_weights(self) -> Model:
        """Reset all weights to random ones."""
        self._need_network("be reset")
        for m in self.model.modules():
            if reset := getattr(m, "reset_parameters", None):
                reset()
        for p in self.model.parameters():
            p.requires_grad = True
        self.predictor = None
        return self

    def _apply(self, fn: Callable, recurse: bool = True) -> Model:
        """Move or convert the network (`to`, `half`, `cpu`, ...); later calls run on its new device."""
        self._need_network("be moved or converted: give device= to each call")
        super()._apply(fn, recurse)
        self.predictor = None
        self.overrides["device"] = str(self.device)
        return self

    @property
    def names(self) -> dict[int, str]:
        """Class names by number."""
        return self.model.names if isinstance(self.model, nn.Module) else self.exported_names

    @property
    def device(self) -> torch.device:
        """Device of the parameters; for an exported file each call names its own."""
        if not isinstance(self.model, nn.Module):
            return torch.device("cpu")
        return next(self.model.parameters()).device

    @property
    def transforms(self) -> Callable | None:
        """Transforms of the model, if it has any."""
        return getattr(self.model, "transforms", None)

    @property
    def task_map(self) -> dict[str, dict[str, type]]:
        """Model, trainer, validator and predictor classes by task."""
        parts = ("model", "trainer", "validator", "predictor")
        return {name: {p: load(getattr(task, p)) for p in parts} for name, task in TASKS.items()}

    def add_callback(self, event: str, func: Callable) -> None:
        """Append a function to an event, for all that this model does from here on."""
        super().add_callback(event, func)

    def reset_callbacks(self) -> None:
        """Remove all callbacks, from the predictor at hand too."""
        self.callbacks.clear()
        self.callbacks.update(get_default_callbacks())

    def clear_callback(self, event: str) -> None:
        """Remove the callbacks of an event."""
        self.callbacks[event] = []

    # Copies -----------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict:
        """Leave out what belongs to this process; a copy makes its own predictor and trainer when needed."""
        return {**self.__dict__, "predictor": None, "trainer": None, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__({**state, "_lock": threading.RLock()})

    def __reduce__(self) -> tuple:
        """Let the receiving process first load the user's own module files, as this one has."""
        description = getattr(self.model, "yaml", None) or {}
        return _begin_copy, (type(self), {"modules": description.get("modules")}, self.model_name), self.__getstate__()


def _begin_copy(cls: type[Model], description: dict, named: str) -> Model:
    """Return an empty model for `__setstate__`."""
    load_trusted(description, True, named)
    return cls.__new__(cls)
