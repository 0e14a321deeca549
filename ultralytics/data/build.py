"""Datasets, loaders and inference sources, made from settings."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from multiprocessing import get_start_method
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from ultralytics.data.changing import ChangingDataset
from ultralytics.data.dataset import ClassificationDataset, YOLODataset, epoch_order
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.instances import Batch
from ultralytics.data.loaders import check_source, load_inference_source
from ultralytics.data.utils import PIN_MEMORY
from ultralytics.data.workers import Crew, LostProcess, say_lost, start_worker
from ultralytics.utils import WORLD_SIZE, colorstr
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.system.processes import check_main_guard

if TYPE_CHECKING:
    from torch.utils.data.dataloader import _BaseDataLoaderIter


__all__ = (
    "ClassificationDataset", "EpochBatches", "InfiniteDataLoader", "build_dataloader", "build_yolo_dataset",
    "check_source", "load_inference_source", "seed_worker",
)  # fmt: skip

Split = str | Path | list  # images of a split: a folder, a text file, or several of them


def build_yolo_dataset(
    cfg: SimpleNamespace,
    img_path: Split,
    batch: int,
    data: dict,
    mode: str = "train",
    rect: bool = False,
    stride: int = 32,
    multi_modal: bool = False,
) -> YOLODataset:
    """Build the dataset of one split.

    Args:
        cfg: settings.
        img_path: folder, text file, or a list of them.
        batch: images in a batch.
        data: dataset description.
        mode: 'train' augments, 'val' does not.
        rect: rectangular batches, which `cfg.rect` asks for too.
        stride: of the model.
        multi_modal: images with texts; not available.
    """
    if multi_modal:
        raise ConfigError("multi_modal=True is not available; datasets of images with texts cannot be read.")
    train = mode == "train"
    return YOLODataset(
        img_path,
        imgsz=cfg.imgsz,
        cache=cfg.cache or None,
        augment=train,
        hyp=cfg,
        prefix=colorstr(f"{mode}: "),
        rect=cfg.rect or rect,
        batch_size=batch,
        stride=int(stride),
        pad=0.0 if train else 0.5,
        single_cls=cfg.single_cls or False,
        classes=cfg.classes,
        fraction=cfg.fraction if train else 1.0,
        data=data,
        task=cfg.task,
    )


class EpochBatches:
    """Batch sampler of (epoch, index) pairs for one rank among `world`.

    The order depends on (seed, epoch) only. The n-th batches of all ranks together are the n-th batch of a single one.

    Args:
        dataset: with `seed`, and `rect` if its neighbours must stay together.
        batch_size: samples in a batch of this rank.
        shuffle: draw a new order each epoch.
        rank: of this process, -1 or 0 if it is alone.
        world: number of ranks.
    """

    def __init__(self, dataset: Sized, batch_size: int, shuffle: bool = True, rank: int = -1, world: int = 1):
        self.n, self.seed = len(dataset), int(getattr(dataset, "seed", 0))
        self.paired = isinstance(dataset, ChangingDataset)  # others get the index only
        self.blocks = bool(getattr(dataset, "rect", False))  # shapes differ from batch to batch: deal whole batches
        self.batch_size, self.shuffle = batch_size, shuffle
        self.rank, self.world = (rank, world) if rank >= 0 else (0, 1)
        self.epoch = self.first = 0  # epoch and batch with which iteration begins

    def __len__(self) -> int:
        if self.blocks:
            return math.ceil(math.ceil(self.n / self.batch_size) / self.world)
        return math.ceil(math.ceil(self.n / self.world) / self.batch_size)

    def of(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the batches of an epoch."""
        units = math.ceil(self.n / self.batch_size) if self.blocks else self.n
        order = epoch_order(units, self.seed, epoch)[0] if self.shuffle else np.arange(units)
        padded = np.resize(order, math.ceil(units / self.world) * self.world)  # all ranks get equally many
        share = padded[self.rank :: self.world]
        groups: list[Iterable[int]]
        if self.blocks:
            starts = (int(b) * self.batch_size for b in share)
            groups = [range(s, min(s + self.batch_size, self.n)) for s in starts]
        else:
            groups = [share[s : s + self.batch_size] for s in range(0, len(share), self.batch_size)]
        return [[(epoch, int(i)) for i in group] for group in groups]

    def __iter__(self) -> Iterator[list[tuple[int, int]] | list[int]]:
        """Yield the batches of this epoch and of all that follow, so that workers prefetch across epochs."""
        epoch, first = self.epoch, self.first
        while True:
            for batch in self.of(epoch)[first:]:
                yield batch if self.paired else [i for _, i in batch]
            epoch, first = epoch + 1, 0


