"""Files of a run, written so that a crash, a full disk or a lost folder costs little."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.utils import LOGGER, yaml_save
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import atomic_write

PREVIOUS = "previous.pt"


class RunFiles:
    """Weight files and results.csv of a run. A file that cannot be written is warned of once, and nothing is raised.

    Args:
        folder: of the run.
        damaged: whether last.pt is, so that previous.pt is the better one.
    """

    def __init__(self, folder: Path, damaged: bool = False):
        self.folder, self.weights = folder, folder / "weights"
        self.last, self.best = self.weights / "last.pt", self.weights / "best.pt"
        self.previous = self.weights / PREVIOUS  # the last.pt before this one
        self.csv = folder / "results.csv"
        self.rows: list[dict[str, float]] = []  # of results.csv, one an epoch
        self.failing: set[Path] = set()  # files whose newest content could not be written
        self.damaged = damaged

    def clear(self) -> None:
        """Remove partial files of a killed process."""
        _remove(*self.folder.glob(".*.tmp"), *self.weights.glob(".*.tmp"))

    def forget_earlier(self, begun: bool) -> None:
        """Remove weights of an earlier run in this folder, so that they are not taken for this one's.

        Args:
            begun: last.pt is of this run already.
        """
        _remove(self.previous, self.best, *(() if begun else (self.last,)))

    def write(self, path: Path, ckpt: dict) -> bool:
        """Write a checkpoint; return whether that was possible. The older last.pt becomes previous.pt."""
        try:
            save_checkpoint(path, ckpt, keep=self.previous if path == self.last and not self.damaged else None)
        except (UserError, OSError) as e:
            self._say(path, str(e) if isinstance(e, UserError) else f"'{path}' cannot be written: {e.strerror or e}.")
            return False
        self.failing.discard(path)
        self.damaged = self.damaged and path != self.last
        return True

    def write_args(self, args: dict) -> None:
        """Rewrite args.yaml after a setting has changed."""
        path = self.folder / "args.yaml"
        try:
            yaml_save(path, args)
        except OSError as e:
            self._say(path, f"'{path}' cannot be written: {e.strerror or e}.")

    def add_row(self, row: dict[str, float]) -> None:
        """Add an epoch's row to results.csv, which is written anew as a whole: never half a row, never one twice."""
        self.rows.append({k: float(v) for k, v in row.items()})
        self.write_rows()

    def write_rows(self) -> None:
        """Write results.csv; without rows there is none."""
        try:
            if not self.rows:
                self.csv.unlink(missing_ok=True)
                return
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            lines = [
                [f"{n:>23}" for n in names],
                *([f"{r.get(n, float('nan')):>23.5g}" for n in names] for r in self.rows),
            ]
            with atomic_write(self.csv, "w", encoding="utf-8") as f:
                f.write("".join(",".join(line) + "\n" for line in lines))
            self.failing.discard(self.csv)
        except OSError as e:
            self._say(self.csv, f"'{self.csv}' cannot be written: {e.strerror or e}.")

    def _say(self, path: Path, sentence: str) -> None:
        if path not in self.failing:
            LOGGER.warning(f"{sentence} Training goes on, and tries again with each new state of this file.")
        self.failing.add(path)


def _remove(*files: Path) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
