"""Train the same recipes from the same weights here and with another `ultralytics`, and compare what they reach.

`python benchmarks/parity.py --peer PYTHON --sets detect=a.yaml pose=b.yaml classify=folder [--seeds 0 1] [--out DIR]`
trains a YOLO11n of each task with each seed by both packages, one run after the other, and prints mAP50-95 (top-1
accuracy of a classifier) with means, standard deviations and differences. Finished runs are kept in `--out`: the same
command goes on where it was stopped. `--start best.pt` gives the weights that both begin with, where names and shapes
fit; what is left is drawn from the names of the weights, alike in both.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from in_turn import environment

# Small enough for two cores; one step takes as many images as a batch has.
RECIPES: dict[str, dict] = {
    "detect": {"model": "yolo11n.yaml", "epochs": 20, "imgsz": 320, "batch": 8},
    "segment": {"model": "yolo11n-seg.yaml", "epochs": 60, "imgsz": 320, "batch": 8},
    "pose": {"model": "yolo11n-pose.yaml", "epochs": 40, "imgsz": 320, "batch": 8},
    "obb": {"model": "yolo11n-obb.yaml", "epochs": 40, "imgsz": 416, "batch": 8},
    "classify": {"model": "yolo11n-cls.yaml", "epochs": 15, "imgsz": 96, "batch": 32},
}
KEYS = ("metrics/mAP50-95(M)", "metrics/mAP50-95(P)", "metrics/mAP50-95(B)", "metrics/accuracy_top1")  # the first found
LIMITS = {"pose": 0.03, "obb": 0.03}  # of the difference between the means; 0.02 elsewhere
SIDES = "here", "peer"


# One run, by the public API of 8.3.0 alone ----------------------------------------------------------------------------


def run(cell: dict) -> None:
    """Train a cell and write what its best weights reach into its file."""
    import torch

    from ultralytics import YOLO

    start = {name: torch.from_numpy(value) for name, value in np.load(cell["start"]).items()}
    model = YOLO(cell["settings"]["model"])
    trainer = model._smart_load("trainer")

    class FromStart(trainer):
        def get_model(self, *args, **kwargs):
            made = super().get_model(*args, **kwargs)
            made.load_state_dict(drawn(made.state_dict(), start))
            return made

    settings = {k: v for k, v in cell["settings"].items() if k != "model"}
    model.train(trainer=FromStart, **settings)
    reached = {k: float(v) for k, v in model.trainer.metrics.items()}
    file = Path(cell["file"])
    file.with_suffix(".tmp").write_text(json.dumps(reached), encoding="utf-8")
    os.replace(file.with_suffix(".tmp"), file)


def drawn(state: dict, start: dict) -> dict:
    """Return weights for a state dict: those of `start` where name and shape fit, else drawn by the entry's name."""
    import torch

    found = {}
    for name, old in state.items():
        rng, shape = np.random.default_rng(zlib.crc32(name.encode())), tuple(old.shape)
        if name in start and tuple(start[name].shape) == shape:
            found[name] = start[name].to(old.dtype)
        elif old.ndim < 2 or name.endswith("dfl.conv.weight"):  # norms and biases begin as they were made
            found[name] = old
        else:
            found[name] = torch.tensor(rng.normal(0, math.sqrt(1 / np.prod(shape[1:])), shape), dtype=old.dtype)
    return found


# All runs -------------------------------------------------------------------------------------------------------------


def write_start(weights: str | None, file: Path) -> None:
    """Write the tensors of a weight file, or none, as NumPy arrays: a file that both packages read alike."""
    tensors = {}
    if weights:
        from ultralytics.nn.checkpoint import load_checkpoint

        tensors = {k: v.float().numpy() for k, v in load_checkpoint(weights)["model"].items()}
    np.savez(file, **tensors)


