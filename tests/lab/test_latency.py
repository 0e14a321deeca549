"""Latency: candidates in turn, conditions stated, and what is not installed left out with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zoo
from torch import nn

from ultralytics.lab import latency
from ultralytics.lab.latency import (
    TIMED,
    WARM_UP,
    Latency,
    available_runtimes,
    latency_table,
    measure,
    packages_missing,
)
from ultralytics.nn.formats import FORMATS
from ultralytics.utils.errors import ConfigError, MissingPackageError, ModelError


class Noting(nn.Module):
    """Notes when it runs, on how many threads and on what."""

    def __init__(self, name: str, calls: list):
        super().__init__()
        self.name, self.calls = name, calls

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.calls.append((self.name, torch.get_num_threads(), tuple(x.shape), torch.is_inference_mode_enabled()))
        return x


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(latency.LOGGER, "warning", lines.append)
    return lines


def test_models_run_in_turn_on_the_threads_asked_for():
    calls: list = []
    threads = torch.get_num_threads()
    models = {name: Noting(name, calls) for name in "abc"}
    rows = measure(models, [32, 64], ["eager"], threads=2, rounds=3, batch=4)
    names = [name for name, *_ in calls]
    each = 1 + TIMED
    assert names[: 3 * WARM_UP] == ["a"] * WARM_UP + ["b"] * WARM_UP + ["c"] * WARM_UP
    turns = names[3 * WARM_UP :: each]
    assert turns == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]  # each round begins with another one
    assert {call[1:] for call in calls} == {(2, (4, 3, 32, 64), True)}
    assert torch.get_num_threads() == threads
    assert [(r.model, r.runtime, r.threads, r.device, r.rounds, r.batch) for r in rows] == [
        (name, "eager", 2, "cpu", 3, 4) for name in "abc"
    ]
    assert all(len(r.times_ms) == 3 * TIMED for r in rows)


def test_figures_are_those_of_the_clock(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock) ** 2 / 1000)  # runs take 1, 5, 9, ... ms
    (row,) = measure({"a": Noting("a", [])}, 32, ["eager"], rounds=5)
    assert row.times_ms == pytest.approx([1 + 4 * k for k in range(10)])
    assert (row.median_ms, row.p90_ms) == (pytest.approx(19), pytest.approx(33.4))


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_every_runtime_times_a_model(runtime):
    if missing := packages_missing(runtime):
        pytest.skip(f"{runtime} needs {missing}")
    model = zoo.build("yolo11n-GhostConv-cls", nc=2)
    (row,) = measure({"cls": model}, 64, [runtime], rounds=2)
    assert 0 < row.median_ms <= row.p90_ms <= max(row.times_ms)
    assert runtime in available_runtimes()
    assert not model.is_fused()


def test_missing_runtime_is_left_out_with_the_install_line(monkeypatch, warnings):
    monkeypatch.setitem(latency.RUNTIMES, "absent", "Absent")
    absent = replace(FORMATS["onnx"], writing=(), running=("not_there_at_all",))
    monkeypatch.setitem(latency.FORMAT_OF, "absent", absent)
    rows = measure({"a": Noting("a", [])}, 32, ["absent", "eager"], rounds=1)
    assert [r.runtime for r in rows] == ["eager"]
    assert warnings == ["'absent' is left out, for not_there_at_all is not installed: pip install not_there_at_all."]
    assert "absent" not in available_runtimes() and "eager" in available_runtimes()
    with pytest.raises(MissingPackageError, match="absent"):
        measure({"a": Noting("a", [])}, 32, ["absent"], rounds=1)


@pytest.mark.parametrize(
    ("words", "says"),
    [({"threads": 0}, "threads=0"), ({"rounds": 0}, "rounds=0"), ({"runtimes": ["eagre"]}, "Did you mean 'eager'")],
)
def test_mistakes_are_sentences(words, says):
    with pytest.raises(ConfigError, match=says):
        measure({"a": nn.Identity()}, **{"imgsz": 32, "rounds": 1, **words})


def test_table_states_the_conditions_and_ratios():
    rows = [
        Latency("yolo11n", "eager", 100.0, 120.0, 2, "cpu", 20, 1),
        Latency("yolo11n", "openvino", 50.0, 55.0, 2, "cpu", 20, 1),
        Latency("轻", "eager", 80.0, 90.0, 2, "cpu", 20, 1),
        Latency("轻", "openvino", 60.0, 61.0, 2, "cpu", 20, 1),
    ]
    title, _, *lines = latency_table(rows).splitlines()
    assert "2 threads" in title and "CPU" in title and f"{20 * TIMED} runs in 20 rounds" in title
    assert [line.split()[-1] for line in lines] == ["1.00", "1.00", "0.80", "1.20"]
    assert latency_table([]) == ""


def test_only_eager_is_timed_on_a_gpu(warnings):
    assert latency._usable(list(latency.RUNTIMES), torch.device("cuda:0"))[:1] == ["eager"]
    assert all("CPU only" in line or "not installed" in line for line in warnings) and len(warnings) == 2


@pytest.mark.gpu
def test_a_gpu_is_waited_for():
    (row,) = measure({"yolo11n": zoo.build("yolo11n")}, 320, ["eager"], rounds=3, device=0)
    assert row.device.startswith("cuda:0 (") and row.median_ms > 0.5


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    made = []

    def prepare(runtime, model, x, folder: Path, threads):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
        made.append(folder)
        return lambda: None

    monkeypatch.setattr(latency, "prepare", prepare)
    measure({"a": nn.Identity(), "b": nn.Identity()}, 32, ["eager"], rounds=1)
    assert len({*made}) == 2 and not any(folder.exists() for folder in made)


def test_a_model_that_a_runtime_cannot_take_is_left_out_there(monkeypatch, warnings):
    def refuse(runtime, model, x, folder, threads):
        if runtime == "picky" and model.name == "b":
            raise ModelError("It cannot be written.")
        return lambda: model(x)

    monkeypatch.setitem(latency.RUNTIMES, "picky", "Picky")
    monkeypatch.setattr(latency, "prepare", refuse)
    rows = measure({name: Noting(name, []) for name in "ba"}, 32, ["eager", "picky"], rounds=1)
    assert [(r.model, r.runtime) for r in rows] == [("b", "eager"), ("a", "eager"), ("a", "picky")]
    assert warnings == ["'picky' is left out for 'b': It cannot be written."]
    assert latency_table(rows).splitlines()[-1].endswith(" -")  # there is nothing to compare with
