"""How well boxes, masks and key points agree, and how good a detector is: IoU in its kinds, AP, confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError

# Key-point standard deviations of COCO (nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles)
OKS_SIGMA = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float32) / 1000


def __getattr__(name: str):
    """Offer the curves here too, where 8.3.0 keeps them; drawing is imported when asked for."""
    if name in {"plot_pr_curve", "plot_mc_curve"}:
        from ultralytics.utils import curves

        return getattr(curves, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


# Overlap -------------------------------------------------------------------------------------------------------------


def bbox_ioa(box1: np.ndarray, box2: np.ndarray, iou: bool = False, eps: float = 1e-7) -> np.ndarray:
    """Return what share of each `box2` (m, 4) each `box1` (n, 4) covers, xyxy: (n, m); with `iou`, their IoU."""
    low = np.maximum(box1[:, None, :2], box2[:, :2])
    high = np.minimum(box1[:, None, 2:], box2[:, 2:])
    inter = (high - low).clip(0).prod(2)
    area = (box2[:, 2:] - box2[:, :2]).prod(1)
    if iou:
        area = area + (box1[:, 2:] - box1[:, :2]).prod(1)[:, None] - inter
    return inter / (area + eps)


def box_iou(box1: torch.Tensor, box2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Return the IoU of each of `box1` (n, 4) with each of `box2` (m, 4), xyxy: (n, m)."""
    box1, box2 = box1[:, None], box2[None]
    inter = (torch.minimum(box1[..., 2:], box2[..., 2:]) - torch.maximum(box1[..., :2], box2[..., :2])).clamp(0).prod(2)
    area1, area2 = ((b[..., 2:] - b[..., :2]).prod(2) for b in (box1, box2))
    return inter / (area1 + area2 - inter + eps)


