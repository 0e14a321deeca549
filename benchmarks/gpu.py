"""All that has to be measured and tried on a GPU, by two commands that need nothing but this clone.

`python benchmarks/gpu.py speed [--peer PYTHON ...]` measures the training step alone, whole trainings, prediction and
validation, and prints a table to paste; with `--peer` the `ultralytics` of another Python is measured in turn, and
ratios are printed. `python benchmarks/gpu.py function [NAME ...]` tries what only a GPU can show, one line each: OK or
FAILED with the reason. Each takes less than six minutes. Images are drawn on the spot: 128 fires, in speed eight times.

Expected of `speed` beside 8.3.0, whose ratios are in the table's last column: the step alone takes at most 0.4 of its
time, whole trainings give 2.5 times as many images a second, a prediction takes at most 0.5 of its time, fp16 no more
than fp32, and a step waits for the GPU at most twice. Expected of `function` is OK in each line, and that most batches
of "graphs give the losses of the network" went through graphs; where they could not, its line says why.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from gpu_parts.function import CHECKS
from gpu_parts.images import TASKS, draw_fires, make_folders, make_set
from machine import machine

from ultralytics.utils.system.console import say

ROOT = Path(__file__).resolve().parents[1]
PARTS = ROOT / "benchmarks" / "gpu_parts"
WANTED = {  # of 8.3.0's figure
    "step alone": 0.4,
    "whole training": 2.5,
    "predict fp32": 0.5,
}
LONG = ("compile=True",)  # checks that run only if they are named: a compiler takes a minute or more
TOO_LONG = 120  # seconds for one check
ABOUT = """
import json, platform, torch, ultralytics
gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
print(json.dumps([ultralytics.__version__, torch.__version__, torch.version.cuda, gpu, platform.python_version()]))
"""


def environment(python: str) -> dict[str, str]:
    """Return the environment of a Python: this clone for our own, nothing of it for a peer."""
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    own |= {"YOLO_OFFLINE": "true", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONUNBUFFERED": "1"}
    return own | {"PYTHONPATH": str(ROOT)} if python == sys.executable else own


def commit() -> str:
    """Return the commit of this clone."""
    try:
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def about(pythons: list[str]) -> list[str]:
    """Say machine, load and versions; return the names of the packages."""
    names = []
    say(f"{machine()}, commit {commit()}")
    for python in pythons:
        done = subprocess.run([python, "-c", ABOUT], capture_output=True, text=True, env=environment(python), cwd="/")
        if done.returncode:
            sys.exit(f"{python} has no ultralytics that can be imported:\n{done.stderr[-1000:]}")
        version, torch, cuda, gpu, language = json.loads(done.stdout.splitlines()[-1])
        names.append("ours" if python == sys.executable else version)
        say(f"{names[-1]}: ultralytics {version}, torch {torch} (CUDA {cuda}), Python {language}, {gpu}")
    return names


# Speed ----------------------------------------------------------------------------------------------------------------


def measure(python: str, part: str, job: dict) -> dict[str, float]:
    """Return the figures of one part, measured in a process of its own; none where it fails."""
    with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
        own = {"compile": "auto"} if python == sys.executable else {}  # a setting that 8.3.0 lacks
        run = [python, str(PARTS / "speed.py"), part, json.dumps({**job, "folder": folder, "own": own})]
        env = environment(python) | {"YOLO_CONFIG_DIR": folder}
        done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=folder)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        say(f"{python}: {part} failed with {done.returncode}:\n{(done.stdout + done.stderr)[-2500:]}")
        return {}
    return json.loads(found[0].removeprefix("RESULT "))


def table(names: list[str], figures: list[dict[str, float]]) -> None:
    """Print all figures; the ratio is ours to a peer's, and by how much ours is faster for images a second."""
    say("| " + " | ".join(["", *names, *(f"ours / {n}" for n in names[1:]), "wanted"]) + " |")
    say("|" + " --- |" * (2 * len(names) + 1))
    for key in dict.fromkeys(k for f in figures for k in f):
        values = [f.get(key) for f in figures]
        mine = values[0]
        ratios = [f"{mine / v:.2f}" if mine is not None and v else "" for v in values[1:]]
        goal = next((v for k, v in WANTED.items() if key.startswith(k)), None)
        wanted = "" if goal is None else f"{'>=' if 'images/s' in key else '<='} {goal}"
        wanted = "<= 2" if key.startswith("waits") else "<= fp32" if key.startswith("predict fp16") else wanted
        shown = ["" if v is None else f"{v:.4g}" for v in values]
        say("| " + " | ".join([key, *shown, *ratios, wanted]) + " |")


