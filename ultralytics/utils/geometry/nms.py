"""Non-maximum suppression: of boxes around the same object, keep the highest-scoring one.

It runs on torchvision or, if that is missing or does not fit the installed torch, on OpenCV.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.geometry.overlap import batch_probiou

Suppress = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def _opencv_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_thres: float) -> torch.Tensor:
    """Suppress with OpenCV: boxes (n, 4) xyxy, any device, sorted by falling scores; returns kept indices.

    OpenCV merges two boxes without area, while torchvision keeps both. They overlap nothing, so they are set aside.
    """
    import cv2

    xyxy = boxes.detach().cpu().double().numpy()
    ltwh = np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), 1)
    keep = np.logical_not((ltwh[:, 2:] > 0).all(1))
    # The position in the order serves as score: no ties, and nothing below the score threshold
    rows = np.flatnonzero(~keep)
    places = np.arange(len(rows), 0, -1, dtype=np.float32)
    kept = cv2.dnn.NMSBoxes(ltwh[rows], places, 0.0, iou_thres)  # type: ignore[arg-type]  # arrays are fine
    keep[rows[np.asarray(kept, dtype=np.int64).reshape(-1)]] = True
    return torch.from_numpy(keep.nonzero()[0]).to(boxes.device)


@functools.cache
def suppressor(device: str) -> Suppress:
    """Return the function that suppresses on a type of device, which is tried once on one box."""
    try:
        from torchvision.ops import nms as torchvision_nms

        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device)
        torchvision_nms(box, box[:, 0], 0.5)
        return torchvision_nms
    except (ImportError, RuntimeError, AttributeError, OSError) as e:  # a torchvision for another torch raises any
        missing = isinstance(e, ModuleNotFoundError)
        reason = "is not installed" if missing else f"does not work ({' '.join(str(e).split())[:90]})"
        LOGGER.warning(
            f"NMS: torchvision {reason}, so OpenCV suppresses overlapping boxes instead. Results are the same."
        )
        return _opencv_nms


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_thres: float, limit: int | None = None) -> torch.Tensor:
    """Return the indices of the boxes to keep, by falling score: none overlaps a kept one before it above `iou_thres`.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,); equal ones keep their order.
        iou_thres: a box is dropped if its IoU with a kept one is greater than this.
        limit: maximum number of kept boxes.
    """
    order = scores.argsort(descending=True, stable=True)
    suppress = suppressor(boxes.device.type)
    # Which of the n highest-scoring boxes stay does not depend on the others: a limit saves most of the quadratic work
    size = len(order) if limit is None else max(4 * limit, 512)
    while True:
        top = order[:size]
        keep = top[suppress(boxes[top], scores[top].to(boxes.dtype), iou_thres)]  # torchvision wants one dtype
        if limit is None or size >= len(order) or len(keep) >= limit:
            return keep[:limit]
        size *= 4


def nms_rotated(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float = 0.45, limit: int | None = None, block: int = 256
) -> torch.Tensor:
    """Return the indices of the rotated boxes to keep, by falling score: none overlaps a higher-scoring one.

    A dropped box still suppresses those after it (Fast NMS: Bolya et al., YOLACT, arXiv 1904.02689, section 3.3), so
    each block of boxes is processed by itself, and with a `limit` the blocks after the last kept box are skipped.

    Args:
        boxes: (n, 5) xywhr.
        scores: (n,); equal ones keep their order.
        threshold: a box is dropped if its probabilistic IoU with a higher-scoring one reaches this.
        limit: maximum number of kept boxes.
        block: number of boxes compared with all before them at once.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, kept = boxes[order], []
    for start in range(0, len(boxes), block):
        mine = boxes[start : start + block]
        iou = batch_probiou(boxes[: start + len(mine)], mine).triu_(diagonal=1 - start)  # with higher-scoring ones
        kept.append((iou.amax(0) < max(threshold, 1e-6)).nonzero()[:, 0] + start)
        if limit is not None and sum(map(len, kept)) >= limit:
            break
    return order[torch.cat(kept)[:limit]] if kept else order


def _candidates(x: torch.Tensor, nc: int, conf_thres: float, multi_label: bool, rotated: bool) -> torch.Tensor:
    """Turn predictions (n, 4 + nc + extra), xywh, into rows (m, 6 + extra): box, confidence, class, extra.

    The boxes become xyxy; rotated ones, whose angle is the last extra column, stay xywh.
    """
    boxes, scores, extra = x.split((4, nc, x.shape[1] - 4 - nc), 1)
    if multi_label:
        row, cls = (scores > conf_thres).nonzero(as_tuple=True)
        conf = scores[row, cls]
    else:
        conf, cls = scores.max(1)
        row = (conf > conf_thres).nonzero()[:, 0]
        conf, cls = conf[row], cls[row]
    boxes = boxes[row] if rotated else xywh2xyxy(boxes[row])
    return torch.cat((boxes, conf[:, None], cls[:, None].to(x.dtype), extra[row]), 1)


