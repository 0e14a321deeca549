"""Workers decode each image once between them, and none waits for another or sees what another has half written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import numpy as np
import pytest
import torch
from scenes import make_set, settings

from ultralytics.data import build_dataloader, build_yolo_dataset, image_cache
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.shared_images import SharedImages

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
DATA = {"names": {0: "a", 1: "b"}}


def item(i: int, h: int = 20, w: int = 30):
    return np.full((h, w, 3), i, np.uint8), (2 * h, 2 * w)


@pytest.mark.parametrize(("limit", "slots", "settled"), [(10**6, 5, True), (2 * 4096, 2, False), (0, 1, False)])
def test_images_come_back_as_they_were_put(limit, slots, settled):
    shared = SharedImages(5, 20 * 30 * 3, limit)
    assert (shared.slots, shared.settled) == (slots, settled)
    for i in range(5):
        assert shared.get(i) is None
        shared.put(i, item(i))
        image, shape = shared.get(i)
        assert (image == i).all() and image.shape == (20, 30, 3) and shape == (40, 60) and not image.flags.writeable
    assert [shared.get(i) is not None for i in range(5)] == [i >= 5 - slots for i in range(5)]
    shared.put(0, item(0, 40, 40))
    assert shared.get(0) is None or settled, "too large for a slot"


def test_a_slot_in_use_is_as_good_as_empty():
    shared = SharedImages(3, 20 * 30 * 3, 10**6)
    shared.put(1, item(1))
    with shared._slot(1):
        assert shared.get(1) is None
        shared.put(1, item(2))
    assert (shared.get(1)[0] == 1).all()
    shared.locks[1].acquire()  # by a process that is killed then
    assert shared.get(1) is None
    shared.renew()
    assert (shared.get(1)[0] == 1).all()


def test_what_a_killed_process_has_half_written_is_not_seen():
    shared = SharedImages(1, 20 * 30 * 3, 10**6)

    def write() -> None:
        with shared._slot(0) as slot:
            shared.heads[slot, 0] = 0
            shared.pixels[slot, :100] = 7
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    assert shared.get(0) is None
    shared.renew()
    assert shared.get(0) is None
    shared.put(0, item(3))
    assert (shared.get(0)[0] == 3).all()


def batches(folder, workers: int, epochs: int = 3):
    dataset = build_yolo_dataset(settings(mosaic=1.0, mixup=0.5), str(folder), 4, DATA, mode="train")
    loader = build_dataloader(dataset, 4, workers)
    try:
        return [batch["img"].clone() for _ in range(epochs) for batch in loader], dataset
    finally:
        loader.close()


@pytest.mark.parametrize("room", [2**28, 10 * 4096])
def test_workers_decode_together_what_one_process_decodes(tmp_path, monkeypatch, room):
    """With room for all images, and for a few of them, which change their slots all the time."""
    folder, decoded = make_set(tmp_path, 12), multiprocessing.get_context("fork").Value("i", 0)
    original = ImageCache._load

    def count(self, i):
        with decoded.get_lock():
            decoded.value += 1
        return original(self, i)

    alone, _ = batches(folder, 0)
    monkeypatch.setattr(ImageCache, "_load", count)
    monkeypatch.setattr(image_cache, "RECENT_BYTES", room)
    monkeypatch.setattr(ImageCache, "reach", 100)
    together, dataset = batches(folder, 2)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert dataset.images.shared.settled == (room == 2**28)
    if dataset.images.shared.settled:
        assert 12 <= decoded.value <= 20, "hardly any twice, in five epochs with what is loaded ahead"
    assert ImageCache.__getstate__(dataset.images)["shared"] is None, "a copy for another machine has none"


def test_without_shared_memory_each_process_keeps_its_own(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Cannot allocate memory")

    alone, _ = batches(make_set(tmp_path, 6), 0, epochs=1)
    monkeypatch.setattr(image_cache, "SharedImages", refuse)
    each, dataset = batches(tmp_path / "images", 2, epochs=1)
    assert dataset.images.shared is None and all(map(torch.equal, alone, each))


def test_one_s_own_images_are_not_shared(tmp_path):
    assert batches(make_set(tmp_path, 4), 0)[1].images.shared is None
    files = [str(f) for f in make_set(tmp_path / "more", 4).glob("*")]
    images = ImageCache(files, 64, recent=False)
    images.keep_recent = False  # a validation set that is read once
    images.share(2)
    assert images.shared is None