class GivenBatches(EpochBatches):
    """The batches of a sampler of the user's own, once an epoch.

    Args:
        dataset: what they are of.
        given: yields lists of indices; its sampler is told the epoch by `set_epoch`, if it has that.
    """

    def __init__(self, dataset: Sized, given: Sampler[list[int]]):
        super().__init__(dataset, 1)
        self.given = given

    def __len__(self) -> int:
        assert isinstance(self.given, Sized)
        return len(self.given)

    def of(self, epoch: int) -> list[list[tuple[int, int]]]:
        sampler = getattr(self.given, "sampler", self.given)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        return [[(epoch, int(i)) for i in batch] for batch in self.given]


class InfiniteDataLoader(DataLoader):
    """A loader whose workers live on between epochs; each `for` loop over it is one epoch.

    Epochs count up by themselves; `set_epoch` jumps to any of them. `reset` restarts the workers, which is needed when
    the dataset was changed.

    Args:
        dataset: what to load.
        batch_size: samples in a batch.
        shuffle: draw a new order each epoch.
        sampler: yields the indices, in place of `shuffle`.
        batch_sampler: an `EpochBatches`, or another that yields lists of indices, in place of the three before.
        num_workers: worker processes; 0 loads in this process.
        collate_fn: joins the samples of a batch.
        pin_memory: as torch's own loader takes it, and so are all others.
        drop_last: leave out a last batch that is smaller.
    """

    dataset: ChangingDataset  # or another that has a length

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool | None = None,
        sampler: Sampler | None = None,
        batch_sampler: Sampler[list[int]] | EpochBatches | None = None,
        num_workers: int = 0,
        collate_fn: Callable | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        **kwargs,
    ):
        assert isinstance(dataset, Sized)  # torch's Dataset leaves `__len__` open
        if batch_sampler is None and (sampler is not None or drop_last):
            order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
            batch_sampler = BatchSampler(sampler or order, batch_size, drop_last)
        if isinstance(batch_sampler, EpochBatches):
            batches = batch_sampler
        elif batch_sampler is None:
            batches = EpochBatches(dataset, batch_size, bool(shuffle))
        else:
            batches = GivenBatches(dataset, batch_sampler)
        start = partial(start_worker, parent=os.getpid(), then=kwargs.pop("worker_init_fn", None))
        # the loader's own generator: starting workers must not advance the global one, or resumed runs would differ
        generator = kwargs.pop("generator", None) or torch.Generator().manual_seed(batches.seed % 2**63)
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            generator=generator,
            worker_init_fn=start if num_workers else None,
            **kwargs,
        )
        vars(self)["batch_size"] = getattr(batches, "batch_size", batch_size)  # torch has none beside a batch sampler
        self.batches = batches
        self.epoch = self.first = 0  # what the next loop shows: an epoch, from this batch on
        self._crew: Crew | None = None
        self._at: tuple[int, int] = (0, 0)  # epoch and batch that the stream gives next

    @property
    def _stream(self) -> _BaseDataLoaderIter | None:
        return self._crew.stream if self._crew else None

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch annotates an iterator class of its own
        if self._crew is None or self._at != (self.epoch, self.first):
            self.reset()
        epoch, first = self.epoch, self.first
        self.epoch, self.first = epoch + 1, 0  # a loop that is left early counts as an epoch
        for i in range(first, len(self)):
            self._at = (epoch, i + 1) if i + 1 < len(self) else (epoch + 1, 0)
            yield self._next(epoch, i)

    def _next(self, epoch: int, i: int) -> Batch:
        """Return a batch; where a worker is lost, new ones start with this very batch."""
        losses = 0
        while True:
            assert self._crew is not None  # `__iter__` has started it
            try:
                return self._crew.next()
            except LostProcess as e:
                losses += 1
                say_lost(e, losses)
                self._start(epoch, i)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Make the next loop show this epoch, from batch `first` on."""
        self.epoch, self.first = int(epoch), int(first)

    def reset(self) -> None:
        """Drop prefetched batches and restart the workers with the dataset as it is now."""
        self._at = self.epoch, self.first
        self._start(self.epoch, self.first)

    def _start(self, epoch: int, first: int) -> None:
        """Replace the workers by new ones that start with a batch of an epoch."""
        self.close()
        self.batches.epoch, self.batches.first = epoch, first
        images = getattr(self.dataset, "images", None)
        if self.num_workers and isinstance(images, ImageCache) and self._forks():
            images.share(self.num_workers)
        self._crew = Crew(super().__iter__)

    def _forks(self) -> bool:
        """Whether workers are copies of this process and inherit its memory."""
        context = self.multiprocessing_context
        return (get_start_method() if context is None else context.get_start_method()) == "fork"

    def close(self) -> None:
        """End the workers."""
        crew, self._crew = getattr(self, "_crew", None), None
        if crew is not None:
            crew.close()


def seed_worker(worker_id: int) -> None:
    """Seed `random` and `numpy.random` of a worker by its torch seed, for `worker_init_fn` of torch's own loader.

    The loaders here need it not: samples of this package's datasets are seeded one by one.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def _world_size() -> int:
    """Return the number of ranks that train together."""
    from torch import distributed

    joined = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if joined else WORLD_SIZE