def speed(args: argparse.Namespace, folder: Path, small: bool) -> None:
    """Measure all parts of all packages in turn."""
    pythons = [sys.executable, *args.peer]
    names = about(pythons)
    start = time.time()
    draw_fires(folder / "fires", 8 if small else 128)
    data = make_set(folder / "set", folder / "fires", "detect", 2 if small else 8)
    say(f"Images drawn in {time.time() - start:.0f} s.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    job = {
        "data": str(data), "device": args.device, "imgsz": 64 if small else 640, "folder": str(folder),
        "batches": (4, 2) if small else (64, 16), "workers": (0, 1) if small else (8, max(cores - 2, 1)),
        "rounds": 8 if small else 100, "skip": 1,
    }  # fmt: skip
    figures: list[dict[str, float]] = [{} for _ in pythons]
    for part in args.names or ("step", "whole", "predict"):
        for python, found in zip(pythons, figures):
            found |= measure(python, part, job)
    table(names, figures)
    say(f"Measured in {time.time() - start:.0f} s.")


# Function -------------------------------------------------------------------------------------------------------------


def models_of_tasks() -> dict[str, str]:
    """Return a model YAML for each task, and another for detection to compare with."""
    models = {task: "yolo11n.yaml" if task == "detect" else f"yolo11n-{task}.yaml" for task in TASKS}
    models |= {"segment": "yolo11n-seg.yaml", "classify": "yolo11n-cls.yaml", "other": "yolo11n-ghost.yaml"}
    return models


def run_checks(names: list[str], job: dict, small: bool) -> list[str]:
    """Run checks and print a line each; where a process dies or hangs, the next goes on. Return those that failed."""
    left, failed = list(names), []
    while left:
        run = [sys.executable, str(PARTS / "function.py"), json.dumps(job), *left]
        errors = Path(job["folder"]) / "errors.txt"
        with open(errors, "w") as log:
            process = subprocess.Popen(
                run, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(sys.executable)
            )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        while left:
            try:
                line = lines.get(timeout=TOO_LONG * (1 + 9 * small))
            except queue.Empty:
                process.kill()
                line = None
            if line is None:  # it ended within a check
                process.wait()
                last = " ".join(errors.read_text().split())[-300:]
                say(f"FAILED  {left[0]}: the process ended with {process.returncode}: {last}")
                failed.append(left.pop(0))
                break
            word, *rest = line.rstrip("\n").split("\t")
            if word in {"OK", "FAILED"} and rest[0] == left[0]:
                say(f"{word:<7} {rest[0]} ({rest[1]} s): {rest[2]}")
                failed += [left[0]] if word == "FAILED" else []
                left.pop(0)
                if rest[0] == "out of memory":  # its limit holds for the rest of the process
                    process.kill()
                    break
        process.wait()
    return failed


def _read(process: subprocess.Popen, lines: queue.Queue) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def function(args: argparse.Namespace, folder: Path, small: bool) -> int:
    """Try everything once; return how many checks failed."""
    about([sys.executable])
    start = time.time()
    unknown = [n for n in args.names if n not in CHECKS]
    if unknown:
        sys.exit(f"There is no check '{unknown[0]}'. There are: {', '.join(CHECKS)}")
    fires = folder / "fires"
    draw_fires(fires, 8 if small else 128)
    data = {task: str(make_set(folder / task, fires, task)) for task in TASKS}
    data["classify"] = str(make_folders(folder / "classify", fires))
    job = {
        "data": data, "models": models_of_tasks(), "device": args.device, "folder": str(folder),
        "fires": str(fires), "imgsz": 64 if small else 320, "batch": 4 if small else 16, "workers": 0 if small else 4,
    }  # fmt: skip
    names = args.names or [n for n in CHECKS if n not in LONG]
    failed = run_checks(names, job, small)
    say(f"{len(names) - len(failed)} of {len(names)} are OK, in {time.time() - start:.0f} s.")
    return len(failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "function"))
    parser.add_argument("names", nargs="*", help="parts (step, whole, predict) or checks; all when none is named")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="PYTHON", help="a Python with another ultralytics"
    )
    parser.add_argument("--device", default="0", help=argparse.SUPPRESS)  # cpu: tiny, to try the script itself
    args = parser.parse_intermixed_args()
    small = args.device == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder
        if args.what == "speed":
            speed(args, Path(folder), small)
        else:
            sys.exit(min(function(args, Path(folder), small), 1))


if __name__ == "__main__":
    main()
