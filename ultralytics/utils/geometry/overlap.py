"""Overlap of boxes, rotated boxes, masks and keypoints: IoU and its variants."""

from __future__ import annotations

import math

import numpy as np
import torch

# COCO's standard deviations of keypoints (nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles)
OKS_SIGMA = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float32) / 1000


def bbox_ioa(box1: np.ndarray, box2: np.ndarray, iou: bool = False, eps: float = 1e-7) -> np.ndarray:
    """Return the fraction of each `box2` (m, 4) that each `box1` (n, 4) covers, xyxy: (n, m); with `iou`, their IoU."""
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
    """Return the top left and bottom right corners (..., 2) each."""
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
    """Return the IoU (..., 1) of box pairs, shapes broadcast, or a variant with a gradient for distant boxes.

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
    """Return COCO's object keypoint similarity of each of `kpt1` (n, k, 3) with each of `kpt2` (m, k, 3): (n, m).

    Args:
        kpt1: true keypoints x, y, visibility; those of visibility 0 do not count.
        kpt2: predicted keypoints.
        area: (n,) area of the true objects, pixels.
        sigma: (k,) standard deviation of each keypoint, in units of the object's size.
    """
    deviation = torch.as_tensor(np.asarray(sigma), device=kpt1.device, dtype=kpt1.dtype)
    d2 = (kpt1[:, None, :, :2] - kpt2[None, :, :, :2]).square().sum(-1)
    visible = (kpt1[..., 2] != 0)[:, None]
    e = d2 / ((2 * deviation).square() * (area[:, None, None] + eps) * 2)
    return ((-e).exp() * visible).sum(-1) / (visible.sum(-1) + eps)


def _covariance(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return var(x), var(y), cov(x, y), each (..., 1), of the Gaussians that represent rotated boxes xywhr."""
    a, b = boxes[..., 2:3].square() / 12, boxes[..., 3:4].square() / 12
    cos, sin = boxes[..., 4:5].cos(), boxes[..., 4:5].sin()
    return a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * cos * sin


def probiou(obb1: torch.Tensor, obb2: torch.Tensor, CIoU: bool = False, eps: float = 1e-7) -> torch.Tensor:
    """Return the probabilistic IoU (..., 1) of pairs of rotated boxes (..., 5) xywhr, r in radians, shapes broadcast.

    One minus the Hellinger distance of the boxes' Gaussians: Llerena et al., Gaussian Bounding Boxes and Probabilistic
    Intersection-over-Union for Object Detection, arXiv 2106.06072. `CIoU` subtracts the aspect term of CIoU.
    """
    dx, dy = (obb1[..., i : i + 1] - obb2[..., i : i + 1] for i in (0, 1))
    a1, b1, c1 = _covariance(obb1)
    a2, b2, c2 = _covariance(obb2)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    det = a * b - c.square()
    areas = obb1[..., 2:3] * obb1[..., 3:4] * obb2[..., 2:3] * obb2[..., 3:4]
    mahalanobis = (a * dy.square() + b * dx.square()) / (det + eps) / 4 - c * dx * dy / (det + eps) / 2
    # The root of both determinants' product, without their cancellation and the root's slope at 0 for thin boxes
    spread = (det / (4 * areas.abs() / 144 + eps) + eps).log() / 2
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
