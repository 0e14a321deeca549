"""A dataset of images with labels in YOLO's text format."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import default_collate

from ultralytics.data.augment import Compose, Format, LetterBox, v8_transforms
from ultralytics.data.changing import ChangingDataset, epoch_order
from ultralytics.data.classify_dataset import ClassificationDataset
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.instances import Batch, Sample, select
from ultralytics.data.labels import Entry, img2label_paths, layout_of, load_labels
from ultralytics.data.lists import find_images
from ultralytics.utils.errors import ConfigError

_NEIGHBOURS = 8  # batches back to which a mosaic reaches for its other images
_CONCATENATED = {"cls", "bboxes", "masks", "keypoints", "batch_idx"}

__all__ = ("ClassificationDataset", "YOLODataset", "epoch_order", "find_images")


class YOLODataset(ChangingDataset):
    """Images with labelled objects; a sample depends on (seed, epoch, index) only, not on the worker that makes it.

    See `ChangingDataset` for what happens when images change while it is used.


    Args:
        img_path: folder, text file of paths, or a list of both.
        imgsz: side of the training image; the longer side of a validation image.
        cache: 'ram', 'disk' or None.
        augment: training pipeline; else letterbox only.
        hyp: settings (see `cfg`).
        prefix: start of each log line.
        rect: batches of images of similar aspect ratio, each padded as little as its batch allows.
        batch_size: for `rect`, and for how far back a mosaic reaches.
        stride: of the model.
        pad: fraction of a stride added to rectangular batches.
        single_cls: every class counts as 0.
        classes: keep only objects of these classes.
        fraction: fraction of the images to use.
        data: dataset description with `names`, and with `kpt_shape` where objects have keypoints.
        task: detect, segment, pose or obb; decides what label files and samples hold.
        seed: of all random numbers; that of the settings if None.
    """

    def __init__(
        self,
        img_path: str | Path | Sequence[str | Path],
        imgsz: int = 640,
        cache: bool | str | None = None,
        augment: bool = True,
        hyp: SimpleNamespace | None = None,
        prefix: str = "",
        rect: bool = False,
        batch_size: int = 16,
        stride: int = 32,
        pad: float = 0.5,
        single_cls: bool = False,
        classes: Sequence[int] | None = None,
        fraction: float = 1.0,
        data: dict | None = None,
        task: str = "detect",
        seed: int | None = None,
    ):
        if hyp is None:
            from ultralytics.utils import DEFAULT_CFG

            hyp = DEFAULT_CFG
        self.img_path, self.imgsz, self.augment, self.prefix = img_path, imgsz, augment, prefix
        self.rect, self.batch_size, self.stride, self.pad = rect, max(1, int(batch_size)), int(stride), pad
        self.single_cls, self.data, self.task = single_cls, data or {"names": {}}, task
        self.layout = layout_of(task, self.data.get("kpt_shape"))
        self.use_keypoints = self.layout.kpt_shape is not None
        self.seed = int(getattr(hyp, "seed", 0) if seed is None else seed)
        self.fraction = fraction
        self.labels = self.get_labels(_first(find_images(img_path), fraction))
        self.update_labels(classes)
        if rect:
            self.set_rectangle()
        self.im_files = [label["im_file"] for label in self.labels]
        self.label_files = img2label_paths(self.im_files)
        shapes = [label["shape"] for label in self.labels]
        self.images = ImageCache(self.im_files, imgsz, cache, prefix, recent=augment, shapes=shapes)
        self.transforms = self.build_transforms(hyp)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ni(self) -> int:
        """Number of images."""
        return len(self.labels)

    def get_labels(self, im_files: list[str]) -> list[Sample]:
        """Return one dict per valid image: im_file, shape (h, w), cls (n, 1), bboxes (n, 4) normalised xywh.

        Where the task has them, also `segments`, n polygons (m, 2), or `keypoints` (n, k, 3), normalised.
        """
        nc = len(self.data["names"]) or 2**24  # without names any class is taken
        source = (str(self.img_path), self.fraction)
        return [_as_label(e) for e in load_labels(im_files, nc, self.single_cls, self.prefix, self.layout, source)]

    def update_labels(self, classes: Sequence[int] | int | None) -> None:
        """Keep only objects of the given classes."""
        if classes is None:
            return
        wanted = np.atleast_1d(np.asarray(classes, np.float32))
        for label in self.labels:
            label |= select(label, np.isin(label["cls"][:, 0], wanted))

    def set_rectangle(self) -> None:
        """Sort the images by aspect ratio and give each batch the smallest frame that holds all its images."""
        aspect = np.array([label["shape"][0] / label["shape"][1] for label in self.labels])
        order = aspect.argsort(kind="stable")
        self.labels, aspect = [self.labels[i] for i in order], aspect[order]
        self.batch = np.arange(len(aspect)) // self.batch_size  # batch of each image
        shapes = []
        for start in range(0, len(aspect), self.batch_size):
            low, high = aspect[start], aspect[min(start + self.batch_size, len(aspect)) - 1]
            shapes.append((high, 1) if high < 1 else (1, 1 / low) if low > 1 else (1, 1))
        frames = np.ceil(np.array(shapes) * self.imgsz / self.stride + self.pad).astype(int) * self.stride
        self.batch_shapes = frames  # (batches, 2) height, width

    def build_transforms(self, hyp: SimpleNamespace) -> Compose:
        """Build the transforms that the settings ask for."""
        if not self.augment:
            return Compose([LetterBox((self.imgsz, self.imgsz), scaleup=False), self._format(hyp)])
        if self.rect:
            hyp = copy.copy(hyp)
            hyp.mosaic = hyp.mixup = 0.0  # a mosaic is square
        transforms = v8_transforms(self, self.imgsz, hyp)
        transforms.append(self._format(hyp, hyp.bgr))
        return transforms

    def _format(self, hyp: SimpleNamespace, bgr: float = 0.0) -> Format:
        return Format(
            bgr=bgr,
            return_mask=self.layout.masks,
            return_keypoint=self.use_keypoints,
            return_obb=self.layout.rotated,
            mask_ratio=hyp.mask_ratio,
            mask_overlap=hyp.overlap_mask,
            cut_obb=self.augment,  # of an image shown whole, labels stay as they were written
        )

    def close_mosaic(self, hyp: SimpleNamespace) -> None:
        """Turn mosaic and mixup off; running workers must be restarted to see it (`loader.reset()`)."""
        hyp = copy.copy(hyp)
        hyp.mosaic = hyp.mixup = hyp.copy_paste = 0.0
        self.transforms = self.build_transforms(hyp)

    def get_image_and_label(self, i: int) -> Sample:
        """Return the sample before any transform, with boxes as xyxy in pixels of the scaled image."""
        j, img, (h0, w0) = self.usable(i)
        label, (h, w) = self.labels[j], img.shape[:2]
        center, half = label["bboxes"][:, :2], label["bboxes"][:, 2:] / 2
        sample = {
            "im_file": label["im_file"],
            "img": img,
            "cls": label["cls"],
            "bboxes": (np.concatenate([center - half, center + half], 1) * (w, h, w, h)).astype(np.float32),
            "ori_shape": (h0, w0),
            "resized_shape": (h, w),
            "ratio_pad": (h / h0, w / w0),
            "rng": self._rng(i),
            "epoch": self.epoch,
            "index": i,
        }
        if "segments" in label:
            sample["segments"] = [s * np.array((w, h), np.float32) for s in label["segments"]]
        if "keypoints" in label:
            sample["keypoints"] = label["keypoints"] * np.array((w, h, 1), np.float32)
        if self.rect:
            sample["rect_shape"] = tuple(self.batch_shapes[self.batch[self._place(i) % len(self.batch)]].tolist())
        return sample

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the sample of an index, or of (epoch, index)."""
        if isinstance(key, (tuple, list)):
            with self._at(*key):
                return self[key[1]]
        if not -len(self) <= key < len(self):
            raise IndexError(f"sample {key} of a dataset of {len(self)}")
        return self.transforms(self.get_image_and_label(int(key) % len(self)))

    def partners(self, labels: Sample, k: int) -> list[int]:
        """Choose k images to mix with a sample, at random from the eight batches before it in its epoch.

        In a set larger than that, they were decoded a moment ago, so a mosaic decodes one image, not four.
        """
        n, rng = len(self.labels), labels["rng"]
        reach = min(_NEIGHBOURS * self.batch_size, 1000, self.images.reach)
        if n <= reach or n != len(self):  # a subclass with a length of its own has another order
            return rng.integers(n, size=k).tolist()
        order, place = epoch_order(n, self.seed, labels["epoch"])
        return order[(place[labels["index"]] - rng.integers(reach, size=k)) % n].tolist()

    @staticmethod
    def collate_fn(batch: list[Sample]) -> Batch:
        """Join samples: img (b, 3, h, w) uint8, channels-last in memory; `batch_idx` maps objects to images."""
        if not batch:
            return {}
        joined: Batch = {key: [sample[key] for sample in batch] for key in batch[0]}
        for key in _CONCATENATED & joined.keys():
            joined[key] = torch.cat(joined[key])
        counts = torch.tensor([len(sample["cls"]) for sample in batch])
        joined["batch_idx"] = torch.repeat_interleave(torch.arange(len(batch), dtype=torch.float32), counts)
        # `default_collate` stacks in shared memory when it runs in a worker
        joined["img"] = default_collate([img.permute(1, 2, 0) for img in joined["img"]]).permute(0, 3, 1, 2)
        return joined


def _first(files: list[str], fraction: float) -> list[str]:
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction={fraction} is not allowed; give a number above 0 and up to 1.")
    return files[: max(1, round(len(files) * fraction))]


def _as_label(entry: Entry) -> Sample:
    label = {"im_file": entry.im_file, "shape": entry.shape, "cls": entry.rows[:, :1], "bboxes": entry.rows[:, 1:]}
    if entry.segments is not None:
        label["segments"] = entry.segments
    if entry.keypoints is not None:
        label["keypoints"] = entry.keypoints
    return label
