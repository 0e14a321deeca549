"""The work of one cell, in a process of its own: train or resume, validate the best weights, write the result.

`python -m ultralytics.lab.compare.work job.json`; see `Cell.write_job`.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import threading
import traceback
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from ultralytics import YOLO, __build__
from ultralytics.cfg.schema import SPECS
from ultralytics.engine.training.resume import last_state
from ultralytics.engine.training.run_files import PREVIOUS
from ultralytics.lab.compare.cell import Cell, Record, write_json
from ultralytics.lab.compare.hashes import data_hash, model_hash
from ultralytics.lab.compare.outcome import COSTS
from ultralytics.lab.profile import cost_of
from ultralytics.nn.tasks import attempt_load_one_weight
from ultralytics.utils import yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.metrics import ClassifyMetrics, DetMetrics
from ultralytics.utils.plotting import read_results
from ultralytics.utils.system.console import ERR, guarded, say
from ultralytics.utils.system.threads import get_cpu_info

POINTS = 201  # of each curve that is kept
# Settings of a validation that are not taken from the training: what it leaves, and its own defaults.
NOT_OF_TRAINING = {
    "task", "mode", "model", "save", "device", "project", "name", "exist_ok", "verbose", "rect", "save_json",
    "save_hybrid", "plots", "save_txt", "save_conf", "trust_modules", "cfg", "cache",
}  # fmt: skip
VALIDATION = [k for k, s in SPECS.items() if "val" in s.modes and k not in NOT_OF_TRAINING]


def work(cell: Cell) -> None:
    """Run a cell to its result from whatever state it is in."""
    if not cell.finished:
        train(cell)
    write_json(cell.folder / "result.json", judge(cell))


def train(cell: Cell) -> None:
    """Train from scratch, resume from the last state, or leave a finished training as it is."""
    run, settings = cell.run, dict(cell.settings)
    trusts = {"trust_modules": settings.pop("trust_modules", False)}
    states = [f for f in (run / "weights" / "last.pt", run / "weights" / PREVIOUS) if f.is_file()]
    if not states:
        check_unchanged(cell)
        own = {"project": str(run.parent), "name": run.name, "exist_ok": True, "seed": cell.seed}
        YOLO(cell.model, **trusts).train(**settings, **trusts, **own, device=cell.device)
        return
    file, ckpt = last_state(states[0])
    if ckpt.get("optimizer") is not None:
        workers = {k: settings[k] for k in ("workers", "cache") if k in settings}
        YOLO(str(file), **trusts).train(resume=str(file), **workers, **trusts, device=cell.device)


def check_unchanged(cell: Cell) -> None:
    """Raise ConfigError if the model or the data have changed since the comparison began."""
    data = cell.settings.get("data")
    split = cell.settings.get("split", SPECS["split"].default)
    now = {"model": model_hash(cell.model), "data": data_hash(data, cell.task, split)}
    named = {"model": cell.model, "data": data}
    if changed := [f"{key}={named[key]}" for key in now if cell.hashes[key] != now[key]]:
        raise ConfigError(
            f"What {' and '.join(changed)} names has changed since the comparison began, so this cell would not "
            "compare with the others. Put back what it was and give the same command again, or choose another name= "
            "to start a new comparison."
        )


def judge(cell: Cell) -> Record:
    """Validate the best weights of a run and return everything that the comparison needs."""
    if not cell.best.is_file():
        raise MissingFileError(f"'{cell.run}' has no weights/best.pt, so there is nothing to evaluate.")
    args, trusted = yaml_load(cell.run / "args.yaml"), cell.settings.get("trust_modules", False)
    model, seen = YOLO(str(cell.best), trust_modules=trusted), []
    model.add_callback("on_val_end", lambda validator: seen.append((validator.seen, validator.device)))
    chosen = {k: args[k] for k in VALIDATION if args.get(k) is not None}
    quiet = {"plots": False, "verbose": False, "project": str(cell.folder), "name": "val", "exist_ok": True}
    metrics = model.val(**chosen, **quiet, device=cell.device)
    network, ckpt = attempt_load_one_weight(cell.best, trusted=trusted)
    size = cell.cost_size or args["imgsz"]
    cost = cost_of(network, size, weights=cell.best)
    epochs = len(next(iter(read_results(cell.run / "results.csv").values()), ()))
    found = {
        **{k: getattr(cell, k) for k in ("label", "model", "seed", "task")},
        "epochs": epochs,
        "metrics": {k: v for k, v in metrics.results_dict.items() if k != "fitness"},
        "sizes": sizes_of(metrics),
        "curves": curves_of(metrics),
        "cost": {k: getattr(cost, k) for k in COSTS},
        "precision": ckpt.get("precision"),
        "nc": len(network.names),
        "imgsz": size,
        "hashes": cell.hashes,
        "images": seen[-1][0],
        **circumstances(seen[-1][1]),
    }
    return {key: plain(value) for key, value in found.items()}


def sizes_of(metrics: DetMetrics | ClassifyMetrics) -> dict[str, float | None]:
    """Return the average precision by size of objects, None where there are none of a size."""
    found = getattr(metrics, "sizes", None) or {}
    return {k: v if v is not None and v >= 0 else None for k, v in found.items()}


def curves_of(metrics: DetMetrics | ClassifyMetrics) -> dict[str, dict[str, list[float]]]:
    """Return the curves of a validation by name, the mean over the classes at evenly spaced points."""
    found, at = {}, np.linspace(0, 1, POINTS)
    for name, (x, y, *_) in zip(metrics.curves, metrics.curves_results):
        if len(x) and len(y):
            mean = np.interp(at, x, np.atleast_2d(y).mean(0))
            found[name] = {"x": at.round(4).tolist(), "y": mean.round(5).tolist()}
    return found


def circumstances(device: torch.device) -> Record:
    """Return the hardware and software that the cell ran on."""
    gpu = device.type == "cuda"
    return {
        "device": f"{device} ({torch.cuda.get_device_name(device)})" if gpu else str(device),
        "cpu": get_cpu_info(),
        "threads": torch.get_num_threads(),
        "versions": {"ultralytics": __build__, "torch": torch.__version__, "Python": platform.python_version()},
        "system": platform.platform(terse=True),
        "date": datetime.now().isoformat(timespec="seconds"),
    }


def plain(value: object) -> object:
    """Return a value in a form that JSON can hold; non-finite numbers become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The process ----------------------------------------------------------------------------------------------------------


def end_with_parent() -> None:
    """Exit as soon as the parent process is gone, so that no training goes on unattended."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@guarded()
def main(file: str) -> int:
    """Run the cell that a job file describes; return the exit code, 0 if there is a result."""
    cell = Cell.of_job(Path(file))
    end_with_parent()
    try:
        work(cell)
    except KeyboardInterrupt:
        return 130
    except UserError as e:
        say(e, file=ERR)
        cell.fail(str(e))
        return 1
    except Exception as e:  # what it was goes into the table, and the other cells go on
        traceback.print_exc()
        cell.fail(f"{type(e).__name__}: {e}")
        return 1
    (cell.folder / "error.json").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
