"""Latency of models, measured in turn so that other load on the machine affects all of them alike."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ultralytics.engine import exporter
from ultralytics.lab.tables import aligned
from ultralytics.nn.formats import FORMATS, missing_packages
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, MissingPackageError, ModelError, did_you_mean
from ultralytics.utils.system.threads import get_cpu_info
from ultralytics.utils.torch_utils import select_device

WARM_UP = 3  # runs before the first round
TIMED = 2  # runs of each candidate in a round, behind one that is not timed and brings its weights back into the caches
RUNTIMES = {"eager": "PyTorch eager", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}  # and their titles
FORMAT_OF = {"onnxruntime": FORMATS["onnx"], "openvino": FORMATS["openvino"]}  # of the file that is run, on the CPU


@dataclass(frozen=True)
class Latency:
    """The latency of one model in one runtime, in milliseconds."""

    model: str
    runtime: str
    median_ms: float
    p90_ms: float
    threads: int
    device: str
    rounds: int
    batch: int = 1
    times_ms: tuple[float, ...] = field(default=(), repr=False)  # in order: `TIMED` of each round


def packages_missing(runtime: str) -> list[str]:
    """Return the packages that a runtime needs and that are missing."""
    form = FORMAT_OF.get(runtime)
    return missing_packages((*form.writing, *form.running)) if form else []


def available_runtimes() -> tuple[str, ...]:
    """Return the names of the runtimes whose packages are installed."""
    return tuple(name for name in RUNTIMES if not packages_missing(name))


def eager(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """Return a function that runs a model once as `predict` does: in PyTorch, fused, on a CPU with channels last."""
    layout = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
    net = exporter.Predictions(model).to(x.device).to(memory_format=layout)
    x = x.to(memory_format=layout)
    return torch.inference_mode()(lambda: net(x))


def prepare(runtime: str, model: nn.Module, x: torch.Tensor, folder: Path, threads: int) -> Callable[[], object]:
    """Prepare a model in a runtime, with its file in a folder, and return a function that runs it once on `x`."""
    if runtime == "eager":
        return eager(model, x)
    form = FORMAT_OF[runtime]
    file, _ = exporter.export(model, form, form.file(folder / "model"), list(x.shape[-2:]), len(x))
    run = form.load().Runner(file, threads=threads)
    return lambda: run(x)


def measure(
    models: Mapping[str, nn.Module],
    imgsz: int | list[int] = 640,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    threads: int = 1,
    rounds: int = 20,
    batch: int = 1,
    device: object = "cpu",
) -> list[Latency]:
    """Time models in runtimes, all of them in each round, and return a row for each model and runtime.

    Only the model runs: neither reading images nor non-maximum suppression. It is fused and works in float32; on a
    GPU the clock waits for it. A runtime that is not installed, not for the device, or for which a model cannot be
    written, is left out with a sentence.

    Args:
        models: by the names of the rows; they are not touched.
        imgsz: pixels, a side or [height, width].
        threads: of each runtime, on a CPU.
        rounds: in each one a model runs once untimed and `TIMED` times timed.
        batch: images in one run.
        device: as the setting `device`; ONNX Runtime and OpenVINO are timed on the CPU.

    Raises:
        ConfigError: a runtime is not known, or a number is below 1.
        MissingPackageError: none of the runtimes that were asked for can be used.
    """
    for key, value in (("threads", threads), ("rounds", rounds), ("batch", batch)):
        if value < 1:
            raise ConfigError(f"'{key}={value}' is not possible: a whole number of at least 1 is wanted.")
    before = torch.get_num_threads()
    place = select_device(device, verbose=False)  # which may change torch's threads
    chosen = _usable(runtimes, place)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, torch_threads(threads, before):
        candidates = {}
        for i, (name, model) in enumerate(models.items()):
            x = exporter.image_batch(model, imgsz, batch).to(place)
            for runtime in chosen:
                try:
                    candidates[name, runtime] = prepare(runtime, model, x, Path(folder) / str(i), threads)
                except ModelError as e:
                    LOGGER.warning(f"'{runtime}' is left out for '{name}': {e}")
        keys, times = [*candidates], run_in_turn(list(candidates.values()), rounds, place)
        candidates.clear()  # closes the files before their folder goes
    where = "cpu" if place.type == "cpu" else f"{place} ({_name_of(place)})"
    rows = [(key, np.array(t) * 1e3) for key, t in zip(keys, times)]
    return [
        Latency(
            *key, float(np.median(t)), float(np.percentile(t, 90)), threads, where, rounds, batch, tuple(t.tolist())
        )
        for key, t in rows
    ]


def _usable(names: Sequence[str], device: torch.device) -> list[str]:
    """Return the usable runtimes, and log why each other one is left out."""
    usable = []
    for name in dict.fromkeys(names):
        if name not in RUNTIMES:
            raise ConfigError(f"There is no runtime '{name}', but {', '.join(RUNTIMES)}.{did_you_mean(name, RUNTIMES)}")
        if missing := " ".join(packages_missing(name)):
            LOGGER.warning(f"'{name}' is left out, for {missing} is not installed: pip install {missing}.")
        elif name in FORMAT_OF and device.type != "cpu":
            LOGGER.warning(f"'{name}' is left out, for it is timed on the CPU only: set device=cpu.")
        else:
            usable.append(name)
    if not usable:
        raise MissingPackageError(
            f"None of the runtimes {', '.join(names)} can be used on '{device}'. "
            f"Installed are {', '.join(available_runtimes())}."
        )
    return usable


def run_in_turn(runs: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[list[float]]:
    """Return the seconds of the timed runs of each candidate; every round starts with a different one."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        for _ in range(WARM_UP):
            run()
    gc.collect()
    gc.disable()
    try:
        for round in range(rounds):
            for k in range(len(runs)):
                i = (round + k) % len(runs)
                runs[i]()
                for _ in range(TIMED):
                    _wait(device)
                    start = time.perf_counter()
                    runs[i]()
                    _wait(device)
                    times[i].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return times


def _wait(device: torch.device) -> None:
    """Wait for the work queued on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()


@contextmanager
def torch_threads(threads: int, before: int) -> Iterator[None]:
    """Set the number of torch's threads within a context; `before` is restored."""
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def latency_table(rows: Sequence[Latency]) -> str:
    """Return the rows as a text table; the ratio is that of medians to the first model in the same runtime."""
    if not rows:
        return ""
    first = rows[0]
    place = f"CPU ({get_cpu_info()}), {first.threads} thread{'s' * (first.threads > 1)}"
    place = place if first.device == "cpu" else first.device
    runs = f"{first.rounds * TIMED} runs in {first.rounds} rounds, all candidates in turn"
    reference = {r.runtime: r.median_ms for r in rows if r.model == first.model}
    table = [("model", "runtime", "median ms", "p90 ms", "ratio")]
    for r in rows:
        ratio = f"{r.median_ms / reference[r.runtime]:.2f}" if r.runtime in reference else "-"
        table.append((r.model, r.runtime, f"{r.median_ms:.2f}", f"{r.p90_ms:.2f}", ratio))
    title = f"Latency of {first.batch} image{'s' * (first.batch > 1)} on {place}; {runs}"
    return f"{title}\n{aligned(table, left=2, rules=())}"
