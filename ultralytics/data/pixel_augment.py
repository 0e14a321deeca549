"""Blur, grey and contrast by the library Albumentations, where it is installed, as in 8.3.0."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from ultralytics.data.instances import Sample, flat
from ultralytics.data.transform import generator, ours
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.system.telemetry import quiet_import


@ours
class Albumentations:
    """Apply transforms of the library Albumentations with probability p; without the library do nothing.

    By default these are the ones of 8.3.0, each at 1 %: blur, median blur, grey, and local contrast (CLAHE). Their
    random numbers follow from the sample's, which stay as they are: a training with the library differs from one
    without in the pixels of those images alone, and is repeated by its seed.

    Args:
        p: probability of applying them.
        transforms: instances of the library's classes, in place of the default.

    Attributes:
        transform: the library's composition, or None.
        contains_spatial: it moves boxes; polygons and keypoints do not follow.
    """

    def __init__(self, p: float = 1.0, transforms: Sequence[Callable] | None = None):
        self.p = p
        self.contains_spatial = False
        self.transform: Callable[..., dict] | None = None
        library = _library()
        if library is None:
            return
        chosen = list(transforms or _default(library))
        self.contains_spatial = any(isinstance(t, library.DualTransform) for t in chosen)
        boxes = {"bbox_params": library.BboxParams(format="yolo", label_fields=["class_labels"])}
        self.transform = library.Compose(chosen, **(boxes if self.contains_spatial else {}))
        shown = ", ".join(str(t).replace("always_apply=False, ", "") for t in chosen if getattr(t, "p", 1))
        LOGGER.info(colorstr("albumentations: ") + shown)

    def __call__(self, labels: Sample) -> Sample:
        if self.transform is None:
            return labels
        own = generator(labels).bit_generator.state["state"]["state"]  # read, so that it goes on as without the library
        rng = np.random.default_rng(own)
        if rng.random() >= self.p:
            return labels
        if hasattr(self.transform, "set_random_state"):  # 2.0 and later
            self.transform.set_random_state(rng, random.Random(own))
        elif hasattr(self.transform, "set_random_seed"):  # older ones draw from `random`, as any transform may
            self.transform.set_random_seed(own % 2**31)
        img = np.array(labels["img"])  # which the library may write on
        if not self.contains_spatial:
            labels["img"] = self.transform(image=img)["image"]
            return labels
        return self._move(flat(labels), img)

    def _move(self, labels: Sample, img: np.ndarray) -> Sample:
        """Apply the transforms to image and boxes, unless that would leave no box of those there are."""
        assert self.transform is not None
        h, w = img.shape[:2]
        xyxy = labels["bboxes"].clip(0, np.tile((w, h), 2))
        boxes = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1) / (w, h, w, h)
        new = self.transform(image=img, bboxes=boxes, class_labels=labels["cls"])
        if len(boxes) and not len(new["class_labels"]):
            return labels
        h, w = new["image"].shape[:2]
        xywh = np.asarray(new["bboxes"], np.float64).reshape(-1, 4) * (w, h, w, h)
        corners = np.concatenate([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)
        cls = np.asarray(new["class_labels"], np.float32).reshape(-1, 1)
        return labels | {"img": new["image"], "bboxes": corners.astype(np.float32), "cls": cls}


def _library() -> ModuleType | None:
    """Import Albumentations, if it is installed."""
    if find_spec("albumentations") is None:
        return None
    try:
        return quiet_import("albumentations")
    except ImportError as e:  # it does not fit another package
        LOGGER.warning(f"WARNING ⚠️ Albumentations is installed but cannot be imported, and is left out: {e}")
        return None


def _default(library: ModuleType) -> list[Callable]:
    """Return the transforms of 8.3.0 that are ever applied."""
    return [getattr(library, name)(p=0.01) for name in ("Blur", "MedianBlur", "ToGray", "CLAHE")]
