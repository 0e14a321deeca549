"""Time the rules of ultralytics/nn/rewrite.py: `python benchmarks/rewrite_costs.py [model.yaml,...] [rounds]`.

Takes the extra `export`. One thread, one image of 640 pixels, model after model within each round. For each model as
it is, with all rules, and with all but one, it prints the latency as a share of the same model as it is, and of the
first model as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from torch import nn

from benchmarks.ghost_search import ratios
from ultralytics.nn.rewrite import RULES, rewrite
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.system.console import say

MODELS = "yolo11n.yaml,yolo11n-ghost.yaml"
PLAIN = "as it is"
CHOICES = {PLAIN: [*RULES], "all rules": [], **{f"without {name}": [name] for name in RULES}}  # rules left out


def rewritten(name: str, skip: list[str]) -> nn.Module:
    """Build a detector and rewrite it, with some rules left out."""
    model = DetectionModel(name, verbose=False).eval().fuse(verbose=False)
    rewrite(model, skip)
    return model


def main(names: str = MODELS, rounds: str = "20") -> None:
    models = {(name, choice): rewritten(name, skip) for name in names.split(",") for choice, skip in CHOICES.items()}
    counts = {name: models[name, "all rules"].rewritten for name in names.split(",")}
    found = ratios(models, 640, int(rounds))
    first = names.split(",")[0]
    say(" | ".join(["| model", "rules", "applied", *(f"{r} | of {first}" for r in found)]), "|")
    say("| --- | --- " + "| ---: " * (1 + 2 * len(found)) + "|")
    for name, choice in models:
        applied = sum(n for rule, n in counts[name].items() if rule not in CHOICES[choice])
        shares = (f"{of[name, choice] / of[name, PLAIN]:.3f} | {of[name, choice]:.3f}" for of in found.values())
        say(" | ".join([f"| {name}", choice, str(applied), *shares]), "|")


if __name__ == "__main__":
    main(*sys.argv[1:3])
