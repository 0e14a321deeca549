"""A dataset of images with labels in YOLO's text format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from ultralytics.data.base import BaseDataset
from ultralytics.data.changing import epoch_order
from ultralytics.data.classify_dataset import ClassificationDataset
from ultralytics.data.instances import Sample
from ultralytics.data.labels import Entry, img2label_paths, layout_of, load_labels
from ultralytics.data.lists import find_images

DATASET_CACHE_VERSION = "1.0.3"  # of `data.utils.save_dataset_cache_file`; label caches have a version of their own

__all__ = ("DATASET_CACHE_VERSION", "ClassificationDataset", "YOLODataset", "epoch_order", "find_images")


class YOLODataset(BaseDataset):
    """Images with labelled objects in YOLO's text files, see `BaseDataset`.

    Args:
        img_path: folder, text file of paths, or a list of both; labels are found by `img2label_paths`.
        imgsz, cache, augment, hyp, prefix, rect, batch_size, stride, pad, single_cls, classes, fraction, seed: see
            there.
        data: dataset description with `names`, and with `kpt_shape` where objects have keypoints.
        task: detect, segment, pose or obb; decides what label files and samples hold.
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
        self.data, self.task = data or {"names": {}}, task
        self.layout = layout_of(task, self.data.get("kpt_shape"))
        self.use_segments, self.use_obb = self.layout.masks, self.layout.rotated
        self.use_keypoints = self.layout.kpt_shape is not None
        super().__init__(
            img_path, imgsz, cache, augment, hyp, prefix, rect, batch_size, stride, pad, single_cls, classes, fraction,
            seed,
        )  # fmt: skip

    def get_labels(self) -> list[Sample]:
        """Return one dict for each valid image, see `BaseDataset.get_labels`."""
        self.label_files = img2label_paths(self.im_files)
        folder = Path(self.label_files[0]).parent
        return self.cache_labels(folder.with_name(f"{folder.name or 'labels'}.cache"))["labels"]

    def cache_labels(self, path: Path = Path("labels.cache")) -> dict:
        """Read and verify the label files, or their cache, which lies beside them and notices every change.

        Args:
            path: where an override may keep a cache of its own.

        Returns:
            A dict whose `labels` are those of `get_labels`.
        """
        nc = len(self.data["names"]) or 2**24  # without names any class is taken
        source = (str(self.img_path), self.fraction)
        entries = load_labels(self.im_files, nc, self.single_cls, self.prefix, self.layout, source)
        return {"labels": [_as_label(entry) for entry in entries]}


def _as_label(entry: Entry) -> Sample:
    label = {"im_file": entry.im_file, "shape": entry.shape, "cls": entry.rows[:, :1], "bboxes": entry.rows[:, 1:]}
    if entry.segments is not None:
        label["segments"] = entry.segments
    if entry.keypoints is not None:
        label["keypoints"] = entry.keypoints
    return label | {"bbox_format": "xywh", "normalized": True}
