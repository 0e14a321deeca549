"""The cache in memory says what it needs and gives way to the disk; epochs leave nothing behind in memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import make_set, settings, write_image

from ultralytics.data import ClassificationDataset, build_dataloader, build_yolo_dataset, image_cache
from ultralytics.utils.system.memory import Room

DATA = {"names": {0: "a", 1: "b"}}
STRONG = {"mosaic": 1.0, "mixup": 0.5, "degrees": 10.0}


def warned(caplog: pytest.LogCaptureFixture) -> bool:
    """Tell whether more than information was logged."""
    return any(record.levelname == "WARNING" for record in caplog.records)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    """Let the machine say how many bytes are free, call after call; the last number holds from then on."""

    def say(*numbers: int | None):
        left = list(numbers)
        room = lambda: None if left[0] is None else Room(left[0], "limit in /job/memory.max")  # noqa: E731
        monkeypatch.setattr(image_cache, "available_memory", lambda: (room(), len(left) > 1 and left.pop(0))[0])

    return say


def build(folder: Path, cache: str | bool = "ram", **overrides):
    return build_yolo_dataset(settings(cache=cache, **overrides), str(folder), 4, DATA, mode="train")


def same(a, b) -> bool:
    return all(torch.equal(a[(1, i)]["img"], b[(1, i)]["img"]) for i in range(len(a)))


def test_the_need_is_told_from_all_images(tmp_path):
    """One large image among small ones; scaled, they differ by their aspect."""
    folder = make_set(tmp_path, 9, sizes=((20, 200), (30, 200), (150, 300)))
    write_image(folder / "large.png", np.zeros((900, 900, 3), np.uint8))
    dataset = build(folder, imgsz=320)
    held = sum(image.nbytes for image, _ in dataset.images.kept)
    assert held <= dataset.images._bytes(320) <= held * 1.1
    raw = 3 * (3 * (20 * 200 + 30 * 200 + 150 * 300) + 900 * 900)
    assert raw <= dataset.images._bytes(0) <= raw * 1.1


def test_the_need_of_a_classifier_is_told_from_headers(tmp_path):
    for i in range(6):
        write_image(tmp_path / "a" / f"{i}.png", np.zeros((30 + 20 * i, 50, 3), np.uint8))
    dataset = ClassificationDataset(tmp_path, settings("classify", cache="ram"))
    held = sum(image.nbytes for image, _ in dataset.images.kept)
    assert len(dataset.images.kept) == 6 and held <= dataset.images._bytes(0) <= held * 1.6  # pages count


@pytest.mark.parametrize("room", [None, 10**9])
def test_enough_room_or_unknown(tmp_path, free, caplog, room):
    free(room)
    dataset = build(make_set(tmp_path))
    assert len(dataset.images.kept) == 6 and not warned(caplog) and not list(tmp_path.rglob("*.npy"))


def test_too_little_room_falls_back_to_the_disk(tmp_path, free, caplog):
    folder = make_set(tmp_path)
    plain = build(folder, False)
    need = plain.images._bytes(128)
    free(int(need / 0.8) - 10)
    dataset = build(folder)
    assert dataset.images.mode == "disk" and not dataset.images.kept
    assert len(list(folder.glob("*.npy"))) == 6 and same(plain, dataset)
    assert f"needs {need / 2**30:.2f} GB for 6 images" in caplog.text and "/job/memory.max" in caplog.text
    assert "kept on disk instead (cache=disk)" in caplog.text
    caplog.clear()
    free(int(need / 0.8) + 10)
    assert build(folder).images.kept and not warned(caplog)


def test_room_that_another_takes_meanwhile(tmp_path, free, caplog):
    folder = make_set(tmp_path)
    free(10**9, 10**9, 10**9, 1000)
    dataset = build(folder)
    assert dataset.images.mode == "disk" and not dataset.images.kept and "of which 50% are done" in caplog.text
    assert same(dataset, build(folder, False))


def test_processes_that_train_together_need_a_copy_each(tmp_path, free, caplog, monkeypatch):
    folder = make_set(tmp_path)
    free(2 * build(folder, False).images._bytes(128))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert not build(folder).images.kept and "in each of 3 processes" in caplog.text
    monkeypatch.setattr(image_cache, "LOCAL_RANK", 1)  # rank 0 has its own by then
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert build(folder).images.kept


@pytest.mark.parametrize("cache", [False, "ram", pytest.param("disk", marks=pytest.mark.slow)])
def test_epochs_leave_nothing_behind(tmp_path, cache):
    """Python's and NumPy's allocations after eight epochs are those after three."""
    loader = build_dataloader(build(make_set(tmp_path, 6), cache, imgsz=32, **STRONG), 4, 0)

    def epochs(n: int) -> int:
        for _ in range(n):
            for _batch in loader:
                pass
        del _batch
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = epochs(3)
        assert epochs(5) - before < 5 * 1000  # a scaled image has 2 to 3 kB
    finally:
        tracemalloc.stop()
        loader.close()
