"""Two packages of one name measured in turn: each in processes of its own, by the Python that imports it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of this clone, whose package is measured, installed or not
FOUND = "figures.json"  # the file of a measurement

sys.path.append(str(ROOT))  # after what is installed, which is measured if this is the peer's Python


def environment(python: str, **extra: str) -> dict[str, str]:
    """Return the environment of a Python: this clone for our own, nothing of it for a peer."""
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    own |= {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", **extra}  # 8.3.0 reads its own weights so
    return own | {"PYTHONPATH": str(ROOT)} if python == sys.executable else own


def measure(python: str, script: str, name: str, work: dict, **extra: str) -> dict[str, float]:
    """Run `PYTHON script --measure NAME WORK` and return the figures that it wrote, see `write`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(Path(script).resolve()), "--measure", name, json.dumps({**work, "out": folder})]
        env = environment(python, **extra)
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
        if done.returncode:
            sys.exit(f"{python} measured nothing:\n{done.stderr[-3000:]}")
        return json.loads(Path(folder, FOUND).read_text())


def write(measure: Callable[[dict], dict[str, float]], work: dict) -> None:
    """Measure within such a process, and leave the figures for `measure`."""
    Path(work["out"], FOUND).write_text(json.dumps(measure(work)))


def compare(
    names: Iterable[str],
    of: Callable[[str, str], dict[str, float]],
    peer: str | None,
    rounds: int,
    larger_is_better: str = "a second",
) -> None:
    """Measure in turn and print the median of each figure here and of the peer, and by how much ours is better.

    Args:
        names: of the measurements.
        of: gives the figures of a Python and a name.
        peer: the other Python; None measures ours alone.
        rounds: how often both take their turn.
        larger_is_better: words in the names of figures that are rates; all others are times.
    """
    from ultralytics.utils.system.console import say

    sides = [sys.executable, *([peer] if peer else [])]
    say(f"{f'median of {rounds} rounds':38}{'here':>10}" + "".join(f"{h:>11}" for h in ("peer", "better by") if peer))
    for name in names:
        found = [[of(python, name) for python in sides] for _ in range(rounds)]
        for figure in found[0][0]:
            here, *peers = (statistics.median(r[i][figure] for r in found) for i in range(len(sides)))
            better = [here / p if larger_is_better in figure else p / here for p in peers]
            say(f"{figure:38}{here:10.4g}" + "".join(f"{p:11.4g}{b:10.2f}x" for p, b in zip(peers, better)))
