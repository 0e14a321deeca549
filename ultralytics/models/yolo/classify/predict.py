"""Prediction of the classes of whole images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch

from ultralytics.data.augment import classify_transforms
from ultralytics.data.loaders import Images
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import to_images
from ultralytics.nn.autobackend import Output


class ClassificationPredictor(BasePredictor):
    """Predicts classes: `ClassificationPredictor(overrides={"model": "best.pt"})(source)` returns Results with `probs`.

    Images are not letterboxed: the shorter side is scaled to the model's input and the middle is cut out.
    """

    task = "classify"

    def preprocess(self, im: Images) -> torch.Tensor:
        """Turn BGR images (h, w, 3) uint8 into a batch (b, 3, h, w) RGB; a tensor is such a batch already."""
        if isinstance(im, torch.Tensor):
            return super().preprocess(im)
        height, width = self.imgsz
        transforms = classify_transforms((height, width), crop_fraction=self.args.crop_fraction)
        batch = torch.stack([transforms(cv2.cvtColor(x, cv2.COLOR_BGR2RGB)) for x in im])
        return batch.to(self.device, torch.float16 if self.model.fp16 else torch.float32)

    def make_results(self, preds: Output, img: torch.Tensor, orig_imgs: Images, paths: Sequence[str]) -> list[Results]:
        """Return the class probabilities of each image."""
        images = to_images(orig_imgs) if isinstance(orig_imgs, torch.Tensor) else orig_imgs
        with torch.inference_mode(False):  # copies that the user may change
            return [
                Results(image, path=path, names=self.model.names, probs=probs.clone())
                for image, path, probs in zip(images, paths, preds)
            ]
