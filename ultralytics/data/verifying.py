"""Verification of images and labels with the arguments and results of 8.3.0, for an override of `cache_labels`."""

from __future__ import annotations

import numpy as np

from ultralytics.data import image_files, labels
from ultralytics.utils.errors import DataError

# Rows of boxes or polygons, whose polygons are kept
_BOXES_OR_POLYGONS = labels.Layout("detect", masks=True)

Verified = tuple[
    str | None, np.ndarray | None, tuple[int, int] | None, list[np.ndarray] | None, np.ndarray | None,
    int, int, int, int, str,
]  # fmt: skip


def verify_image(args: tuple[tuple[str, int], str]) -> tuple[tuple[str, int], int, int, str]:
    """Verify one image of a classification set.

    Args:
        args: ((file, class), start of the log line).

    Returns:
        (file, class), 1 if it is sound, 1 if it is not, and what is wrong.
    """
    (file, cls), prefix = args
    try:
        image_files.verify_image(file)
    except (DataError, OSError) as e:
        return (file, cls), 0, 1, _message(prefix, file, e)
    return (file, cls), 1, 0, ""


def verify_image_label(args: tuple[str, str, str, bool, int, int, int]) -> Verified:
    """Verify one image and its label file.

    Args:
        args: image, label file, start of the log line, whether rows hold keypoints, number of classes, number of
            keypoints, and of values each.

    Returns:
        File, rows (n, 5) of class and box xywh, (h, w), polygons (m, 2) if all rows are such, keypoints (n, k, 3) or
        None; 1 if the label file is missing, is there, is empty, or is corrupt (four numbers); and what is wrong. Of a
        corrupt one the first five are None.
    """
    im_file, lb_file, prefix, keypoint, num_cls, nkpt, ndim = args
    layout = labels.layout_of("pose", (nkpt, ndim)) if keypoint else _BOXES_OR_POLYGONS
    entry = labels.verify_image_label(im_file, lb_file, num_cls, layout=layout)
    if entry.fault:
        return None, None, None, None, None, 0, int(entry.found), 0, 1, _message(prefix, im_file, entry.fault)
    polygons = [s for s in entry.segments or () if s is not None]
    polygons = polygons if len(polygons) == len(entry.rows) else []
    if entry.keypoints is not None and ndim == 2:  # which says where points are, not how well they are seen
        entry.keypoints[..., 2] = entry.keypoints[..., 2] > 0
    said = f"{prefix}WARNING ⚠️ {im_file}: {entry.duplicates} duplicate labels removed" if entry.duplicates else ""
    empty = entry.found and not len(entry.rows)
    counts = int(not entry.found), int(entry.found), int(empty), 0
    return im_file, entry.rows, entry.shape, polygons, entry.keypoints, *counts, said


def _message(prefix: str, file: str, fault: object) -> str:
    return f"{prefix}WARNING ⚠️ {file}: ignoring corrupt image/label: {fault}"
