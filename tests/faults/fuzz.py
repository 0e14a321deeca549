"""Throw damaged and hostile files at all that reads a user's: each is read, or refused in a sentence, and nothing else.

    python tests/faults/fuzz.py                          all targets in full: 100,000 cases of texts, fewer of others
    python tests/faults/fuzz.py yaml 5000                so many cases of one target
    python tests/faults/fuzz.py yaml 1 4711              case 4711 alone, with its traceback

A case depends on its number alone. Faults are printed with the number of the first case that showed each.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

import fuzz_metadata  # noqa: E402
import fuzz_pickle_grammar  # noqa: E402
import fuzz_torchscript  # noqa: E402
from fuzz_guard import Forbidden, Watch, limit_memory, too_long  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402

from ultralytics.utils.errors import UserError  # noqa: E402

FULL = {"yaml": 100_000, "labels": 100_000, "cli": 100_000, "checkpoint": 10_000, "cache": 10_000, "images": 10_000}
for more in (fuzz_metadata, fuzz_pickle_grammar, fuzz_torchscript):
    TARGETS |= more.TARGETS
    FULL |= more.CASES
LONGEST = 6000  # characters of a sentence


@dataclass
class Report:
    """What came of some cases."""

    cases: int = 0
    refused: int = 0
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)  # kind -> first case, traceback
    counts: Counter = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"{self.cases} cases, {self.refused} refused in a sentence, {len(self.faults)} kinds of faults, "
        lines = [f"{text}{self.seconds:.0f} s"]
        lines += [f"  {self.counts[kind]} x {kind}, first case {i}" for kind, (i, _) in self.faults.items()]
        return "\n".join(lines)


def run(name: str, cases: int, first: int = 0, watch: Watch | None = None, every: float = 60.0) -> Report:
    """Run cases of a target in the working folder, which must be empty.

    Args:
        name: of the target.
        cases: how many.
        first: number of the first case.
        watch: of this process; one for all calls, since it cannot be taken away.
        every: seconds after which progress is printed.
    """
    logging.getLogger("ultralytics").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, too_long)
    watch = watch or Watch(Path.cwd())
    target, report, start = TARGETS[name](), Report(), time.perf_counter()
    target.prepare()
    warm_up(target)
    said = start
    for i in range(first, first + cases):
        report.cases += 1
        try:
            with watch.case():
                target.case(random.Random(f"{name} {i}"))
        except UserError as e:
            report.refused += 1
            if not 0 < len(str(e)) <= LONGEST:
                _note(report, i, f"a sentence of {len(str(e))} characters", str(e)[:300])
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:
            _note(report, i, _kind(e), traceback.format_exc())
        if time.perf_counter() - said > every:
            said = time.perf_counter()
            print(f"{name}: {i + 1 - first} of {cases}", flush=True)
    report.seconds = time.perf_counter() - start
    return report


def warm_up(target) -> None:
    """Run some cases unwatched, so that what is imported late is there."""
    for i in range(40):
        try:
            target.case(random.Random(f"warm {i}"))
        except Exception:  # told when it comes up in a case
            continue


def _kind(e: BaseException) -> str:
    """Return by what faults are told apart: type, place and, where something was forbidden, what."""
    frames = [f for f in traceback.extract_tb(e.__traceback__) if f"{os.sep}ultralytics{os.sep}" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(e).__name__} at {place}" + (f" ({str(e)[:150]})" if isinstance(e, Forbidden) else "")


def _note(report: Report, i: int, kind: str, text: str) -> None:
    report.counts[kind] += 1
    report.faults.setdefault(kind, (i, text))


def main(words: list[str]) -> int:
    """Run what the words say, in a folder of its own; return 1 if there were faults."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2) if len(words) < 3 else None  # libraries for images talk much
    names, failed, home = words[:1] or [*FULL], 0, Path.cwd()
    first = int(words[2]) if len(words) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder
        watch = Watch(Path(folder))
        limit_memory()
        for name in names:
            inner = Path(folder, name)
            inner.mkdir()
            os.chdir(inner)
            report = run(name, int(words[1]) if len(words) > 1 else FULL[name], first, watch)
            print(f"{name}: {report}", flush=True)
            for kind, (i, text) in report.faults.items():
                print(f"\n--- {name} {i}: {kind}\n{text[-3000:]}", flush=True)
            failed += len(report.faults)
            os.chdir(home)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
