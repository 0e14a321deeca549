"""Metrics of each task: average precision, top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ultralytics.utils.evaluation.coco_ap import CocoAP
from ultralytics.utils.evaluation.confusion import ConfusionMatrix
from ultralytics.utils.geometry.overlap import (  # noqa: F401
    OKS_SIGMA,
    batch_probiou,
    bbox_ioa,
    bbox_iou,
    box_iou,
    kpt_iou,
    mask_iou,
    probiou,
)


def __getattr__(name: str) -> Callable:
    """Provide the curves of 8.3.0 here too; drawing is imported when they are first used."""
    if name in {"plot_pr_curve", "plot_mc_curve"}:
        from ultralytics.utils.drawing import curves

        return getattr(curves, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def smooth_BCE(eps: float = 0.1) -> tuple[float, float]:
    """Return the targets of a positive and a negative with label smoothing, 1 - eps / 2 and eps / 2."""
    return 1 - eps / 2, eps / 2


# Average precision ---------------------------------------------------------------------------------------------------


def match_predictions(
    pred_classes: torch.Tensor, true_classes: torch.Tensor, iou: torch.Tensor, iouv: torch.Tensor
) -> torch.Tensor:
    """Mark which predictions are right at which IoU threshold: (n, t), bool.

    Each prediction is matched with the object of its class that it overlaps most; an object counts for the first
    prediction above the threshold, by falling confidence.

    Args:
        pred_classes: (n,) of predictions sorted by falling confidence.
        true_classes: (m,).
        iou: (m, n) of each object with each prediction.
        iouv: (t,) rising thresholds.
    """
    n = len(pred_classes)
    correct = np.zeros((n, len(iouv)), dtype=bool)
    if n and len(true_classes):
        best, index = (iou * (true_classes[:, None] == pred_classes)).max(0)
        near, target = best.cpu().numpy(), index.cpu().numpy()
        for column, threshold in zip(correct.T, iouv.tolist()):
            rows = (near >= max(threshold, 1e-9)).nonzero()[0]  # an overlap of 0, or another class, never matches
            column[rows[np.unique(target[rows], return_index=True)[1]]] = True
    return torch.from_numpy(correct).to(pred_classes.device)


def smooth(y: np.ndarray, f: float = 0.05) -> np.ndarray:
    """Smooth a curve by a running mean over the fraction `f` of its length; its ends are extended."""
    width = round(len(y) * f * 2) // 2 + 1
    return np.convolve(np.pad(y, width // 2, mode="edge"), np.ones(width) / width, mode="valid")


def compute_ap(recall: Sequence[float], precision: Sequence[float]) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the average precision at 101 recalls, as COCO does, and the envelope it is read from.

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
    """Result of `ap_per_class`, for c classes that have objects."""

    tp: np.ndarray  # (c,) true positives at the confidence of best mean F1
    fp: np.ndarray  # (c,) false positives there
    p: np.ndarray  # (c,) precision there
    r: np.ndarray  # (c,) recall there
    f1: np.ndarray  # (c,) there
    ap: np.ndarray  # (c, t) average precision at each IoU threshold
    unique_classes: np.ndarray  # (c,) class indices
    p_curve: np.ndarray  # (c, 1000) precision by confidence
    r_curve: np.ndarray  # (c, 1000)
    f1_curve: np.ndarray  # (c, 1000)
    x: np.ndarray  # (1000,) the confidences, and the recalls of prec_values
    prec_values: np.ndarray  # (c, 1000) precision by recall at the first threshold; (0,) unless plotted or kept


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
    keep: bool = False,
) -> APResult:
    """Compute average precision, precision and recall of each class that has objects.

    Args:
        tp: (n, t) bool, whether a prediction is right at each IoU threshold.
        conf: (n,).
        pred_cls: (n,).
        target_cls: (m,).
        plot: draw the four curves into `save_dir`, with file names that start with `prefix`.
        keep: return the curve of precision by recall even if none is drawn.
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
        # Confidence falls, but np.interp needs it to rise
        r_curve[i] = np.interp(-x, -conf[mine], recall[:, 0], left=0)
        p_curve[i] = np.interp(-x, -conf[mine], precision[:, 0], left=1)
        for t in range(tp.shape[1]):
            ap[i, t], mpre, mrec = compute_ap(recall[:, t], precision[:, t])
            if t == 0:
                prec_values[i] = np.interp(x, mrec, mpre)

    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + eps)
    best = smooth(f1_curve.mean(0), 0.1).argmax() if len(classes) else 0
    p, r, f1 = p_curve[:, best], r_curve[:, best], f1_curve[:, best]
    hits = (r * objects).round()
    false = (hits / (p + eps) - hits).round()
    result = APResult(hits, false, p, r, f1, ap, classes, p_curve, r_curve, f1_curve, x, prec_values)
    if plot:
        _plot_curves(result, Path(save_dir), _names_of(classes, names), on_plot, prefix)
    return result if plot or keep else result._replace(prec_values=np.zeros(0))


