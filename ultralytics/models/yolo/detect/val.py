"""Validation of detectors: how boxes meet labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.build import loader_processes
from ultralytics.engine.results import Results
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils import LOGGER
from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics, box_iou, match_predictions
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes, xywh2xyxy


class DetectionValidator(BaseValidator):
    """Validates a detector: precision, recall, mAP50 and mAP50-95, overall and by class, and the confusion matrix."""

    rotated = False  # whether the model's last output is the angle of its boxes

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.metrics = DetMetrics(save_dir=self.save_dir, on_plot=self.on_plot)
        self.iouv = torch.linspace(0.5, 0.95, 10)

    def build_dataset(self, img_path: Any, mode: str = "val", batch: int | None = None) -> Any:
        return build_yolo_dataset(self.args, img_path, batch, self.data, mode=mode, rect=True, stride=self.stride)

    def get_dataloader(self, dataset_path: Any, batch_size: int) -> Any:
        dataset = self.build_dataset(dataset_path, batch=batch_size)
        workers = loader_processes(self.args.workers, self.device)
        return build_dataloader(dataset, batch_size, workers, shuffle=False, rank=-1)

    def preprocess(self, batch: dict) -> dict:
        """Move the batch to the device: pictures as floats from 0 to 1, channels last."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        batch["img"] = (images.half() if self.half else images.float()) / 255
        for k in ("batch_idx", "cls", "bboxes"):
            batch[k] = batch[k].to(self.device)
        return batch

    def init_metrics(self, model: Any) -> None:
        self.names, self.nc = model.names, len(model.names)
        self.seen = 0
        self.stats = {"tp": [], "conf": [], "pred_cls": [], "target_cls": []}
        self.metrics.names, self.metrics.plot = self.names, self.args.plots
        self.confusion_matrix = ConfusionMatrix(nc=self.nc, conf=self.args.conf)
        self.iouv = self.iouv.to(self.device)
        self.class_map = list(range(self.nc))

    def get_desc(self) -> str:
        return ("%22s" + "%11s" * 6) % ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

    def postprocess(self, preds: Any) -> list[torch.Tensor]:
        return non_max_suppression(
            preds, self.args.conf, self.args.iou, multi_label=True,
            agnostic=self.args.single_cls or self.args.agnostic_nms, max_det=self.args.max_det, rotated=self.rotated,
        )  # fmt: skip

    def update_metrics(self, preds: list[torch.Tensor], batch: dict) -> None:
        for si, pred in enumerate(preds):
            self.seen += 1
            if self.args.single_cls:
                pred[:, 5] = 0
            cls, boxes = self._labels(si, batch)
            pred = self._to_original(pred, si, batch)
            tp = match_predictions(pred[:, 5], cls, self._iou(boxes, pred), self.iouv)
            for key, value in zip(self.stats, (tp, pred[:, 4], pred[:, 5], cls)):
                self.stats[key].append(value)
            if self.args.plots:
                self.confusion_matrix.process_batch(pred, boxes, cls)
            self._save(pred, batch["im_file"][si], batch["ori_shape"][si])

    def _labels(self, si: int, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return classes (m,) and boxes (m, 4) xyxy in pixels of the original picture."""
        mine = batch["batch_idx"] == si
        h, w = batch["img"].shape[2:]
        boxes = xywh2xyxy(batch["bboxes"][mine]) * torch.tensor((w, h, w, h), device=self.device)
        if len(boxes):
            boxes = scale_boxes((h, w), boxes, batch["ori_shape"][si], ratio_pad=batch["ratio_pad"][si])
        return batch["cls"][mine].squeeze(-1), boxes

    def _to_original(self, pred: torch.Tensor, si: int, batch: dict) -> torch.Tensor:
        """Return the predictions of a picture with boxes in pixels of the original."""
        shape, ratio_pad = batch["ori_shape"][si], batch["ratio_pad"][si]
        return scale_boxes(batch["img"].shape[2:], pred, shape, ratio_pad=ratio_pad)

    def _iou(self, boxes: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
        """Return how well each box of `_labels` agrees with each prediction of `_to_original`: (m, n)."""
        return box_iou(boxes, pred[:, :4])

    def _save(self, pred: torch.Tensor, file: str, shape: tuple[int, int]) -> None:
        """Write the predictions of a picture as COCO JSON rows and as a label file, where asked."""
        if self.args.save_json:
            stem = Path(file).stem
            for row, place in zip(pred.tolist(), self._json_places(pred)):
                self.jdict.append(
                    {
                        "image_id": int(stem) if stem.isnumeric() else stem,
                        "category_id": self.class_map[int(row[5])],
                        **place,
                        "score": round(row[4], 5),
                    }
                )
        if self.args.save_txt:
            blank = np.zeros((*shape, 3), dtype=np.uint8)
            out = self.save_dir / "labels" / f"{Path(file).stem}.txt"
            found = Results(blank, path=file, names=self.names, **self._parts(pred))
            found.save_txt(out, save_conf=self.args.save_conf)

    def _json_places(self, pred: torch.Tensor) -> list[dict[str, list[float]]]:
        """Return the entries of JSON rows that say where the objects are: `bbox`, left, top, width, height."""
        boxes = pred[:, :4].cpu()
        ltwh = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
        return [{"bbox": [round(x, 3) for x in box]} for box in ltwh.tolist()]

    def _parts(self, pred: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parts of `Results` that the predictions of a picture are."""
        return {"boxes": pred[:, :6]}

    def get_stats(self) -> dict[str, float]:
        stats = {k: torch.cat(v, 0).cpu().numpy() for k, v in self.stats.items()}
        self.nt_per_class = np.bincount(stats["target_cls"].astype(int), minlength=self.nc)
        self.metrics.process(**stats)
        return self.metrics.results_dict

    def finalize_metrics(self) -> None:
        self.metrics.speed, self.metrics.confusion_matrix = self.speed, self.confusion_matrix
        if self.args.plots:
            for normalize in (True, False):
                self.confusion_matrix.plot(normalize, self.save_dir, self.names, on_plot=self.on_plot)

    def print_results(self) -> None:
        row = "%22s" + "%11i" * 2 + "%11.3g" * 4
        LOGGER.info(row % ("all", self.seen, self.nt_per_class.sum(), *self.metrics.mean_results()))
        if not self.nt_per_class.sum():
            LOGGER.warning(f"The {self.args.split} split has no labels, so its metrics say nothing.")
        if self.args.verbose and not self.training and self.nc > 1:
            for i, c in enumerate(self.metrics.ap_class_index):
                LOGGER.info(row % (self.names[c], self.seen, self.nt_per_class[c], *self.metrics.class_result(i)))

    def plot_val_samples(self, batch: dict, ni: int) -> None:
        self._plot(
            batch, batch["batch_idx"], batch["cls"].squeeze(-1), batch["bboxes"], None, f"val_batch{ni}_labels.jpg"
        )

    def plot_predictions(self, batch: dict, preds: list[torch.Tensor], ni: int) -> None:
        from ultralytics.utils.plotting import output_to_target

        index, cls, boxes, conf = output_to_target(preds, max_det=self.args.max_det)
        self._plot(batch, index, cls, boxes, conf, f"val_batch{ni}_pred.jpg")

    def _plot(self, batch: dict, index: Any, cls: Any, boxes: Any, conf: Any, name: str) -> None:
        from ultralytics.utils.plotting import plot_images

        self.save_dir.mkdir(parents=True, exist_ok=True)
        plot_images(
            batch["img"], index, cls, boxes, conf,
            paths=batch["im_file"], fname=self.save_dir / name, names=self.names, on_plot=self.on_plot,
        )  # fmt: skip
