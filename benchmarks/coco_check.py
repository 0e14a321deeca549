"""Hold the AP by object size against pycocotools and faster-coco-eval, on one's own model and data.

`python benchmarks/coco_check.py model=best.pt data=my.yaml split=val imgsz=640` validates, writes the predictions
and the labels as COCO JSON files, has the other packages evaluate these, and prints the figures side by side. Any
setting of `yolo val` can be given. The exit code is 1 if a figure differs by more than 1e-4.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.tasks import TASKS, load
from ultralytics.models.yolo.detect.val import DetectionValidator, image_id
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils.errors import ConfigError, DataError, MissingPackageError
from ultralytics.utils.evaluation.coco_ap import KEYS
from ultralytics.utils.system.console import ERR, guarded, say

# Package: module, and the names of its ground truth and of its evaluation
EVALUATORS = {
    "pycocotools": (("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval")),
    "faster-coco-eval": (("faster_coco_eval", "COCO"), ("faster_coco_eval", "COCOeval_faster")),
}
TOLERANCE = 1e-4


def ground_truth(labels: Sequence[dict], names: dict[int, str]) -> dict[str, Any]:
    """Return the labels of a dataset (see `YOLODataset.labels`) as the content of a COCO `instances` file."""
    images, annotations = [], []
    for label in labels:
        h, w = label["shape"]
        images.append(
            {"id": image_id(label["im_file"]), "file_name": Path(label["im_file"]).name, "height": h, "width": w}
        )
        boxes = np.asarray(label["bboxes"], np.float64)
        ltwh = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]), 1) * (w, h, w, h)
        for box, cls in zip(ltwh.tolist(), label["cls"].reshape(-1).tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # from 1 on: 0 means "none" to pycocotools
                    "image_id": images[-1]["id"],
                    "category_id": int(cls),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": c, "name": name} for c, name in names.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def evaluate(package: str, truth: dict[str, Any], predictions: list[dict]) -> dict[str, float]:
    """Return COCO's twelve figures as a package of EVALUATORS computes them; NaN in the place of its -1.

    Neither `truth` nor `predictions` is changed.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        coco, judge = (getattr(importlib.import_module(module), name) for module, name in EVALUATORS[package])
    except ImportError as e:
        raise MissingPackageError(f"{package} cannot be imported ({e}): pip install {package}") from e
    truth, predictions = numbered(truth, predictions)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco()
        dataset.dataset = truth
        dataset.createIndex()
        run = judge(dataset, dataset.loadRes(predictions), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {key: float("nan") if value == -1 else float(value) for key, value in zip(KEYS, run.stats)}


def numbered(truth: dict[str, Any], predictions: Sequence[dict]) -> tuple[dict[str, Any], list[dict]]:
    """Return copies in which images have numbers, in the order of their names: packages differ in taking other ids."""
    names = sorted({image["id"] for image in truth["images"]}, key=lambda name: (isinstance(name, str), name))
    number = {name: i for i, name in enumerate(names, 1)}
    images = [{**image, "id": number[image["id"]]} for image in truth["images"]]
    annotations = [{**row, "image_id": number[row["image_id"]]} for row in truth["annotations"]]
    rows = [{**row, "image_id": number[row["image_id"]]} for row in predictions]
    return {**truth, "images": images, "annotations": annotations}, rows


def check(settings: dict[str, Any]) -> tuple[dict[str, dict[str, float]], Path]:
    """Validate as settings say; return the figures by package, our own first, and the folder of the JSON files.

    Raises:
        ConfigError: no weight file was named, or its task has no upright boxes.
        DataError: nothing was found in any image.
        MissingPackageError: none of the other packages is installed.
    """
    if not settings.get("model"):
        raise ConfigError("Which model? Name a weight file: model=runs/detect/train/weights/best.pt.")
    task = load_checkpoint(settings["model"])["task"]
    validator = load(TASKS[task].validator)
    if not issubclass(validator, DetectionValidator) or validator.rotated:
        raise ConfigError(f"COCO's box figures are for upright boxes; '{settings['model']}' is a model for '{task}'.")
    judge = validator(args={**settings, "mode": "val", "save_json": True})
    judge(model=settings["model"])
    if not judge.jdict:
        raise DataError(
            f"'{settings['model']}' found nothing with conf={judge.args.conf}, so there is nothing to compare."
        )
    truth = ground_truth(judge.dataloader.dataset.labels, judge.names)
    (judge.save_dir / "instances.json").write_text(json.dumps(truth), encoding="utf-8")
    figures, missing = {"ultralytics": judge.metrics.coco}, []
    for package in EVALUATORS:
        try:
            figures[package] = evaluate(package, truth, judge.jdict)
        except MissingPackageError as e:
            missing.append(str(e))
    if len(figures) == 1:
        raise MissingPackageError(f"There is nothing to compare with: {'; or '.join(missing)}.")
    return figures, judge.save_dir


def difference(figures: dict[str, dict[str, float]], key: str) -> float:
    """Return how far one of the other packages is from our figure, at most; infinite if only one of them is NaN."""
    own, *others = (column[key] for column in figures.values())
    apart = [0.0 if math.isnan(own) and math.isnan(x) else abs(own - x) for x in others]
    return max(math.inf if math.isnan(x) else x for x in apart)


def main(words: Sequence[str]) -> int:
    """Print the table and return the exit code."""
    from ultralytics.cfg import smart_value

    if wrong := next((word for word in words if "=" not in word), None):
        raise ConfigError(f"'{wrong}' has no '='. Write key=value words: model=best.pt data=my.yaml split=val.")
    figures, folder = check({k: smart_value(v) for k, _, v in (word.partition("=") for word in words)})
    say(f"\n{'':<8}" + "".join(f"{name:>18}" for name in figures) + f"{'difference':>14}")
    for key in KEYS:
        say(f"{key:<8}" + "".join(f"{c[key]:>18.6f}" for c in figures.values()) + f"{difference(figures, key):>14.1e}")
    say(f"\nThe files are predictions.json and instances.json in '{folder}'.")
    return int(any(difference(figures, key) > TOLERANCE for key in KEYS))


if __name__ == "__main__":
    from ultralytics.utils.errors import UserError

    with guarded():
        try:
            sys.exit(main(sys.argv[1:]))
        except UserError as e:
            say(e, file=ERR)
            sys.exit(2)
