"""Events: each fires where its name says and nowhere else, in training, validation and prediction."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.engine.callbacks import EVENTS


@pytest.fixture
def model(work_dir: Path) -> YOLO:
    return YOLO(tiny_model(work_dir))


@pytest.fixture
def seen(model: YOLO) -> list[tuple[str, str]]:
    """Each event that fired, in order, with the kind of engine that it was given."""
    fired: list[tuple[str, str]] = []
    for event in EVENTS:
        model.add_callback(event, lambda engine, event=event: fired.append((event, type(engine).__name__)))
    return fired


def test_training_in_order(model: YOLO, seen: list, tiny_data: Path):
    """One epoch of two batches, a step after each, and a validation of one batch; then one of the best weights."""
    model.train(**FAST, data=str(tiny_data), epochs=1, nbs=4, warmup_epochs=0.0, project="runs")
    batch = [
        "on_train_batch_start", "optimizer_step", "on_before_zero_grad", "on_params_update", "on_train_batch_end",
    ]  # fmt: skip
    validation = ["on_val_start", "on_val_batch_start", "on_val_batch_end", "on_val_end"]
    assert [event for event, _ in seen] == [
        "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start", *batch * 2,
        "on_train_epoch_end", *validation, "on_model_save", "on_fit_epoch_end", *validation, "on_fit_epoch_end",
        "on_train_end", "teardown",
    ]  # fmt: skip
    assert {kind for event, kind in seen if event in validation} == {"DetectionValidator"}
    assert {kind for event, kind in seen if event not in validation} == {"DetectionTrainer"}


def test_validation_by_itself(model: YOLO, seen: list, tiny_data: Path):
    """Four images in batches of two."""
    model.val(**{**FAST, "batch": 2}, data=str(tiny_data))
    batch = ["on_val_batch_start", "on_val_batch_end"]
    assert [event for event, _ in seen] == ["on_val_start", *batch * 2, "on_val_end"]
    assert {kind for _, kind in seen} == {"DetectionValidator"}


@pytest.mark.parametrize("stream", [False, True])
def test_prediction(model: YOLO, seen: list, tiny_data: Path, stream: bool):
    """Four images one by one; a second call fires everything again, on the same predictor."""
    images = tiny_data.parent / "images" / "val"
    batch = ["on_predict_batch_start", "on_predict_postprocess_end", "on_predict_batch_end"]
    for _ in range(2):
        seen.clear()
        list(model.predict(images, stream=stream, imgsz=64, verbose=False, device="cpu"))
        assert [event for event, _ in seen] == ["on_predict_start", *batch * 4, "on_predict_end"]
        assert {kind for _, kind in seen} == {"DetectionPredictor"}


def test_each_event_is_one_of_these(model: YOLO, seen: list, tiny_data: Path):
    """All events of the table fire in one of the three modes, save those of export."""
    model.train(**FAST, data=str(tiny_data), epochs=1, project="runs", nbs=4)
    model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    fired = Counter(event for event, _ in seen)
    assert set(EVENTS) - set(fired) == {"on_export_start", "on_export_end"}


def test_an_error_in_a_users_function_is_not_hidden(model: YOLO, tiny_data: Path):
    model.add_callback("on_train_start", lambda trainer: trainer.no_such_thing)
    with pytest.raises(AttributeError, match="no_such_thing"):
        model.train(**FAST, data=str(tiny_data), epochs=1, project="runs")
