"""A dataset that copes with images that vanish, break or are replaced after its labels were read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
import torch
from torch.utils.data import Dataset

from ultralytics.data.image_cache import ImageCache
from ultralytics.data.instances import Sample
from ultralytics.data.transform import draws_outside
from ultralytics.utils.errors import DataError


class NothingLeft(DataError):
    """Every image is gone; keeps its message where torch puts a worker's traceback before it."""

    def __init__(self, text: str):
        super().__init__(text.strip().rpartition(f"{type(self).__name__}: ")[2])


class ChangingDataset(Dataset):
    """A dataset that goes on when images vanish, become unreadable or are replaced while it is used.

    Each is named in one warning, whichever process meets it first, and counted (`left_out`). In training another valid
    image, with its own labels, takes its place, in mosaics too; which one follows from seed and index, so that samples
    still depend on (seed, epoch, index) and the files only. In validation it is left out of its batch, and so of all
    metrics; a batch of which nothing remains is `{}`. An image that is back is used again, and one that is still
    decoded in memory is used as it was.
    """

    images: ImageCache
    augment: bool
    seed: int
    epoch: int = 0  # of the first sample that is asked for by a plain index, see `_next_epoch`
    _asked: int | None = None  # index that a loader asked for, while its sample is made
    _own: np.random.Generator | None = None  # that of this sample

    def __len__(self) -> int:
        raise NotImplementedError

    @cached_property
    def signature(self) -> list[int | str]:
        """The number of images and a hash of their names in order; unchanged when their folder is moved."""
        names = "\0".join(os.path.basename(f) for f in self.images.files)
        return [len(self.images), hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()]

    @property
    def left_out(self) -> int:
        """Number of images that could not be used, in any process, since the dataset was made."""
        return int(self.images.skipped.sum())

    def load_image(self, i: int) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """Return the scaled BGR image, its (h, w) in the file, and its (h, w) now."""
        image, shape = self.images[i]
        return image, shape, image.shape[:2]

    def usable(self, i: int) -> tuple[int, np.ndarray, tuple[int, int]]:
        """Return index, scaled image and (h, w) in the file: those of `i`, or in training those of a substitute.

        Raises:
            DataError: the image cannot be used (validation), or none can (training).
        """
        error: Exception | None = None
        for j in chain([i], self._substitutes(i)):
            try:
                return j, *self.load_image(j)[:2]
            except (DataError, OSError) as e:
                if not self.augment:
                    raise
                error = error or e
                self.images.name_once(j, e, "Another image takes its place.")
        raise NothingLeft(f"None of the {len(self.images)} training images can be used any more. {error}")

    def _substitutes(self, i: int) -> Iterator[int]:
        """Yield the other indices in a random order, so that a lost folder does not make one neighbour count often."""
        order, place = epoch_order(len(self.images), self.seed, 0)
        yield from (int(order[(place[i] + k) % len(order)]) for k in range(1, len(order)))

    def __getitems__(self, keys: list[int | tuple[int, int]]) -> list[Sample]:
        """Return the samples of a batch, in validation only those whose images can be used.

        A key is an index, or (epoch, index). `__getitem__`, which may be a user's own, gets the index only.
        """
        samples = []
        for key in keys:
            epoch, i = key if isinstance(key, (tuple, list)) else (self._next_epoch(key), key)
            try:
                with self._at(epoch, i):
                    samples.append(self[int(i)])
            except (DataError, OSError) as e:
                if self.augment:
                    raise
                self.images.name_once(i % len(self.images), e, "It is left out of validation.")
        return samples

    @cached_property
    def _asks(self) -> Counter[int]:
        """How often each training sample was asked for by its index alone."""
        return Counter()

    def _next_epoch(self, i: int) -> int:
        """Return the epoch of a sample asked for by its index alone: in training the next one each time.

        So a loop of the user's own sees new augmentations in each epoch. Workers that torch's loader starts anew for
        each epoch have forgotten how often they were asked, but have another seed.
        """
        if not self.augment:
            return self.epoch
        worker = torch.utils.data.get_worker_info()
        before = self._asks[i] + (0 if worker is None else (worker.seed - worker.id) % 2**31)
        self._asks[i] += 1
        return self.epoch + before

    @contextlib.contextmanager
    def _at(self, epoch: int, i: int) -> Iterator[None]:
        """Make samples as those at index `i` of an epoch within this block."""
        before = self.epoch, self._asked, self._own
        self.epoch, self._asked, self._own = int(epoch), int(i) % max(len(self), 1), None
        try:
            if draws_outside(self):
                with seeded(self.seed % 2**63, self.epoch, self._asked):
                    yield
            else:
                yield
        finally:
            self.epoch, self._asked, self._own = before

    def _place(self, i: int) -> int:
        """Return the index that was asked for, where a subclass shows image `i` there; else `i` itself."""
        return i if self._asked is None else self._asked

    def _rng(self, i: int) -> np.random.Generator:
        """Return the random generator of a sample; an image shown twice in an epoch gets two different ones.

        While a sample is made, there is one, which the images mixed into it get as well.
        """
        if self._asked is None:
            return np.random.default_rng((self.seed % 2**63, self.epoch, i))
        if self._own is None:
            self._own = np.random.default_rng((self.seed % 2**63, self.epoch, self._asked))
        return self._own


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed `random` and `numpy.random`, from which a user's transforms may draw, by numbers within this block."""
    before = random.getstate(), np.random.get_state()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@lru_cache(maxsize=4)
def epoch_order(n: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order in which an epoch shows n samples, and the position of each sample in it."""
    order = np.random.default_rng((seed % 2**63, epoch)).permutation(n)
    place = np.empty_like(order)
    place[order] = np.arange(n)
    return order, place
