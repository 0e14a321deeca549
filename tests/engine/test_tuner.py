"""The search for hyperparameters: what is tried, what is written, and going on after a break."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.engine import tuner
from ultralytics.engine.tuner import SPACE, Tuner
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import ConfigError

TWO = {"lr0": (1e-4, 1e-1), "close_mosaic": (0, 20)}


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "tune_results.csv", encoding="utf-8") as f:
        return list(csv.DictReader(f))


@pytest.fixture(autouse=True)
def no_images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing after each training, save where the images are looked at."""
    if "images" not in request.fixturenames:
        monkeypatch.setattr(tuner, "plot_tune_results", lambda file: None)


@pytest.fixture
def images() -> None:
    """Let images be drawn."""


class Landscape:
    """A stand-in for a model: a training's fitness is a hill over two settings, with its top at 0.01 and 15."""

    def __init__(self, work_dir: Path):
        self.work_dir, self.tried = work_dir, []

    def make_trainer(self, **args):
        self.tried.append({k: args[k] for k in TWO})
        weights = Path(args["project"]) / args["name"] / "weights"
        weights.mkdir(parents=True)
        (weights / "best.pt").write_text(str(len(self.tried)))
        hill = -((np.log10(args["lr0"]) + 2) ** 2) - ((args["close_mosaic"] - 15) / 10) ** 2
        trainer = type("Trainer", (), {"train": lambda self: None})()
        trainer.best_fitness, trainer.best = float(np.exp(hill)), weights / "best.pt"
        return trainer


def search(work_dir: Path, iterations: int, **args) -> tuple[dict, Landscape]:
    model = Landscape(work_dir)
    start = {"lr0": 1e-4, "close_mosaic": 0, "space": TWO, "project": str(work_dir)}
    return Tuner({**start, **args})(model, iterations), model


@pytest.mark.parametrize("kind", ["evolution", "random"])
def test_search_finds_better_settings(work_dir: Path, kind: str):
    best, model = search(work_dir, 40, search=kind)
    rows = [float(row["fitness"]) for row in table(work_dir / "tune")]
    assert model.tried[0] == {"lr0": 1e-4, "close_mosaic": 0} and len(rows) == 40
    assert rows[0] < 0.05 and max(rows) > 0.7
    assert best == model.tried[int(np.argmax(rows))]
    assert all(1e-4 <= t["lr0"] <= 1e-1 and 0 <= t["close_mosaic"] <= 20 for t in model.tried)
    assert all(isinstance(t["close_mosaic"], int) for t in model.tried)
    assert yaml.safe_load((work_dir / "tune/best_hyperparameters.yaml").read_text()) == best
    assert (work_dir / "tune/weights/best.pt").read_text() == str(int(np.argmax(rows)) + 1)


def test_table_settings_images_and_weights_are_left(work_dir: Path, images: None):
    search(work_dir, 2)
    assert {f.name for f in (work_dir / "tune").iterdir()} == {
        "best_hyperparameters.yaml", "tune_fitness.png", "tune_results.csv", "tune_scatter_plots.png", "weights"
    }  # fmt: skip


def test_evolution_beats_chance(work_dir: Path):
    """After the same number of trainings the later half of evolution's is better than that of random search's."""
    halves = {}
    for kind in ("evolution", "random"):
        search(work_dir, 40, search=kind, name=kind)
        halves[kind] = np.mean([float(row["fitness"]) for row in table(work_dir / kind)][20:])
    assert halves["evolution"] > halves["random"] + 0.1


def test_resumed_search_equals_one_without_a_break(work_dir: Path):
    search(work_dir, 6, name="whole")
    search(work_dir, 3, name="broken")
    _best, model = search(work_dir, 6, name="broken", resume=True)
    assert len(model.tried) == 3
    assert table(work_dir / "broken") == table(work_dir / "whole")
    _, again = search(work_dir, 6, name="broken", resume=True)
    assert not again.tried
    search(work_dir, 1, name="broken")
    assert (work_dir / "broken2").is_dir()  # without resume a new folder
    with pytest.raises(ConfigError, match=r"belongs to a search among lr0, close_mosaic\. Give the same space="):
        search(work_dir, 7, name="broken", resume=True, space={"lrf": (0.01, 0.1)})


