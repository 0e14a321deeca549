"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.geometry.overlap import batch_probiou, box_iou


class ConfusionMatrix:
    """Counts of predicted class (row) by true class (column); of detectors, the last row and column are background."""

    def __init__(self, nc: int, conf: float | None = 0.25, iou_thres: float = 0.45, task: str = "detect"):
        layouts = {"detect": nc + 1, "obb": nc + 1, "segment": nc + 1, "pose": nc + 1, "classify": nc}
        if task not in layouts:
            raise ConfigError(f"task='{task}' has no confusion matrix; allowed are {', '.join(layouts)}.")
        self.task, self.nc, self.iou_thres = task, nc, iou_thres
        self.conf = 0.25 if conf is None or conf == 0.001 else conf  # 0.001 is validation's own, too low to count boxes
        self.matrix = np.zeros((layouts[task],) * 2)

    def process_cls_preds(self, preds: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> None:
        """Count classifications: predictions [(b, 1+)], best class first, and targets [(b,)]."""
        if len(preds):
            predicted, true = torch.cat([p[:, 0] for p in preds]), torch.cat(list(targets))
            np.add.at(self.matrix, (predicted.cpu().long().numpy(), true.cpu().long().numpy()), 1)

    def process_batch(self, detections: torch.Tensor | None, gt_bboxes: torch.Tensor, gt_cls: torch.Tensor) -> None:
        """Count the detections of one image.

        Args:
            detections: (n, 6+) xyxy, confidence, class, ...; (n, 7) xywh, confidence, class, angle if rotated; or None.
            gt_bboxes: (m, 4) xyxy, or (m, 5) xywhr.
            gt_cls: (m,).
        """
        true = gt_cls.reshape(-1).cpu().long().numpy()
        if detections is None:
            detections = gt_bboxes.new_zeros((0, 6))
        detections = detections[detections[:, 4] > self.conf]
        predicted = detections[:, 5].cpu().long().numpy()
        gt, det = self._pairs(detections, gt_bboxes) if len(true) and len(predicted) else np.zeros((2, 0), dtype=int)
        np.add.at(self.matrix, (predicted[det], true[gt]), 1)
        np.add.at(self.matrix[self.nc], np.delete(true, gt), 1)  # missed
        np.add.at(self.matrix[:, self.nc], np.delete(predicted, det), 1)  # found in the background

    def _pairs(self, detections: torch.Tensor, gt_bboxes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Match objects with detections of any class, best IoU first; return the indices of both."""
        if gt_bboxes.shape[1] == 5:
            iou = batch_probiou(gt_bboxes, torch.cat((detections[:, :4], detections[:, -1:]), 1))
        else:
            iou = box_iou(gt_bboxes, detections[:, :4])
        overlap = iou.cpu().numpy()
        gt, det = (overlap > self.iou_thres).nonzero()
        order = np.argsort(-overlap[gt, det], kind="stable")
        for i in (1, 0):  # each detection keeps its best object, then each object its best detection
            order = order[np.sort(np.unique((gt, det)[i][order], return_index=True)[1])]
        return gt[order], det[order]

    def tp_fp(self) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives of each class but the background."""
        tp = self.matrix.diagonal()
        fp = self.matrix.sum(1) - tp
        return tp[: self.nc].copy(), fp[: self.nc]

    def plot(
        self,
        normalize: bool = True,
        save_dir: str | Path = "",
        names: dict[int, str] | Sequence[str] = (),
        on_plot: Callable | None = None,
    ) -> None:
        """Draw the matrix into `save_dir`, as counts or as fractions of each true class."""
        from ultralytics.utils.plotting import plot_confusion_matrix

        background = self.task != "classify"
        plot_confusion_matrix(self.matrix, names, normalize, save_dir, on_plot, background)

    def print(self) -> None:
        """Log the matrix row by row."""
        for row in self.matrix:
            LOGGER.info(" ".join(f"{value:g}" for value in row))
