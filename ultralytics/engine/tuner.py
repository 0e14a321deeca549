"""Hyperparameter search: short trainings, each with settings near those of the best so far, or random ones."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.cfg import DEFAULT_CFG, KEPT_FROM_CHECKPOINT, cfg2dict, check_dict_alignment, get_cfg, run_folder
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.tasks import guess_model_task, yaml_model_load
from ultralytics.nn.trust import trust_modules
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, colorstr, yaml_save
from ultralytics.utils.drawing.tuning import plot_tune_results
from ultralytics.utils.errors import ConfigError, UserError, did_you_mean
from ultralytics.utils.files import atomic_write, read_text
from ultralytics.utils.hostile.limits import RECORD_BYTES

if TYPE_CHECKING:
    from ultralytics.engine.model import Model
    from ultralytics.engine.trainer import BaseTrainer

# Least and greatest value of each hyperparameter, and a factor on the size of its mutations (1 by default).
SPACE: dict[str, tuple[float, ...]] = {
    "lr0": (1e-5, 1e-1),
    "lrf": (1e-4, 0.1),
    "momentum": (0.7, 0.98, 0.3),
    "weight_decay": (0.0, 0.001),
    "warmup_epochs": (0.0, 5.0),
    "warmup_momentum": (0.0, 0.95),
    "box": (1.0, 20.0),
    "cls": (0.2, 4.0),
    "dfl": (0.4, 6.0),
    "hsv_h": (0.0, 0.1),
    "hsv_s": (0.0, 0.9),
    "hsv_v": (0.0, 0.9),
    "degrees": (0.0, 45.0),
    "translate": (0.0, 0.9),
    "scale": (0.0, 0.95),
    "shear": (0.0, 10.0),
    "perspective": (0.0, 0.001),
    "flipud": (0.0, 1.0),
    "fliplr": (0.0, 1.0),
    "bgr": (0.0, 1.0),
    "mosaic": (0.0, 1.0),
    "mixup": (0.0, 1.0),
    "copy_paste": (0.0, 1.0),
}
SEARCHES = ("evolution", "random")
DECADES = 2  # a positive range of at least so many powers of ten is searched by its logarithm


def checked_space(space: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, float, float]]:
    """Return each range as least value, greatest value and mutation factor.

    Raises:
        ConfigError: there is no such setting, or its range cannot be used.
    """
    check_dict_alignment(DEFAULT_CFG_DICT, dict(space))
    checked = {}
    for key, limits in space.items():
        numbers = isinstance(limits, (tuple, list)) and all(isinstance(v, (int, float)) for v in limits)
        if not numbers or len(limits) not in (2, 3) or not limits[0] < limits[1]:
            raise ConfigError(f"The space of '{key}' is {limits!r}, but it takes (least, greatest), as in (0, 0.5).")
        for value in limits[:2]:
            get_cfg(overrides={key: value if isinstance(DEFAULT_CFG_DICT[key], float) else round(value)})
        checked[key] = float(limits[0]), float(limits[1]), float(limits[2]) if len(limits) == 3 else 1.0
    return checked


def by_logarithm(low: float, high: float) -> bool:
    """Check whether a range is searched by its logarithm."""
    return low > 0 and high / low >= 10**DECADES


def warn_of_auto(optimizer: str, space: Collection[str]) -> None:
    """Warn if `optimizer=auto` would ignore settings that are searched."""
    passed_over = [key for key in ("lr0", "momentum") if key in space]
    if optimizer == "auto" and passed_over:
        LOGGER.warning(
            f"WARNING: optimizer=auto ignores {' and '.join(passed_over)}, so searching them has no effect. "
            "Name an optimizer, such as optimizer=AdamW."
        )


class Tuner(Callbacks):
    """Searches hyperparameters for a model: `Tuner({"data": "fire.yaml", "epochs": 10})(model, iterations=100)`.

    In the run folder (by default `runs/TASK/tune`) it writes `tune_results.csv` with a row per training,
    `best_hyperparameters.yaml`, `tune_fitness.png`, `tune_scatter_plots.png`, and the best training's `weights`.

    Args:
        args: settings of the trainings, with `space` ({setting: (least, greatest)}) and `search` ("evolution" or
            "random") among them; `resume=True` continues the search of the same project and name.
        _callbacks: functions by event, for the trainings.

    Raises:
        ConfigError: a setting or a range cannot be used.
    """

    def __init__(self, args: str | Path | dict | SimpleNamespace = DEFAULT_CFG, _callbacks: dict | None = None):
        given = cfg2dict(args)
        self.space = checked_space(given.pop("space", None) or SPACE)
        self.search = given.pop("search", None) or "evolution"
        if self.search not in SEARCHES:
            hint = did_you_mean(str(self.search), SEARCHES)
            raise ConfigError(f"search={self.search!r} is not known. Choose {' or '.join(SEARCHES)}.{hint}")
        self.resume = bool(given.pop("resume", False))
        self.args = get_cfg(overrides={"plots": False, **given})
        self.given = given
        self.callbacks = _callbacks or get_default_callbacks()
        where = get_cfg(overrides={**given, "exist_ok": self.resume or self.args.exist_ok})
        self.folder = run_folder(where, name=self.args.name or "tune")
        self.tune_dir = self.folder.path
        if not self.resume and self.tune_csv.exists():
            self.tune_csv.unlink()  # exist_ok=True: a new search in an old folder

    @property
    def tune_csv(self) -> Path:
        """The table of all trainings."""
        return self.tune_dir / "tune_results.csv"

    # Choosing ---------------------------------------------------------------------------------------------------------

    def _to_unit(self, key: str, value: float) -> float:
        """Return the position of a value in its range, 0 to 1."""
        low, high, _ = self.space[key]
        value = min(max(float(value), low), high)
        if by_logarithm(low, high):
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def _from_unit(self, key: str, u: float) -> float | int:
        """Return the value at a position 0 to 1 of its range, rounded as in the table."""
        low, high, _ = self.space[key]
        value = low * (high / low) ** u if by_logarithm(low, high) else low + u * (high - low)
        value = float(f"{value:.5g}")
        return round(value) if isinstance(DEFAULT_CFG_DICT[key], int) else min(max(value, low), high)

    def choose(self, rows: list[dict[str, float]], n: int = 5, mutation: float = 0.8, sigma: float = 0.2) -> dict:
        """Return the hyperparameters of the next training.

        The first training has the given settings. After it, evolution takes one of the best so far, better ones more
        likely, and moves each value with a certain probability by a normal step; random search draws all values.

        Args:
            rows: earlier trainings with their fitness.
            n: number of the best that may be parents.
            mutation: probability with which a value changes, 0..1.
            sigma: standard deviation of a step, as a share of the range.
        """
        if not rows:
            return {key: getattr(self.args, key) for key in self.space}
        rng = np.random.default_rng((self.args.seed, len(rows)))  # a resumed search continues like an uninterrupted one
        best = sorted((row for row in rows if math.isfinite(row["fitness"])), key=lambda row: -row["fitness"])[:n]
        if self.search == "random" or not best:
            return {key: self._from_unit(key, rng.random()) for key in self.space}
        weights = np.array([row["fitness"] for row in best]) - best[-1]["fitness"] + 1e-6
        parent = best[rng.choice(len(best), p=weights / weights.sum())]
        moved = rng.random(len(self.space)) < mutation
        if not moved.any():
            moved[rng.integers(len(moved))] = True
        steps = rng.normal(0.0, sigma, len(self.space)) * moved
        chosen = {}
        for (key, (*_, gain)), step in zip(self.space.items(), steps):
            u = self._to_unit(key, parent[key]) + step * gain
            chosen[key] = self._from_unit(key, min(max(u, 0.0), 1.0)) if step else parent[key]
        return {k: round(v) if isinstance(DEFAULT_CFG_DICT[k], int) else v for k, v in chosen.items()}

    # The search -------------------------------------------------------------------------------------------------------

    def __call__(self, model: Model | None = None, iterations: int = 10, cleanup: bool = True) -> dict[str, float]:
        """Train `iterations` times, those of a resumed search included, and return the best hyperparameters.

        Args:
            model: a YOLO, which is not changed; None: the one that the settings name.
            iterations: number of trainings.
            cleanup: keep only the weights of the best training, not all run folders.
        """
        warn_of_auto(self.args.optimizer, self.space)
        with self.folder as self.tune_dir:
            return self._search(model.make_trainer if model else self._make_trainer, iterations, cleanup)

    def _make_trainer(self, **settings: object) -> BaseTrainer:
        """Return a trainer of the model that the settings name, where no model was given."""
        name, kept = str(self.args.model), {}
        trust_modules(name, self.args.trust_modules)
        if Path(name).suffix in {".yaml", ".yml"}:
            task = guess_model_task(yaml_model_load(name))
        else:
            ckpt = load_checkpoint(name)
            task = ckpt["task"]
            kept = {k: v for k, v in ckpt["args"].items() if k in KEPT_FROM_CHECKPOINT}
        settings = {**kept, **settings, "model": name, "task": task, "mode": "train"}
        settings["data"] = settings.get("data") or TASKS[task].data
        return load(TASKS[task].trainer)(overrides=settings, _callbacks=self.callbacks)

    def _search(self, make_trainer: Callable[..., BaseTrainer], iterations: int, cleanup: bool) -> dict[str, float]:
        rows = self._read()
        if rows:
            LOGGER.info(f"{colorstr('Tuner: ')}continuing after {len(rows)} trainings in {self.tune_dir}")
        best = max((row["fitness"] for row in rows), default=-math.inf)
        for i in range(len(rows), iterations):
            chosen = self.choose(rows)
            LOGGER.info(f"{colorstr('Tuner: ')}training {i + 1}/{iterations} with {chosen}")
            fitness, folder = self._train(make_trainer, chosen, i)
            rows.append({"fitness": float(f"{fitness:.5g}"), **chosen})
            if fitness > best or i == 0:
                best = max(best, fitness)
                self._keep_weights(folder)
            if cleanup:
                shutil.rmtree(folder, ignore_errors=True)
            self._write(rows)
        if cleanup and (trials := self.tune_dir / "trials").is_dir():
            shutil.rmtree(trials, ignore_errors=True)
        return self._best(rows)

    def _train(self, make_trainer: Callable[..., BaseTrainer], chosen: dict, i: int) -> tuple[float, Path]:
        """Train once; return the fitness, -inf for a training that fails, and the run folder."""
        folder = self.tune_dir / "trials" / str(i + 1)
        own = {"project": str(folder.parent), "name": folder.name, "exist_ok": True, "plots": self.args.plots}
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted training
        try:
            trainer = make_trainer(**{**self.given, **chosen, **own})
            trainer.train()
        except UserError:
            raise
        except (RuntimeError, FloatingPointError) as e:
            LOGGER.warning(f"WARNING: this training failed and counts as the worst: {e}")
            return -math.inf, folder
        fitness = trainer.best_fitness
        if fitness is None and trainer.best.exists():  # trained by other processes
            fitness = load_checkpoint(trainer.best).get("best_fitness")
        return (float(fitness) if fitness is not None and math.isfinite(fitness) else -math.inf), folder

    def _keep_weights(self, folder: Path) -> None:
        weights = self.tune_dir / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        for file in (folder / "weights").glob("*.pt"):
            shutil.copy2(file, weights / file.name)

    # The table --------------------------------------------------------------------------------------------------------

    def _read(self) -> list[dict[str, float]]:
        """Return the rows of an earlier search in this folder."""
        if not self.tune_csv.exists():
            return []
        columns = ["fitness", *self.space]
        try:
            reader = csv.DictReader(read_text(self.tune_csv, RECORD_BYTES).splitlines())
            same = reader.fieldnames == columns
            rows = [{k: self._number(k, v) for k, v in row.items()} for row in reader] if same else []
        except (csv.Error, TypeError, ValueError) as e:
            raise ConfigError(f"'{self.tune_csv}' cannot be read ({e}). Give another name= for a new search.") from None
        if not same:
            raise ConfigError(
                f"'{self.tune_csv}' belongs to a search among {', '.join((reader.fieldnames or ['?'])[1:])}. "
                "Give the same space=, or another name= for a new search."
            )
        return rows

    @staticmethod
    def _number(key: str, text: str) -> float | int:
        return int(text) if isinstance(DEFAULT_CFG_DICT.get(key), int) else float(text)

    def _write(self, rows: list[dict[str, float]]) -> None:
        """Write table, best settings and images."""
        self.tune_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.tune_csv, "w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, ["fitness", *self.space], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        number = 1 + max(range(len(rows)), key=lambda k: rows[k]["fitness"])
        fitness = rows[number - 1]["fitness"]
        header = f"# {len(rows)} trainings; the best, number {number}, has fitness {fitness}.\n"
        yaml_save(self.tune_dir / "best_hyperparameters.yaml", self._best(rows), header=header)
        plot_tune_results(self.tune_csv)
        LOGGER.info(
            f"{colorstr('Tuner: ')}{len(rows)} trainings, the best is number {number} with fitness {fitness}. "
            f"Results in {colorstr('bold', str(self.tune_dir))}"
        )

    def _best(self, rows: list[dict[str, float]]) -> dict[str, float]:
        best = max(rows, key=lambda row: row["fitness"], default={})
        return {k: v for k, v in best.items() if k != "fitness"}
