"""Time any ONNX files in turn: `python benchmarks/file_latency.py a.onnx b.onnx [rounds=20] [threads=1]`.

Each file must have one input of a fixed size. What is printed is the median of each, and the median of the ratios to
the first file, run by run, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

import numpy as np
import torch

from ultralytics.lab.latency import run_in_turn
from ultralytics.utils.system.console import say
from ultralytics.utils.system.telemetry import quiet_import

onnxruntime = quiet_import("onnxruntime")


def runner(file: str, threads: int):
    """Return a function that runs a file on noise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    x = np.random.default_rng(0).random(given.shape, dtype=np.float32)
    return lambda: session.run(None, {given.name: x})


def main(words: list[str]) -> None:
    numbers = {"rounds": 20, "threads": 1} | {k: int(v) for k, v in (w.split("=") for w in words if "=" in w)}
    files = [word for word in words if "=" not in word]
    runs = [runner(file, numbers["threads"]) for file in files]
    times = [np.array(t) for t in run_in_turn(runs, numbers["rounds"], torch.device("cpu"))]
    for file, t in zip(files, times):
        say(f"{file}: {np.median(t) * 1e3:.1f} ms, {np.median(t / times[0]):.3f} of the first")


if __name__ == "__main__":
    main(sys.argv[1:])
