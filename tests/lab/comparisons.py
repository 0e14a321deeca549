"""Cells with results that nobody had to train for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ultralytics.lab.compare.cell import write_json
from ultralytics.lab.compare.outcome import Outcome
from ultralytics.lab.compare.plan import Candidate, Plan
from ultralytics.lab.latency import Latency

KEYS = {
    "detect": ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)"),
    "segment": (
        "precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)", "precision(M)", "recall(M)", "mAP50(M)", "mAP50-95(M)",
    ),
    "classify": ("accuracy_top1", "accuracy_top5"),
}  # fmt: skip
COST = {"params": 2_590_035, "params_fused": 2_582_347, "gflops": 6.5, "gflops_fused": 6.4, "size_mb": 5.2}
PLACE = {
    "imgsz": 64, "nc": 2, "images": 4, "device": "cpu", "cpu": "a processor", "threads": 1, "system": "a system",
    "versions": {"torch": "2"}, "date": "2026-01-02T03:04:05",
}  # fmt: skip


def result_of(task: str, i: int, seed: int) -> dict:
    """Return what a cell of the i-th model would have measured."""
    metrics = {f"metrics/{key}": 0.5 + 0.1 * i + 0.01 * seed * (1 + i) for key in KEYS[task]}
    x = np.linspace(0, 1, 11)
    curves = {f"Precision-Recall({c})": {"x": x.tolist(), "y": (1 - x ** (i + 2)).tolist()} for c in "B"}
    sizes = {"small": 0.1 + 0.01 * seed, "medium": None, "large": 0.3 + 0.01 * seed}
    cost = {k: v * (1 - 0.1 * i) if isinstance(v, float) else v - 250_000 * i for k, v in COST.items()}
    plain = task == "classify"
    return {"label": "", "epochs": 3, "metrics": metrics, "sizes": {} if plain else sizes,
            "curves": {} if plain else curves, "cost": cost, **PLACE}  # fmt: skip


def write_run(run: Path, task: str, i: int = 0) -> None:
    """Write the results.csv of a run of three epochs."""
    run.mkdir(parents=True)
    names = ["epoch", "train/loss", *(f"metrics/{key}" for key in KEYS[task]), "val/loss", "lr/pg0"]
    rows = [[e, 3 / e, *(0.1 * e + 0.01 * i for _ in KEYS[task]), 4 / e, 0.01] for e in (1, 2, 3)]
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    (run / "results.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_plan(folder: Path, labels: Sequence[str], seeds: int = 3, task: str = "detect") -> Plan:
    """Return a plan whose cells have finished."""
    models = [Candidate(label, f"{label}.yaml", label) for label in labels]
    plan = Plan(models, [*range(seeds)], task, {"data": "my.yaml", "epochs": 3, "imgsz": 64}, folder, "")
    for cell in plan.cells:
        i = labels.index(cell.label)
        write_run(cell.run, task, i)
        write_json(cell.folder / "result.json", result_of(task, i, cell.seed))
    return plan


def make_outcome(folder: Path, labels: Sequence[str], seeds: int = 3, task: str = "detect") -> Outcome:
    """Return the outcome of finished cells, with the latency of two runtimes."""
    outcome = Outcome.of(make_plan(folder, labels, seeds, task), "yolo compare models=a,b")
    outcome.latency = [
        Latency(label, runtime, 10.0 - i, 12.0, threads=1, device="cpu", rounds=5)
        for runtime in ("eager", "onnxruntime")
        for i, label in enumerate(labels)
    ]
    return outcome
