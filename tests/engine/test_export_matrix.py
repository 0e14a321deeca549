"""Every task and family in every format: exported, opened as YOLO(file), predicted; a table of how much each differs.

`pytest -m slow -s tests/engine/test_export_matrix.py` prints the table; it also lies in `matrix.csv` of pytest's folder
for temporary files. `-k "ncnn and seg"` takes a part.
"""

from __future__ import annotations

import csv
import importlib.util

import numpy as np
import pytest
import torch
import zoo
from torch import nn

from fill import image
from ultralytics import YOLO
from ultralytics.cfg import TASKS
from ultralytics.engine.exporter import export
from ultralytics.nn.formats import FORMATS, Format
from ultralytics.utils import ROOT
from ultralytics.utils.files import file_size

pytestmark = pytest.mark.slow
SIDE = 64  # pixels
FAMILIES = (
    "yolo11n",
    "yolo11n-GhostConv",
    "yolo11n-GhostNetV1",
    "yolo11n-GhostNetV2",
    "yolo11n-GhostNetV3",
    "yolo11n-ghost",
)
ENDS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
OTHERS = {  # classifiers of the GhostNets are the networks themselves
    "yolo11n-GhostNetV1-cls": "ghostnetv1-cls",
    "yolo11n-GhostNetV2-cls": "ghostnetv2-cls",
    "yolo11n-GhostNetV3-cls": "ghostnetv3-cls",
}
MODELS = [OTHERS.get(family + end, family + end) for family in FAMILIES for end in ENDS.values()]
IMPOSSIBLE: dict[tuple[str, str], str] = {}  # (format, model): why
HEAD = ("format", "model", "pixels", "scores", "rest", "MB", "note")


def reason(form: Format, model: str) -> str:
    """Return why a format cannot be tried here, or an empty text."""
    missing = [
        p for p in dict.fromkeys((*form.writing, *form.running)) if not importlib.util.find_spec(p.replace("-", "_"))
    ]
    if missing:
        return f"not installed: {' '.join(missing)}"
    if form.name == "engine" and not torch.cuda.is_available():
        return "needs an NVIDIA GPU"
    return IMPOSSIBLE.get((form.name, model), "")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return what takes a row of the table: it goes into the file at once, and the table is printed at the end."""
    rows: list[tuple] = []
    with (tmp_path_factory.getbasetemp() / "matrix.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)

        def add(*row: object) -> None:
            rows.append(row)
            writer.writerow(row)
            file.flush()

        yield add
    rows.sort(key=lambda row: ([*FORMATS].index(row[0]), row[1]))
    widths = [max(len(str(row[i])) for row in [HEAD, *rows]) for i in range(len(HEAD))]
    print(f"\n{file.name}")
    for row in [HEAD, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


@pytest.fixture(scope="module")
def models():
    """The models by name, built once."""
    return {}


def settled(name: str) -> nn.Module:
    """A new model in eval mode whose batch norms know its activations, and whose scores lie around a half."""
    torch.manual_seed(0)
    model = zoo.build(name, nc=3)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # mean over the batches
    with torch.no_grad():
        for seed in range(2):
            model.train().predict(image(8, SIDE, SIDE, seed))
        for branch in getattr(model.model[-1], "cv3", []):
            branch[-1].bias.zero_()
    return model.eval()


def test_all_yamls_of_the_families_are_tried():
    found = {f.stem.replace("yolo11", "yolo11n") for f in (ROOT / "cfg/models/11").glob("*.yaml")}
    assert found <= {*MODELS, *OTHERS}
    assert set(ENDS) == set(TASKS)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_matrix(name, form, models, table, tmp_path):
    why = reason(form, name)
    if why:
        table(form.name, name, "", "", "", "", why)
        pytest.skip(f"{form.title}, {name}: {why}")
    if name not in models:
        models[name] = settled(name)
    try:
        file, parity = export(models[name], form, form.file(tmp_path / name), SIDE)
    except Exception as e:
        table(form.name, name, "", "", "", "", str(e)[:150])
        raise
    pixels = np.ascontiguousarray((image(1, SIDE, SIDE)[0].permute(1, 2, 0) * 255).byte().numpy())
    result = YOLO(str(file)).predict(pixels, imgsz=SIDE, conf=0.01, verbose=False)[0]
    boxes = result.obb if result.obb is not None else result.boxes
    assert len(boxes) if boxes is not None else result.probs.data.sum() == pytest.approx(1, abs=1e-3)
    figures = [f"{value:.1e}" for value in (parity.pixels, parity.scores, parity.rest)]
    table(form.name, name, *figures, f"{file_size(file):.1f}", "")
