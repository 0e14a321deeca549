"""Training of classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from ultralytics.cfg import SettingsLike
from ultralytics.data import ClassificationDataset, build_dataloader
from ultralytics.data.build import InfiniteDataLoader, Split, loader_processes
from ultralytics.data.classify_dataset import Share
from ultralytics.data.utils import check_cls_dataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.training.distributed import first_alone
from ultralytics.models.yolo.classify.val import ClassificationValidator
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, RANK

IMGSZ = 224  # side of the images where no other is named


class ClassificationTrainer(BaseTrainer):
    """Trains a classifier: `ClassificationTrainer(overrides={"model": "yolo11n-cls.yaml", "data": "FOLDER"}).train()`.

    `data` is a folder with `train` and `val`, each with one folder of images per class.
    """

    task = "classify"
    validator_class = ClassificationValidator

    def __init__(self, cfg: SettingsLike = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        overrides = dict(overrides or {})
        if overrides.get("imgsz") is None and not overrides.get("resume"):
            overrides["imgsz"] = IMGSZ
        super().__init__(cfg, overrides, _callbacks)

    def get_dataset(self) -> dict:
        return check_cls_dataset(str(self.args.data))

    def build_dataset(self, img_path: Split, mode: str = "train", batch: int | None = None) -> ClassificationDataset:
        return ClassificationDataset(cast(Share, img_path), self.args, augment=mode == "train", prefix=mode)

    def get_dataloader(
        self, dataset_path: Split, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> InfiniteDataLoader:
        with first_alone(min(rank, LOCAL_RANK)):  # the others find the checked images in the cache
            dataset = self.build_dataset(dataset_path, mode)
        if mode != "train":
            self.learner.network.transforms = dataset.torch_transforms
        workers = loader_processes(self.args.workers, self.device)
        return build_dataloader(dataset, batch_size, workers, mode == "train", rank)

    def setup_model(self) -> dict | None:
        """Build the model; a classifier given in memory gets an output for each of the data's classes."""
        given = self.model if isinstance(self.model, nn.Module) else None
        ckpt = super().setup_model()
        if given is not None:
            ClassificationModel.reshape_outputs(self.model, self.data["nc"])
            self.learner.network.yaml["nc"] = self.data["nc"]
        return ckpt

    def get_model(
        self, cfg: str | Path | dict | None = None, weights: nn.Module | dict | None = None, verbose: bool = True
    ) -> ClassificationModel:
        model = ClassificationModel(cfg or "", nc=self.data["nc"], verbose=verbose and RANK in {-1, 0})
        if weights:
            model.names = self.data["names"]  # class outputs are taken by name
            model.load(weights)
        for m in model.modules():
            if isinstance(m, nn.Dropout) and self.args.dropout:
                m.p = self.args.dropout
        return model

    def preprocess_batch(self, batch: dict) -> dict:
        """Move the batch to the device."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        return {"img": images, "cls": batch["cls"].to(self.device, non_blocking=True)}

    def plot_training_samples(self, batch: dict, ni: int) -> None:
        from ultralytics.utils.plotting import plot_images

        plot_images(
            batch["img"],
            torch.arange(len(batch["img"])),
            batch["cls"],
            fname=self.save_dir / f"train_batch{ni}.jpg",
            names=self.data["names"],
            on_plot=self.on_plot,
        )
