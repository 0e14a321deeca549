"""Datasets for classification: a folder with one folder of images for each class."""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch

from ultralytics.data.changing import ChangingDataset
from ultralytics.data.classify_augment import classify_augmentations, classify_transforms
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.image_files import FORMATS_HELP, list_images, verify_image
from ultralytics.data.instances import Batch, Sample
from ultralytics.data.labels import CHUNK, cache_path, fingerprint, parallel, read_arrays, stored_faults, write_arrays
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError

_SHOWN = 5  # names listed in a warning


@dataclass(frozen=True)
class Share(os.PathLike[str]):
    """One split of a folder without `train` and `val`; each image's name decides which split it belongs to."""

    root: str
    part: str  # train or val
    validation: float = 0.2  # fraction of each class's images

    def __fspath__(self) -> str:
        return self.root

    def __str__(self) -> str:
        percent = self.validation if self.part == "val" else 1 - self.validation
        return f"{self.root} ({self.part}, {percent:.0%} of each class)"

    def choose(self, files: list[str]) -> list[str]:
        """Return those of a class's images that belong to this split; at least one stays for training."""
        order = sorted(files, key=lambda f: (zlib.crc32(os.path.basename(f).encode("utf-8", "surrogateescape")), f))
        count = min(max(1, round(len(files) * self.validation)), len(files) - 1)
        return sorted(order[:count] if self.part == "val" else order[count:])


def class_folders(root: str | Path | Share) -> list[str]:
    """Return the class names of a folder, which are its subfolders, in order."""
    return sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith((".", "__")))


