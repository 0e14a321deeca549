"""The search with Ray Tune: what it is given, and a search of two trainings where Ray is installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.engine import ray_tune
from ultralytics.utils.errors import ConfigError, MissingPackageError


def test_without_ray_a_sentence_says_what_to_install(work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ray\[tune\]'\. Without it, tune\(use_ray=False\)"):
        YOLO(tiny_model(work_dir)).tune(use_ray=True, data="no.yaml")
    assert not Path("runs").exists()


def test_ranges_become_those_of_ray():
    kinds = {name: lambda *limits, name=name: (name, *limits) for name in ("uniform", "loguniform", "randint")}
    space = {"lr0": (1e-5, 0.1), "momentum": [0.7, 0.98, 0.3], "close_mosaic": (0, 20), "box": "a range of Ray's own"}
    assert ray_tune._ranges(SimpleNamespace(**kinds), space) == {
        "lr0": ("loguniform", 1e-5, 0.1), "momentum": ("uniform", 0.7, 0.98), "close_mosaic": ("randint", 0, 21),
        "box": "a range of Ray's own",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="lr9"):
        ray_tune._ranges(SimpleNamespace(**kinds), {"lr9": (0, 1)})


def test_names_of_8_3_0():
    facade = importlib.import_module("ultralytics.utils.callbacks.raytune")
    assert facade.callbacks == {"on_fit_epoch_end": ray_tune.on_fit_epoch_end}
    assert importlib.import_module("ultralytics.utils.tuner").run_ray_tune is ray_tune.run_ray_tune
    ray_tune.on_fit_epoch_end(None)  # outside of a trial, nothing is reported


@pytest.mark.slow
def test_a_search_of_two_trainings(work_dir: Path, tiny_data: Path):
    pytest.importorskip("ray.tune", reason="searches with Ray Tune: pip install 'ray[tune]'")
    model, space = YOLO(tiny_model(work_dir)), {"lr0": (1e-4, 1e-1), "close_mosaic": (0, 3)}
    given = {**FAST, "imgsz": 32, "data": str(tiny_data), "optimizer": "AdamW", "project": "runs", "name": "t"}
    found = model.tune(use_ray=True, iterations=2, grace_period=1, space=space, epochs=2, **given)
    assert len(found) == found.num_terminated == 2 and not found.num_errors
    assert all(result.config.keys() == space.keys() and result.metrics["epoch"] == 2 for result in found)
    best = found.get_best_result()
    assert Path(best.path).parent == Path("runs/t").resolve() and (Path(best.path) / "run/weights/best.pt").is_file()
    assert (
        Path("runs/t/best_hyperparameters.yaml").read_text().startswith("# 2 trainings; the best has metrics/mAP50-95")
    )
    assert not any(model.callbacks.values())
