"""Validation of detectors: how boxes match labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from ultralytics.data import YOLODataset, build_dataloader, build_yolo_dataset
from ultralytics.data.build import InfiniteDataLoader, Split, loader_processes
from ultralytics.engine.results import Results
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.autobackend import AutoBackend, Output
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.evaluation.coco_ap import CocoAP
from ultralytics.utils.files import writing
from ultralytics.utils.geometry.nms import non_max_suppression
from ultralytics.utils.metrics import FIGURES, ConfusionMatrix, DetMetrics, box_iou
from ultralytics.utils.ops import clip_boxes, xywh2xyxy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def image_id(file: str | Path) -> int | str:
    """Return the ID of an image in COCO's files: the stem of its name, as a number where it is one."""
    stem = Path(file).stem
    return int(stem) if stem.isdecimal() else stem  # numerals such as '²' are numeric, but no whole number


def map_back(
    boxes: torch.Tensor, shape: tuple[int, int], gain: tuple[float, float], pad: tuple[int, int]
) -> torch.Tensor:
    """Map boxes (n, 4 or more) xyxy from a letterboxed image onto the original of `shape` (h, w).

    Height and width have a gain each: they were rounded to whole pixels each. One for both, as in `scale_boxes`, puts
    boxes up to two pixels beside the labels, and COCO's AP of predictions so written is up to 0.01 lower.
    """
    (high, wide), (left, top) = gain, pad
    boxes = boxes.clone()
    boxes[:, :4] -= boxes.new_tensor((left, top, left, top))
    boxes[:, :4] /= boxes.new_tensor((wide, high, wide, high))
    return clip_boxes(boxes, shape)


def ltwh(boxes: torch.Tensor) -> list[list[float]]:
    """Return boxes (n, 4 or more) xyxy as left, top, width, height, to a thousandth of a pixel."""
    boxes = boxes[:, :4].cpu()
    rows = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
    return [[round(x, 3) for x in row] for row in rows.tolist()]


