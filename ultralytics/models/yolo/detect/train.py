"""Training of detectors: what differs from other tasks."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ultralytics.data import YOLODataset, build_dataloader, build_yolo_dataset
from ultralytics.data.build import InfiniteDataLoader, Split, loader_processes
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.training.distributed import first_alone
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOCAL_RANK, RANK


class DetectionTrainer(BaseTrainer):
    """Trains a detector: `DetectionTrainer(overrides={"model": "yolo11n.yaml", "data": "fire.yaml"}).train()`."""

    task = "detect"
    model_class: type[DetectionModel] = DetectionModel
    validator_class = DetectionValidator
    drawn: dict[str, str] = {}  # what a batch has besides boxes: argument of `plot_images`, and key of the batch
    loss_names: tuple[str, ...] = ("box_loss", "cls_loss", "dfl_loss")

    def build_dataset(self, img_path: Split, mode: str = "train", batch: int | None = None) -> YOLODataset:
        rect = mode == "val" or self.args.rect
        return build_yolo_dataset(self.args, img_path, batch or 1, self.data, mode, rect, self.stride)

    def get_dataloader(
        self, dataset_path: Split, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> InfiniteDataLoader:
        with first_alone(min(rank, LOCAL_RANK)):  # the others find the labels in the cache
            dataset = self.build_dataset(dataset_path, mode, batch_size)
        shuffle = mode == "train" and not dataset.rect
        workers = loader_processes(self.args.workers * (1 if mode == "train" else 2), self.device)
        return build_dataloader(dataset, batch_size, workers, shuffle, rank)

    def preprocess_batch(self, batch: dict) -> dict:
        """Move the images to the device as floats from 0 to 1, channels last; with `multi_scale` resize them."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last).float() / 255
        if self.args.multi_scale:
            images = self._rescale(images)
        return {**batch, "img": images}

    def _rescale(self, images: torch.Tensor) -> torch.Tensor:
        """Resize to a random 0.5 to 1.5 times `imgsz`, which follows from seed and iteration."""
        rng = np.random.default_rng((self.args.seed, self.iteration))
        side = cast(int, self.args.imgsz)
        low, high = int(side * 0.5), int(side * 1.5 + self.stride)
        factor = rng.integers(low, high) // self.stride * self.stride / max(images.shape[2:])
        if factor == 1:
            return images
        size = [max(round(x * factor / self.stride), 1) * self.stride for x in images.shape[2:]]
        return nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def get_model(
        self, cfg: str | Path | dict | None = None, weights: nn.Module | dict | None = None, verbose: bool = True
    ) -> DetectionModel:
        model = self.model_class(cfg or "", nc=self.data["nc"], verbose=verbose and RANK in {-1, 0})
        if weights:
            model.names = self.data["names"]  # class outputs are taken by name
            model.load(weights)
        return model

    def plot_training_samples(self, batch: dict, ni: int) -> None:
        from ultralytics.utils.plotting import plot_images

        plot_images(
            batch["img"],
            batch["batch_idx"],
            batch["cls"].squeeze(-1),
            batch["bboxes"],
            **{argument: batch[key] for argument, key in self.drawn.items()},
            paths=batch["im_file"],
            fname=self.save_dir / f"train_batch{ni}.jpg",
            names=self.data["names"],
            on_plot=self.on_plot,
        )

    def plot_training_labels(self) -> None:
        from ultralytics.utils.plotting import plot_labels

        labels = cast(YOLODataset, self.train_loader.dataset).labels
        boxes = np.concatenate([lb["bboxes"] for lb in labels], 0)
        cls = np.concatenate([lb["cls"] for lb in labels], 0).squeeze(-1)
        plot_labels(boxes, cls, names=self.data["names"], save_dir=self.save_dir, on_plot=self.on_plot)
