"""A dataset of images with labelled objects, whatever their labels are read from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import default_collate

from ultralytics.cfg import DEFAULT_CFG
from ultralytics.data.augment import Compose, Format, LetterBox, v8_transforms
from ultralytics.data.changing import ChangingDataset, epoch_order
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.instances import Batch, Labels, Sample, select
from ultralytics.data.labels import img2label_paths
from ultralytics.data.lists import find_images
from ultralytics.data.transform import ready_for
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.instance import Bboxes

_NEIGHBOURS = 8  # batches back to which a mosaic reaches for its other images
_CONCATENATED = {"cls", "bboxes", "masks", "keypoints", "batch_idx"}


class BaseDataset(ChangingDataset):
    """Images with labelled objects; a sample depends on (seed, epoch, index) only, not on the worker that makes it.

    A subclass says where labels come from (`get_labels`), and may have transforms of its own (`build_transforms`) or
    change each label as its image is loaded (`update_labels_info`). What it needs for these, such as `use_segments`, it
    sets before it calls this constructor. See `ChangingDataset` for what happens when images change while it is used.

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
        seed: of all random numbers; that of the settings if None.

    Attributes:
        use_segments, use_keypoints, use_obb: what samples hold besides boxes.
        im_files: paths of the images; those of `labels`, once these are read.
        labels: what `get_labels` returns.
    """

    use_segments = use_keypoints = use_obb = False

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
        seed: int | None = None,
    ):
        hyp = DEFAULT_CFG if hyp is None else hyp
        self.img_path, self.imgsz, self.augment, self.prefix = img_path, imgsz, augment, prefix
        self.rect, self.batch_size, self.stride, self.pad = rect, max(1, int(batch_size)), int(stride), pad
        self.single_cls, self.fraction = single_cls, fraction
        self.seed = int(getattr(hyp, "seed", 0) if seed is None else seed)
        self.batch, self.batch_shapes = np.zeros(0, int), np.zeros((0, 2), int)  # of `rect`: see `set_rectangle`
        self.im_files = self.get_img_files(img_path)
        self.labels = self.get_labels()
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

    def get_img_files(self, img_path: str | Path | Sequence[str | Path]) -> list[str]:
        """Return the paths of the images that `img_path` names, the first `fraction` of them."""
        return _first(find_images(img_path), self.fraction)

    def get_labels(self) -> list[Sample]:
        """Return one dict for each valid image: im_file, shape (h, w), cls (n, 1), bboxes (n, 4).

        Where the task has them, also `segments`, n polygons (m, 2), or `keypoints` (n, k, 3). Boxes are xywh and all
        coordinates fractions of the image, unless `bbox_format` and `normalized` say otherwise.
        """
        raise NotImplementedError(f"{type(self).__name__} must return its labels in get_labels().")

    def update_labels(self, include_class: Sequence[int] | int | None) -> None:
        """Keep only objects of the given classes, and make every class 0 where `single_cls` says so."""
        for label in self.labels if include_class is not None else ():
            wanted = np.atleast_1d(np.asarray(include_class, np.float32))
            label |= select(label, np.isin(label["cls"][:, 0], wanted))
        for label in self.labels if self.single_cls else ():
            label["cls"] = np.zeros_like(label["cls"])

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

    def build_transforms(self, hyp: SimpleNamespace | None = None) -> Compose:
        """Build the transforms that the settings ask for."""
        hyp = DEFAULT_CFG if hyp is None else hyp
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
            return_mask=self.use_segments,
            return_keypoint=self.use_keypoints,
            return_obb=self.use_obb,
            mask_ratio=hyp.mask_ratio,
            mask_overlap=hyp.overlap_mask,
            cut_obb=self.augment,  # of an image shown whole, labels stay as they were written
        )

    def close_mosaic(self, hyp: SimpleNamespace) -> None:
        """Turn mosaic and mixup off; running workers must be restarted to see it (`loader.reset()`)."""
        hyp = copy.copy(hyp)
        hyp.mosaic = hyp.mixup = hyp.copy_paste = 0.0
        self.transforms = self.build_transforms(hyp)

    def get_image_and_label(self, index: int) -> Sample:
        """Return the sample before any transform."""
        j, img, (h0, w0) = self.usable(index)
        (h, w), label = img.shape[:2], {key: value for key, value in self.labels[j].items() if key != "shape"}
        label |= {
            "img": img,
            "ori_shape": (h0, w0),
            "resized_shape": (h, w),
            "ratio_pad": (h / h0, w / w0),
            "rng": self._rng(index),
            "epoch": self.epoch,
            "index": index,
        }
        if self.rect:
            place = self._place(index) % len(self.batch)
            label["rect_shape"] = tuple(self.batch_shapes[self.batch[place]].tolist())
        return self.update_labels_info(label)

    def update_labels_info(self, label: Sample) -> Sample:
        """Turn a label with its image into a sample: boxes as xyxy, and all coordinates in pixels of the image.

        In `label`, boxes are as `get_labels` gave them. The result has `instances`, for those who write for 8.3.0.
        """
        h, w = label["img"].shape[:2]
        format, normalized = label.pop("bbox_format", "xywh"), label.pop("normalized", True)
        gain = (w, h) if normalized else (1, 1)
        if format == "xywh":
            center, half, xyxy = label["bboxes"][:, :2], label["bboxes"][:, 2:] / 2, np.empty_like(label["bboxes"])
            xyxy[:, :2], xyxy[:, 2:] = center - half, center + half
        else:
            boxes = Bboxes(label["bboxes"], format)
            boxes.convert("xyxy")
            xyxy = boxes.bboxes
        sample = Labels(label)
        sample["bboxes"], sample["cls"] = (xyxy * (gain * 2)).astype(np.float32), label["cls"].copy()
        segments, keypoints = sample.pop("segments", None), sample.pop("keypoints", None)
        if segments is not None and (self.use_segments or self.use_obb):
            by = np.array(gain, np.float32)
            sample["segments"] = [s * by for s in segments]
        if keypoints is not None:
            sample["keypoints"] = keypoints * np.array((*gain, 1), np.float32)
        return sample

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the sample of an index, or of (epoch, index)."""
        if isinstance(key, (tuple, list)):
            with self._at(*key):
                return self[key[1]]
        if not -len(self) <= key < len(self):
            raise IndexError(f"sample {key} of a dataset of {len(self)}")
        if self._asked is None:
            return self[self._next_epoch(key % len(self)), key]
        return self.transforms(ready_for(self.transforms, self.get_image_and_label(int(key) % len(self))))

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
