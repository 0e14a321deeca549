"""Model: one object with train, val, predict and the rest, whatever its task."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.cfg import TASK2DATA, get_cfg
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.ghostnet import without_weight_files
from ultralytics.nn.tasks import attempt_load_one_weight, describe, guess_model_task, yaml_model_load
from ultralytics.utils import ASSETS, DEFAULT_CFG_DICT, LOGGER, RANK, yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError, did_you_mean

# Settings of the training that later calls start from
KEPT_FROM_CHECKPOINT = ("imgsz", "data", "task", "single_cls", "crop_fraction")


class Model(Callbacks):
    """A model from a YAML (new, untrained) or a weight file (of this package or of ultralytics 8.x).

    Args:
        model: 'yolo11n-GhostConv.yaml', 'best.pt', a Path to either.
        task: 'detect' and so on; found from the model where it is not given.
        verbose: log the table of layers of a new model.

    Raises:
        UserError: the file does not exist or cannot be used.
    """

    def __init__(self, model: str | Path = "yolo11n.pt", task: str | None = None, verbose: bool = False):
        self.callbacks = get_default_callbacks()
        self.predictor = self.trainer = self.metrics = self.ckpt_path = None
        self.ckpt: dict = {}
        self.overrides: dict[str, Any] = {}
        name = str(model).strip()
        if Path(name).suffix in {".yaml", ".yml"}:
            self._new(name, task, verbose)
        else:
            self._load(name, task)

    def _new(self, cfg: str, task: str | None = None, verbose: bool = False) -> None:
        """Build an untrained model from a YAML."""
        d = yaml_model_load(cfg)
        self.cfg = cfg
        self.task = self._checked_task(task or guess_model_task(d))
        self.model = load(TASKS[self.task].model)(d, verbose=verbose and RANK in {-1, 0})
        self.overrides = {"model": cfg, "task": self.task}
        self.model.args = get_cfg(overrides=self.overrides)
        self.model.task = self.task
        self.model_name = cfg

    def _load(self, weights: str, task: str | None = None) -> None:
        """Load a trained model from a weight file."""
        file = Path(weights)
        if file.suffix != ".pt":
            raise ConfigError(
                f"'{weights}' is no model that can be loaded: "
                "give a .yaml (a new model) or a .pt file (trained weights)."
            )
        if not file.is_file():
            near = did_you_mean(file.name, [f.name for f in file.parent.glob("*.pt")] if file.parent.is_dir() else [])
            raise MissingFileError(
                f"The weight file '{weights}' does not exist.{near} Nothing is downloaded by itself: "
                f"put the file there, or start from an untrained model such as {file.stem}.yaml."
            )
        self.model, self.ckpt = attempt_load_one_weight(file)
        self.task = self._checked_task(self.model.task)
        kept = {k: v for k, v in self.ckpt["args"].items() if k in KEPT_FROM_CHECKPOINT}
        self.ckpt_path = self.model_name = str(file)
        self.overrides = {**kept, "model": str(file), "task": self.task}
        self.model.args = get_cfg(overrides={**kept, "model": str(file), "task": self.task})

    @staticmethod
    def _checked_task(task: str) -> str:
        if task not in TASKS:
            raise ConfigError(f"task='{task}' is not known. Choose {', '.join(TASKS)}.{did_you_mean(task, TASKS)}")
        return task

    def __call__(self, source: Any = None, stream: bool = False, **kwargs) -> Any:
        return self.predict(source, stream, **kwargs)

    # What one does with a model ---------------------------------------------------------------------------------------

    def train(self, trainer: Any = None, **kwargs) -> Any:
        """Train with any settings (`data=`, `epochs=`, ...), then hold the best weights; return the last metrics."""
        overrides = yaml_load(kwargs["cfg"]) if kwargs.get("cfg") else self.overrides
        data = overrides.get("data") or DEFAULT_CFG_DICT["data"] or TASK2DATA[self.task]
        own = {"data": data, "model": self.overrides["model"]}
        args = {**overrides, **own, **kwargs, "mode": "train", "task": self.task}
        if args.get("resume") is True:
            args["resume"] = self.ckpt_path or True
        self.trainer = (trainer or load(TASKS[self.task].trainer))(overrides=args, _callbacks=self.callbacks)
        if not args.get("resume") and not isinstance(self.trainer.args.pretrained, str):
            weights = self.model if self.ckpt and self.trainer.args.pretrained else None
            with without_weight_files() if weights else nullcontext():
                self.trainer.model = self.trainer.get_model(weights=weights, cfg=self.model.yaml, verbose=True)
        self.trainer.train()
        if RANK in {-1, 0}:
            file = self.trainer.best if self.trainer.best.exists() else self.trainer.last
            if file.exists():
                self._load(str(file))
            self.metrics = getattr(self.trainer.validator, "metrics", None)
            self.predictor = None
        return self.metrics

    def val(self, validator: Any = None, **kwargs) -> Any:
        """Validate on a split of a dataset and return the metrics (`metrics.box.map` and so on)."""
        args = {**self.overrides, "rect": True, **kwargs, "mode": "val"}
        args["data"] = args.get("data") or TASK2DATA[self.task]
        validator = (validator or load(TASKS[self.task].validator))(args=args, _callbacks=self.callbacks)
        validator(model=self.model)
        self.metrics = validator.metrics
        return self.metrics

    def predict(self, source: Any = None, stream: bool = False, predictor: Any = None, **kwargs) -> Any:
        """Return a list (with `stream` a generator) of Results for pictures, videos, folders, arrays, streams, ..."""
        if source is None:
            source = ASSETS
            LOGGER.warning(f"No source was given, so the package's own pictures are taken: {source}.")
        prompts = kwargs.pop("prompts", None)
        if prompts is not None:
            raise ConfigError("prompts= belongs to promptable segmentation models, which this package leaves out.")
        args = {"conf": 0.25, "batch": 1, "save": False, **self.overrides, **kwargs, "mode": "predict", "rect": True}
        if self.predictor is None:
            self.predictor = (predictor or load(TASKS[self.task].predictor))(overrides=args, _callbacks=self.callbacks)
            self.predictor.setup_model(model=self.model, verbose=False)
        else:  # the fused model is kept from call to call
            self.predictor.args = get_cfg(overrides=args)
        return self.predictor(source=source, stream=stream)

    def info(self, detailed: bool = False, verbose: bool = True) -> Any:
        """Log and return layers, parameters, gradients and GFLOPs."""
        return self.model.info(detailed=detailed, verbose=verbose)

    def fuse(self) -> Model:
        """Fold batch norms into convolutions, for inference."""
        self.model.fuse()
        self.predictor = None  # it holds a copy of the model
        return self

    def load(self, weights: str | Path | nn.Module | dict = "yolo11n.pt") -> Model:
        """Take over every entry of other weights whose name and shape fit."""
        if isinstance(weights, (str, Path)):
            weights, self.ckpt = attempt_load_one_weight(weights)
        self.model.load(weights)
        self.predictor = None
        self.ckpt = self.ckpt or {"model": self.model.state_dict()}
        return self

    def save(self, filename: str | Path = "saved_model.pt") -> None:
        """Write the model as a weight file."""
        save_checkpoint(filename, describe(self.model))

    def reset_weights(self) -> Model:
        """Start again from random weights."""
        for m in self.model.modules():
            if hasattr(m, "reset_parameters"):
                m.reset_parameters()
        for p in self.model.parameters():
            p.requires_grad = True
        self.predictor = None
        return self

    def to(self, device: Any) -> Model:
        """Move the model to a device."""
        self.model.to(device)
        self.predictor = None
        return self

    @property
    def names(self) -> dict[int, str]:
        """Class names by number."""
        return self.model.names

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device

    @property
    def transforms(self) -> Any:
        """Transforms of the model, if it brings any."""
        return getattr(self.model, "transforms", None)

    @property
    def task_map(self) -> dict[str, dict[str, type]]:
        """Model, trainer, validator and predictor classes by task."""
        parts = ("model", "trainer", "validator", "predictor")
        return {name: {p: load(getattr(task, p)) for p in parts} for name, task in TASKS.items()}

    def reset_callbacks(self) -> None:
        """Forget all callback functions."""
        self.callbacks = get_default_callbacks()

    def clear_callback(self, event: str) -> None:
        """Forget the callback functions of an event."""
        self.callbacks[event] = []
