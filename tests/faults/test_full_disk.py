"""A disk that fills up during training: the run ends in order, and goes on from its last good state once it can."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import killing
import pytest
import torch
from killing import fork, wait
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.nn.checkpoint import load_checkpoint

EPOCHS = 3


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 24 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no byte on the disk of a folder."""
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@pytest.mark.parametrize("plots", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_full_disk(work_dir: Path, tiny_data: Path, small_disk: Path, plots: bool):
    log = work_dir / "log.txt"
    settings = {
        **FAST, "model": tiny_model(work_dir), "data": str(tiny_data), "epochs": EPOCHS, "name": "run", "plots": plots,
    }  # fmt: skip
    killing.finish({**settings, "project": str(work_dir)}, log)
    settings["project"] = str(small_disk)

    def work() -> None:
        model = YOLO(settings["model"])
        model.add_callback("on_train_epoch_start", lambda t: fill(small_disk) if t.epoch == 1 else None)
        model.train(**settings)

    log.write_text("")
    assert wait(fork(work, log)) == 0, log.read_text()[-3000:]
    text, run = log.read_text(), small_disk / "run"
    for name in ("last.pt", "results.csv"):
        assert sum(f"{name}'" in line and "Training goes on" in line for line in text.splitlines()) == 1, text
    assert (
        "the disk is full" in text and f"make room and run: yolo train resume model={run / 'weights/last.pt'}" in text
    )
    assert load_checkpoint(run / "weights/last.pt")["epoch"] == 0

    os.unlink(small_disk / "filler")
    killing.finish(settings, log)
    whole, found = killing.final_state(work_dir / "run"), killing.final_state(run)
    assert not [name for name, tensor in whole.items() if not torch.equal(tensor, found[name])]
    assert (run / "results.csv").read_text() == (work_dir / "run/results.csv").read_text()