def _corners(box: torch.Tensor, xywh: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the left top and right bottom corners (..., 2) each."""
    first, second = box.split((2, 2), -1)
    return (first - second / 2, first + second / 2) if xywh else (first, second)


def bbox_iou(
    box1: torch.Tensor,
    box2: torch.Tensor,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> torch.Tensor:
    """Return the IoU (..., 1) of box pairs, shapes broadcast, or one of its kinds with a gradient for distant boxes.

    GIoU: Rezatofighi et al., Generalized Intersection over Union, arXiv 1902.09630. DIoU and CIoU: Zheng et al.,
    Distance-IoU Loss, arXiv 1911.08287; the weight of CIoU's aspect term gets no gradient (section 3.3).
    """
    low1, high1 = _corners(box1, xywh)
    low2, high2 = _corners(box2, xywh)
    size1, size2 = high1 - low1, high2 - low2
    inter = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(0).prod(-1, keepdim=True)
    union = size1.prod(-1, keepdim=True) + size2.prod(-1, keepdim=True) - inter + eps
    iou = inter / union
    if not (GIoU or DIoU or CIoU):
        return iou
    hull = torch.maximum(high1, high2) - torch.minimum(low1, low2)  # of the smallest box around both
    if GIoU:
        area = hull.prod(-1, keepdim=True) + eps
        return iou - (area - union) / area
    apart = (low1 + high1 - low2 - high2).square().sum(-1, keepdim=True) / 4
    distance = apart / (hull.square().sum(-1, keepdim=True) + eps)
    if DIoU:
        return iou - distance
    angle1, angle2 = (torch.atan(s[..., :1] / (s[..., 1:] + eps)) for s in (size1, size2))
    v = (4 / math.pi**2) * (angle2 - angle1).square()
    with torch.no_grad():
        alpha = v / (v - iou + (1 + eps))
    return iou - (distance + v * alpha)


def mask_iou(mask1: torch.Tensor, mask2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Return the IoU of each of `mask1` (n, pixels) with each of `mask2` (m, pixels), values 0 or 1: (n, m)."""
    inter = (mask1 @ mask2.T).clamp(0)
    return inter / (mask1.sum(1)[:, None] + mask2.sum(1)[None] - inter + eps)


def kpt_iou(
    kpt1: torch.Tensor, kpt2: torch.Tensor, area: torch.Tensor, sigma: np.ndarray | list[float], eps: float = 1e-7
) -> torch.Tensor:
    """Return COCO's object key-point similarity of each of `kpt1` (n, k, 3) with each of `kpt2` (m, k, 3): (n, m).

    Args:
        kpt1: true key points x, y, visibility; those of visibility 0 do not count.
        kpt2: predicted key points.
        area: (n,) area of the true objects, pixels.
        sigma: (k,) standard deviation of each key point, in units of the object's size.
    """
    sigma = torch.as_tensor(np.asarray(sigma), device=kpt1.device, dtype=kpt1.dtype)
    d2 = (kpt1[:, None, :, :2] - kpt2[None, :, :, :2]).square().sum(-1)
    visible = (kpt1[..., 2] != 0)[:, None]
    e = d2 / ((2 * sigma).square() * (area[:, None, None] + eps) * 2)
    return ((-e).exp() * visible).sum(-1) / (visible.sum(-1) + eps)


def _covariance(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return var(x), var(y), cov(x, y), each (..., 1), of the Gaussians that stand for rotated boxes xywhr."""
    a, b = boxes[..., 2:3].square() / 12, boxes[..., 3:4].square() / 12
    cos, sin = boxes[..., 4:5].cos(), boxes[..., 4:5].sin()
    return a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * cos * sin


def probiou(obb1: torch.Tensor, obb2: torch.Tensor, CIoU: bool = False, eps: float = 1e-7) -> torch.Tensor:
    """Return the probabilistic IoU (..., 1) of pairs of rotated boxes (..., 5) xywhr, r in radians, shapes broadcast.

    One minus the Hellinger distance of the boxes' Gaussians: Llerena et al., Gaussian Bounding Boxes and Probabilistic
    Intersection-over-Union for Object Detection, arXiv 2106.06072. `CIoU` takes the aspect term of CIoU off.
    """
    dx, dy = (obb1[..., i : i + 1] - obb2[..., i : i + 1] for i in (0, 1))
    a1, b1, c1 = _covariance(obb1)
    a2, b2, c2 = _covariance(obb2)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    det = a * b - c.square()
    det1, det2 = ((x * y - z.square()).clamp(0) for x, y, z in ((a1, b1, c1), (a2, b2, c2)))
    mahalanobis = (a * dy.square() + b * dx.square()) / (det + eps) / 4 - c * dx * dy / (det + eps) / 2
    spread = (det / (4 * (det1 * det2).sqrt() + eps) + eps).log() / 2
    bhattacharyya = (mahalanobis + spread).clamp(eps, 100.0)
    iou = 1 - (1 - (-bhattacharyya).exp() + eps).sqrt()
    if not CIoU:
        return iou
    angle1, angle2 = (torch.atan(o[..., 2:3] / o[..., 3:4]) for o in (obb1, obb2))
    v = (4 / math.pi**2) * (angle2 - angle1).square()
    with torch.no_grad():
        alpha = v / (v - iou + (1 + eps))
    return iou - v * alpha


def batch_probiou(obb1: torch.Tensor | np.ndarray, obb2: torch.Tensor | np.ndarray, eps: float = 1e-7) -> torch.Tensor:
    """Return the probabilistic IoU of each of `obb1` (n, 5) with each of `obb2` (m, 5), xywhr: (n, m)."""
    obb1, obb2 = torch.as_tensor(obb1), torch.as_tensor(obb2)
    return probiou(obb1[:, None], obb2[None], eps=eps)[..., 0]


# Average precision ---------------------------------------------------------------------------------------------------


def match_predictions(
    pred_classes: torch.Tensor, true_classes: torch.Tensor, iou: torch.Tensor, iouv: torch.Tensor
) -> torch.Tensor:
    """Tell which predictions are right at which IoU threshold: (n, t), bool.

    Each prediction goes for the object of its class that it overlaps most; an object counts for the first of those
    that come near enough, and predictions are given by falling confidence.

    Args:
        pred_classes: (n,) of predictions sorted by falling confidence.
        true_classes: (m,).
        iou: (m, n) of each object with each prediction.
        iouv: (t,) rising thresholds.
    """
    n = len(pred_classes)
    correct = np.zeros((n, len(iouv)), dtype=bool)
    if n and len(true_classes):
        near, target = (iou * (true_classes[:, None] == pred_classes)).max(0)
        near, target = near.cpu().numpy(), target.cpu().numpy()
        for column, threshold in zip(correct.T, iouv.tolist()):
            rows = (near >= max(threshold, 1e-9)).nonzero()[0]  # an overlap of 0 is none, nor is another class
            column[rows[np.unique(target[rows], return_index=True)[1]]] = True
    return torch.from_numpy(correct).to(pred_classes.device)


def smooth(y: np.ndarray, f: float = 0.05) -> np.ndarray:
    """Smooth a curve by a running mean over the fraction `f` of its length; its ends are extended."""
    width = round(len(y) * f * 2) // 2 + 1
    return np.convolve(np.pad(y, width // 2, mode="edge"), np.ones(width) / width, mode="valid")


def compute_ap(recall: Sequence[float], precision: Sequence[float]) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the average precision at 101 recalls, as COCO counts it, and the envelope it was read from.

    Args:
        recall: rising, one for each prediction by falling confidence.
        precision: likewise.

    Returns:
        average precision, precision of the envelope, recall of the envelope.
    """
    mrec = np.concatenate(([0.0], recall, [1.0]))
    mpre = np.concatenate(([1.0], precision, [0.0]))
    mpre = np.maximum.accumulate(mpre[::-1])[::-1]
    area = np.interp(np.linspace(0, 1, 101), mrec, mpre)
    return float((area[1:] + area[:-1]).sum() / 200), mpre, mrec  # trapezoids of width 1 / 100


class APResult(NamedTuple):
    """What `ap_per_class` found, for c classes that have objects."""

    tp: np.ndarray  # (c,) true positives at the confidence of best mean F1
    fp: np.ndarray  # (c,) false positives there
    p: np.ndarray  # (c,) precision there
    r: np.ndarray  # (c,) recall there
    f1: np.ndarray  # (c,) there
    ap: np.ndarray  # (c, t) average precision at each IoU threshold
    unique_classes: np.ndarray  # (c,) class numbers
    p_curve: np.ndarray  # (c, 1000) precision by confidence
    r_curve: np.ndarray  # (c, 1000)
    f1_curve: np.ndarray  # (c, 1000)
    x: np.ndarray  # (1000,) the confidences, and the recalls of prec_values
    prec_values: np.ndarray  # (c, 1000) precision by recall at the first threshold; (0,) unless plotted


def ap_per_class(
    tp: np.ndarray,
    conf: np.ndarray,
    pred_cls: np.ndarray,
    target_cls: np.ndarray,
    plot: bool = False,
    on_plot: Callable | None = None,
    save_dir: str | Path = Path(),
    names: dict[int, str] | Sequence[str] = (),
    eps: float = 1e-16,
    prefix: str = "",
) -> APResult:
    """Compute average precision, precision and recall of each class that has objects.

    Args:
        tp: (n, t) bool, whether a prediction is right at each IoU threshold.
        conf: (n,).
        pred_cls: (n,).
        target_cls: (m,).
        plot: draw the four curves into `save_dir`, their names begun by `prefix`.
    """
    order = np.argsort(-conf)
    tp, conf, pred_cls = tp[order], conf[order], pred_cls[order]
    classes, objects = np.unique(target_cls, return_counts=True)
    classes = classes.astype(int)
    x = np.linspace(0, 1, 1000)
    ap = np.zeros((len(classes), tp.shape[1]))
    p_curve, r_curve = np.zeros((2, len(classes), len(x)))
    prec_values = np.zeros((len(classes), len(x)))

    for i, (c, n_objects) in enumerate(zip(classes, objects)):
        mine = pred_cls == c
        if not mine.any():
            continue
        right = tp[mine].cumsum(0)
        recall = right / (n_objects + eps)
        precision = right / np.arange(1, len(right) + 1)[:, None]
        # Confidence falls while np.interp wants it to rise
        r_curve[i] = np.interp(-x, -conf[mine], recall[:, 0], left=0)
        p_curve[i] = np.interp(-x, -conf[mine], precision[:, 0], left=1)
        for t in range(tp.shape[1]):
            ap[i, t], mpre, mrec = compute_ap(recall[:, t], precision[:, t])
            if t == 0:
                prec_values[i] = np.interp(x, mrec, mpre)

    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + eps)
    if plot:
        names = _names_of(classes, names)
        _plot_curves(x, prec_values, ap, p_curve, r_curve, f1_curve, Path(save_dir), names, on_plot, prefix)
    else:
        prec_values = np.zeros(0)
    best = smooth(f1_curve.mean(0), 0.1).argmax() if len(classes) else 0
    p, r, f1 = p_curve[:, best], r_curve[:, best], f1_curve[:, best]
    hits = (r * objects).round()
    false = (hits / (p + eps) - hits).round()
    return APResult(hits, false, p, r, f1, ap, classes, p_curve, r_curve, f1_curve, x, prec_values)


def _names_of(classes: np.ndarray, names: dict[int, str] | Sequence[str]) -> dict[int, str]:
    """Return {row: name} for the rows of `classes`; a class without a name is called by its number."""
    table = dict(names) if isinstance(names, dict) else dict(enumerate(names))
    return {i: str(table.get(int(c), c)) for i, c in enumerate(classes)}


def _plot_curves(x, prec_values, ap, p_curve, r_curve, f1_curve, save_dir, names, on_plot, prefix) -> None:
    """Draw precision over recall, and F1, precision and recall over confidence."""
    from ultralytics.utils.plotting import plot_mc_curve, plot_pr_curve

    plot_pr_curve(x, prec_values, ap, save_dir / f"{prefix}PR_curve.png", names, on_plot=on_plot)
    for short, name, curve in (("F1", "F1", f1_curve), ("P", "Precision", p_curve), ("R", "Recall", r_curve)):
        plot_mc_curve(x, curve, save_dir / f"{prefix}{short}_curve.png", names, ylabel=name, on_plot=on_plot)


class Metric:
    """Precision, recall and average precision over classes; empty until `update` gets the fields of an APResult."""

    def __init__(self) -> None:
        self.p, self.r, self.f1, self.all_ap, self.ap_class_index = np.zeros((5, 0))
        self.ap_class_index = self.ap_class_index.astype(int)
        self.nc = 0
        self.p_curve, self.r_curve, self.f1_curve, self.px, self.prec_values = np.zeros((5, 0))

    def update(self, results: Sequence[np.ndarray]) -> None:
        """Take p, r, f1, ap, classes, p_curve, r_curve, f1_curve, x and prec_values: `ap_per_class(...)[2:]`."""
        self.p, self.r, self.f1, self.all_ap, self.ap_class_index = results[:5]
        self.p_curve, self.r_curve, self.f1_curve, self.px, self.prec_values = results[5:]

    @property
    def ap50(self) -> np.ndarray:
        """(c,) average precision at IoU 0.5."""
        return self.all_ap[:, 0] if len(self.all_ap) else np.zeros(0)

    @property
    def ap(self) -> np.ndarray:
        """(c,) average precision, mean over IoU 0.5 to 0.95."""
        return self.all_ap.mean(1) if len(self.all_ap) else np.zeros(0)

    @property
    def mp(self) -> float:
        """Mean precision."""
        return float(self.p.mean()) if len(self.p) else 0.0

    @property
    def mr(self) -> float:
        """Mean recall."""
        return float(self.r.mean()) if len(self.r) else 0.0

    @property
    def map50(self) -> float:
        """Mean average precision at IoU 0.5."""
        return float(self.all_ap[:, 0].mean()) if len(self.all_ap) else 0.0

    @property
    def map75(self) -> float:
        """Mean average precision at IoU 0.75."""
        return float(self.all_ap[:, 5].mean()) if len(self.all_ap) else 0.0

    @property
    def map(self) -> float:
        """Mean average precision over IoU 0.5 to 0.95."""
        return float(self.all_ap.mean()) if len(self.all_ap) else 0.0

    @property
    def maps(self) -> np.ndarray:
        """(nc,) average precision of every class; those without objects get the mean."""
        maps = np.full(self.nc, self.map)
        maps[self.ap_class_index] = self.ap
        return maps

    def mean_results(self) -> list[float]:
        """Return mean precision, mean recall, mAP50, mAP50-95."""
        return [self.mp, self.mr, self.map50, self.map]

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """Return precision, recall, AP50, AP50-95 of the i-th class that has objects."""
        return self.p[i], self.r[i], self.ap50[i], self.ap[i]

    def fitness(self) -> float:
        """Return what the best weights are chosen by: 0.1 mAP50 + 0.9 mAP50-95."""
        return 0.1 * self.map50 + 0.9 * self.map

    @property
    def curves(self) -> list:
        return []

    @property
    def curves_results(self) -> list[list]:
        """[x, y, name of x, name of y] of the four curves."""
        return [
            [self.px, self.prec_values, "Recall", "Precision"],
            [self.px, self.f1_curve, "Confidence", "F1"],
            [self.px, self.p_curve, "Confidence", "Precision"],
            [self.px, self.r_curve, "Confidence", "Recall"],
        ]


class DetMetrics:
    """The metrics of a detector: `process` what was matched, then read them."""

    task = "detect"
    keys = ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    curves = [
        "Precision-Recall(B)",
        "F1-Confidence(B)",
        "Precision-Confidence(B)",
        "Recall-Confidence(B)",
    ]

    def __init__(
        self,
        save_dir: str | Path = Path("."),
        plot: bool = False,
        on_plot: Callable | None = None,
        names: dict[int, str] | Sequence[str] = (),
    ):
        self.save_dir, self.plot, self.on_plot, self.names = Path(save_dir), plot, on_plot, names
        self.box = Metric()
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}  # ms an image

    def process(self, tp: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray) -> None:
        """Compute the metrics; the arguments are those of `ap_per_class`."""
        results = ap_per_class(
            tp,
            conf,
            pred_cls,
            target_cls,
            plot=self.plot,
            save_dir=self.save_dir,
            names=self.names,
            on_plot=self.on_plot,
        )
        self.box.nc = max(len(self.names), int(results.unique_classes.max(initial=-1)) + 1)
        self.box.update(results[2:])

    def mean_results(self) -> list[float]:
        """Return mean precision, mean recall, mAP50, mAP50-95."""
        return self.box.mean_results()

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """Return precision, recall, AP50, AP50-95 of the i-th class that has objects."""
        return self.box.class_result(i)

    @property
    def maps(self) -> np.ndarray:
        return self.box.maps

    @property
    def fitness(self) -> float:
        return self.box.fitness()

    @property
    def ap_class_index(self) -> np.ndarray:
        return self.box.ap_class_index

    @property
    def results_dict(self) -> dict[str, float]:
        return dict(zip([*self.keys, "fitness"], [*self.mean_results(), self.fitness]))

    @property
    def curves_results(self) -> list[list]:
        return self.box.curves_results


