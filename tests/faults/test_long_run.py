"""The memory of a long run: flat."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from killing import fork, wait
from tiny import FAST, tiny_model

from ultralytics import YOLO

EPOCHS, IMAGES, SLOPE = 200, 64, 0.1  # MB an epoch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """64 images with an object each."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
    for i in range(IMAGES):
        cv2.imwrite(str(tmp_path / f"images/train/{i}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
        (tmp_path / f"labels/train/{i}.txt").write_text(f"{i % 2} 0.5 0.5 0.4 0.4\n")
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump({"train": "images/train", "val": "images/train", "names": {0: "a", 1: "b"}}))
    return file


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("cache", [False, "ram"])
def test_memory_is_flat(data: Path, work_dir: Path, cache: bool | str):
    log, file = work_dir / "log.txt", work_dir / "rss.json"
    used: list[float] = []

    def look(trainer) -> None:
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6)

    def work() -> None:
        model = YOLO(tiny_model(work_dir))
        model.add_callback("on_fit_epoch_end", look)
        settings = {**FAST, "imgsz": 32, "batch": 16, "epochs": EPOCHS, "patience": 0, "cache": cache}
        model.train(**settings, data=str(data), project="runs", name="long")
        file.write_text(json.dumps(used))

    assert wait(fork(work, log)) == 0, log.read_text()[-3000:]
    rss = np.array(json.loads(file.read_text()))[10:EPOCHS]
    slope = np.polyfit(np.arange(len(rss)), rss, 1)[0]
    print(f"\n{rss[0]:.1f} MB after the tenth epoch, {rss[-1]:.1f} MB after the last, {slope:.4f} MB an epoch")
    assert slope < SLOPE
