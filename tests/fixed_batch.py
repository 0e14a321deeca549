"""Five scripts as users write them for 8.3.0, each training a filled YOLO11n on one fixed batch: the same losses.

`python tests/fixed_batch.py [NAME ...]` prints the losses of each with whatever `ultralytics` is installed; with the
official 8.3.0 it wrote `tests/reference/fixed_batch.json`. The batch is four noise images of two objects each, without
any augmentation but a script's own, so that each epoch is one step on the same images.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from data.custom_dataset import write_set
from overrides import OwnPlaces, own_iou, replaced

import ultralytics.utils.loss as loss_module
from fill import fill
from ultralytics.data import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

STILL = {k: 0.0 for k in ("mosaic", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "warmup_epochs")}
STEADY = {"lr0": 1e-3, "nbs": 4, "optimizer": "SGD", "workers": 0, "amp": False, "plots": False, "close_mosaic": 0}


class Filled(DetectionTrainer):
    """Begins with weights from their names alone, and keeps the losses of each step."""

    def get_model(self, cfg=None, weights=None, verbose=True):
        return fill(DetectionModel("yolo11n.yaml", nc=self.data["nc"], verbose=False))


# A custom IoU ---------------------------------------------------------------------------------------------------------


def iou(train):
    with replaced(loss_module, "bbox_iou", own_iou):
        train(Filled)


# A custom assigner ----------------------------------------------------------------------------------------------------


class AssignedLoss(v8DetectionLoss):
    def __init__(self, model):
        super().__init__(model)
        self.assigner = OwnPlaces(topk=6, num_classes=self.nc, alpha=1.0, beta=4.0)


class AssignedModel(DetectionModel):
    def init_criterion(self):
        return AssignedLoss(self)


class AssignedTrainer(Filled):
    def get_model(self, cfg=None, weights=None, verbose=True):
        return fill(AssignedModel("yolo11n.yaml", nc=self.data["nc"], verbose=False))


def assigner(train):
    train(AssignedTrainer)


# A custom optimizer ---------------------------------------------------------------------------------------------------


class Lion(torch.optim.Optimizer):
    """Steps by the sign of a moving mean of gradients (arXiv 2302.06675, program 1), softened near nought."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                direction = mean * first + p.grad * (1 - first)
                p.sub_(group["lr"] * direction / (direction.abs() + 1e-3))
                mean.mul_(second).add_(p.grad, alpha=1 - second)


class LionTrainer(Filled):
    def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
        weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
        optimizer = Lion(weights, lr=lr, betas=(momentum, 0.99), weight_decay=decay)
        optimizer.add_param_group({"params": others, "weight_decay": 0.0})
        return optimizer


def optimizer(train):
    train(LionTrainer, lr0=2e-4)


# A custom dataset with its own augmentation ---------------------------------------------------------------------------


class Patched:
    """Paints a gray patch at the middle of each image, and drops the objects whose center it covers."""

    def __call__(self, labels):
        h, w = labels["img"].shape[:2]
        instances = labels["instances"]
        instances.convert_bbox("xywh")
        instances.denormalize(w, h)
        low, high = np.array([w * 0.45, h * 0.2]), np.array([w * 0.8, h * 0.8])
        center = instances.bboxes[:, :2]
        keep = ~((center > low) & (center < high)).all(1)
        labels["img"] = labels["img"].copy()
        labels["img"][int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = 114
        labels["img"] = cv2.GaussianBlur(labels["img"], (3, 3), 0)
        labels["instances"], labels["cls"] = instances[keep], labels["cls"][keep]
        return labels


class PatchedDataset(YOLODataset):
    def build_transforms(self, hyp=None):
        transforms = super().build_transforms(hyp)
        if self.augment:
            transforms.insert(0, Patched())
        return transforms


class PatchedTrainer(Filled):
    def build_dataset(self, img_path, mode="train", batch=None):
        return PatchedDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            data=self.data,
            task="detect",
        )


def dataset(train):
    train(PatchedTrainer)


# A custom validator ---------------------------------------------------------------------------------------------------


class BrighterValidator(DetectionValidator):
    """Validates on brighter images, keeps the surest three boxes of each, and adds a figure of its own."""

    def preprocess(self, batch):
        batch = super().preprocess(batch)
        batch["img"] = (batch["img"] * 1.2).clamp(0, 1)
        return batch

    def postprocess(self, preds):
        return [rows[:3] for rows in super().postprocess(preds)]

    def init_metrics(self, model):
        super().init_metrics(model)
        self.kept = 0

    def update_metrics(self, preds, batch):
        self.kept += sum(len(rows) for rows in preds)
        super().update_metrics(preds, batch)

    def get_stats(self):
        return super().get_stats() | {"metrics/kept": self.kept}


class ValidatedTrainer(Filled):
    def get_validator(self):
        self.loss_names = "box_loss", "cls_loss", "dfl_loss"
        return BrighterValidator(self.test_loader, save_dir=self.save_dir, args=self.args, _callbacks=self.callbacks)


def validator(train):
    train(ValidatedTrainer, val=True, conf=0.001)


SCRIPTS = {f.__name__: f for f in (iou, assigner, optimizer, dataset, validator)}


def figures(name: str, folder: str | Path) -> dict[str, list[float]]:
    """Return the losses of each step of a script's training, and those of each validation with its figures."""
    folder = Path(folder)
    images = write_set(folder / "set", "detect")
    data = folder / "set.yaml"
    data.write_text(yaml.safe_dump({"train": images, "val": images, "names": {0: "a", 1: "b"}}))
    steps: list[list[float]] = []
    vals: list[list[float]] = []

    def validated(trainer):
        vals.append([float(v) for k, v in trainer.metrics.items() if k.startswith("val/") or k.endswith("/kept")])

    def train(kind, **overrides):
        run = {"model": "yolo11n.yaml", "data": str(data), "imgsz": 160, "epochs": 3, "batch": 4, "val": False}
        trainer = kind(overrides={**run, **STILL, **STEADY, "project": str(folder / "runs"), **overrides})
        trainer.add_callback("on_train_batch_end", lambda t: steps.append(t.loss_items.tolist()))
        trainer.add_callback("on_fit_epoch_end", validated)
        trainer.train()

    SCRIPTS[name](train)
    return {"steps": steps, "vals": vals[: len(steps)]}  # the last validation, of the best weights, has no losses


if __name__ == "__main__":
    found = {}
    for script in sys.argv[1:] or SCRIPTS:
        with tempfile.TemporaryDirectory() as scratch:
            found[script] = figures(script, scratch)
    print(json.dumps(found))