# Confusion matrix ----------------------------------------------------------------------------------------------------


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
            detections: (n, 6) xyxy, confidence, class; (n, 7) of rotated boxes xywh, confidence, class, angle; or None.
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
        np.add.at(self.matrix, (self.nc, np.delete(true, gt)), 1)  # missed
        np.add.at(self.matrix, (np.delete(predicted, det), self.nc), 1)  # seen in the background

    def _pairs(self, detections: torch.Tensor, gt_bboxes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return indices of objects and of the detections that go with them, whatever their class: best IoU first."""
        if detections.shape[1] == 7:
            iou = batch_probiou(gt_bboxes, torch.cat((detections[:, :4], detections[:, -1:]), 1))
        else:
            iou = box_iou(gt_bboxes, detections[:, :4])
        iou = iou.cpu().numpy()
        gt, det = (iou > self.iou_thres).nonzero()
        order = np.argsort(-iou[gt, det], kind="stable")
        for i in (1, 0):  # each detection keeps its best object, then each object its best detection
            order = order[np.sort(np.unique((gt, det)[i][order], return_index=True)[1])]
        return gt[order], det[order]

    def tp_fp(self) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives of each class, background left out."""
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
        """Draw the matrix into `save_dir`, as counts or as shares of each true class."""
        from ultralytics.utils.plotting import plot_confusion_matrix

        plot_confusion_matrix(self.matrix, names=names, normalize=normalize, save_dir=save_dir, on_plot=on_plot)

    def print(self) -> None:
        """Log the matrix row by row."""
        for row in self.matrix:
            LOGGER.info(" ".join(f"{value:g}" for value in row))
