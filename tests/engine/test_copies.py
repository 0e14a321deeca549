"""A used model in other hands: pickled, copied, sent to processes, and called from many threads at once."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionValidator

SETTINGS = (
    {"conf": 0.0, "max_det": 20},
    {"conf": 0.0, "max_det": 3},
    {"conf": 0.0, "max_det": 20, "imgsz": 32},
    {"conf": 0.0, "max_det": 20, "classes": [1]},
)  # fmt: skip
IMAGES = [np.random.default_rng(k).integers(0, 255, (48, 64, 3), dtype=np.uint8) for k in range(3)]
SENT = []


def called(_) -> None:
    SENT.append(1)


@pytest.fixture
def model(work_dir: Path) -> YOLO:
    """A detector that has predicted."""
    torch.manual_seed(0)
    model = YOLO(tiny_model(work_dir))
    answer(model, 0)
    return model


def answer(model: YOLO, k: int) -> list:
    """Return what a model answers to request k."""
    settings = {"imgsz": 64, "verbose": False, "device": "cpu", **SETTINGS[k % len(SETTINGS)]}
    return model.predict(IMAGES[k % len(IMAGES)], **settings)[0].boxes.data.tolist()


def answers_of(model: YOLO, requests: range) -> list[list]:
    """Answer several requests, in another process."""
    torch.set_num_threads(1)
    return [answer(model, k) for k in requests]


@pytest.mark.parametrize("way", [copy, deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_answers_the_same(model: YOLO, way):
    copied = way(model)
    assert copied.predictor is None and copied.task == model.task and copied.names == model.names
    assert [answer(copied, k) for k in range(4)] == [answer(model, k) for k in range(4)]
    assert copied.predictor is not model.predictor


def test_a_deep_copy_stands_for_itself(model: YOLO):
    other, before = deepcopy(model), answer(model, 0)
    other.reset_weights()
    assert answer(other, 0) != before == answer(model, 0)


def test_callbacks_go_along_where_they_can(model: YOLO, log: list[str]):
    """Lambdas cannot be sent to another process, which is said; copies in this one have them."""
    seen = []
    model.add_callback("on_predict_end", called)
    model.add_callback("on_predict_end", lambda p: seen.append(1))
    sent = pickle.loads(pickle.dumps(model))
    assert sent.callbacks["on_predict_end"] == [called] and len(model.callbacks["on_predict_end"]) == 2
    assert len(log) == 1 and "'test_callbacks_go_along_where_they_can.<locals>.<lambda>'" in log[0]
    answer(deepcopy(model), 0)
    assert seen == [1]
    sent.callbacks["on_no_event"].append(called)  # still a table that has a list for each


def test_a_copys_callbacks_are_its_own(model: YOLO):
    other = deepcopy(model)
    other.add_callback("on_predict_end", called)
    assert not model.callbacks["on_predict_end"]


def test_a_trained_model_can_be_sent(model: YOLO, tiny_data: Path):
    model.train(data=str(tiny_data), epochs=1, project="runs", **FAST)
    model.val(data=str(tiny_data), **FAST)
    model.track(IMAGES[0], persist=True, imgsz=64, verbose=False)
    sent = pickle.loads(pickle.dumps(model))
    assert sent.trainer is None and sent.metrics.results_dict == model.metrics.results_dict
    assert answer(sent, 0) == answer(model, 0) and sent.overrides == model.overrides
    assert deepcopy(model).metrics.results_dict == model.metrics.results_dict


def test_an_exported_model_can_be_sent(model: YOLO):
    model.save("m.pt")
    exported = YOLO(YOLO("m.pt").export(format="torchscript", imgsz=64))
    wanted = answer(exported, 0)
    for copied in (pickle.loads(pickle.dumps(exported)), deepcopy(exported)):
        assert copied.names == exported.names and answer(copied, 0) == wanted


def test_results_can_be_sent(model: YOLO):
    result = model.predict(IMAGES[0], imgsz=64, conf=0.0, verbose=False)[0]
    for copied in (pickle.loads(pickle.dumps(result)), deepcopy(result)):
        assert torch.equal(copied.boxes.data, result.boxes.data) and copied.verbose() == result.verbose()
        assert np.array_equal(copied.plot(), result.plot())


def test_threads_with_settings_of_their_own(model: YOLO):
    """400 requests of four kinds by eight threads: each answer is that of the same request alone."""
    wanted = [answer(model, k) for k in range(12)]
    assert len({str(w) for w in wanted}) == 12
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda k: answer(model, k), range(400)))
    finally:
        sys.setswitchinterval(switch)
    assert [k for k, f in enumerate(found) if f != wanted[k % 12]] == []


def test_threads_that_begin_together_make_one_predictor(work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    model, made = YOLO(tiny_model(work_dir)), []
    load = model._smart_load
    monkeypatch.setattr(model, "_smart_load", lambda part: made.append(part) or load(part))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: answer(model, 4 * k), range(8)))
    assert made == ["predictor"] and found == [answer(model, 4 * k) for k in range(8)]


def test_streams_read_in_turn_have_settings_of_their_own(model: YOLO):
    streams = [model.predict(IMAGES * 2, stream=True, imgsz=64, verbose=False, **settings) for settings in SETTINGS[:2]]
    for pair in zip(*streams):
        assert [len(r) for r in pair] == [20, 3]


def test_tracks_go_on_while_another_thread_predicts(model: YOLO):
    """A prediction that began before a track call and ended after it takes no numbers away."""
    stream = model.predict(IMAGES, stream=True, imgsz=64, conf=0.0, verbose=False)
    next(stream)
    first = model.track(IMAGES[0], persist=True, imgsz=64, verbose=False)
    list(stream)
    model.track(IMAGES[0], persist=True, imgsz=64, verbose=False)
    assert len(first) == 1 and model.predictor.trackers[0].frame_id == 2


def test_validations_in_threads_give_each_its_own(model: YOLO, tiny_data: Path):
    """Both are under way at once; each returns its metrics and not the model's latest."""
    met, own = threading.Barrier(2, timeout=120), {}

    def judge(name: str) -> None:
        class Validator(DetectionValidator):
            def finalize_metrics(self) -> None:
                super().finalize_metrics()
                met.wait()
                own[name] = self.metrics

        found[name] = model.val(validator=Validator, data=str(tiny_data), **FAST)

    found: dict = {}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(judge, ("a", "b")))
    assert found["a"] is own["a"] and found["b"] is own["b"]


@pytest.mark.slow
def test_copies_in_four_processes(model: YOLO):
    """The same 400 requests, answered by pickled copies in spawned processes."""
    wanted = [answer(model, k) for k in range(12)]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(answers_of, model, range(k, 400, 4)) for k in range(4)]
        found = [part.result() for part in parts]
    for first, answers in enumerate(found):
        for k, given in zip(range(first, 400, 4), answers):
            np.testing.assert_allclose(given, wanted[k % 12], atol=1e-3)
