"""Compare a training on the CPU whose images are loaded by 0, 1, 2 ... processes beside it.

`python benchmarks/loaders.py DATA.yaml [--processes 0 1 2] [--rounds 3] [--imgsz 320]` prints images per second of
yolo11n over whole epochs but the first. Each figure is the median of the rounds, in each of which all numbers of
processes take their turn. 0 loads in the training's own process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from ultralytics.utils.system.console import say

WORK = """
import statistics, sys, time
from ultralytics import YOLO
from ultralytics.models.yolo.detect import train

if __name__ == "__main__":
    data, imgsz, processes, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    train.loader_processes = lambda wanted, device: wanted  # as many as asked for, whatever would be chosen
    model, starts, ends, images, started = YOLO("yolo11n.yaml"), [], [], [], []
    model.add_callback("on_train_epoch_start", lambda trainer: starts.append(time.perf_counter()))
    model.add_callback("on_train_epoch_end", lambda trainer: ends.append(time.perf_counter()))
    model.add_callback("on_train_start", lambda trainer: images.append(len(trainer.train_loader.dataset)))
    model.add_callback("on_train_start", lambda trainer: started.append(trainer.train_loader.num_workers))
    model.train(data=data, epochs=3, imgsz=imgsz, batch=16, workers=processes, device="cpu", val=False, plots=False,
                save=False, close_mosaic=0, verbose=False, project=folder)
    if started != [processes]:
        sys.exit(f"{processes} processes were asked for, and {started[0]} started: there are no more cores.")
    print(images[0] / statistics.median([e - s for s, e in zip(starts, ends)][1:]))
"""


def measure(data: str, imgsz: int, processes: int) -> float:
    """Return images per second."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-c", WORK, data, str(imgsz), str(processes), folder]
        done = subprocess.run(run, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--imgsz", type=int, default=320)
    args = parser.parse_args()
    rounds = [[measure(args.data, args.imgsz, n) for n in args.processes] for _ in range(args.rounds)]
    for n, figures in zip(args.processes, zip(*rounds)):
        say(f"{n} processes: {statistics.median(figures):.2f} images/s")


if __name__ == "__main__":
    main()