def loader_processes(workers: int, device: torch.device) -> int:
    """Return how many of the wanted workers to start for a model on `device`.

    On a CPU the model's own threads use every core, and each waits for the slowest: a worker on the same core slows
    all of them down many times over. So there is one worker for each eight cores, and none below eight.
    """
    return workers if device.type != "cpu" else min(workers, _cores() // 8)


def _cores() -> int:
    """Return the number of logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_dataloader(
    dataset: Dataset, batch: int, workers: int, shuffle: bool = True, rank: int = -1
) -> InfiniteDataLoader:
    """Build the loader of one rank.

    Args:
        dataset: what to load.
        batch: samples in a batch.
        workers: most worker processes; 0 loads in this process.
        shuffle: draw a new order each epoch.
        rank: of this process, -1 if it is alone.
    """
    if batch < 1:
        raise ConfigError(f"batch={batch} is not allowed; give a whole number of at least 1.")
    assert isinstance(dataset, Sized)  # torch's Dataset leaves `__len__` open
    if not len(dataset):
        raise DataError("The dataset has no images, so nothing can be loaded.")
    batch = min(batch, len(dataset))
    devices = max(torch.cuda.device_count(), 1)
    workers = max(0, min(_cores() // devices or 1, batch if batch > 1 else 0, int(workers)))
    if workers:
        check_main_guard(f"the {workers} processes that load images", "set workers=0")
    return InfiniteDataLoader(
        dataset,
        batch_sampler=EpochBatches(dataset, batch, shuffle, rank, _world_size()),
        num_workers=workers,
        pin_memory=PIN_MEMORY and torch.cuda.is_available(),
        collate_fn=getattr(dataset, "collate_fn", None),
    )
