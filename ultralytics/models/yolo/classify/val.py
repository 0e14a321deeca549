"""Validation of classifiers."""

from __future__ import annotations

from typing import cast

import torch

from ultralytics.data import ClassificationDataset, build_dataloader
from ultralytics.data.build import InfiniteDataLoader, Split, loader_processes
from ultralytics.data.classify_dataset import Share
from ultralytics.data.utils import check_cls_dataset
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.metrics import ClassifyMetrics, ConfusionMatrix


class ClassificationValidator(BaseValidator[torch.Tensor]):
    """Validates a classifier: top-1 and top-5 accuracy, and the confusion matrix."""

    task = "classify"
    metrics: ClassifyMetrics

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.metrics = ClassifyMetrics()

    def get_dataset(self) -> dict:
        return check_cls_dataset(str(self.args.data), split=self.args.split)

    def build_dataset(self, img_path: Split) -> ClassificationDataset:
        return ClassificationDataset(cast(Share, img_path), self.args, augment=False, prefix=self.args.split)

    def get_dataloader(self, dataset_path: Split, batch_size: int) -> InfiniteDataLoader:
        workers = loader_processes(self.args.workers, self.device)
        return build_dataloader(self.build_dataset(dataset_path), batch_size, workers, shuffle=False, rank=-1)

    def preprocess(self, batch: dict) -> dict:
        """Move the batch to the device."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        return {"img": images.half() if self.half else images.float(), "cls": batch["cls"].to(self.device)}

    def init_metrics(self, model: AutoBackend | BaseModel) -> None:
        self.names, self.nc = model.names, len(model.names)
        self.seen = 0
        self.stats = {"targets": [], "pred": []}
        self.confusion_matrix = ConfusionMatrix(nc=self.nc, conf=self.args.conf, task="classify")

    def get_desc(self) -> str:
        return ("%22s" + "%11s" * 2) % ("classes", "top1_acc", "top5_acc")

    def update_metrics(self, preds: torch.Tensor, batch: dict) -> None:
        """Count a batch of class probabilities (b, nc)."""
        self.seen += len(preds)
        self.stats["targets"].append(batch["cls"].cpu())
        self.stats["pred"].append(preds.argsort(1, descending=True)[:, :5].cpu())

    def get_stats(self) -> dict[str, float]:
        self.metrics.process(**self.stats)
        return self.metrics.results_dict

    def finalize_metrics(self) -> None:
        self.confusion_matrix.process_cls_preds(self.stats["pred"], self.stats["targets"])
        self.metrics.speed, self.metrics.confusion_matrix = self.speed, self.confusion_matrix
        if self.args.plots:
            for normalize in (True, False):
                self.confusion_matrix.plot(normalize, self.save_dir, self.names, on_plot=self.on_plot)

    def print_results(self) -> None:
        LOGGER.info(("%22s" + "%11.3g" * 2) % ("all", self.metrics.top1, self.metrics.top5))

    def plot_val_samples(self, batch: dict, ni: int) -> None:
        self._plot(batch, batch["cls"], f"val_batch{ni}_labels.jpg")

    def plot_predictions(self, batch: dict, preds: torch.Tensor, ni: int) -> None:
        self._plot(batch, preds.argmax(1), f"val_batch{ni}_pred.jpg")

    def _plot(self, batch: dict, cls: torch.Tensor, name: str) -> None:
        from ultralytics.utils.plotting import plot_images

        self.save_dir.mkdir(parents=True, exist_ok=True)
        plot_images(
            batch["img"], torch.arange(len(cls)), cls,
            fname=self.save_dir / name, names=self.names, on_plot=self.on_plot,
        )  # fmt: skip