class DetectionValidator(BaseValidator[list[torch.Tensor]]):
    """Validates a detector: precision, recall, mAP50 and mAP50-95, overall and by class, and the confusion matrix."""

    task = "detect"
    metrics: DetMetrics
    metrics_class: type[DetMetrics] = DetMetrics
    stat_names: tuple[str, ...] = ("tp", "conf", "pred_cls", "target_cls")  # arguments of the metrics' `process`
    most_drawn = 300  # most predictions drawn for each image of a batch
    drawn: dict[str, str] = {}  # what a batch has besides boxes: argument of `plot_images`, and key of the batch
    known: Sequence[torch.Tensor] = ()  # labels that `save_hybrid` puts among the predictions of the present batch
    rotated = False  # whether the model's last output is the angle of its boxes

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.metrics = self.metrics_class(save_dir=self.save_dir, on_plot=self.on_plot)

    def build_dataset(self, img_path: Split, mode: str = "val", batch: int | None = None) -> YOLODataset:
        return build_yolo_dataset(
            self.args, img_path, batch or 1, self.data, mode=mode, rect=self.args.rect, stride=self.stride
        )

    def get_dataloader(self, dataset_path: Split, batch_size: int) -> InfiniteDataLoader:
        dataset = self.build_dataset(dataset_path, batch=batch_size)
        workers = loader_processes(self.args.workers, self.device)
        return build_dataloader(dataset, batch_size, workers, shuffle=False, rank=-1)

    def preprocess(self, batch: dict) -> dict:
        """Move the batch to the device: images as floats from 0 to 1, channels last."""
        images = batch["img"].to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        batch["img"] = (images.half() if self.half else images.float()) / 255
        for k in ("batch_idx", "cls", "bboxes", *self.drawn.values()):
            batch[k] = batch[k].to(self.device)
        self.known = self._labels_as_boxes(batch) if self.args.save_hybrid and not self.training else ()
        return batch

    @staticmethod
    def _labels_as_boxes(batch: dict) -> list[torch.Tensor]:
        """Return for each image its labels (n, 5): class, and x, y, w, h in pixels of the model's input."""
        h, w = batch["img"].shape[2:]
        rows = torch.cat((batch["cls"].view(-1, 1), batch["bboxes"] * batch["bboxes"].new_tensor((w, h, w, h))), 1)
        return [rows[batch["batch_idx"] == i] for i in range(len(batch["img"]))]

    def init_metrics(self, model: AutoBackend | BaseModel) -> None:
        self.names, self.nc = model.names, len(model.names)
        self.seen = 0
        self.stats = {name: [] for name in self.stat_names}
        self.metrics.names, self.metrics.plot, self.metrics.save_dir = self.names, self.args.plots, self.save_dir
        self.metrics.coco_ap = CocoAP()
        self.confusion_matrix = ConfusionMatrix(nc=self.nc, conf=self.args.conf, task=self.task)
        self.iouv = self.iouv.to(self.device)
        self.class_map = list(range(self.nc))

    def get_desc(self) -> str:
        parts = ["Box", self.metrics.second[1]] if self.metrics.second else ["Box"]
        titles = [figure.title for figure in FIGURES]
        titles[-1] += ")"
        columns = [name for part in parts for name in (f"{part}({titles[0]}", *titles[1:])]
        return ("%22s" + "%11s" * (2 + len(columns))) % ("Class", "Images", "Instances", *columns)

    def postprocess(self, preds: Output) -> list[torch.Tensor]:
        return non_max_suppression(
            preds, cast(float, self.args.conf), self.args.iou, multi_label=True, labels=self.known,
            agnostic=self.args.single_cls or self.args.agnostic_nms, max_det=self.args.max_det, nc=self.nc,
            rotated=self.rotated, end2end=self.end2end,
        )  # fmt: skip

    def update_metrics(self, preds: list[torch.Tensor], batch: dict) -> None:
        for si, pred in enumerate(preds):
            self.seen += 1
            if self.args.single_cls:
                pred[:, 5] = 0
            pbatch = self._prepare_batch(si, batch)
            cls, boxes = pbatch["cls"], pbatch["bbox"]
            predn, kinds = self._comparisons(pred, pbatch, si)
            none = torch.zeros(len(predn), len(self.iouv), dtype=torch.bool, device=predn.device)
            counted = {"conf": predn[:, 4], "pred_cls": predn[:, 5], "target_cls": cls}
            for name, more in kinds.items():
                counted[name] = self._process_batch(predn, boxes, cls, **more) if len(predn) and len(cls) else none
            for name, values in self.stats.items():
                values.append(counted[name])
            if not (self.rotated or self.training):  # COCO knows upright boxes alone; a run ends with a validation
                own = image_id(batch["im_file"][si])
                places, scores, classes = predn[:, :6].cpu().split((4, 1, 1), 1)
                self.metrics.coco_ap.add(places, scores, classes, boxes.cpu(), cls.cpu(), image_id=own)
            if self.args.plots:
                self.confusion_matrix.process_batch(predn, boxes, cls)
            if self.args.save_json or self.args.save_txt:
                self._save(pred, predn, batch["im_file"][si], pbatch, si)

    def _prepare_batch(self, si: int, batch: dict) -> dict:
        """Return the labels of an image and how it was letterboxed.

        Returns:
            `cls` (m,) and `bbox` (m, 4) xyxy in pixels of the original image, `ori_shape` (h, w) of the original,
            `imgsz` (h, w) of the model's input, `ratio_pad` (gains of height and width, left and top border).
        """
        mine = batch["batch_idx"] == si
        h, w = batch["img"].shape[2:]
        boxes = xywh2xyxy(batch["bboxes"][mine]) * torch.tensor((w, h, w, h), device=self.device)
        shape, ratio_pad = batch["ori_shape"][si], batch["ratio_pad"][si]
        return {
            "cls": batch["cls"][mine].squeeze(-1),
            "bbox": map_back(boxes, shape, *ratio_pad),
            "ori_shape": shape,
            "imgsz": batch["img"].shape[2:],
            "ratio_pad": ratio_pad,
        }

    def _prepare_pred(self, pred: torch.Tensor, pbatch: dict) -> torch.Tensor:
        """Return predictions (n, 6 or more) with boxes in pixels of the original image; `pbatch` describes it."""
        return map_back(pred, pbatch["ori_shape"], *pbatch["ratio_pad"])

    def _process_batch(self, detections: torch.Tensor, gt_bboxes: torch.Tensor, gt_cls: torch.Tensor) -> torch.Tensor:
        """Return which predictions of an image are right at which IoU threshold, (n, 10) bool.

        Args:
            detections: (n, 6 or more) predictions as `_prepare_pred` returns them, by falling confidence.
            gt_bboxes: (m, 4) boxes of the objects.
            gt_cls: (m,) their classes.
        """
        return self.match_predictions(detections[:, 5], gt_cls, box_iou(gt_bboxes, detections[:, :4]))

    def _comparisons(self, pred: torch.Tensor, pbatch: dict, si: int) -> tuple[torch.Tensor, dict[str, dict]]:
        """Return what is compared with the labels of an image.

        Args:
            pred: (n, 6 or more) predictions, in pixels of the model's input.
            pbatch: the image, see `_prepare_batch`.
            si: place of the image in the batch.

        Returns:
            The predictions in pixels of the original image, and further arguments of `_process_batch` for each `tp`
            of `stat_names`.
        """
        return self._prepare_pred(pred, pbatch), {"tp": {}}

    def _save(self, pred: torch.Tensor, predn: torch.Tensor, file: str, pbatch: dict, si: int) -> None:
        """Write the predictions of an image as rows of COCO JSON and as a label file, where asked.

        Args:
            pred, pbatch, si: as in `_comparisons`.
            predn: (n, 6 or more) predictions, in pixels of the original image.
            file: the image.
        """
        if self.args.save_json:
            self.pred_to_json(predn, file)
        if self.args.save_txt:
            self.save_one_txt(predn, self.args.save_conf, pbatch["ori_shape"], self._label_file(file))

    def _label_file(self, image: str) -> Path:
        """Return the label file to write for an image; one of an older run in the same folder is removed."""
        file = self.save_dir / "labels" / f"{self.label_names(Path(image))}.txt"
        with writing(file):
            file.unlink(missing_ok=True)
        return file

    def save_one_txt(self, predn: torch.Tensor, save_conf: bool, shape: tuple[int, int], file: Path) -> None:
        """Write the predictions of an image of `shape` (h, w) as a label file."""
        self._write_labels(file, save_conf, shape, boxes=predn[:, :6])

    def _write_labels(self, file: Path, save_conf: bool, shape: tuple[int, int], **parts: torch.Tensor) -> None:
        """Write a label file of parts that `Results` take."""
        blank = np.zeros((*shape, 3), dtype=np.uint8)
        Results(blank, path=str(file), names=self.names, speed=None, **parts).save_txt(file, save_conf=save_conf)

    def pred_to_json(self, predn: torch.Tensor, filename: str) -> None:  # type: ignore[override]  # as in 8.3.0
        """Add the predictions of an image to `jdict`, the rows of COCO JSON."""
        self._add_rows(predn, filename, bbox=ltwh(predn))

    def _add_rows(self, predn: torch.Tensor, filename: str, **columns: list) -> None:
        """Add rows of COCO JSON, whose further values come as columns, each a list with one entry per row."""
        for (score, cls), *values in zip(predn[:, 4:6].tolist(), *columns.values()):
            self.jdict.append(
                {
                    "image_id": image_id(filename),
                    "category_id": self.class_map[int(cls)],
                    **dict(zip(columns, values)),
                    "score": round(score, 5),
                }
            )

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
        row = "%22s" + "%11i" * 2 + "%11.3g" * len(self.metrics.keys)
        LOGGER.info(row % ("all", self.seen, self.nt_per_class.sum(), *self.metrics.mean_results()))
        if not self.nt_per_class.sum():
            LOGGER.warning(f"The {self.args.split} split has no labels, so its metrics say nothing.")
        if self.args.verbose and not self.training and self.nc > 1:
            for i, c in enumerate(self.metrics.ap_class_index):
                LOGGER.info(row % (self.names[c], self.seen, self.nt_per_class[c], *self.metrics.class_result(i)))
        if self.args.verbose and not self.training and not self.rotated:
            sizes = ", ".join(f"{name} {ap:.3g}" for name, ap in self.metrics.sizes.items())
            LOGGER.info(f"Boxes by size (COCO's AP): {sizes}")

    def plot_val_samples(self, batch: dict, ni: int) -> None:
        more = {argument: batch[key] for argument, key in self.drawn.items()}
        objects = batch["batch_idx"], batch["cls"].squeeze(-1), batch["bboxes"]
        self._plot(batch, *objects, None, f"val_batch{ni}_labels.jpg", **more)

    def plot_predictions(self, batch: dict, preds: list[torch.Tensor], ni: int) -> None:
        from ultralytics.utils.plotting import output_to_target

        preds = [pred[: min(self.args.max_det, self.most_drawn)] for pred in preds]
        index, cls, boxes, conf = output_to_target(preds)
        self._plot(batch, index, cls, boxes, conf, f"val_batch{ni}_pred.jpg", **self.drawn_parts(preds, batch))

    def drawn_parts(self, preds: list[torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        """Return what `plot_images` draws besides boxes, in pixels of the model's input."""
        return {}

    def _plot(
        self,
        batch: dict,
        index: ArrayLike,
        cls: ArrayLike,
        boxes: ArrayLike,
        conf: ArrayLike | None,
        name: str,
        masks: ArrayLike = (),
        kpts: ArrayLike = (),
    ) -> None:
        from ultralytics.utils.plotting import plot_images

        self.save_dir.mkdir(parents=True, exist_ok=True)
        plot_images(
            batch["img"], index, cls, boxes, conf, masks, kpts,
            paths=batch["im_file"], fname=self.save_dir / name, names=self.names, on_plot=self.on_plot,
        )  # fmt: skip
