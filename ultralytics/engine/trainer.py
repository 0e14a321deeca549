"""Training: set-up, epochs, validation, checkpoints and the end of a run; the trainers of tasks fill in the hooks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils.data import Dataset

from ultralytics.cfg import SettingsLike, get_cfg, run_folder
from ultralytics.cfg.tasks import DISTIL, load
from ultralytics.data.build import InfiniteDataLoader, Split
from ultralytics.data.utils import as_single_class, check_det_dataset, refuse_without
from ultralytics.data.workers import LostProcess
from ultralytics.engine.callbacks import get_default_callbacks
from ultralytics.engine.integrations import add_integration_callbacks, remove_integration_callbacks
from ultralytics.engine.training import distributed
from ultralytics.engine.training import optimizer as optim
from ultralytics.engine.training.autobatch import auto_batch, half_of
from ultralytics.engine.training.interrupt import Interrupted, Interrupts
from ultralytics.engine.training.learner import Learner
from ultralytics.engine.training.progress import NOT_YET, Progress
from ultralytics.engine.training.resume import check_interrupted, how_to_go_on, last_state, resumed_settings
from ultralytics.engine.training.run_files import PREVIOUS, RunFiles
from ultralytics.engine.training.runner import Runner, make_runner
from ultralytics.engine.training.state import check_same, process_states, restore
from ultralytics.engine.training.step import Steps, on_device
from ultralytics.engine.training.watch import leaves_out_steps
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.parse import without_weight_files
from ultralytics.nn.tasks import BaseModel, attempt_load_one_weight, read_weights
from ultralytics.nn.trust import trust_modules
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK, WORLD_SIZE, yaml_save
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import RunFolder
from ultralytics.utils.losses.boxes import find_box_loss
from ultralytics.utils.system.determinism import process_restored
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import (
    EarlyStopping,
    ModelEMA,
    check_amp,
    de_parallel,
    init_seeds,
    select_device,
)


class BaseTrainer(Steps):
    """Trains a model: `train()` is the whole run; subclasses define what is specific to a task.

    Args:
        cfg: settings to start from.
        overrides: settings that take their place.
        _callbacks: functions by event, such as those of a `YOLO` object.

    Raises:
        UserError: a setting, the dataset, the model or the device cannot be used; no run folder has been made then.
    """

    task: str | None = None  # set by the trainers of a task
    validator_class: type[BaseValidator] | None = None

    def __init__(self, cfg: SettingsLike = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        overrides, self.folder, self.resume_ckpt = dict(overrides or {}), NOT_YET, NOT_YET
        self.check_resume(overrides)
        args = get_cfg(cfg, overrides)
        self.args = args.replaced(task=self.task or args.task)
        trust_modules(self.args.resume if self.resume else self.args.model, self.args.trust_modules)
        find_box_loss(self.args.box_loss)  # before anything is read
        self.callbacks = _callbacks or get_default_callbacks()
        self.interrupts = Interrupts()
        self.ranks = distributed.parse_ranks(self.args.device)  # of a run that this process is to launch
        distributed.check_batch(self.args.batch, len(self.ranks) or WORLD_SIZE)
        if self.ranks:
            self.device = distributed.check_ranks(self.ranks)
        else:
            self.device = distributed.local_device(self.args.device) or select_device(self.args.device, self.args.batch)
        steps = self.resume_ckpt.get("steps", 0) if self.resume_ckpt else 0
        self.progress = Progress(self.args.epochs, int(self.args.batch), steps=steps)  # a batch below 1 is chosen later
        self.learner = Learner(cast(nn.Module, self.args.model))  # its name, until the set-up
        with self.seeded():
            self.data = self.get_dataset()
        self.trainset = self.data["train"]
        self.testset = cast(Split, self.data.get("val") or self.data.get("test"))
        self.train_loader = self.test_loader = self.validator = NOT_YET
        self.batch: dict = {}  # the current one, on the device
        self.stride = 32  # of the model once it is built, at least 32
        self.folder = self.folder or run_folder(self.args)
        damaged = self.resume and Path(str(self.args.resume)).name == PREVIOUS
        self.files = RunFiles(self.folder.path, damaged)
        self.args = self.args.replaced(save_dir=str(self.save_dir))
        self.save_period = self.args.save_period
        self.plots: dict = {}
        self.plot_idx = [0, 1, 2]

    # The run ----------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train from start to end; with several devices named, launch one process for each and wait for them.

        Raises:
            CheckpointError: the run to be resumed has finished.
        """
        if self.resume_ckpt is not None:
            check_interrupted(self.resume_ckpt, self.args.resume)
        if self.ranks:
            from ultralytics.engine.training.launch import launch  # the elastic agent takes its time to import

            with self._own_folder():
                launch(self)
            return
        together = distributed.together(self.device, self.args.ddp_timeout)
        with together, THREADS.kept(), self._own_folder(), self.seeded():
            if self.device.type == "cuda" and THREADS.ours:
                THREADS.use(1)  # feeds the GPU; more would wait spinning on cores that loader processes need
            self._do_train(WORLD_SIZE)

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Use the seeds and switches of this run in the block, and those from before it afterwards."""
        with process_restored():
            init_seeds(self.args.seed + max(RANK, 0), deterministic=self.args.deterministic)
            yield

    @contextmanager
    def _own_folder(self) -> Iterator[None]:
        """Make the run folder, the same for all ranks; it is removed if the run ends before writing anything."""
        with self.folder if RANK in {-1, 0} else nullcontext():
            path = distributed.broadcast(self.folder.path)
            self.files = RunFiles(path, self.files.damaged)
            self.args = self.args.replaced(save_dir=str(path))
            yield

    def _do_train(self, world_size: int = 1) -> None:
        """Train in this process, one of `world_size`."""
        add_integration_callbacks(self)
        try:
            self._setup_train(world_size)
            with self.interrupts:
                self._run_epochs()
            self._finish()
        except Interrupted as e:
            if RANK in {-1, 0}:
                LOGGER.info(how_to_go_on(e, self.epoch, self.files, self.args.save))
            raise SystemExit(128 + e.number) from None
        finally:
            remove_integration_callbacks(self)
            self.learner.runner = Runner()  # graphs hold memory
            self.model = de_parallel(self.model)
            for model in (self.model, self.ema.ema if self.ema else None):
                if isinstance(model, BaseModel):
                    model.forget_criterion()
            for loader in filter(None, (self.train_loader, self.test_loader)):
                loader.close()

    def _run_epochs(self) -> None:
        """Train epoch by epoch, and validate and save after each, until the last one or an early stop."""
        self.run_callbacks("on_train_start")
        self.train_time_start = time.time()
        if not self.resume or Path(str(self.args.resume)).resolve() != self.last.resolve():
            self.save_state()  # to go on from after a kill or a NaN before the next state
        if not self.resume and RANK in {-1, 0}:
            self.files.forget_earlier(begun=self.args.save and self.last not in self.files.failing)
        while self.epoch < self.epochs and not self.stop:
            self.progress.complete, self.epoch_time_start = False, time.time()
            THREADS.follow(count=self.device.type == "cpu" and not self.args.deterministic)
            self.run_callbacks("on_train_epoch_start")
            self._train_epoch_that_fits()
            self.run_callbacks("on_train_epoch_end")
            self._keep_to_time_limit()
            self._after_epoch(last=self.stop or self.epoch + 1 >= self.epochs)
            self.epoch_time = time.time() - self.epoch_time_start
            self.run_callbacks("on_fit_epoch_end")
            distributed.barrier()  # rank 0 may have sent files away
            self.epoch += 1
        self.epoch -= 1
        if signal := distributed.highest(self.interrupts.received):  # it came after the last batch
            raise Interrupted(signal)

    def _train_epoch_that_fits(self) -> None:
        """Train an epoch; if the GPU's memory is too small for the first batches of the run, with half the batch."""
        while True:
            try:
                return self.train_epoch()
            except torch.cuda.OutOfMemoryError:  # its only name in torch 2.3
                self.batch, self.loss, self.loss_items = {}, NOT_YET, NOT_YET  # they hold memory
                self.learner.watch.noted.clear()
                self.learner.runner.free()
                self.use_batch(half_of(self.progress, self.last, self.device, self.args.imgsz))
                self.progress.halved = True
            except LostProcess as e:  # between two batches
                raise LostProcess(f"{e} {self.keep_what_is_done()}") from e

    def train_epoch(self) -> None:
        """Train on all batches once: forward, backward, and an optimizer step every `accumulate` batches."""
        self._model_train()
        self.learner.runner.look(self.model)
        progress, schedule, batches = self.progress, self.learner.schedule, len(self.train_loader)
        first = progress.batches
        self.train_loader.set_epoch(self.epoch, first)
        if first == 0:
            self.tloss = NOT_YET
        schedule.start_epoch(self.epoch, begun=first > 0)
        if self._mosaic_is_over() and not self.mosaic_closed:
            self._close_dataloader_mosaic()
        pbar = self._progress_bar(batches, first)
        for i, batch in enumerate(on_device(pbar, self.device), first):
            self.run_callbacks("on_train_batch_start")
            THREADS.follow(count=False)
            progress.iteration = i + batches * self.epoch
            self.accumulate = schedule.start_iteration(progress.iteration)
            self._train_batch(batch)
            self._log_batch(pbar, batch)
            self.run_callbacks("on_train_batch_end")
            if self.args.plots and progress.iteration in self.plot_idx and RANK in {-1, 0}:
                self.plot_training_samples(self.batch, progress.iteration)
            if self._time_is_over():
                break
            progress.fitting += 1
            progress.batches = i + 1
            self._save_if_wanted()
        progress.batches = batches
        self._settle()
        if self.tloss is None:
            self.tloss = self.loss_items  # of the only batch, which was a bad one
        self.tloss = distributed.mean(self.tloss)
        self.lr = {f"lr/pg{k}": g["lr"] for k, g in enumerate(self.optimizer.param_groups)}

    def _after_epoch(self, last: bool) -> None:
        """Validate, write the epoch's row, decide on stopping, and save."""
        if RANK in {-1, 0}:
            self.ema.update_attr(self.model, include=["yaml", "nc", "args", "names", "stride"])
            if self.args.val or last or self.stopper.possible_stop:
                self.learner.runner.make_room(0.5)  # for twice as many images without gradients
                self.metrics, self.fitness = self.validate()
            self.save_metrics({**self.label_loss_items(self.tloss), **self.metrics, **self.lr})
            self.stop = self.stopper(self.epoch + 1, self.fitness) or self.stop
        self.progress.finish_epoch()
        self.progress.ranks = process_states(self.device, self.tloss)
        if RANK in {-1, 0} and (self.args.save or last):
            self.save_model()
        self.stop, signal = distributed.broadcast((self.stop, 0))
        if signal:
            raise Interrupted(signal)

    def _time_is_over(self) -> bool:
        """Check whether the hours of `time` have passed, the same on all ranks."""
        if not (limit := self.args.time):
            return False
        return bool(distributed.highest(self.progress.seconds > limit * 3600))

    def _keep_to_time_limit(self) -> None:
        """With `time` (hours), fit the number of epochs to the duration of one, and stop when the time is over."""
        if not (limit := self.args.time):
            return
        fitting = distributed.broadcast(math.ceil(limit * 3600 / self.progress.seconds * (self.epoch + 1)))
        self.epochs = max(self.epoch + 1, fitting)
        with self.learner.schedule.undisturbed():
            self._fresh_scheduler()
        self.stop = self._time_is_over() or self.stop

    def _finish(self) -> None:
        """Validate the best weights, draw the curves and log where the results are."""
        if RANK in {-1, 0}:
            hours = (time.time() - self.train_time_start) / 3600
            LOGGER.info(f"\n{self.epoch - self.start_epoch + 1} epochs completed in {hours:.3f} hours.")
            if replaced := getattr(self.train_loader.dataset, "left_out", 0):
                LOGGER.warning(f"{replaced} training images became unusable meanwhile; others took their place.")
            self.final_eval()
            if self.args.plots:
                self.plot_metrics()
            self.run_callbacks("on_train_end")
        self.run_callbacks("teardown")

    # Set-up -----------------------------------------------------------------------------------------------------------

    def _setup_train(self, world_size: int = 1) -> None:
        """Build model, loaders, optimizer and schedule, then make the run folder."""
        self.run_callbacks("on_pretrain_routine_start")
        ckpt = self.setup_model()
        self.model = self.model.to(self.device).to(memory_format=torch.channels_last)
        self.stride = max(int(self.learner.network.stride.max()), 32)
        imgsz = cast(int, check_imgsz(self.args.imgsz, stride=self.stride, floor=self.stride, max_dim=1))
        self.args = self.args.replaced(imgsz=imgsz)
        self.set_model_attributes()
        self.learner.frozen = optim.freeze_layers(self.model, self.args.freeze)
        self.amp = bool(self.args.amp) and self.device.type == "cuda" and check_amp(self.model)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.amp)
        if self.batch_size < 1:
            self.batch_size = auto_batch(self.model, imgsz, self.args.batch, self.amp)
        if self.args.teacher:
            self.model = self.distiller = load(DISTIL)(self.model, self.args, self.amp)
        self._setup_batches()
        self.stopper = EarlyStopping(patience=self.args.patience)
        if RANK in {-1, 0}:
            self.validator = self.get_validator()
            names = [*self.validator.metric_keys, *self.label_loss_items(prefix="val")]
            self.metrics = dict.fromkeys(names, 0.0)
            self.ema = ModelEMA(self.model)
        if world_size > 1:
            distributed.barrier()  # rank 0 has looked at the images of validation, too
            self.model = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                find_unused_parameters=True,  # a custom model may have a layer that nothing reads
            )
        self.learner.runner = make_runner(self.model, self.args, self.device, self.amp)
        self.resume_training(ckpt)
        if RANK in {-1, 0}:
            self._make_run_folder()
            if self.args.plots and not self.resume:
                self.plot_training_labels()
        self.run_callbacks("on_pretrain_routine_end")
        self._log_start()

    def _setup_batches(self) -> None:
        """Build what depends on the batch size: loaders, optimizer and schedule."""
        size, self.mosaic_closed = self.batch_size // WORLD_SIZE, False
        self.train_loader = self.get_dataloader(self.trainset, size, RANK, "train")
        if RANK in {-1, 0}:
            self.test_loader = self.get_dataloader(self.testset, size * 2, -1, "val")
        self._setup_optimizer()

    def use_batch(self, size: int) -> None:
        """Continue from the last saved state with another batch size."""
        ckpt = last_state(self.last)[1]
        self.optimizer.zero_grad()
        for loader in (self.train_loader, self.test_loader):
            loader.close()
        self.batch_size = size
        self._setup_batches()
        self.validator.dataloader, self.progress.fitting = self.test_loader, 0
        self._restore(ckpt)
        self.files.write_args(self.recorded_args())

    def check_resume(self, overrides: dict) -> None:
        """Put the settings of the run that `resume` names into `overrides`; its state and folder are kept for later.

        Raises:
            UserError: there is no such run, or a setting is given that must not change within a run.
        """
        settings, self.resume_ckpt, folder = resumed_settings(dict(overrides))
        overrides.clear()
        overrides.update(settings)
        self.folder = RunFolder(folder, numbered=False) if folder else NOT_YET

    def resume_training(self, ckpt: dict | None) -> None:
        """Restore the state of the interrupted training, if this one resumes; all processes call this.

        Raises:
            ConfigError: the processes would resume different states, or the number of classes differs.
            CheckpointError: the state cannot be resumed.
        """
        check_same(self.resume_ckpt)
        if ckpt is None or not self.resume:
            return
        self._restore(ckpt)
        within = f" and {self.progress.batches} batches" if self.progress.batches else ""
        LOGGER.info(f"Resuming {self.args.resume} after {self.start_epoch} of {self.epochs} epochs{within}.")

    def _restore(self, ckpt: dict) -> None:
        restore(ckpt, self.args, self.learner, self.progress, self.files, self.train_loader)

    def _setup_optimizer(self) -> None:
        """Build the optimizer and its schedule for this number of images, batches and epochs."""
        args, progress, images = self.args, self.progress, len(self.train_loader.dataset)
        self.accumulate = max(round(args.nbs / self.batch_size), 1)
        # asked once in a run: with other epochs, or half the batch, the state would not fit another optimizer
        progress.steps = progress.steps or optim.steps_in_run(images, self.batch_size, args.nbs, self.epochs)
        self.optimizer = self.build_optimizer(
            model=self.model, name=args.optimizer, lr=args.lr0, momentum=args.momentum,
            decay=args.weight_decay * self.batch_size * self.accumulate / args.nbs, iterations=progress.steps,
        )  # fmt: skip
        optim.prime(self.optimizer)
        self.learner.watch.late = self.device.type == "cuda" and leaves_out_steps(self.optimizer, self.scaler)
        self.learner.schedule = optim.Schedule(
            self.optimizer, optim.Schedule.warmup_iterations(args.warmup_epochs, len(self.train_loader)),
            self.batch_size, args.nbs, args.momentum, args.warmup_momentum,
            warmup_bias_lr=optim.bias_lr(args, self.model, self.optimizer),
        )  # fmt: skip
        self._fresh_scheduler()
        if args.close_mosaic:
            first = (self.epochs - args.close_mosaic) * len(self.train_loader)  # the first batches without mosaic
            self.plot_idx = [0, 1, 2, first, first + 1, first + 2]

    def build_optimizer(
        self,
        model: nn.Module,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> torch.optim.Optimizer:
        """Return the optimizer of the run; override it for any other of PyTorch (see `choose_optimizer`)."""
        choice = optim.choose_optimizer(name, lr, momentum, self.data["nc"], iterations)
        return optim.build_optimizer(model, choice, decay)

    def _setup_scheduler(self) -> None:
        """Set `scheduler`, and `lf` if it follows from the epoch alone; override it for any scheduler of PyTorch."""
        self.learner.schedule.follow(optim.lr_law(self.epochs, self.args.lrf, self.args.cos_lr))

    def _fresh_scheduler(self) -> None:
        """Set up a scheduler of the whole run; where epochs are done, it steps through them."""
        self._setup_scheduler()
        self.learner.schedule.steps = 0

    def _make_run_folder(self) -> None:
        """Make the folder of weights and write the settings into the run folder."""
        try:
            self.wdir.mkdir(parents=True, exist_ok=True)
            yaml_save(self.save_dir / "args.yaml", self.recorded_args())
            self.files.clear()
            self.files.write_rows()  # those of an earlier run in this folder, or after the state resumed from, go
        except OSError as e:
            with suppress(OSError):
                self.wdir.rmdir()
            raise ConfigError(
                f"The run folder '{self.save_dir}' cannot be written: {e.strerror or e}. "
                "Make room or choose another with project=FOLDER."
            ) from None

    def setup_model(self) -> dict | None:
        """Build or load the model that the settings name; return the checkpoint to resume from, if there is one."""
        verbose = RANK in {-1, 0}
        if self.resume_ckpt is not None:
            self.model = self.get_model(cfg=without_weight_files(self.resume_ckpt["yaml"]), verbose=verbose)
            return self.resume_ckpt
        if isinstance(self.model, nn.Module):
            return None
        cfg, weights, pretrained = self.model, None, self.args.pretrained
        if str(self.model).endswith(".pt"):
            weights, ckpt = attempt_load_one_weight(self.model)
            cfg = ckpt["yaml"]
        if isinstance(pretrained, (str, Path)):
            weights, _ = read_weights(pretrained, self.args.trust_modules)
        self.model = self.get_model(cfg=cfg, weights=weights if pretrained else None, verbose=verbose)
        return None

    def _model_train(self) -> None:
        """Put the model into training mode; frozen layers keep their batch statistics."""
        self.model.train()
        for layer in self.learner.frozen.values():
            layer.eval()

    # Validation -------------------------------------------------------------------------------------------------------

    def validate(self) -> tuple[dict[str, float], float]:
        """Return the metrics of the EMA's weights, and their fitness, the best of which is kept."""
        metrics = self.validator(self)
        fitness = metrics.pop("fitness", None)
        if fitness is None:
            fitness = -float(self.tloss.sum())
        if not math.isnan(fitness) and (self.best_fitness is None or self.best_fitness < fitness):
            self.best_fitness = fitness
        return metrics, fitness

    def on_plot(self, name: str | Path, data: object = None) -> None:
        """Record a plot, for callbacks."""
        self.plots[Path(name)] = {"data": data, "timestamp": time.time()}

    # Hooks ------------------------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict:
        """Return the description of the dataset (see `check_det_dataset`)."""
        data = check_det_dataset(str(self.args.data))
        refuse_without(data, "train")
        return as_single_class(data) if self.args.single_cls else data

    def get_model(
        self, cfg: str | Path | dict | None = None, weights: nn.Module | dict | None = None, verbose: bool = True
    ) -> BaseModel:
        """Return the model to train."""
        raise NotImplementedError(f"{type(self).__name__} does not define how its model is built.")

    def get_validator(self) -> BaseValidator:
        """Return the validator of the task."""
        if self.validator_class is None:
            raise NotImplementedError(f"{type(self).__name__} does not define how it validates.")
        return self.validator_class(
            self.test_loader, save_dir=self.save_dir, args=copy(self.args), _callbacks=self.callbacks
        )

    def get_dataloader(
        self, dataset_path: Split, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> InfiniteDataLoader:
        """Return the loader of a split."""
        raise NotImplementedError(f"{type(self).__name__} does not define how it loads data.")

    def build_dataset(self, img_path: Split, mode: str = "train", batch: int | None = None) -> Dataset:
        """Return the dataset of a split."""
        raise NotImplementedError(f"{type(self).__name__} does not define how its dataset is built.")

    def build_targets(self, preds: object, targets: object) -> None:
        """Refuse: 8.3.0 has this name but never calls it."""
        raise NotImplementedError(
            "Targets are assigned by the loss of the task: override `init_criterion` of the model, or the assigner of "
            "the loss (`ultralytics.utils.tal`)."
        )

    def set_model_attributes(self) -> None:
        """Give the model class names and settings."""
        model = self.learner.network
        model.nc, model.names, model.args = self.data["nc"], self.data["names"], self.args

    def plot_training_samples(self, batch: dict, ni: int) -> None:
        """Draw a training batch."""

    def plot_training_labels(self) -> None:
        """Draw the statistics of the labels."""

    def plot_metrics(self) -> None:
        """Draw results.csv."""
        from ultralytics.utils.plotting import plot_results

        if self.csv.exists():
            plot_results(file=self.csv, on_plot=self.on_plot)

    def _mosaic_is_over(self) -> bool:
        """Check whether the current epoch is one of the last `close_mosaic` ones."""
        return bool(self.args.close_mosaic) and 0 <= self.epochs - self.args.close_mosaic <= self.epoch

    def _close_dataloader_mosaic(self) -> None:
        """Turn mosaic off for the last epochs."""
        if hasattr(self.train_loader.dataset, "close_mosaic") and self.args.close_mosaic:
            LOGGER.info("Mosaic is off for the last epochs.")
            self.mosaic_closed = True
            self.train_loader.dataset.close_mosaic(hyp=copy(self.args))
            self.train_loader.reset()
