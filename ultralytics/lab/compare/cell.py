"""A cell: one training of one model with one seed, and the JSON files by which processes know of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.files import read_json as load_json

Record = dict[str, Any]  # of settings, or read from JSON


@dataclass
class Cell:
    """One training of one model with one seed."""

    label: str
    model: str
    seed: int
    task: str
    folder: Path  # of result.json, error.json and log.txt
    run: Path  # of args.yaml, results.csv and weights
    settings: Record = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # of what it depends on, as it was planned or found
    finished: bool = False  # trained before, by `yolo train`
    cost_size: int | None = None  # pixels at which cost is counted, if not those of the training
    device: str | None = None  # on which its process works

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"{self.label}, seed {self.seed}"

    @property
    def result(self) -> Record | None:
        """What the cell measured, if it has finished."""
        return read_json(self.folder / "result.json")

    @property
    def error(self) -> str | None:
        """Why the cell failed, if it did."""
        found = read_json(self.folder / "error.json", error=str)
        return found["error"] if found else None

    @property
    def best(self) -> Path:
        """The weights that are judged."""
        return self.run / "weights" / "best.pt"

    def fail(self, sentence: str) -> None:
        """Leave behind why the cell failed."""
        write_json(self.folder / "error.json", {"error": sentence})

    def write_job(self) -> Path:
        """Write the file that the cell's process begins with, and return it."""
        file = self.folder / "job.json"
        write_json(file, {**asdict(self), "folder": str(self.folder), "run": str(self.run)})
        return file

    @classmethod
    def of_job(cls, file: Path) -> Cell:
        """Return the cell that a job file describes."""
        job = load_json(file)
        return cls(**{**job, "folder": Path(job["folder"]), "run": Path(job["run"])})


def read_json(file: Path, **wanted: type) -> Record | None:
    """Return what a JSON file holds, or None if there is none; `wanted` are keys that it must have, and their types."""
    if not file.exists():
        return None
    try:
        found = load_json(file)
    except UserError as e:
        raise ConfigError(f"{e} Since it cannot be read, delete it to have it made anew.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in wanted.items()):
        raise ConfigError(f"'{file}' holds something else than it should. Delete it to have it made anew.")
    return found


def write_json(file: Path, content: Record) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        with atomic_write(file, "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, indent=1, allow_nan=False)
    except OSError as e:
        raise ConfigError(
            f"'{file}' cannot be written: {e.strerror or e}. Make room, or choose another folder with project=FOLDER."
        ) from None
