"""Validation: the metrics of a model on a split; the validators of tasks define how predictions match labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ultralytics.cfg import get_cfg, run_folder
from ultralytics.data.build import Split
from ultralytics.data.changing import ChangingDataset
from ultralytics.data.utils import as_single_class, check_det_dataset
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.outputs import OutputNames
from ultralytics.engine.training.progress import NOT_YET
from ultralytics.nn.autobackend import AutoBackend, Output
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER, TQDM, colorstr
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, DataError, did_you_mean
from ultralytics.utils.files import RunFolder, atomic_write, writing
from ultralytics.utils.metrics import ClassifyMetrics, DetMetrics, match_predictions
from ultralytics.utils.ops import Profile
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import autocast, select_device, smart_inference_mode

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

Preds = TypeVar("Preds")  # the final predictions of a batch


def _differ(i: int, *names: str) -> bool:
    """Check whether names of class `i` mean different things, not just other spellings or placeholders (`class_0`)."""
    plain = {re.sub(r"[\s_-]+", " ", str(name)).strip().casefold() for name in names}
    return len(plain) > 1 and plain.isdisjoint({str(i), f"class{i}", f"class {i}"})


class BaseValidator(Callbacks, Generic[Preds]):
    """Validates a model: `validator(model=...)` by itself, `validator(trainer)` within training.

    Args:
        dataloader: batches to validate on; None: the split that the settings name.
        save_dir: folder for images and predictions; None: a new one, as the settings say, when something is drawn.
        args: settings, a namespace or a dictionary.
        _callbacks: functions by event.
    """

    task: str | None = None  # set by the validators of a task

    def __init__(
        self,
        dataloader: DataLoader | None = None,
        save_dir: Path | None = None,
        pbar: object = None,
        args: dict | SimpleNamespace | None = None,
        _callbacks: dict | None = None,
    ):
        given = get_cfg(overrides=args)
        self.args = given.replaced(task=self.task or given.task, conf=0.001 if given.conf is None else given.conf)
        self.dataloader = dataloader
        self.callbacks = _callbacks or get_default_callbacks()
        self.folder = (
            RunFolder(save_dir, numbered=False) if save_dir else run_folder(self.args, self.args.name or "val")
        )
        self.save_dir = self.folder.path
        self.device, self.stride = torch.device("cpu"), 32  # of the model, once there is one
        self.half = self.mixed = False  # compute in half precision, or in both
        self.training = False
        self.end2end = False  # whether the predictions need no NMS
        self.data: dict = {}
        self.names: dict[int, str] = {}
        self.seen = 0
        self.stats: dict[str, list] = {}
        self.jdict: list[dict] = []
        self.speed: dict[str, float] = {}
        self.plots: dict = {}
        self.metrics: DetMetrics | ClassifyMetrics = NOT_YET
        self.iouv = torch.linspace(0.5, 0.95, 10)  # thresholds of mAP50-95
        self.label_names = OutputNames((), ())  # of the label files that save_txt writes

    @smart_inference_mode()
    def __call__(
        self, trainer: BaseTrainer | None = None, model: str | Path | nn.Module | None = None
    ) -> dict[str, float]:
        """Validate and return the metrics by name, `fitness` among them; within training also the losses."""
        self.training = trainer is not None
        ready = self._load(model) if trainer is None else self._join_trainer(trainer)
        with self._own_folder():
            return self._validate(ready, trainer)

    @contextmanager
    def _own_folder(self) -> Iterator[None]:
        """Make the run folder of a standalone validation that writes files; it is removed if nothing was written."""
        writes = not self.training and (self.args.plots or self.args.save_json or self.args.save_txt)
        with self.folder if writes else nullcontext(self.save_dir) as self.save_dir:
            if self.args.save_txt:
                dataset = getattr(self.dataloader, "dataset", None)
                files = [f for name in ("im_files", "label_files") for f in getattr(dataset, name, ())]
                self.label_names = OutputNames(files, [self.save_dir / "labels"])
            yield

    def _validate(self, model: AutoBackend | BaseModel, trainer: BaseTrainer | None) -> dict[str, float]:
        """Go through all batches and return the metrics."""
        self.run_callbacks("on_val_start")
        timers = [Profile(device=self.device) for _ in range(3)]
        self.init_metrics(model)
        augment = {"augment": True} if self.args.augment and not self.training else {}
        self.jdict, loss = [], torch.zeros(len(trainer.loss_names) if trainer else 0, device=self.device)
        loader, images = cast(DataLoader, self.dataloader), 0
        bar = TQDM(loader, desc=self.get_desc(), total=len(loader))
        for batch_i, batch in enumerate(filter(None, bar)):  # a batch whose images are all gone is empty
            THREADS.follow(count=False)
            images += len(batch["img"])
            self.run_callbacks("on_val_batch_start")
            self.batch_i = batch_i
            with timers[0]:
                batch = self.preprocess(batch)
            with timers[1], autocast(self.mixed, self.device.type):
                outputs = model(batch["img"], **augment)
            if trainer:
                loss += cast(BaseModel, model).loss(batch, outputs)[1]
            with timers[2]:
                preds = self.postprocess(outputs)
            self.update_metrics(preds, batch)
            if self.args.plots and batch_i < 3:
                self.plot_val_samples(batch, batch_i)
                self.plot_predictions(batch, preds, batch_i)
            self.run_callbacks("on_val_batch_end")
            if trainer:
                trainer.leave_validation_if_wanted()
        if not trainer and hasattr(loader, "close"):
            loader.close()  # its processes; it can be used again
        self._log_left_out(images)
        stats = self.get_stats()
        self.check_stats(stats)
        self.speed = dict(
            zip(("preprocess", "inference", "postprocess"), (t.t / max(self.seen, 1) * 1e3 for t in timers))
        )
        self.finalize_metrics()
        self.print_results()
        self.run_callbacks("on_val_end")
        if trainer:
            losses = trainer.label_loss_items(loss.cpu() / (batch_i + 1), prefix="val")
            return {k: round(float(v), 5) for k, v in {**stats, **losses}.items()}
        return self._report(stats)

    def _join_trainer(self, trainer: BaseTrainer) -> BaseModel:
        """Take device, data and the averaged model from the trainer; plots are drawn at the end of a run only."""
        self.device, self.data = trainer.device, trainer.data
        self.half, self.mixed = False, trainer.amp  # the averaged weights themselves stay in single precision
        draws = trainer.args.plots and (trainer.stopper.possible_stop or trainer.epoch == trainer.epochs - 1)
        self.args = self.args.replaced(plots=draws)
        model = cast(BaseModel, trainer.ema.ema.eval())
        self.end2end = getattr(model, "end2end", False)
        return model

    def _load(self, model: str | Path | nn.Module | None) -> AutoBackend:
        """Load model, data and loader for a standalone validation; without `model`, that of the settings."""
        model = self.args.model if model is None else model
        if model is None:
            raise ConfigError(
                "There is nothing to validate: give model=WEIGHTS, such as model=runs/detect/train/weights/best.pt."
            )
        self.device = select_device(self.args.device, self.args.batch, verbose=True)
        self.half, self.mixed = self.args.half and self.device.type == "cuda", False
        backend = AutoBackend(
            model, device=self.device, fp16=self.half, fuse=True,
            threads=self.args.threads, providers=self.args.providers, trusted=self.args.trust_modules,
        )  # fmt: skip
        self.stride, self.end2end = max(int(backend.stride), 32), backend.end2end
        if backend.nms:
            LOGGER.warning(
                f"'{model}' has NMS inside, with the 'conf' and 'iou' of its export: boxes below that 'conf' are "
                "missing here, and mAP is lower than without. Validate a file that was exported with nms=False."
            )
        self._choose_size(backend)
        if self.dataloader is None:
            self.data = self.data or self.get_dataset()
            path = self.data.get(self.args.split)
            if path is None:
                splits = [s for s in ("train", "val", "test") if self.data.get(s)]
                raise DataError(
                    f"'{self.args.data}' has no split '{self.args.split}'. It has {', '.join(splits)}."
                    + did_you_mean(self.args.split, splits)
                )
            self.dataloader = self.get_dataloader(path, cast(int, self.args.batch))
        self.data = self.data or getattr(self.dataloader.dataset, "data", {})
        self._check_classes(backend)
        self._log_padding()
        backend.eval()
        return backend

    def _log_padding(self) -> None:
        """Log how images are padded, since the metrics depend on it a little."""
        dataset = getattr(self.dataloader, "dataset", None)
        if getattr(dataset, "rect", False):
            LOGGER.info(
                f"Each batch of {self.args.batch} is padded to a rectangle of its own (rect=True); another batch=, or "
                "rect=False, changes the metrics a little."
            )

    def _choose_size(self, model: AutoBackend) -> None:
        """Choose the size of the images: a file of fixed size has its own, and takes no rectangles."""
        if model.imgsz is None:
            self.args = self.args.replaced(imgsz=check_imgsz(self.args.imgsz, stride=self.stride, max_dim=1))
            return
        if model.imgsz[0] != model.imgsz[1]:
            raise ConfigError(
                f"'{self.args.model}' takes images of {model.imgsz[0]} x {model.imgsz[1]} pixels; validation needs "
                "squares or any size: export it with imgsz=SIDE or dynamic=True."
            )
        self.args = self.args.replaced(imgsz=model.imgsz[0], rect=False)
        LOGGER.info("Images are padded to squares, as this file takes them; for the same of a .pt give rect=False.")

    def _check_classes(self, model: AutoBackend) -> None:
        """Raise DataError if a dataset has more classes than the model; warn of classes with other names in it."""
        nc, known = self.data.get("nc") or 0, len(model.names)
        if nc > known:
            raise DataError(
                f"The dataset '{self.args.data}' has {nc} classes, but the model knows {known}. "
                "Validate with the dataset that the model was trained for, or train a model for this one."
            )
        if nc and nc < known:
            LOGGER.warning(
                f"The dataset '{self.args.data}' has {nc} classes, the model {known}: "
                "classes are compared by number, and predictions of the others count as false positives."
            )
        names = {} if self.args.single_cls else self.data.get("names") or {}
        other = [i for i, name in names.items() if _differ(i, name, model.names.get(i, name))]
        if other:
            i, more = other[0], f" (so it is for {len(other)} classes)" if len(other) > 1 else ""
            LOGGER.warning(
                f"WARNING ⚠️ Class {i} is '{names[i]}' in '{self.args.data}', but '{model.names[i]}' in the model{more}"
                ". Classes are compared by number: if the numbers mean different things, the metrics are meaningless."
            )

    def _log_left_out(self, images: int) -> None:
        """Log how many images these metrics leave out, as they changed after the dataset was made."""
        dataset = getattr(self.dataloader, "dataset", None)
        if not isinstance(dataset, ChangingDataset) or not dataset.left_out or images == len(dataset):
            return
        if not images:
            raise DataError(
                f"None of the {len(dataset)} images for validation can be used any more; the first was "
                f"'{dataset.images.files[0]}'. Bring them back, or name others in the data YAML."
            )
        LOGGER.warning(
            f"WARNING ⚠️ {len(dataset) - images} of {len(dataset)} images changed since their labels were read, and "
            f"are left out of these metrics."
        )

    def _report(self, stats: dict[str, float]) -> dict[str, float]:
        """Log speed and output files; write the predictions as COCO JSON if asked. Return the metrics."""
        LOGGER.info(
            "Speed: {:.1f}ms preprocess, {:.1f}ms inference, {:.1f}ms postprocess per image".format(
                *self.speed.values()
            )
        )
        if self.args.save_json and self.jdict:
            file = self.save_dir / "predictions.json"
            with writing(file), atomic_write(file, "w", encoding="utf-8") as f:
                json.dump(self.jdict, f)
            LOGGER.info(f"Saved {len(self.jdict)} predictions to {file}")
            stats = self.eval_json(stats) or stats
        if self.args.plots or self.args.save_json or self.args.save_txt:
            LOGGER.info(f"Results saved to {colorstr('bold', str(self.save_dir))}")
        return stats

    def match_predictions(
        self, pred_classes: torch.Tensor, true_classes: torch.Tensor, iou: torch.Tensor, use_scipy: bool = False
    ) -> torch.Tensor:
        """Mark which predictions are right at which threshold of `iouv`: (n, t), bool.

        Args:
            pred_classes: (n,) of predictions sorted by falling confidence.
            true_classes: (m,).
            iou: (m, n) of each object with each prediction.
            use_scipy: match so that the sum of the overlaps is greatest, instead of the most confident first. SciPy,
                which 8.3.0 uses for that, is not needed.
        """
        if not use_scipy:
            return match_predictions(pred_classes, true_classes, iou, self.iouv)
        from ultralytics.trackers.utils.matching import linear_assignment

        overlaps = (iou * (true_classes[:, None] == pred_classes)).cpu().numpy()
        right = np.zeros((len(pred_classes), len(self.iouv)), dtype=bool)
        for column, threshold in zip(right.T, self.iouv.tolist()):
            matches = linear_assignment(np.where(overlaps >= threshold, -overlaps, np.inf), 0)[0]
            column[matches[:, 1]] = True
        return torch.from_numpy(right).to(pred_classes.device)

    @property
    def metric_keys(self) -> list[str]:
        """Names of the metrics, which become columns of results.csv in training."""
        return list(self.metrics.keys)

    def on_plot(self, name: str | Path, data: object = None) -> None:
        """Record a plot, for callbacks."""
        self.plots[Path(name)] = {"data": data}

    # Hooks ------------------------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict:
        """Return the description of the dataset (see `check_det_dataset`)."""
        data = check_det_dataset(str(self.args.data))
        return as_single_class(data) if self.args.single_cls else data

    def get_dataloader(self, dataset_path: Split, batch_size: int) -> DataLoader:
        """Return the loader of a split."""
        raise NotImplementedError(f"{type(self).__name__} does not define how it loads data.")

    def build_dataset(self, img_path: Split) -> Dataset:
        """Return the dataset of a split, for `get_dataloader`."""
        raise NotImplementedError(f"{type(self).__name__} does not define how its dataset is built.")

    def preprocess(self, batch: dict) -> dict:
        """Prepare a batch for the model."""
        return batch

    def postprocess(self, preds: Output) -> Preds:
        """Turn the model's output for a batch into final predictions."""
        return cast(Preds, preds)

    def init_metrics(self, model: AutoBackend | BaseModel) -> None:
        """Reset the counts, for the classes of a model."""

    def update_metrics(self, preds: Preds, batch: dict) -> None:
        """Count one batch."""

    def get_stats(self) -> dict[str, float]:
        """Return the metrics by name."""
        return {}

    def check_stats(self, stats: dict[str, float]) -> None:
        """Look at the metrics before they are shown."""

    def pred_to_json(self, preds: Preds, batch: dict) -> None:
        """Add predictions to `jdict`, the rows that `save_json` writes."""

    def eval_json(self, stats: dict[str, float]) -> dict[str, float]:
        """Return the metrics once predictions.json is written, with those of another evaluator added.

        Nothing is added here: what COCO's evaluator computes for boxes is in `metrics.coco` already.
        """
        return stats

    def finalize_metrics(self) -> None:
        """Finish the metrics, once all batches are counted."""

    def print_results(self) -> None:
        """Log the table of results."""

    def get_desc(self) -> str:
        """Return the heading of the table of results."""
        return ""

    def plot_val_samples(self, batch: dict, ni: int) -> None:
        """Draw a batch with its labels."""

    def plot_predictions(self, batch: dict, preds: Preds, ni: int) -> None:
        """Draw a batch with its predictions."""