def find_samples(root: str | Path | Share) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the class names, and each image with its class index.

    Raises:
        MissingFileError: there is no such folder.
        DataError: there are no classes or no images in it.
    """
    folder = Path(os.fspath(root))
    if not folder.is_dir():
        raise MissingFileError(f"The folder '{folder}' does not exist. It should hold one folder of images per class.")
    names, samples = class_folders(folder), []
    for i, name in enumerate(names):
        files = list_images(folder / name)
        samples += [(f, i) for f in (root.choose(files) if isinstance(root, Share) and files else files)]
    if not samples:
        raise DataError(
            f"There are no images in folders of '{folder}'. Put them into one folder per class, "
            f"as '{folder.name}/cat/1.jpg'. {FORMATS_HELP.split(' Videos')[0]}"
        )
    return names, samples


class ClassificationDataset(ChangingDataset):
    """Images and their classes; a sample is {'img': float32 (3, h, w) RGB, 'cls': int}.

    It depends on (seed, epoch, index) only, not on the worker that makes it. See `ChangingDataset` for what happens
    when images change while it is used.

    Args:
        root: folder with a folder of images for each class.
        args: settings (see `cfg`).
        augment: training pipeline; else the centre of the image only.
        prefix: start of each log line.
        seed: of all random numbers; that of the settings if None.
    """

    rect = False

    def __init__(
        self,
        root: str | Path | Share,
        args: SimpleNamespace,
        augment: bool = False,
        prefix: str = "",
        seed: int | None = None,
    ):
        from ultralytics.utils import colorstr

        self.root, self.augment = str(root), augment
        self.prefix = colorstr(f"{prefix}: ") if prefix else ""
        self.seed = int(getattr(args, "seed", 0) if seed is None else seed)
        self.classes, samples = find_samples(root)
        self.names = dict(enumerate(self.classes))
        self.samples = self.verify_images(samples, Path(os.fspath(root)))
        if augment:
            self.samples = _first_of_each(self.samples, args.fraction)
        self.images = ImageCache(self.im_files, 0, args.cache or None, self.prefix, recent=False)
        self.torch_transforms = (
            classify_augmentations(
                size=args.imgsz,
                scale=(1.0 - args.scale, 1.0),
                hflip=args.fliplr,
                vflip=args.flipud,
                erasing=args.erasing,
                auto_augment=args.auto_augment,
                hsv_h=args.hsv_h,
                hsv_s=args.hsv_s,
                hsv_v=args.hsv_v,
            )
            if augment
            else classify_transforms(size=args.imgsz, crop_fraction=args.crop_fraction)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the sample of an index, or of (epoch, index)."""
        if isinstance(key, (tuple, list)):
            with self._at(*key):
                return self[key[1]]
        if not -len(self) <= key < len(self):
            raise IndexError(f"sample {key} of a dataset of {len(self)}")
        if self._asked is None:
            return self[self._next_epoch(key % len(self)), key]
        i = int(key) % len(self)
        j, image, _ = self.usable(i)
        img = self.torch_transforms(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self._rng(i))
        return {"img": img, "cls": self.samples[j][1]}

    @property
    def im_files(self) -> list[str]:
        """Paths of the images."""
        return [file for file, _ in self.samples]

    def verify_images(self, samples: list[tuple[str, int]], folder: Path) -> list[tuple[str, int]]:
        """Return the samples whose images are valid; the others are named in the log and left out."""
        files = [f for f, _ in samples]
        cache, key = cache_path(folder, "classify", self.root), fingerprint(files)
        stored = read_arrays(cache, key)
        faulty = None if stored is None else stored_faults(stored, len(files))
        if faulty is None:
            faults = list(parallel(_fault, files, desc=f"{self.prefix}Scanning {folder}", chunk=CHUNK))
            faulty = {i: fault for i, fault in enumerate(faults) if fault}
            found = np.frombuffer(json.dumps(faulty).encode(), np.uint8)
            if fingerprint(files) == key:  # else an image was changed while it was read
                write_arrays(cache, self.prefix, key=np.array(key), faults=found)
        kinds = ", ".join(f"{n} {k}" for k, n in Counter(f.partition(":")[0] for f in faulty.values()).items())
        LOGGER.info(
            f"{self.prefix}{self.root}: {len(files) - len(faulty)} images of {len(self.classes)} classes, "
            f"{len(faulty)} left out" + (f" ({kinds})" if kinds else "")
        )
        for i, fault in list(faulty.items())[:_SHOWN]:
            LOGGER.warning(f"WARNING ⚠️ {self.prefix}left out '{files[i]}': {fault}")
        if len(faulty) > _SHOWN:
            LOGGER.warning(f"WARNING ⚠️ {self.prefix}left out {len(faulty) - _SHOWN} more")
        sound = [sample for i, sample in enumerate(samples) if i not in faulty]
        if not sound:
            raise DataError(
                f"None of the {len(files)} images in '{folder}' can be used; the first is '{files[0]}' "
                f"({faulty[0]}). Fix or replace the images."
            )
        return sound

    @staticmethod
    def collate_fn(batch: list[Sample]) -> Batch:
        """Join samples: img (b, 3, h, w) float32, channels-last in memory, and cls (b,) int64."""
        if not batch:
            return {}
        img = torch.utils.data.default_collate([sample["img"].permute(1, 2, 0) for sample in batch])
        return {"img": img.permute(0, 3, 1, 2), "cls": torch.tensor([sample["cls"] for sample in batch])}


def _fault(file: str) -> str:
    """Return what is wrong with an image, or ''."""
    try:
        verify_image(file)
    except (DataError, OSError) as e:
        return str(e) if isinstance(e, DataError) else f"unreadable image: {e.strerror or e}"
    return ""


def _first_of_each(samples: list[tuple[str, int]], fraction: float) -> list[tuple[str, int]]:
    """Return the first fraction of each class, at least one image."""
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction={fraction} is not allowed; give a number above 0 and up to 1.")
    counts, chosen = Counter(c for _, c in samples), []
    taken: Counter[int] = Counter()
    for file, c in samples:
        if taken[c] < max(1, round(counts[c] * fraction)):
            taken[c] += 1
            chosen.append((file, c))
    return chosen
