"""A dataset with augmentations of its own, written for 8.3.0 and run on either package: the same batch.

`python tests/data/custom_dataset.py` prints the figures of `tests/reference/custom_dataset.json` with whatever
`ultralytics` is installed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from ultralytics.cfg import get_cfg
from ultralytics.data import YOLODataset, build_dataloader
from ultralytics.data.augment import Compose, Format, LetterBox, RandomFlip
from ultralytics.utils.ops import xywhr2xyxyxyxy

FLIP_IDX = [1, 0, 2]
DATA = {"names": {0: "a", 1: "b"}, "kpt_shape": [3, 3], "flip_idx": FLIP_IDX, "nc": 2}


class Shift:
    """Shift an image by pixels to the right and below, and drop what leaves it."""

    def __call__(self, labels):
        img, instances = labels["img"], labels.pop("instances")
        h, w = img.shape[:2]
        instances.convert_bbox(format="xyxy")
        instances.denormalize(w, h)
        instances.add_padding(6, 10)
        instances.clip(w, h)
        moved = np.full_like(img, 114)
        moved[10:, 6:] = img[:-10, :-6]
        keep = instances.bbox_areas > 150
        labels["img"], labels["cls"], labels["instances"] = moved, labels["cls"][keep], instances[keep]
        return labels


class Mirror:
    """Mirror upside down, by the methods of the instances."""

    def __call__(self, labels):
        h, w = labels["img"].shape[:2]
        labels["img"] = np.ascontiguousarray(labels["img"][::-1])
        labels["instances"].normalize(w, h)
        labels["instances"].flipud(1)
        labels["instances"].convert_bbox("ltwh")
        labels["instances"].scale(0.5, 1.0)
        labels["img"] = cv2.resize(labels["img"], (w // 2, h), interpolation=cv2.INTER_LINEAR)
        labels["instances"].scale(2.0, 1.0)
        labels["instances"].convert_bbox("xywh")
        labels["resized_shape"] = labels["img"].shape[:2]
        return labels


class Mine(YOLODataset):
    """Makes class 1 of class 0 in its labels, and has a pipeline of its own."""

    def update_labels_info(self, label):
        label["cls"] = 1 - label["cls"]
        return super().update_labels_info(label)

    def build_transforms(self, hyp=None):
        return Compose([
            Shift(),
            RandomFlip(p=1.0, direction="horizontal", flip_idx=FLIP_IDX),
            Mirror(),
            LetterBox(new_shape=(self.imgsz, self.imgsz)),
            Format(
                bbox_format="xywh",
                normalize=True,
                return_mask=self.use_segments,
                return_keypoint=self.use_keypoints,
                return_obb=self.use_obb,
                batch_idx=True,
                mask_ratio=hyp.mask_ratio,
                mask_overlap=hyp.overlap_mask,
            ),
        ])  # fmt: skip


def write_set(root: Path, task: str) -> str:
    """Write four images of two objects each with the labels of a task; return the folder of images."""
    rng = np.random.default_rng(3)
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for i in range(4):
        image = rng.integers(0, 255, (64 - 32 * (i % 2), 64, 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{i}.png"), image)
        rows = []
        for j in range(2):
            x, y, w, h = 0.1 + 0.45 * j, 0.15 + 0.05 * i, 0.3, 0.4
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            points = [x + 0.1, y + 0.1, 2, x + 0.2, y + 0.1, 1, x + 0.15, y + 0.3, 2]
            box = [x + w / 2, y + h / 2, w, h]
            values = {"detect": box, "segment": corners, "obb": corners, "pose": box + points}[task]
            rows.append(" ".join(map(str, [(i + j) % 2, *(round(v, 6) for v in values)])))
        (root / "labels" / f"{i}.txt").write_text("\n".join(rows))
    return str(root / "images")


def figures(task: str) -> dict:
    """Return what a batch holds: the image's hash, and the numbers of the objects."""
    with tempfile.TemporaryDirectory() as folder:
        hyp = get_cfg(overrides={"imgsz": 64})
        images = write_set(Path(folder) / "set", task)
        dataset = Mine(img_path=images, imgsz=64, augment=True, hyp=hyp, data=DATA, task=task, batch_size=4)
        batch = next(iter(build_dataloader(dataset, 4, 0, shuffle=False)))
    found = {"img": zlib.crc32(batch["img"].contiguous().numpy().tobytes()), "shape": list(batch["img"].shape)}
    if batch["bboxes"].shape[1] == 5:  # one rectangle can be told in two ways, but has the same corners
        corners = xywhr2xyxyxyxy(batch["bboxes"]).reshape(-1, 8)
        batch["bboxes"] = corners.reshape(-1, 4, 2).sort(1)[0].reshape(-1, 8)  # x and y by themselves
    for key in ("cls", "bboxes", "batch_idx", "keypoints"):
        if key in batch:
            found[key] = np.round(batch[key].float().numpy(), 5).tolist()
    if "masks" in batch:
        found["masks"] = [[int((mask == i).sum()) for i in range(3)] for mask in batch["masks"]]
    return found


if __name__ == "__main__":
    print(json.dumps({task: figures(task) for task in ("detect", "segment", "pose", "obb")}, indent=None))
    sys.exit()
