"""mAP of a dense model that becomes a Ghost model, right away and after some epochs (docs/transfer.md).

python benchmarks/dense_to_ghost.py dense=runs/a/weights/best.pt,runs/b/weights/best.pt data=my.yaml epochs=60 imgsz=320

Each dense model is a seed. The Ghost model starts from the conversion (with and without the dense model as teacher),
from the weights whose names fit, and from nothing. Any setting of `yolo train` may be added and holds for all of them.
Cells that have finished are not repeated: each leaves a JSON file in the project's folder. Another recipe takes another
project=.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from ultralytics import YOLO
from ultralytics.cfg import smart_value
from ultralytics.lab.transfer import build_target
from ultralytics.lab.transfer import main as yolo_transfer
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.tasks import attempt_load_one_weight, describe
from ultralytics.nn.transfer import matching
from ultralytics.utils.system.console import say

OWN = {"dense": "", "to": "yolo11n-GhostConv.yaml", "data": "", "epochs": 60, "project": "runs/dense-to-ghost"}
SHARES = (0.0, 0.1, 0.3)  # of the dense model's epochs
STARTS = {"converted": False, "converted, teacher": True, "by name": False, "from scratch": False}  # and whether taught
QUIET = {"workers": 0, "plots": False, "verbose": False}


def starting_weights(start: str, dense: str, to: str, data: str, folder: Path) -> str:
    """Return the file that a training begins with, made if it is not there yet."""
    if start == "from scratch":
        return to
    file = folder / f"{start.partition(',')[0].replace(' ', '-')}.pt"
    if file.exists():
        return str(file)
    folder.mkdir(parents=True, exist_ok=True)
    if start == "by name":
        source, _ = attempt_load_one_weight(dense)
        target = build_target(to, source)
        target.load_state_dict(matching(source.state_dict(), target.state_dict()), strict=False)
        save_checkpoint(file, describe(target))
    else:
        yolo_transfer([f"model={dense}", f"to={to}", f"data={data}", f"save={file}"])
    return str(file)


def validated(model: YOLO, data: str, imgsz: int) -> float:
    """Return mAP50-95."""
    return float(model.val(data=data, imgsz=imgsz, **QUIET).box.map)


def cell(seed: int, start: str, share: float, given: dict[str, Any], more: dict[str, Any]) -> float:
    """Return the mAP50-95 of one start after one share of the epochs; a JSON file remembers it."""
    folder = Path(given["project"]) / f"dense{seed}"
    done = folder / f"{start.replace(', ', '-').replace(' ', '-')}-{share:g}.json"
    if done.exists():
        return json.loads(done.read_text())["map"]
    dense = given["dense"].split(",")[seed]
    weights = starting_weights(start, dense, given["to"], given["data"], folder)
    if share:
        model = YOLO(weights)
        model.train(
            data=given["data"], epochs=max(round(given["epochs"] * share), 1), seed=seed, exist_ok=True,
            project=str(folder.resolve()), name=done.stem, teacher=dense if STARTS[start] else None,
            **{**QUIET, **more},
        )  # fmt: skip
    elif start == "from scratch":
        return 0.0
    else:
        model = YOLO(weights)
    result = validated(model, given["data"], more["imgsz"])
    done.write_text(json.dumps({"map": result}))
    return result


def main(words: list[str]) -> None:
    pairs = dict(word.split("=", 1) for word in words)
    given = {**OWN, **{k: pairs[k] for k in OWN if k in pairs}}
    missing = [f"{key}=" for key in ("dense", "data") if not given[key]]
    if missing:
        sys.exit(f"{' and '.join(missing)} missing.")
    if {"seed", "name", "exist_ok", "teacher"} & pairs.keys():
        sys.exit("seed, name, exist_ok and teacher are chosen here.")
    given["epochs"] = int(given["epochs"])
    more = {"imgsz": 640, **{k: smart_value(v) for k, v in pairs.items() if k not in OWN}}
    seeds = range(len(given["dense"].split(",")))
    dense = [validated(YOLO(file), given["data"], more["imgsz"]) for file in given["dense"].split(",")]
    rows = {
        start: [[cell(seed, start, share, given, more) for seed in seeds if share or not taught] for share in SHARES]
        for start, taught in STARTS.items()
    }
    say(f"\ndense: {', '.join(f'{x:.3f}' for x in dense)}\n")
    say(f"| {Path(given['to']).stem} | " + " | ".join(f"after {s:.0%} of the epochs" for s in SHARES) + " |")
    say("| --- |" + " ---: |" * len(SHARES))
    for start, cells in rows.items():
        say(f"| {start} | " + " | ".join(shown(found, dense) for found in cells) + " |")


def shown(found: list[float], dense: list[float]) -> str:
    """Return mean and standard deviation over the seeds, and the mean share of what the dense models reach."""
    if not found:
        return ""
    spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
    return f"{mean(found):.3f}{spread} ({mean(f / d for f, d in zip(found, dense)):.0%})"


if __name__ == "__main__":
    main(sys.argv[1:])
