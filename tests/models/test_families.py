"""Each task with each family of models, trained for a minute from scratch on images whose truth is known.

The bars are ones that a broken loss, assignment, augmentation, decoding or metric does not reach. Each case leaves its
run and the images of what it finds in pytest's folder: `pytest -m slow tests/models/test_families.py --basetemp=out`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from shapes import FAST, write_data
from test_classification import make_data as make_folders
from test_obb import make_data as make_rotated

from ultralytics import YOLO

GHOSTNETS = ("yolo11n-GhostNetV1", "yolo11n-GhostNetV2", "yolo11n-GhostNetV3")
FAMILIES = {
    "": ("yolo11n", "yolo11n-GhostConv", *GHOSTNETS, "yolov8n", "yolov8n-ghost", "yolov10n"),
    "-seg": ("yolo11n", "yolo11n-GhostConv", *GHOSTNETS, "yolov8n"),
    "-pose": ("yolo11n", "yolo11n-GhostConv", *GHOSTNETS, "yolov8n"),
    "-obb": ("yolo11n", "yolo11n-GhostConv", *GHOSTNETS, "yolov8n"),
    "-cls": ("yolo11n", "yolo11n-GhostConv", "yolov8n", "ghostnetv1n", "ghostnetv2n", "ghostnetv3n"),
}
# What a task is trained on, longer where there is more to learn, and what it has to reach
RECIPE = {"optimizer": "AdamW", "lr0": 0.002, "nbs": 16, "batch": 16, "imgsz": 128, "mosaic": 0.0, "warmup_epochs": 1}
TASKS = {
    "": (lambda folder: write_data(folder, train=160, val=40), {"epochs": 25}, {"metrics/mAP50(B)": 0.7}),
    "-seg": (lambda folder: write_data(folder, train=160, val=40), {"epochs": 25}, {"metrics/mAP50(M)": 0.7}),
    "-pose": (
        lambda folder: write_data(folder, pose=True, train=160, val=40),
        {"epochs": 30},
        {"metrics/mAP50(P)": 0.7},
    ),
    "-obb": (lambda folder: make_rotated(folder, train=240, val=48), {"epochs": 30}, {"metrics/mAP50(B)": 0.7}),
    "-cls": (
        lambda folder: make_folders(folder, train=80, val=20),
        {"epochs": 25, "imgsz": 64, "lr0": 0.001, "auto_augment": None, "erasing": 0.0, "scale": 0.2},
        {"metrics/accuracy_top1": 0.9},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{family}{task}" for task, families in FAMILIES.items() for family in families])
def test_learns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    family, _, suffix = name.rpartition("-")
    task = f"-{suffix}" if f"-{suffix}" in TASKS and family else ""
    make, settings, bars = TASKS[task]
    data = make(tmp_path / "data")
    model = YOLO(f"{name}.yaml")
    metrics = model.train(data=str(data), **{**FAST, **RECIPE, **settings})
    images = (sorted(tmp_path.glob("data/images/val/*")) or sorted(tmp_path.glob("data/val/*/*"))[::5])[:12]
    found = model.predict(
        [str(p) for p in images],
        save=True,
        project="runs",
        name="found",
        imgsz=settings.get("imgsz", RECIPE["imgsz"]),
    )
    assert len(found) == len(images) > 0
    reached = {key: metrics.results_dict[key] for key in bars}
    print(name, {key: round(float(value), 3) for key, value in reached.items()})
    assert all(reached[key] >= bar for key, bar in bars.items()), reached
