"""Prediction of boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ultralytics.data.loaders import Images
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.nn.autobackend import Output
from ultralytics.utils.geometry.nms import non_max_suppression, suppressor
from ultralytics.utils.ops import scale_boxes


def to_images(batch: torch.Tensor) -> list[np.ndarray]:
    """Return a batch (b, 3, h, w) RGB in 0..1 as (h, w, 3) uint8 BGR images."""
    bgr = (batch.detach().float() * 255).clamp_(0, 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).cpu()
    return [np.ascontiguousarray(x) for x in bgr.numpy()]


class DetectionPredictor(BasePredictor):
    """Predicts boxes: `DetectionPredictor(overrides={"model": "best.pt"})(source)` returns a list of Results."""

    task = "detect"
    rotated = False  # whether the model's last output is the angle of its boxes

    def warm_up(self) -> None:
        super().warm_up()
        if not self.rotated:
            suppressor(self.device.type)

    def make_results(self, preds: Output, img: torch.Tensor, orig_imgs: Images, paths: Sequence[str]) -> list[Results]:
        """Suppress overlapping boxes and map the rest onto the original images."""
        rows = non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            classes=[self.args.classes] if isinstance(self.args.classes, int) else self.args.classes,
            agnostic=self.args.agnostic_nms,
            max_det=self.args.max_det,
            nc=len(self.model.names),
            rotated=self.rotated,
            end2end=self.model.end2end,
        )
        images = to_images(orig_imgs) if isinstance(orig_imgs, torch.Tensor) else orig_imgs
        height, width = img.shape[2:]
        more = self.by_image(preds, len(rows))
        return [
            self.construct_result(pred, image, path, (height, width), *own)
            for pred, image, path, *own in zip(rows, images, paths, *more)
        ]

    def by_image(self, preds: Output, n: int) -> Sequence[Iterable[torch.Tensor]]:
        """Return the parts of the output besides boxes, each to be iterated by image, of the n images."""
        return ()

    def construct_result(
        self, pred: torch.Tensor, orig_img: np.ndarray, path: str, shape: tuple[int, int], *more: torch.Tensor
    ) -> Results:
        """Return the Results of one image.

        Args:
            pred: (n, 6 or more) boxes on the model's input, confidence, class and what the task adds.
            orig_img: the image.
            path: of the image.
            shape: (h, w) of the model's input.
            more: of the image, from `by_image`.
        """
        height, width = orig_img.shape[:2]
        parts = self.parts(pred, (height, width), shape, *more)
        with torch.inference_mode(False):  # copies that the user may change
            own = {name: None if part is None else part.clone() for name, part in parts.items()}
            return Results(orig_img, path=path, names=self.model.names, speed=None, **own)

    def parts(
        self, pred: torch.Tensor, size: tuple[int, int], shape: tuple[int, int], *more: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        """Return the predictions as `Results` takes them, in pixels of the image of `size` (h, w)."""
        return {"boxes": scale_boxes(shape, pred[:, :6], size)}
