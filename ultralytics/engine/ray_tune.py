"""Hyperparameter search with Ray Tune: trainings beside each other, on one machine or on the nodes of a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ultralytics.cfg import check_dict_alignment, get_cfg, run_folder
from ultralytics.cfg.tasks import TASKS
from ultralytics.engine.tuner import SPACE, by_logarithm, checked_space, warn_of_auto
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, colorstr, yaml_save
from ultralytics.utils.errors import MissingPackageError
from ultralytics.utils.system.telemetry import quiet_import

if TYPE_CHECKING:
    from ray.tune import ResultGrid

    from ultralytics.engine.model import Model
    from ultralytics.engine.trainer import BaseTrainer

FILES = ("data", "model", "pretrained", "teacher")  # settings that may be paths; a trial runs in a folder of its own


def run_ray_tune(
    model: Model,
    space: dict | None = None,
    grace_period: int = 10,
    gpu_per_trial: int | None = None,
    max_samples: int = 10,
    **train_args,
) -> ResultGrid:
    """Search for better hyperparameters with Ray Tune; poor trainings are stopped early (ASHA, arXiv 1810.05934).

    The trainings run on the Ray cluster that `ray.init` or $RAY_ADDRESS names, else on this machine. On a cluster all
    nodes need this package and the data under the same paths. Ray writes its results below the run folder
    (`runs/TASK/tune` unless `project` or `name` say otherwise), with `best_hyperparameters.yaml`; each training has its
    own run folder in the folder of its trial.

    Args:
        model: a YOLO, which is not changed.
        space: by setting (least, greatest), a range of `ray.tune` or a list of `tune.choice`; by default that of
            `engine.tuner`.
        grace_period: epochs that each training has before it may be stopped.
        gpu_per_trial: GPUs of each training; None for none.
        max_samples: trainings.
        train_args: settings of the trainings.

    Raises:
        MissingPackageError: Ray Tune is not installed.
        ConfigError: a setting or a range cannot be used.
    """
    tune = _ray_tune()
    settings = {**model.overrides, **train_args, "mode": "train", "task": model.task}
    args = get_cfg(overrides={"plots": False, **settings})
    ranges = _ranges(tune, space or SPACE)
    warn_of_auto(args.optimizer, ranges)
    metric, folder = TASKS[model.task].metric, run_folder(args, name=args.name or "tune").make().resolve()
    own = {key: str(Path(value).resolve()) for key in FILES if os.path.exists(value := settings.get(key) or "")}
    train = tune.with_parameters(trial, model=model, settings={"plots": False, **settings, **own})
    scheduler = tune.schedulers.ASHAScheduler(
        time_attr="epoch", max_t=args.epochs, grace_period=min(grace_period, args.epochs), reduction_factor=3,
        stop_last_trials=False,  # they still validate their best weights
    )  # fmt: skip
    search = tune.Tuner(
        tune.with_resources(train, {"cpu": _cores(), "gpu": gpu_per_trial or 0}),
        param_space=ranges,
        tune_config=tune.TuneConfig(metric=metric, mode="max", scheduler=scheduler, num_samples=max_samples),
        run_config=tune.RunConfig(
            name=folder.name, storage_path=str(folder.parent), sync_config=tune.SyncConfig(sync_artifacts=True)
        ),
    )
    results = search.fit()
    _say(results, metric, folder)
    return results


def _ray_tune() -> ModuleType:
    """Import Ray Tune, with its usage statistics switched off."""
    try:
        tune = quiet_import("ray.tune")
        quiet_import("ray.tune.schedulers")
    except ImportError as e:
        raise MissingPackageError(
            f"use_ray=True needs Ray Tune, which cannot be imported here ({e}): pip install 'ray[tune]'. "
            "Without it, tune(use_ray=False) searches with one training after the other."
        ) from None
    return tune


def _ranges(tune: ModuleType, space: Mapping[str, object]) -> dict[str, object]:
    """Return a space as Ray takes it; what is not (least, greatest) is Ray's already."""
    check_dict_alignment(DEFAULT_CFG_DICT, dict(space))
    pairs = checked_space({key: tuple(limits) for key, limits in space.items() if isinstance(limits, (tuple, list))})
    return {key: _range(tune, key, *pairs[key][:2]) if key in pairs else given for key, given in space.items()}


def _range(tune: ModuleType, key: str, low: float, high: float) -> object:
    if isinstance(DEFAULT_CFG_DICT[key], int):
        return tune.randint(round(low), round(high) + 1)
    return tune.loguniform(low, high) if by_logarithm(low, high) else tune.uniform(low, high)


def trial(config: dict, model: Model, settings: dict) -> None:
    """Train with the settings of one trial, in a process of Ray; the run folder is copied into that of the trial."""
    where = {"project": quiet_import("ray.tune").get_context().get_trial_dir(), "name": "run", "exist_ok": True}
    trainer = model.make_trainer(**{**settings, **config, **where})
    if not any(function is on_fit_epoch_end for function in trainer.callbacks["on_fit_epoch_end"]):
        trainer.add_callback("on_fit_epoch_end", on_fit_epoch_end)
    trainer.train()


def on_fit_epoch_end(trainer: BaseTrainer) -> None:
    """Report the metrics of an epoch, if this process runs a trial of Ray Tune."""
    tune = sys.modules.get("ray.tune")
    if tune and tune.get_context().get_trial_id():
        tune.report({**trainer.metrics, "epoch": trainer.epoch + 1})


callbacks: dict[str, Callable] = {"on_fit_epoch_end": on_fit_epoch_end}


def _cores() -> int:
    """Return the CPU cores of one training."""
    return min(8, os.cpu_count() or 1)


def _say(results: ResultGrid, metric: str, folder: Path) -> None:
    """Log the best trial and write its settings."""
    for error in results.errors:
        LOGGER.warning(f"WARNING: a training failed: {error}")
    if results.num_terminated == 0:
        return
    best = results.get_best_result()
    header = f"# {len(results)} trainings; the best has {metric} {(best.metrics or {}).get(metric)}.\n"
    yaml_save(folder / "best_hyperparameters.yaml", best.config, header=header)
    LOGGER.info(
        f"{colorstr('Tuner: ')}{len(results)} trainings, the best in '{best.path}'. "
        f"Results in {colorstr('bold', str(folder))}"
    )