def _label_rows(label: torch.Tensor, width: int, like: torch.Tensor) -> torch.Tensor:
    """Turn known labels (n, 5) class, xywh into predictions (n, width) of full confidence."""
    rows = like.new_zeros((len(label), width))
    rows[:, :4] = label[:, 1:5]
    rows[torch.arange(len(label)), label[:, 0].long() + 4] = 1.0
    return rows


def _of_classes(rows: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """Keep the rows of the wanted classes."""
    return rows if classes is None else rows[torch.isin(rows[:, 5], classes)]


def _top(rows: torch.Tensor, limit: int) -> torch.Tensor:
    """Keep the `limit` rows of highest confidence; fewer rows stay as they are."""
    return rows if len(rows) <= limit else rows[rows[:, 4].argsort(descending=True, stable=True)[:limit]]


def non_max_suppression(
    prediction: torch.Tensor | Sequence[torch.Tensor],
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    labels: Sequence[torch.Tensor] = (),
    max_det: int = 300,
    nc: int = 0,
    max_time_img: float = 0.05,
    max_nms: int = 30000,
    max_wh: int = 7680,
    in_place: bool = True,
    rotated: bool = False,
    end2end: bool = False,
) -> list[torch.Tensor]:
    """Turn a detection head's output into final boxes, image by image.

    Args:
        prediction: (b, 4 + nc + extra, anchors), xywh in pixels and class scores 0..1; of a tuple, the first. Rows of
            a model that needs no suppression, (b, n, 6) or `end2end`, are only filtered.
        conf_thres: minimum confidence, 0..1.
        iou_thres: maximum IoU of two kept boxes, 0..1.
        classes: the wanted classes; None: all.
        agnostic: boxes of different classes suppress each other too.
        multi_label: one anchor may give a box for each class above the threshold.
        labels: for each image, known boxes (n, 5) class, xywh in pixels, added with confidence 1 (autolabelling).
        max_det: maximum number of boxes kept for an image.
        nc: number of classes, if the prediction has extra columns (masks, keypoints) after them.
        max_time_img: seconds for an image; a batch that takes longer (plus 2 s) is reported.
        max_nms: maximum number of boxes that enter suppression, the highest-scoring first.
        max_wh: larger than any image side: the distance by which classes are separated.
        in_place: without effect; the prediction always stays as it is.
        rotated: the boxes are rotated, by the angle in the last column, in radians.
        end2end: the model has suppressed already: (b, n, 6 + extra).

    Returns:
        for each image a tensor (n, 6 + extra): x1, y1, x2, y2 (rotated: x, y, w, h), confidence, class, extra (its last
        column the angle, if rotated); by falling confidence.
    """
    for name, value in (("conf_thres", conf_thres), ("iou_thres", iou_thres)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}={value} is out of bounds: give a number from 0.0 to 1.0.")
    first = prediction if isinstance(prediction, torch.Tensor) else prediction[0]
    # Class offsets do not fit half precision
    prediction = first.detach().to(torch.promote_types(first.dtype, torch.float32))
    wanted = None if classes is None else torch.as_tensor(classes, device=prediction.device, dtype=prediction.dtype)
    if end2end or (prediction.shape[-1] == 6 and not rotated):  # x1, y1, x2, y2, confidence, class: nothing to suppress
        return [_of_classes(rows[rows[:, 4] > conf_thres], wanted)[:max_det] for rows in prediction]

    if not rotated:
        suppressor(prediction.device.type)  # its import does not count in the time below
    if prediction.is_cuda:
        torch.cuda.synchronize(prediction.device)  # nor does the model's work
    start, entered = time.perf_counter(), 0
    nc = nc or prediction.shape[1] - 4 - rotated
    likely = prediction[:, 4 : 4 + nc].amax(1) > conf_thres
    output = []
    for i, (columns, mask) in enumerate(zip(prediction, likely)):
        x = columns[:, mask].T
        if len(labels) and len(labels[i]) and not rotated:
            x = torch.cat((x, _label_rows(labels[i], x.shape[1], x)))
        rows = _top(_of_classes(_candidates(x, nc, conf_thres, multi_label and nc > 1, rotated), wanted), max_nms)
        entered += len(rows)
        # Boxes moved apart by class do not overlap; in double precision they keep their IoU even there
        offset = 0 if agnostic else rows[:, 5:6].double() * max_wh
        if rotated:
            boxes = torch.cat((rows[:, :2] + offset, rows[:, 2:4], rows[:, -1:]), 1)
            keep = nms_rotated(boxes, rows[:, 4], iou_thres, max_det)
        else:
            keep = nms(rows[:, :4].double() + offset, rows[:, 4], iou_thres, max_det)
        output.append(rows[keep])
    elapsed, many = time.perf_counter() - start, entered > 1000 * len(output)  # with fewer, the machine is busy
    if many and elapsed > 2.0 + max_time_img * len(output):
        images = f"{len(output)} image{'s' * (len(output) != 1)}"
        LOGGER.warning(
            f"NMS took {elapsed:.1f} s for {entered} boxes in {images}. A higher conf= leaves it fewer boxes."
        )
    return output
