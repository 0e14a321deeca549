"""Decoded images in memory that a process shares with the workers it forks, so that each image is decoded once."""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from multiprocessing.synchronize import Lock

Item = tuple[np.ndarray, tuple[int, int]]  # image (h, w, 3) uint8, and its (height, width) in the file
_LOCKS = 256  # at most; two processes seldom want the same one at the same time
_PAGE = 4096


class SharedImages:
    """Slots for decoded images: one for each image, or fewer, of which each holds the latest of its images.

    No process ever waits for another: a slot that is in use, or whose last user was killed, is as good as empty, and
    the image is decoded once more. The system gives a slot its memory when it is first written.

    Args:
        count: number of images.
        largest: bytes of the largest image.
        limit: bytes of all slots together.
    """

    def __init__(self, count: int, largest: int, limit: int):
        self.slot = -(-largest // _PAGE) * _PAGE
        self.slots = max(1, min(count, limit // self.slot))
        self.settled = self.slots == count  # no slot ever changes its image, so none has to be copied
        self.pixels = np.frombuffer(mmap.mmap(-1, self.slots * self.slot), np.uint8).reshape(self.slots, self.slot)
        # of each slot: 1 + index of its image or 0, height and width, and those in the file
        self.heads = np.frombuffer(mmap.mmap(-1, self.slots * 40), np.int64).reshape(self.slots, 5)
        self.locks: list[Lock] = []
        self.renew()

    def renew(self) -> None:
        """Free every slot, for processes that are forked from now on; those before must have ended."""
        context = multiprocessing.get_context("fork")
        self.locks = [context.Lock() for _ in range(min(self.slots, _LOCKS))]

    @contextmanager
    def _slot(self, i: int) -> Iterator[int | None]:
        """Hold the slot of an image within this block; None if another process does."""
        slot = i % self.slots
        lock = self.locks[slot % len(self.locks)]
        if not lock.acquire(block=False):
            yield None
            return
        try:
            yield slot
        finally:
            lock.release()

    def get(self, i: int) -> Item | None:
        """Return an image, read-only, and the (height, width) it has in its file, if it is here."""
        with self._slot(i) as slot:
            if slot is None or self.heads[slot, 0] != i + 1:
                return None
            h, w, *shape = self.heads[slot, 1:].tolist()
            image = self.pixels[slot, : h * w * 3].reshape(h, w, 3)
            image = image[:] if self.settled else image.copy()
        image.flags.writeable = False
        return image, (shape[0], shape[1])

    def put(self, i: int, item: Item) -> None:
        """Keep an image, unless it is too large or its slot is in use."""
        image, shape = item
        with self._slot(i) as slot:
            if slot is None or image.nbytes > self.slot or self.heads[slot, 0] == i + 1:
                return
            self.heads[slot, 0] = 0  # a process that is killed now leaves an empty slot
            self.pixels[slot, : image.nbytes] = image.reshape(-1)
            self.heads[slot] = i + 1, *image.shape[:2], *shape
