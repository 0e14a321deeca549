"""Training of classifiers."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import nn

from ultralytics.data import ClassificationDataset, build_dataloader
from ultralytics.data.build import loader_processes
from ultralytics.data.utils import check_cls_dataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.training.distributed import first_alone
from ultralytics.models.yolo.classify.val import ClassificationValidator
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils import DEFAULT_CFG, LOCAL_RANK, RANK
from ultralytics.utils.torch_utils import de_parallel

IMGSZ = 224  # side of the images where no other is named


class ClassificationTrainer(BaseTrainer):
    """Trains a classifier: `ClassificationTrainer(overrides={"model": "yolo11n-cls.yaml", "data": "FOLDER"}).train()`.

    `data` is a folder with `train` and `val`, each with one folder of images per class.
    """

    task = "classify"

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        overrides = dict(overrides or {})
        if overrides.get("imgsz") is None and not overrides.get("resume"):
            overrides["imgsz"] = IMGSZ
        super().__init__(cfg, overrides, _callbacks)

    def get_dataset(self) -> dict:
        return check_cls_dataset(self.args.data)

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> ClassificationDataset:
        return ClassificationDataset(img_path, self.args, augment=mode == "train", prefix=mode)

    def get_dataloader(self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        with first_alone(min(rank, LOCAL_RANK)):  # the others find the checked images in the cache
            dataset = self.build_dataset(dataset_path, mode)
        if mode != "train":
            de_parallel(self.model).transforms = dataset.torch_transforms
        workers = loader_processes(self.args.workers, self.device)
        return build_dataloader(dataset, batch_size, workers, mode == "train", rank)

    def setup_model(self) -> dict | None:
        """As for all tasks; a classifier given in memory gets an output for each of the data's classes."""
        given = self.model if isinstance(self.model, nn.Module) else None
        ckpt = super().setup_model()
        if given is not None:
            ClassificationModel.reshape_outputs(self.model, self.data["nc"])
            self.model.yaml["nc"] = self.data["nc"]
        return ckpt

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> ClassificationModel:
        model = ClassificationModel(cfg, nc=self.data["nc"], verbose=verbose and RANK in {-1, 0})
        if weights:
            model.names = self.data["names"]  # class outputs are taken by name
            model.load(weights)
        for m in model.modules():
            if isinstance(m, nn.Dropout) and self.args.dropout:
                m.p = self.args.dropout
        return model

    def set_model_attributes(self) -> None:
        self.model.nc = self.data["nc"]
        self.model.names = self.data["names"]
        self.model.args = self.args

    def preprocess_batch(self, batch: dict) -> dict:
        """Move the batch to the device."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        return {"img": images, "cls": batch["cls"].to(self.device, non_blocking=True)}

    def get_validator(self) -> ClassificationValidator:
        return ClassificationValidator(
            self.test_loader, save_dir=self.save_dir, args=copy(self.args), _callbacks=self.callbacks
        )

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