def _names_of(classes: np.ndarray, names: dict[int, str] | Sequence[str]) -> dict[int, str]:
    """Return {row: name} for the rows of `classes`; a class without a name is called by its index."""
    table = dict(names) if isinstance(names, dict) else dict(enumerate(names))
    return {i: str(table.get(int(c), c)) for i, c in enumerate(classes)}


def _plot_curves(found: APResult, save_dir: Path, names: dict[int, str], on_plot: Callable | None, prefix: str) -> None:
    """Draw precision over recall, and F1, precision and recall over confidence."""
    from ultralytics.utils.plotting import plot_mc_curve, plot_pr_curve

    plot_pr_curve(found.x, found.prec_values, found.ap, save_dir / f"{prefix}PR_curve.png", names, on_plot=on_plot)
    curves = (("F1", "F1", found.f1_curve), ("P", "Precision", found.p_curve), ("R", "Recall", found.r_curve))
    for short, name, curve in curves:
        plot_mc_curve(found.x, curve, save_dir / f"{prefix}{short}_curve.png", names, ylabel=name, on_plot=on_plot)


class Metric:
    """Precision, recall and average precision over classes; empty until `update` gets the fields of an APResult."""

    def __init__(self) -> None:
        self.p, self.r, self.f1, self.all_ap, self.ap_class_index = np.zeros((5, 0))
        self.ap_class_index = self.ap_class_index.astype(int)
        self.nc = 0
        self.p_curve, self.r_curve, self.f1_curve, self.px, self.prec_values = np.zeros((5, 0))

    def update(self, results: Sequence[np.ndarray]) -> None:
        """Set p, r, f1, ap, classes, p_curve, r_curve, f1_curve, x and prec_values: `ap_per_class(...)[2:]`."""
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
        """Return the mean of each of FIGURES: precision, recall, mAP50, mAP50-95."""
        return [figure.mean(self) for figure in FIGURES]

    def class_result(self, i: int) -> tuple[float, ...]:
        """Return each of FIGURES for the i-th class that has objects: precision, recall, AP50, AP50-95."""
        return tuple(figure.by_class(self)[i] for figure in FIGURES)

    def fitness(self) -> float:
        """Return the figure that the best weights are chosen by: 0.1 mAP50 + 0.9 mAP50-95."""
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


class Figure(NamedTuple):
    """One figure of a `Metric`: a column in results.csv and in the table of a validation."""

    key: str  # in results.csv, where the letter of the part is appended: metrics/mAP50(B)
    title: str  # in the table
    mean: Callable[[Metric], float]
    by_class: Callable[[Metric], np.ndarray]  # (c,) of the classes that have objects


FIGURES = (
    Figure("metrics/precision", "P", lambda m: m.mp, lambda m: m.p),
    Figure("metrics/recall", "R", lambda m: m.mr, lambda m: m.r),
    Figure("metrics/mAP50", "mAP50", lambda m: m.map50, lambda m: m.ap50),
    Figure("metrics/mAP50-95", "mAP50-95", lambda m: m.map, lambda m: m.ap),
)


def _speed() -> dict[str, float]:
    """Return the milliseconds per image of each stage, initially zero."""
    return {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}


def _of_part(names: Sequence[str], letter: str) -> list[str]:
    """Append the letter of a part, such as boxes, to names: 'F1-Confidence(B)'."""
    return [f"{name}({letter})" for name in names]


AP_KEYS = tuple(figure.key for figure in FIGURES)
AP_CURVES = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")