def with_absolute_path(data: Path, folder: Path) -> Path:
    """Return a copy of a data YAML whose `path` both packages take alike; a folder of classes stays as it is."""
    if data.is_dir():
        return data
    import yaml

    content = yaml.safe_load(data.read_text(encoding="utf-8"))
    copy = folder / data.name
    content["path"] = str((data.parent / content.get("path", ".")).resolve())
    copy.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return copy


def cells(args: argparse.Namespace) -> list[dict]:
    """Return the runs in the order in which they are made: both packages in turn."""
    found = []
    for task, given in (pair.split("=", 1) for pair in args.sets):
        data = with_absolute_path(Path(given).resolve(), args.out)
        for seed in args.seeds:
            for side in SIDES:
                name = f"{task}-{data.stem}-{seed}-{side}"
                recipe = RECIPES[task] | ({"epochs": args.epochs} if args.epochs else {})
                settings = {
                    **recipe, "data": str(data), "seed": seed, "nbs": recipe["batch"], "workers": 2,
                    "device": args.device, "plots": False, "project": str(args.out / "runs"), "name": name,
                    "exist_ok": True, "pretrained": False, "verbose": False,
                }  # fmt: skip
                file, start = args.out / f"{name}.json", args.out / "start.npz"
                found.append({"task": task, "side": side, "file": str(file), "start": str(start), "settings": settings})
    return found


def carry_out(cell: dict, python: str) -> None:
    """Run a cell in a process of its own, unless its file is there; what it prints goes beside that file."""
    file = Path(cell["file"])
    if file.exists():
        return
    with file.with_suffix(".log").open("w", encoding="utf-8") as log:
        command = [python, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=file.parent, env=environment(python))
    if done.returncode or not file.exists():
        sys.exit(f"{file.stem} failed; {file.with_suffix('.log')} says why.")


def figure(cell: dict) -> float:
    """Return what a finished cell reached."""
    reached = json.loads(Path(cell["file"]).read_text(encoding="utf-8"))
    return next(reached[key] for key in KEYS if key in reached)


def table(done: list[dict]) -> list[str]:
    """Return the rows of the comparison in Markdown."""
    rows = ["| task | set | " + " | ".join(f"{side}: mean ± deviation" for side in SIDES) + " | difference | limit |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    groups: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in done:
        key = cell["task"], Path(cell["settings"]["data"]).stem
        groups.setdefault(key, {side: [] for side in SIDES})[cell["side"]].append(figure(cell))
    for (task, name), reached in groups.items():
        means = {side: statistics.mean(values) for side, values in reached.items()}
        spread = {side: statistics.stdev(v) if len(v) > 1 else float("nan") for side, v in reached.items()}
        sides = " | ".join(f"{means[side]:.3f} ± {spread[side]:.3f}" for side in SIDES)
        difference, limit = means["here"] - means["peer"], LIMITS.get(task, 0.02)
        verdict = "" if abs(difference) <= limit else " (beyond)"
        rows.append(f"| {task} | {name} | {sides} | {difference:+.3f}{verdict} | {limit} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python that imports the other package")
    parser.add_argument("--sets", nargs="+", required=True, metavar="TASK=DATA", help=f"tasks: {', '.join(RECIPES)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--start", help="weights that both begin with")
    parser.add_argument("--epochs", type=int, help="in the place of the recipe's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/parity"))
    args = parser.parse_args()
    if wrong := [s for s in args.sets if s.split("=", 1)[0] not in RECIPES or "=" not in s]:
        parser.error(f"'{wrong[0]}' is not TASK=DATA with one of the tasks {', '.join(RECIPES)}.")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "start.npz").exists():
        write_start(args.start, args.out / "start.npz")
    from machine import machine

    from ultralytics.utils.system.console import say

    say(machine())
    done = []
    for cell in cells(args):
        carry_out(cell, sys.executable if cell["side"] == "here" else args.peer)
        done.append(cell)
        say(f"{Path(cell['file']).stem}: {figure(cell):.4f}")
    say("\n".join(["", *table(done)]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        run(json.loads(sys.argv[2]))
    else:
        main()
