"""What tests of trainings in several processes share."""

from __future__ import annotations

from pathlib import Path

import pytest
from forked_ranks import ForkedRank
from tiny import FAST, tiny_model
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler


@pytest.fixture
def forked_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the ranks their start-up."""
    monkeypatch.setattr(SubprocessHandler, "_popen", lambda handler, args, env: ForkedRank(args, env))


@pytest.fixture
def two_processes(work_dir: Path, tiny_data: Path, forked_ranks: None) -> dict:
    """A run of two processes, of 4 batches an epoch, that saves after each of them."""
    return {
        **FAST, "model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 4, "device": "cpu,cpu", "batch": 2,
        "project": str(work_dir / "runs"), "name": "killed", "nbs": 6, "close_mosaic": 1, "save_period": 2,
        "autosave": 1e-6,
    }  # fmt: skip


@pytest.fixture
def log(work_dir: Path) -> Path:
    """Where all processes write."""
    return work_dir / "log.txt"
