"""A cell, which is one training of one model with one seed, and the JSON files through which processes share it."""

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
        """The cell's name in the log."""
        return f"{self.label}, seed {self.seed}"

    @property
    def result(self) -> Record | None:
        """The measurements of the cell, or None before it has finished."""
        return read_json(self.folder / "result.json")

    @property
    def error(self) -> str | None:
        """The reason why the cell failed, or None."""
        found = read_json(self.folder / "error.json", error=str)
        return found["error"] if found else None

    @property
    def best(self) -> Path:
        """The weights that are evaluated."""
        return self.run / "weights" / "best.pt"

    def fail(self, sentence: str) -> None:
        """Record why the cell failed."""
        write_json(self.folder / "error.json", {"error": sentence})

    def write_job(self) -> Path:
        """Write the job file that the cell's process starts from, and return its path."""
        file = self.folder / "job.json"
        write_json(file, {**asdict(self), "folder": str(self.folder), "run": str(self.run)})
        return file

    @classmethod
    def of_job(cls, file: Path) -> Cell:
        """Return the cell that a job file describes."""
        job = load_json(file)
        return cls(**{**job, "folder": Path(job["folder"]), "run": Path(job["run"])})


def read_json(file: Path, **wanted: type) -> Record | None:
    """Read a JSON file, or return None if it does not exist; `wanted` maps the required keys to their types."""
    if not file.exists():
        return None
    try:
        found = load_json(file)
    except UserError as e:
        raise ConfigError(f"{e} Since it cannot be read, delete it to have it written again.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in wanted.items()):
        raise ConfigError(f"'{file}' has unexpected contents. Delete it to have it written again.")
    return found


def write_json(file: Path, content: Record) -> None:
    """Write a JSON file atomically.

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
