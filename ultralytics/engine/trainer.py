"""Training: set-up, epochs of batches, validation, checkpoints, the end of a run. Task trainers fill in the hooks."""

from __future__ import annotations

import math
import shutil
import time
from copy import copy, deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics import __version__
from ultralytics.cfg import get_cfg, get_save_dir
from ultralytics.cfg.tasks import LAB, load
from ultralytics.data.utils import check_det_dataset
from ultralytics.engine import distributed
from ultralytics.engine.autobatch import auto_batch
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.integrations import add_integration_callbacks, remove_integration_callbacks
from ultralytics.engine.optim import Schedule, build_optimizer, choose_optimizer, lr_law, steps_in_run
from ultralytics.engine.resume import resumed_settings
from ultralytics.nn.checkpoint import save_checkpoint, strip_checkpoint
from ultralytics.nn.ghostnet import without_weight_files
from ultralytics.nn.tasks import attempt_load_one_weight, describe, trust_modules
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK, TQDM, WORLD_SIZE, colorstr, yaml_save
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.torch_utils import (
    EarlyStopping,
    ModelEMA,
    autocast,
    check_amp,
    de_parallel,
    init_seeds,
    select_device,
)


class BaseTrainer(Callbacks):
    """Trains a model: `train()` is the whole run; subclasses say what is particular to a task.

    Args:
        cfg: settings to start from.
        overrides: settings that take their place.
        _callbacks: functions by event, such as those of a `YOLO` object.

    Raises:
        UserError: a setting, the dataset, the model or the device cannot be used; no run folder has been made then.
    """

    task: str | None = None  # of which trainers of one task say the name
    loss_names: tuple[str, ...] = ("loss",)

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        overrides, self.resume_ckpt = resumed_settings(dict(overrides or {}))
        self.args = get_cfg(cfg, overrides)
        self.args.task = self.task or self.args.task
        trust_modules(self.args.model, self.args.trust_modules)
        self.callbacks = _callbacks or get_default_callbacks()
        self.epochs = self.args.epochs or 100
        self.start_epoch = self.epoch = 0
        self.ranks = distributed.parse_ranks(self.args.device)  # of a run that this process is to launch
        distributed.check_batch(self.args.batch, len(self.ranks) or WORLD_SIZE)
        if self.ranks:
            self.device = distributed.check_ranks(self.ranks)
        else:
            self.device = distributed.local_device(self.args.device) or select_device(self.args.device, self.args.batch)
        init_seeds(self.args.seed + max(RANK, 0), deterministic=self.args.deterministic)

        self.model: Any = self.args.model
        if self._resuming:  # args.yaml goes on to say what is trained, not where it went on from
            self.args.model = self.resume_ckpt["args"]["model"]
        self.data = self.get_dataset()
        self.trainset, self.testset = self.data["train"], self.data.get("val") or self.data.get("test")

        self.save_dir = Path(self.args.resume).resolve().parents[1] if self._resuming else get_save_dir(self.args)
        self.args.save_dir = str(self.save_dir)
        self.wdir = self.save_dir / "weights"
        self.last, self.best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.csv = self.save_dir / "results.csv"
        self.save_period = self.args.save_period
        self.batch_size = self.args.batch

        self.validator = self.ema = self.optimizer = self.schedule = self.train_loader = self.test_loader = None
        self.metrics: dict[str, float] = {}
        self.best_fitness = self.fitness = None
        self.loss = self.loss_items = self.tloss = None
        self.plots: dict = {}
        self.plot_idx = [0, 1, 2]
        self.mosaic_closed = self.stop = False
        self.distiller: Any = None  # the model and what a teacher adds to it

    # The run ----------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train from start to end; with several devices named, launch one process for each and wait for them."""
        if self.ranks:
            distributed.launch(self)
            return
        distributed.join(self.device)
        add_integration_callbacks(self)
        try:
            self._setup_train()
            self._run_epochs()
            self._finish()
        finally:
            remove_integration_callbacks(self)
            self.model = de_parallel(self.model)
            for loader in filter(None, (self.train_loader, self.test_loader)):
                loader.close()
        distributed.leave()  # not after an error: the others may be waiting for this process, which has to end

    def _run_epochs(self) -> None:
        """Train epoch by epoch, and validate and save after each, until the last one or an early stop."""
        self.run_callbacks("on_train_start")
        self.train_time_start = time.time()
        while self.epoch < self.epochs and not self.stop:
            start = time.time()
            self.run_callbacks("on_train_epoch_start")
            self.train_epoch()
            self.run_callbacks("on_train_epoch_end")
            self._keep_to_time_limit()
            self._after_epoch(last=self.stop or self.epoch + 1 >= self.epochs)
            self.epoch_time = time.time() - start
            self.run_callbacks("on_fit_epoch_end")
            self.epoch += 1
        self.epoch -= 1

    def train_epoch(self) -> None:
        """Pass once over the training pictures: forward, backward, and an optimizer step every `accumulate` batches."""
        self._model_train()
        self.train_loader.set_epoch(self.epoch)
        self.schedule.start_epoch(self.epoch)
        if (
            self.args.close_mosaic
            and 0 <= self.epochs - self.args.close_mosaic <= self.epoch
            and not self.mosaic_closed
        ):
            self._close_dataloader_mosaic()
        batches = len(self.train_loader)
        pbar = self._progress_bar(batches)
        self.tloss = None
        for i, batch in enumerate(pbar):
            self.run_callbacks("on_train_batch_start")
            self.iteration = i + batches * self.epoch
            self.accumulate = self.schedule.start_iteration(self.iteration, self.epoch)
            self._forward_backward(batch)
            if self.iteration - self.last_step >= self.accumulate:
                self.optimizer_step()
                self.last_step = self.iteration
            self.tloss = self.loss_items if self.tloss is None else (self.tloss * i + self.loss_items) / (i + 1)
            self._log_batch(pbar, batch)
            self.run_callbacks("on_train_batch_end")
            if self.args.plots and self.iteration in self.plot_idx and RANK in {-1, 0}:
                self.plot_training_samples(self.batch, self.iteration)
            if self._time_is_over():
                break
        self.tloss = distributed.mean(self.tloss)
        self.lr = {f"lr/pg{k}": g["lr"] for k, g in enumerate(self.optimizer.param_groups)}

    def _forward_backward(self, batch: dict) -> None:
        """Compute the loss of one batch and add its gradients."""
        with autocast(self.amp, self.device.type):
            self.batch = self.preprocess_batch(batch)
            self.loss, self.loss_items = self.model(self.batch)
            if WORLD_SIZE > 1:
                self.loss = self.loss * WORLD_SIZE  # gradients are averaged over ranks; the loss is a sum over pictures
        self.scaler.scale(self.loss).backward()

    def optimizer_step(self) -> None:
        """Clip the gradients to norm 10, step, and let the EMA follow."""
        self.run_callbacks("optimizer_step")
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.run_callbacks("on_before_zero_grad")
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)
        self.run_callbacks("on_params_update")

    def _after_epoch(self, last: bool) -> None:
        """Validate, write the epoch's row, decide on stopping, and save."""
        if RANK in {-1, 0}:
            self.ema.update_attr(self.model, include=["yaml", "nc", "args", "names", "stride"])
            if self.args.val or last or self.stopper.possible_stop:
                self.metrics, self.fitness = self.validate()
            self.save_metrics({**self.label_loss_items(self.tloss), **self.metrics, **self.lr})
            self.stop = self.stopper(self.epoch + 1, self.fitness) or self.stop
            if self.args.save or last:
                self.save_model()
        self.stop = distributed.broadcast(self.stop)

    def _time_is_over(self) -> bool:
        """Return whether the hours of `time` have passed, the same on all ranks."""
        limit = self.args.time
        return bool(limit) and distributed.broadcast(time.time() - self.train_time_start > limit * 3600)

    def _keep_to_time_limit(self) -> None:
        """With `time` (hours), fit the number of epochs to what an epoch takes, and stop when the time is over."""
        if not self.args.time:
            return
        each = (time.time() - self.train_time_start) / (self.epoch - self.start_epoch + 1)
        fitting = distributed.broadcast(self.start_epoch + math.ceil(self.args.time * 3600 / each))
        self.epochs = self.args.epochs = max(self.epoch + 1, fitting)
        self.schedule.law = lr_law(self.epochs, self.args.lrf, self.args.cos_lr)
        self.stop = self._time_is_over() or self.stop

    def _finish(self) -> None:
        """Validate the best weights, draw the curves and say where everything lies."""
        if RANK in {-1, 0}:
            hours = (time.time() - self.train_time_start) / 3600
            LOGGER.info(f"\n{self.epoch - self.start_epoch + 1} epochs completed in {hours:.3f} hours.")
            self.final_eval()
            if self.args.plots:
                self.plot_metrics()
            self.run_callbacks("on_train_end")
        self.run_callbacks("teardown")

    # Set-up -----------------------------------------------------------------------------------------------------------

    def _setup_train(self) -> None:
        """Build model, loaders, optimizer and schedule, then make the run folder."""
        self.run_callbacks("on_pretrain_routine_start")
        ckpt = self.setup_model()
        self.model = self.model.to(self.device, memory_format=torch.channels_last)
        self.set_model_attributes()
        self._freeze_layers()
        self.amp = bool(self.args.amp) and self.device.type == "cuda" and check_amp(self.model)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.amp)
        self.stride = max(int(de_parallel(self.model).stride.max()), 32)
        self.args.imgsz = check_imgsz(self.args.imgsz, stride=self.stride, floor=self.stride, max_dim=1)
        if self.batch_size < 1:
            self.args.batch = self.batch_size = auto_batch(self.model, self.args.imgsz, self.batch_size, self.amp)
        if self.args.teacher:
            self.model = self.distiller = load(LAB["distill"])(self)
        self.train_loader = self.get_dataloader(self.trainset, self.batch_size // WORLD_SIZE, RANK, "train")
        self._setup_optimizer()
        self.stopper = EarlyStopping(patience=self.args.patience)
        if RANK in {-1, 0}:
            self.test_loader = self.get_dataloader(self.testset, self.batch_size // WORLD_SIZE * 2, -1, "val")
            self.validator = self.get_validator()
            names = [*self.validator.metrics.keys, *self.label_loss_items(prefix="val")]
            self.metrics = dict.fromkeys(names, 0.0)
            self.ema = ModelEMA(self.model)
        if WORLD_SIZE > 1:
            self.model = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                find_unused_parameters=True,  # a model of one's own may have a layer that nothing reads
            )
        self._restore(ckpt)
        if RANK in {-1, 0}:
            self._make_run_folder()
            if self.args.plots and not self._resuming:
                self.plot_training_labels()
        self.run_callbacks("on_pretrain_routine_end")
        self._log_start()

    def _setup_optimizer(self) -> None:
        """Build the optimizer and its schedule for this number of pictures, batches and epochs."""
        args, images = self.args, len(self.train_loader.dataset)
        accumulate = max(round(args.nbs / self.batch_size), 1)
        choice = choose_optimizer(args, self.data["nc"], steps_in_run(images, self.batch_size, args.nbs, self.epochs))
        self.optimizer = self.build_optimizer(
            self.model, choice, args.weight_decay * self.batch_size * accumulate / args.nbs
        )
        warmup = Schedule.warmup_iterations(args.warmup_epochs, len(self.train_loader))
        self.schedule = Schedule(
            self.optimizer, lr_law(self.epochs, args.lrf, args.cos_lr), warmup, self.batch_size, args.nbs,
            args.momentum, args.warmup_momentum, choice.warmup_bias_lr,
        )  # fmt: skip
        self.last_step = -1
        if args.close_mosaic:
            first = (self.epochs - args.close_mosaic) * len(self.train_loader)  # the first batches without mosaic
            self.plot_idx = [0, 1, 2, first, first + 1, first + 2]

    def build_optimizer(self, model: nn.Module, choice: Any, decay: float) -> torch.optim.Optimizer:
        """Return the optimizer of the run; override it to bring one's own."""
        return build_optimizer(model, choice, decay)

    def _make_run_folder(self) -> None:
        """Make the folder of the run and write the settings into it."""
        new = not self.save_dir.exists()
        try:
            self.wdir.mkdir(parents=True, exist_ok=True)
            yaml_save(self.save_dir / "args.yaml", vars(self.args))
            self._keep_rows_of_earlier_epochs()
        except OSError as e:
            if new:
                shutil.rmtree(self.save_dir, ignore_errors=True)
            raise ConfigError(
                f"The run folder '{self.save_dir}' cannot be written: {e.strerror or e}. "
                "Make room or choose another with project=FOLDER."
            ) from None

    def _keep_rows_of_earlier_epochs(self) -> None:
        """Drop an earlier run's results.csv in this folder (exist_ok=True), or rows after the epoch resumed from."""
        if not self.csv.exists():
            return
        head, *rows = self.csv.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
        rows = [row for row in rows if row.endswith("\n") and float(row.split(",")[0]) <= self.start_epoch]
        if rows:
            with atomic_write(self.csv, "w", encoding="utf-8") as f:
                f.write(head + "".join(rows))
        else:
            self.csv.unlink()

    def setup_model(self) -> dict | None:
        """Turn the name of a model into the model; return the checkpoint to resume from, if there is one."""
        verbose = RANK in {-1, 0}
        if self._resuming:
            with without_weight_files():  # the checkpoint brings them
                self.model = self.get_model(cfg=self.resume_ckpt["yaml"], verbose=verbose)
            return self.resume_ckpt
        if isinstance(self.model, nn.Module):
            return None
        cfg, weights, pretrained = self.model, None, self.args.pretrained
        if str(self.model).endswith(".pt"):
            weights, ckpt = attempt_load_one_weight(self.model)
            cfg = ckpt["yaml"]
        if isinstance(pretrained, (str, Path)):
            weights, _ = attempt_load_one_weight(pretrained)
        self.model = self.get_model(cfg=cfg, weights=weights if pretrained else None, verbose=verbose)
        return None

    def _freeze_layers(self) -> None:
        """Stop the gradients of the layers that `freeze` names (a count, or a list of indices), and of the DFL."""
        freeze = self.args.freeze
        layers = freeze if isinstance(freeze, list) else range(freeze or 0)
        prefixes = [f"model.{i}." for i in layers]
        frozen = 0
        for name, p in self.model.named_parameters():
            fixed = name.startswith(tuple(prefixes)) or ".dfl" in name
            p.requires_grad = not fixed and p.dtype.is_floating_point
            frozen += fixed and ".dfl" not in name
        self.frozen_layers = [m for k, m in de_parallel(self.model).model.named_children() if f"model.{k}." in prefixes]
        if not any(p.requires_grad for p in self.model.parameters()):
            count = len(self.frozen_layers)
            raise ConfigError(f"freeze={freeze} freezes all {count} layers, so nothing is left to train. Freeze fewer.")
        if prefixes:
            LOGGER.info(f"Frozen: {len(self.frozen_layers)} layers with {frozen} parameter tensors.")

    def _model_train(self) -> None:
        """Put the model into training mode; frozen layers keep their batch statistics."""
        self.model.train()
        for layer in self.frozen_layers:
            layer.eval()

    # Resuming ---------------------------------------------------------------------------------------------------------

    @property
    def _resuming(self) -> bool:
        return self.resume_ckpt is not None

    def _restore(self, ckpt: dict | None) -> None:
        """Bring model, optimizer, EMA, scaler and epoch to where the interrupted run stood."""
        if ckpt is None:
            return
        model = de_parallel(self.model)
        model.load_state_dict(ckpt["train_model"])
        for name, p in model.named_parameters():
            p.grad = ckpt["grads"][name].to(p.device) if name in ckpt["grads"] else None
        if self.distiller:
            self.distiller.restore(ckpt)
        self.optimizer.load_state_dict(ckpt["optimizer"])
        if ckpt.get("scaler"):
            self.scaler.load_state_dict(ckpt["scaler"])
        if self.ema:
            self.ema.ema.load_state_dict(ckpt["model"])
            self.ema.updates = ckpt["updates"]
        self.stopper.best_fitness, self.stopper.best_epoch = ckpt["stopper"]
        self.best_fitness = ckpt["best_fitness"]
        self.start_epoch = self.epoch = ckpt["epoch"] + 1
        self.last_step = ckpt["last_step"]
        torch.set_rng_state(ckpt["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in ckpt["rng"]:
            torch.cuda.set_rng_state(ckpt["rng"]["cuda"], self.device)
        LOGGER.info(
            f"Resuming {self.args.resume} after epoch {self.start_epoch}: {self.epochs - self.start_epoch} to go."
        )

    # Saving -----------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> dict:
        """Return all that `last.pt` holds: the EMA's weights to use, and the state to resume from."""
        model = de_parallel(self.model)
        waiting = self.last_step < self.iteration  # gradients that the next epoch's first step will use
        return {
            **describe(model),
            "args": dict(vars(self.args)),
            "model": self.ema.ema.state_dict(),
            "train_model": model.state_dict(),
            "grads": {n: p.grad for n, p in model.named_parameters() if waiting and p.grad is not None},
            **(self.distiller.state(waiting) if self.distiller else {}),
            "rng": self._rng_states(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "updates": self.ema.updates,
            "epoch": self.epoch,
            "last_step": self.last_step,
            "stopper": [self.stopper.best_fitness, self.stopper.best_epoch],
            "best_fitness": self.best_fitness,
            "metrics": {**self.metrics, "fitness": self.fitness},
            "date": datetime.now().isoformat(timespec="seconds"),
            "version": __version__,
        }

    def _rng_states(self) -> dict[str, torch.Tensor]:
        """Return the states of torch's generators, from which dropout draws; data has generators of its own."""
        states = {"cpu": torch.get_rng_state()}
        return states | {"cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else states

    def save_model(self) -> None:
        """Write last.pt, and best.pt and epochN.pt where due; what cannot be written is said, and training goes on."""
        ckpt = self.checkpoint()
        paths = [self.last]
        if self.best_fitness == self.fitness:
            paths.append(self.best)
        if self.save_period > 0 and (self.epoch + 1) % self.save_period == 0:
            paths.append(self.wdir / f"epoch{self.epoch + 1}.pt")
        for path in paths:
            try:
                save_checkpoint(path, ckpt)
            except UserError as e:
                LOGGER.warning(f"{e} Training goes on.")
                return
        self.run_callbacks("on_model_save")

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Append a row to results.csv."""
        names, values = ["epoch", *metrics], [self.epoch + 1, *metrics.values()]
        try:
            head = "" if self.csv.exists() else ",".join(f"{n:>23}" for n in names) + "\n"
            with open(self.csv, "a", encoding="utf-8") as f:
                f.write(head + ",".join(f"{float(v):>23.5g}" for v in values) + "\n")
        except OSError as e:
            LOGGER.warning(f"The row of epoch {self.epoch + 1} could not be added to '{self.csv}': {e.strerror or e}.")

    def final_eval(self) -> None:
        """Reduce the weight files to what inference needs, and validate the best ones."""
        for path in (self.last, self.best):
            try:
                if path.exists():
                    strip_checkpoint(path, check=self._outputs)
            except UserError as e:
                LOGGER.warning(f"{e} The file stays as training wrote it.")
        if self.best.exists():
            LOGGER.info(f"\nValidating {self.best}...")
            self.validator.args.plots = self.args.plots
            self.metrics = self.validator(model=self.best)
            self.metrics.pop("fitness", None)
            self.run_callbacks("on_fit_epoch_end")

    def _outputs(self, ckpt: dict) -> torch.Tensor:
        """Return what a checkpoint's weights predict for a fixed noise picture, to tell whether rounding changes it."""
        model = deepcopy(self.ema.ema).cpu()
        model.load_state_dict(ckpt["model"])
        with torch.inference_mode():
            y = model(torch.rand(1, model.yaml.get("ch", 3), 160, 160, generator=torch.Generator().manual_seed(0)))
        return y[0] if isinstance(y, (list, tuple)) else y

    def validate(self) -> tuple[dict[str, float], float]:
        """Return the metrics of the EMA's weights, and their fitness, the best of which is remembered."""
        metrics = self.validator(self)
        fitness = metrics.pop("fitness", -float(self.loss.detach().cpu()))
        if self.best_fitness is None or self.best_fitness < fitness:
            self.best_fitness = fitness
        return metrics, fitness

    # Logging ----------------------------------------------------------------------------------------------------------

    def _log_start(self) -> None:
        LOGGER.info(
            f"Pictures of {self.args.imgsz} pixels for training and validation, "
            f"{self.train_loader.num_workers * WORLD_SIZE} loader processes, "
            f"results in {colorstr('bold', self.save_dir)}\nTraining for "
            + (f"{self.args.time} hours..." if self.args.time else f"{self.epochs} epochs...")
        )

    def _progress_bar(self, batches: int) -> Any:
        if RANK not in {-1, 0}:
            return self.train_loader
        LOGGER.info(self.progress_string())
        return TQDM(self.train_loader, total=batches)

    def _log_batch(self, pbar: Any, batch: dict) -> None:
        if RANK not in {-1, 0}:
            return
        losses = self.tloss if self.tloss.ndim else self.tloss[None]
        memory = f"{torch.cuda.memory_reserved() / 2**30 if self.device.type == 'cuda' else 0:.3g}G"
        columns = ("%11s" * 2 + "%11.4g" * (2 + len(losses))) % (
            f"{self.epoch + 1}/{self.epochs}", memory, *losses.tolist(), len(batch["cls"]), batch["img"].shape[-1]
        )  # fmt: skip
        pbar.set_description(columns)

    def on_plot(self, name: str | Path, data: Any = None) -> None:
        """Remember a picture that was drawn, for callbacks."""
        self.plots[Path(name)] = {"data": data, "timestamp": time.time()}

    # Hooks ------------------------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict:
        """Return the description of the dataset (see `check_det_dataset`)."""
        return check_det_dataset(self.args.data)

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Return the model to train."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its model is built.")

    def get_validator(self) -> Any:
        """Return the validator of the task."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it validates.")

    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Return the loader of a split."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it loads data.")

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> Any:
        """Return the dataset of a split."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its dataset is built.")

    def preprocess_batch(self, batch: dict) -> dict:
        """Return the batch as the model takes it, on the device."""
        return batch

    def set_model_attributes(self) -> None:
        """Give the model names and settings."""
        self.model.names = self.data["names"]

    @property
    def train_loss_names(self) -> tuple[str, ...]:
        """The losses of the task, and those that a teacher adds in training."""
        return (*self.loss_names, *(self.distiller.loss_names if self.distiller else ()))

    def label_loss_items(self, loss_items: Any = None, prefix: str = "train") -> Any:
        """Return the loss items by name, or their names alone."""
        keys = [f"{prefix}/{name}" for name in (self.train_loss_names if prefix == "train" else self.loss_names)]
        return keys if loss_items is None else dict(zip(keys, (round(float(x), 5) for x in loss_items)))

    def progress_string(self) -> str:
        """Return the heading of the progress bar's columns."""
        columns = ("Epoch", "GPU_mem", *self.train_loss_names, "Instances", "Size")
        return "\n" + "%11s" * len(columns) % columns

    def plot_training_samples(self, batch: dict, ni: int) -> None:
        """Draw a training batch."""

    def plot_training_labels(self) -> None:
        """Draw the statistics of the labels."""

    def plot_metrics(self) -> None:
        """Draw results.csv."""
        from ultralytics.utils.plotting import plot_results

        plot_results(file=self.csv, on_plot=self.on_plot)

    def _close_dataloader_mosaic(self) -> None:
        """Train the last epochs on whole pictures."""
        if hasattr(self.train_loader.dataset, "close_mosaic") and self.args.close_mosaic:
            LOGGER.info("Mosaic is closed for the last epochs.")
            self.mosaic_closed = True
            self.train_loader.dataset.close_mosaic(hyp=copy(self.args))
            self.train_loader.reset()
