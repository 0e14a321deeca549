"""The table in transfer.md: how much of YOLO11n's weights a changed YOLO11n takes, by place in the graph and by name.

`python benchmarks/transfer_shares.py` needs no weight file: the shares follow from shapes alone. That of a YOLO11n may
be given: `python benchmarks/transfer_shares.py yolo11n.pt`.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from ultralytics.nn.tasks import DetectionModel, attempt_load_one_weight
from ultralytics.nn.transfer import matching, transfer
from ultralytics.utils.system.console import say

CHANGES = (  # what is done, before or in the place of which line, and the new line
    ("insert", 3, [-1, 1, "Conv", [256, 3, 1]]),
    ("insert", 5, [-1, 2, "C3k2", [512, False, 0.25]]),
    ("insert", 7, [-1, 2, "C2PSA", [512]]),
    ("insert", 11, [-1, 1, "nn.Identity", []]),
    ("insert", 17, [-1, 1, "Conv", [256, 3, 1]]),
    ("remove", 2, None),
    ("remove", 9, None),
    ("remove", 13, None),
    ("replace", 6, [-1, 2, "C3Ghost", [512]]),
    ("replace", 9, [-1, 1, "nn.Identity", []]),
)


def change(d: dict, what: str, at: int, line: list | None = None) -> dict:
    """Return a model YAML with one line more, less or other; what read a line reads it where it then is.

    What read the line before a new one reads the new one.
    """
    d, lines = deepcopy(d), deepcopy([*d["backbone"], *d["head"]])
    by = {"insert": 1, "remove": -1, "replace": 0}[what]
    for row in lines:
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        sources = [j + by * (j >= at - (what == "insert") and j >= 0) for j in sources]
        row[0] = sources if isinstance(row[0], list) else sources[0]
    lines[at : at + (what != "insert")] = [line] if line else []
    end = len(d["backbone"]) + by * (at < len(d["backbone"]) + (what == "insert"))
    return {**d, "backbone": lines[:end], "head": lines[end:]}


def row(source: DetectionModel, target: DetectionModel, what: str, at: int, line: list | None = None) -> str:
    """Return a change, and the shares of the source's numbers taken by place, and by name and shape."""
    by_name = sum(t.numel() for t in matching(source.state_dict(), target.state_dict()).values())
    all_of_it = sum(t.numel() for t in source.state_dict().values())
    by_place = transfer(source, target).taken
    d = source.yaml
    old = [*d["backbone"], *d["head"]][at][2]
    text = f"insert {line[2]} before {at}" if what == "insert" else f"{what} {at}, {old}"
    text += f" by {line[2]}" if what == "replace" else ""
    return f"| {text} | {by_place / all_of_it:.1%} | {by_name / all_of_it:.1%} |"


def main(source: DetectionModel) -> None:
    say("| change | by place | by name |", "|---|---:|---:|", sep="\n")
    for what in CHANGES:
        say(row(source, DetectionModel(change(source.yaml, *what), verbose=False), *what))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(attempt_load_one_weight(given[0])[0] if given else DetectionModel("yolo11n.yaml", verbose=False))
