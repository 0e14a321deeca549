"""Compare the number of threads that is chosen with each fixed one, beside busy processes.

`python benchmarks/threads.py [--loads 0 1 2 8] [--rounds 3] [--seconds 5]` prints milliseconds of a prediction (640
pixels) and of a training step (8 images of 320), yolo11n on the CPU. Each figure is the median of the rounds, in each
of which all numbers of threads take their turn in a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from load import load

from ultralytics.utils.system.console import say

WORK = """
import json, sys, time, torch, ultralytics
from ultralytics import YOLO
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import select_device

select_device("cpu", verbose=False)
model = YOLO("yolo11n.yaml").model.to(memory_format=torch.channels_last)
shapes = (1, 3, 640, 640), (8, 3, 320, 320)
image, batch = (torch.rand(*s).contiguous(memory_format=torch.channels_last) for s in shapes)

def predict():
    model.eval()
    with torch.inference_mode():
        model(image)

def step():
    model.train()
    sum(x.sum() for x in model(batch)).backward()

figures = {}
for work in (predict, step):
    work()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < float(sys.argv[1]):
        THREADS.follow()
        work()
        done += 1
    figures[work.__name__] = 1e3 * (time.perf_counter() - start) / done
print(json.dumps(figures))
"""


def measure(threads: int | None, seconds: float) -> dict[str, float]:
    """Return milliseconds of each kind of work, on so many threads or (None) on the number that is chosen."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    run = [sys.executable, "-c", WORK, str(seconds)]
    return json.loads(subprocess.run(run, env=environment, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 1, 2, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    choices = [None, *range(1, cores + 1)]
    say(f"{'busy processes':>15}{'work':>10}{'chosen':>10}" + "".join(f"{f'{n} threads':>12}" for n in choices[1:]))
    for busy in args.loads:
        with load(busy):
            rounds = [[measure(n, args.seconds) for n in choices] for _ in range(args.rounds)]
        for work in ("predict", "step"):
            chosen, *fixed = (statistics.median(r[i][work] for r in rounds) for i in range(len(choices)))
            row = f"{busy:>15}{work:>10}{chosen:>10.0f}" + "".join(f"{x:>12.0f}" for x in fixed)
            say(f"{row}   best fixed number / chosen: {min(fixed) / chosen:.2f}")


if __name__ == "__main__":
    main()
