"""Instance masks: from prototypes and coefficients to pixels, scaled to other images, and traced as polygons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.utils.errors import ConfigError


def _in_boxes(boxes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Mark which pixels of `shape` (h, w) lie in each of the boxes (n, 4) xyxy: (n, h, w), bool."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # (n, 1) each
    y, x = (torch.arange(side, device=boxes.device, dtype=boxes.dtype)[None] for side in shape[:2])
    columns, rows = (x >= x1) & (x < x2), (y >= y1) & (y < y2)
    return rows[:, :, None] & columns[:, None, :]


def crop_mask(masks: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Set masks (n, h, w) to zero outside their boxes (n, 4) xyxy, in pixels of the masks."""
    return masks * _in_boxes(boxes, masks.shape[1:])


def _combine(protos: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Compute the logits (n, h, w) of masks: prototypes (k, h, w) weighted by coefficients (n, k).

    Bolya et al., YOLACT: Real-time Instance Segmentation, arXiv 1904.02689, section 3.3.
    """
    k, h, w = protos.shape
    return (coefficients.float() @ protos.float().reshape(k, h * w)).view(-1, h, w)


def _resize(masks: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Resize (n, h, w) to `shape` (h, w)."""
    if not len(masks):
        return masks.new_zeros((0, *shape[:2]))
    return F.interpolate(masks[None], tuple(shape[:2]), mode="bilinear", align_corners=False)[0]


def process_mask(
    protos: torch.Tensor,
    masks_in: torch.Tensor,
    bboxes: torch.Tensor,
    shape: Sequence[int],
    upsample: bool = False,
) -> torch.Tensor:
    """Make masks cropped to their boxes, at the resolution of the prototypes.

    Args:
        protos: (k, mask h, mask w).
        masks_in: (n, k) coefficients.
        bboxes: (n, 4) xyxy in pixels of the model's input.
        shape: (h, w) of the model's input.
        upsample: enlarge the masks to `shape`.

    Returns:
        (n, mask h, mask w), or (n, h, w) if enlarged: 0.0 or 1.0.
    """
    h, w = protos.shape[1:]
    ratio = bboxes.new_tensor((w / shape[1], h / shape[0], w / shape[1], h / shape[0]))
    masks = crop_mask(_combine(protos, masks_in), bboxes * ratio)
    return (_resize(masks, shape) if upsample else masks).gt(0.0).float()


def _enlarged(
    protos: torch.Tensor, masks_in: torch.Tensor, bboxes: torch.Tensor, shape: Sequence[int], enlarge: Callable
) -> torch.Tensor:
    """Make masks, enlarge them to `shape` (h, w), then crop them: (n, h, w), 0.0 or 1.0.

    In chunks: at full size, hundreds of masks are gigabytes.
    """
    masks = protos.new_empty((len(masks_in), *shape[:2]), dtype=torch.float32)
    for some in range(0, len(masks_in), 16):
        part = slice(some, some + 16)
        logits = enlarge(_combine(protos, masks_in[part]))
        masks[part] = logits.gt_(0.0).mul_(_in_boxes(bboxes[part], shape))
    return masks


def process_mask_upsample(
    protos: torch.Tensor, masks_in: torch.Tensor, bboxes: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    """Make masks like `process_mask`, enlarged to `shape` before they are cropped: sharper at the boxes, and slower."""
    return _enlarged(protos, masks_in, bboxes, shape, lambda logits: _resize(logits, shape))


def process_mask_native(
    protos: torch.Tensor, masks_in: torch.Tensor, bboxes: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    """Make masks in pixels of the original image: `shape` (h, w) is its size, `bboxes` (n, 4) lie on it."""
    return _enlarged(protos, masks_in, bboxes, shape, lambda logits: scale_masks(logits[None], shape)[0])


def _inside(mask_shape: Sequence[int], shape: Sequence[int], padding: bool = True) -> tuple[slice, slice]:
    """Return the rows and columns that a letterboxed image of `shape` (h, w) occupies in a mask."""
    h, w = mask_shape
    gain = min(h / shape[0], w / shape[1])
    left, top = (w - shape[1] * gain, h - shape[0] * gain)
    if padding:
        left, top = left / 2, top / 2
        return slice(int(top), int(h - top)), slice(int(left), int(w - left))
    return slice(0, int(h - top)), slice(0, int(w - left))


def scale_masks(masks: torch.Tensor, shape: Sequence[int], padding: bool = True) -> torch.Tensor:
    """Remove the letterbox's padding from masks (n, c, h, w) and resize them to an image of `shape` (h, w).

    `padding`: the padding is on both sides; else only on the right and at the bottom.
    """
    rows, columns = _inside(masks.shape[2:], shape, padding)
    if not masks.numel():
        return masks.new_zeros((*masks.shape[:2], *shape[:2]))
    return F.interpolate(masks[..., rows, columns], tuple(shape[:2]), mode="bilinear", align_corners=False)


def scale_image(masks: np.ndarray, im0_shape: Sequence[int], ratio_pad: tuple | None = None) -> np.ndarray:
    """Remove the letterbox's padding from (h, w) or (h, w, n) and resize it to an image of `im0_shape` (h, w).

    `ratio_pad` ((gain, gain), (left, top)) if known; else it follows from the shapes. The depth is kept.
    """
    if tuple(masks.shape[:2]) == tuple(im0_shape[:2]):
        return masks
    h, w = masks.shape[:2]
    rows, columns = _inside((h, w), im0_shape)
    if ratio_pad is not None:
        left, top = ratio_pad[1]
        rows, columns = slice(int(top), int(h - top)), slice(int(left), int(w - left))
    size = (im0_shape[1], im0_shape[0])
    inside = masks[rows, columns]
    if masks.ndim == 2:
        return cv2.resize(inside, size)
    layers = [cv2.resize(np.ascontiguousarray(inside[..., i]), size) for i in range(masks.shape[2])]
    return np.stack(layers, -1) if layers else np.zeros((*im0_shape[:2], 0), masks.dtype)


def masks2segments(masks: torch.Tensor | np.ndarray, strategy: str = "largest") -> list[np.ndarray]:
    """Trace masks (n, h, w) of zeros and ones as one outline (points, 2) x, y each; without pixels it is (0, 2).

    Args:
        strategy: "largest": the outline of the largest piece; "concat": those of all pieces concatenated.
    """
    if strategy not in ("largest", "concat"):
        raise ConfigError(f"strategy='{strategy}' was given, but it can be 'largest' or 'concat'.")
    array = masks.detach().cpu().numpy() if isinstance(masks, torch.Tensor) else np.asarray(masks)
    segments = []
    for mask in array.astype(np.uint8):
        pieces = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        if strategy == "largest" and pieces:
            pieces = [max(pieces, key=lambda piece: (cv2.contourArea(piece), len(piece)))]
        points = [np.reshape(piece, (-1, 2)) for piece in pieces]
        segments.append(np.concatenate(points or [np.zeros((0, 2))]).astype(np.float32))
    return segments


def mask2rle(mask: np.ndarray) -> dict:
    """Encode a mask (h, w) of zeros and ones as COCO's compressed run lengths: {"size": [h, w], "counts": text}.

    The lengths of alternating runs of zeros and ones, column by column; from the fourth on the difference to the last
    but one, in groups of five bits, lowest first, whose bit 5 says that more follow; 48 is added to make characters.
    """
    pixels = np.asarray(mask, bool).T.ravel()
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate(([0], ends, [len(pixels)]))).tolist()
    runs = [0, *runs] if len(pixels) and pixels[0] else runs
    text = []
    for i, run in enumerate(runs):
        left, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            group, left = left & 31, left >> 5
            more = left != (-1 if group & 16 else 0)
            text.append(chr(group + 32 * more + 48))
    return {"size": [*mask.shape], "counts": "".join(text)}


def convert_torch2numpy_batch(batch: torch.Tensor) -> np.ndarray:
    """Turn images (b, 3, h, w), floats in 0..1, into (b, h, w, 3) uint8; the order of the channels stays."""
    return (batch.detach().permute(0, 2, 3, 1).float() * 255).clamp(0, 255).to(torch.uint8).contiguous().cpu().numpy()