class DetMetrics:
    """The metrics of a detector: `process` the matches, then read them.

    A task that also evaluates something other than boxes names it in `second`: the attribute, and the prefix of its
    plots.
    """

    task = "detect"
    second: tuple[str, str] | None = None
    keys = _of_part(AP_KEYS, "B")
    curves = _of_part(AP_CURVES, "B")
    confusion_matrix: ConfusionMatrix  # of the validation

    def __init__(
        self,
        save_dir: str | Path = Path("."),
        plot: bool = False,
        on_plot: Callable | None = None,
        names: dict[int, str] | Sequence[str] = (),
    ):
        self.save_dir, self.plot, self.on_plot, self.names = Path(save_dir), plot, on_plot, names
        self.box = Metric()
        self.parts = [self.box]
        self.coco_ap = CocoAP()
        self.speed = _speed()
        if self.second:
            setattr(self, self.second[0], Metric())
            self.parts.append(getattr(self, self.second[0]))

    def __getstate__(self) -> dict:
        """Drop the callback for plots, so that metrics can be sent to another process."""
        return {**self.__dict__, "on_plot": None}

    def process(self, tp: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray) -> None:
        """Compute the metrics; the arguments are those of `ap_per_class`."""
        self._update(self.box, tp, conf, pred_cls, target_cls, "Box" if self.second else "")

    def _update(
        self,
        metric: Metric,
        tp: np.ndarray,
        conf: np.ndarray,
        pred_cls: np.ndarray,
        target_cls: np.ndarray,
        prefix: str,
    ) -> None:
        """Compute one part, whose plots have names that start with `prefix`."""
        results = ap_per_class(
            tp,
            conf,
            pred_cls,
            target_cls,
            plot=self.plot,
            save_dir=self.save_dir,
            names=self.names,
            on_plot=self.on_plot,
            prefix=prefix,
            keep=True,
        )
        metric.nc = max(len(self.names), int(results.unique_classes.max(initial=-1)) + 1)
        metric.update(results[2:])

    def mean_results(self) -> list[float]:
        """Return the mean of each of FIGURES, part by part."""
        return [value for part in self.parts for value in part.mean_results()]

    def class_result(self, i: int) -> tuple[float, ...]:
        """Return each of FIGURES for the i-th class that has objects, part by part."""
        return tuple(value for part in self.parts for value in part.class_result(i))

    @property
    def maps(self) -> np.ndarray:
        """(nc,) average precision of every class, summed over the parts."""
        return np.stack([part.maps for part in self.parts]).sum(0)

    @property
    def fitness(self) -> float:
        """The figure that the best weights are chosen by, summed over the parts."""
        return sum(part.fitness() for part in self.parts)

    @property
    def ap_class_index(self) -> np.ndarray:
        return self.box.ap_class_index

    @property
    def coco(self) -> dict[str, float]:
        """COCO's twelve figures for boxes, as pycocotools gives them (see `CocoAP.results`), computed on access."""
        return self.coco_ap.results()

    @property
    def sizes(self) -> dict[str, float]:
        """COCO's AP of the boxes of small, medium and large objects; NaN where there are none."""
        return self.coco_ap.sizes

    @property
    def results_dict(self) -> dict[str, float]:
        return dict(zip([*self.keys, "fitness"], [*self.mean_results(), self.fitness]))

    @property
    def curves_results(self) -> list[list]:
        return [curve for part in self.parts for curve in part.curves_results]


class SegmentMetrics(DetMetrics):
    """The metrics of a segmenter: of its boxes (`box`) and of its masks (`seg`)."""

    task = "segment"
    second = ("seg", "Mask")
    keys = _of_part(AP_KEYS, "B") + _of_part(AP_KEYS, "M")
    curves = _of_part(AP_CURVES, "B") + _of_part(AP_CURVES, "M")
    seg: Metric

    def process(  # type: ignore[override]  # as in 8.3.0
        self, tp: np.ndarray, tp_m: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray
    ) -> None:
        """Compute the metrics from boxes (`tp`) and masks (`tp_m`, (n, t)) that are right, see `ap_per_class`."""
        super().process(tp, conf, pred_cls, target_cls)
        self._update(self.seg, tp_m, conf, pred_cls, target_cls, self.second[1])


class PoseMetrics(DetMetrics):
    """The metrics of a pose estimator: of its boxes (`box`) and of its keypoints (`pose`)."""

    task = "pose"
    second = ("pose", "Pose")
    keys = _of_part(AP_KEYS, "B") + _of_part(AP_KEYS, "P")
    curves = _of_part(AP_CURVES, "B") + _of_part(AP_CURVES, "P")
    pose: Metric

    def process(  # type: ignore[override]  # as in 8.3.0
        self, tp: np.ndarray, tp_p: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray
    ) -> None:
        """Compute the metrics from boxes (`tp`) and poses (`tp_p`, (n, t)) that are right, see `ap_per_class`."""
        super().process(tp, conf, pred_cls, target_cls)
        self._update(self.pose, tp_p, conf, pred_cls, target_cls, self.second[1])


class OBBMetrics(DetMetrics):
    """The metrics of a detector of rotated boxes."""

    task = "obb"


class ClassifyMetrics:
    """The metrics of a classifier: top-1 and top-5 accuracy."""

    task = "classify"
    keys = ["metrics/accuracy_top1", "metrics/accuracy_top5"]
    curves: list[str] = []
    curves_results: list[list] = []
    confusion_matrix: ConfusionMatrix  # of the validation

    def __init__(self) -> None:
        self.top1 = self.top5 = 0.0
        self.speed = _speed()

    def process(self, targets: Sequence[torch.Tensor], pred: Sequence[torch.Tensor]) -> None:
        """Compute the metrics from batches of true classes [(b,)] and of predictions [(b, up to 5)], best first."""
        right = torch.cat(list(pred)) == torch.cat(list(targets))[:, None]
        if len(right):
            self.top1, self.top5 = right[:, 0].float().mean().item(), right[:, :5].any(1).float().mean().item()

    @property
    def fitness(self) -> float:
        """The figure that the best weights are chosen by: the mean of both."""
        return (self.top1 + self.top5) / 2

    @property
    def results_dict(self) -> dict[str, float]:
        return dict(zip([*self.keys, "fitness"], [self.top1, self.top5, self.fitness]))
