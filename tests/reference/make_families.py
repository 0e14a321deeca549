"""Make the figures of the YOLO families and of their modules, by 8.3.0 itself.

In an environment with ultralytics 8.3.0, from this repository's root:

    PYTHONPATH=tests:tests/nn python tests/reference/make_families.py

It writes families.json, families_forward.npz and modules.npz; README.md says what is in them.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from family_names import NAMES, SMALLEST
from module_cases import CASES, MODES, entries, flat, inputs, samples
from torch import nn

import ultralytics
from fill import fill, image
from ultralytics.nn import modules, tasks
from ultralytics.nn.modules import block
from ultralytics.utils.torch_utils import get_flops, get_num_params

HERE = Path(__file__).parent
CLASSES = {"seg": tasks.SegmentationModel, "pose": tasks.PoseModel, "cls": tasks.ClassificationModel}


def crc(value: object) -> int:
    return zlib.crc32(json.dumps(value).encode())


def build(name: str) -> tasks.BaseModel:
    modules.Conv.default_act = nn.SiLU()  # the activation of a YAML stays for the models after it
    kind = next((cls for suffix, cls in CLASSES.items() if f"-{suffix}" in name), tasks.DetectionModel)
    return kind(f"{name}.yaml", verbose=False)


def size(model: tasks.BaseModel, prefix: str = "") -> dict[str, int | float]:
    """Return the figures that fusing changes."""
    return {
        f"{prefix}params": get_num_params(model),
        f"{prefix}layers": len([*model.modules()]),
        f"{prefix}gflops_640": round(get_flops(model, 640), 3),
        f"{prefix}state_dict_crc32": crc(entries(model)),
    }


def figures(name: str) -> dict:
    model = build(name)
    table = [[m.i, m.f, m.type.split(".")[-1], get_num_params(m)] for m in model.model]
    found = {"table_crc32": crc(table), "save": model.save, "stride": model.stride.tolist(), **size(model)}
    return found | size(model.fuse(verbose=False), "fused_")


def outputs(name: str) -> dict[str, np.ndarray]:
    found = {}
    for mode in MODES:
        model = fill(build(name)).train(mode == "train")
        if mode == "fused":
            model.fuse(verbose=False)
        with torch.no_grad():
            y = flat(model(image(2, 128, 64)))
        found[f"{name}/{mode}"] = samples(y, 96)
        if "v10" in name and mode != "train":
            found[f"{name}/{mode}/rows"] = y[0].numpy()
    return found


def loss(name: str) -> dict[str, float | list[float]]:
    """Return what README.md of the figures of 8.3.0 says of loss.json, for detection."""
    model = fill(build(name)).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    with np.load(HERE / "loss_targets.npz") as data:
        batch = {k.split("/")[1]: torch.from_numpy(data[k]) for k in data if k.startswith("detect/")}
    total, items = model({**batch, "img": image(3, 128, 96, seed=3)})
    total.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    return {"loss": total.item(), "items": items.tolist(), "grad_norm": norm.item()}


class Alone(tasks.BaseModel):
    """A module that is fused as part of a model."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.model = nn.Sequential(module)

    def is_fused(self, thresh: int = 10) -> bool:
        return False  # few norms do not mean that they are what is left


def of_modules() -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Return the values of each case, a row for each mode, and the CRC-32 of its state dict in each mode."""
    values, crcs = {}, {}
    for key, (name, args, shape) in CASES.items():
        rows, crcs[key] = [], []
        for mode in MODES:
            cls = getattr(modules, name, None) or getattr(block, name)
            alone = Alone(fill(cls(*args))).train(mode == "train")
            if mode == "fused":
                alone.fuse(verbose=False)
            crcs[key].append(crc(entries(alone.model[0])))
            if name == "Conv2" and mode == "fused":  # cannot run there once it is fused
                rows.append(rows[0])
                continue
            with torch.no_grad():
                rows.append(samples(flat(alone.model[0](inputs(shape)))))
        values[key] = np.stack(rows)
    return values, crcs


if __name__ == "__main__":
    assert ultralytics.__version__ == "8.3.0"
    torch.set_num_threads(1)
    values, crcs = of_modules()
    np.savez_compressed(HERE / "modules.npz", **values)
    np.savez_compressed(HERE / "families_forward.npz", **{k: v for name in SMALLEST for k, v in outputs(name).items()})
    rows = {name: figures(name) for name in NAMES}
    rows["yolov10n"]["loss"] = loss("yolov10n")
    rows["modules"] = crcs
    lines = ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in rows.items())
    (HERE / "families.json").write_text(f"{{\n{lines}\n}}\n")