def test_a_training_that_fails_counts_nothing(work_dir: Path, log: list[str]):
    class Fails(Landscape):
        def make_trainer(self, **args):
            if len(self.tried) == 1:
                self.tried.append({})
                raise RuntimeError("out of memory")
            return super().make_trainer(**args)

    Tuner({"space": TWO, "project": str(work_dir)})(Fails(work_dir), 3)
    assert [float(row["fitness"]) > -1 for row in table(work_dir / "tune")] == [True, False, True]
    assert any("out of memory" in line for line in log)


def test_a_failed_training_is_worse_than_one_of_negative_fitness(work_dir: Path):
    class Negative(Landscape):
        def make_trainer(self, **args):
            if len(self.tried) == 1:
                self.tried.append({})
                raise RuntimeError("out of memory")
            trainer = super().make_trainer(**args)
            trainer.best_fitness -= 10
            return trainer

    Tuner({"space": TWO, "project": str(work_dir)})(Negative(work_dir), 4)
    fitness = [float(row["fitness"]) for row in table(work_dir / "tune")]
    assert fitness[1] == -np.inf and all(-10 <= f < 0 for f in fitness[:1] + fitness[2:])
    header = (work_dir / "tune" / "best_hyperparameters.yaml").read_text().splitlines()[0]
    assert f"number {1 + int(np.argmax(fitness))}, has fitness {max(fitness)}" in header


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"space": {"lr": (0, 1)}}, "'lr' is not a setting"),
        ({"space": {"lr0": (0.1, 0.01)}}, r"space of 'lr0' is \(0\.1, 0\.01\).*\(least, greatest\)"),
        ({"space": {"lr0": 0.1}}, "space of 'lr0'"),
        ({"space": {"momentum": (0, 3)}}, "'momentum=3' is not possible|'momentum=3.0' is not possible"),
        ({"search": "randm"}, r"search='randm' is not known.*Did you mean 'random'"),
    ],
)
def test_what_cannot_be_searched(args: dict, match: str):
    with pytest.raises(ConfigError, match=match):
        Tuner(args)


def test_the_usual_space_holds_settings_within_their_bounds():
    assert len(Tuner().space) == len(SPACE) > 20


def test_tune_trains_and_leaves_the_model_alone(work_dir: Path, tiny_data: Path, log: list[str]):
    model = YOLO(tiny_model(work_dir))
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    space = {"lr0": (1e-4, 1e-2), "mosaic": (0.0, 1.0)}
    args = {"data": str(tiny_data), "epochs": 1, "project": "runs", "space": space, **FAST}
    best = model.tune(iterations=2, **args)
    rows = table(work_dir / "runs/tune")
    assert [*rows[0]] == ["fitness", "lr0", "mosaic"] and len(rows) == 2
    assert (rows[0]["lr0"], rows[0]["mosaic"]) == ("0.01", "1.0") and best.keys() == space.keys()
    after = model.model.state_dict()
    assert all((before[k] == after[k]).all() for k in before) and model.trainer is None
    assert YOLO(work_dir / "runs/tune/weights/best.pt").names == {0: "red", 1: "green"}
    assert any("optimizer=auto ignores lr0" in line for line in log)


def test_the_settings_can_name_the_model(work_dir: Path, tiny_data: Path):
    args = {"data": str(tiny_data), "epochs": 1, "project": "runs", "val": False, **FAST}
    space = {"mosaic": (0.0, 0.5)}
    for name, model in {"a": tiny_model(work_dir), "b": "runs/a/weights/best.pt"}.items():
        Tuner({**args, "space": space, "model": model, "name": name})(iterations=1)
        assert YOLO(work_dir / "runs" / name / "weights/best.pt").names == {0: "red", 1: "green"}


def test_settings_reach_the_trainer(work_dir: Path, tiny_data: Path):
    """Each training has the settings chosen for it, and those given beside them."""
    seen = []
    model = YOLO(tiny_model(work_dir))
    model.add_callback("on_train_start", lambda t: seen.append((t.args.mosaic, t.args.optimizer, type(t))))
    args = {"data": str(tiny_data), "epochs": 1, "optimizer": "SGD", "project": "runs", "val": False, **FAST}
    model.tune(iterations=2, space={"mosaic": (0.0, 0.5)}, **args)
    assert seen[0] == (1.0, "SGD", DetectionTrainer) and 0 <= seen[1][0] <= 0.5
