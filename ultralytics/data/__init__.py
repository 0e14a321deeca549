"""Images and labels: from files to batches, and from any source to predictions."""

from __future__ import annotations

from ultralytics import modules_of
from ultralytics.data.base import BaseDataset
from ultralytics.data.build import InfiniteDataLoader, build_dataloader, build_yolo_dataset, load_inference_source
from ultralytics.data.dataset import ClassificationDataset, YOLODataset

__all__ = (
    "BaseDataset", "ClassificationDataset", "InfiniteDataLoader", "YOLODataset", "build_dataloader",
    "build_yolo_dataset", "load_inference_source",
)  # fmt: skip

__getattr__ = modules_of(__name__)
