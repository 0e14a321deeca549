"""Fuzz targets: exported files whose metadata is damaged, made up or that of another model.

A case writes one of the good graphs with other metadata, opens it and predicts on an image, as a user would.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import fuzz_mutations as mutate
import numpy as np
import torch
from tiny import HEADS, tiny_of

VALUES: tuple = (
    None, True, False, 0, -1, 1, 2, 3, 7, 31, 32, 33, 64, 96, 640, 4096, 8192, 65536, 65537, 2**31, 2**63, 10**30,
    1e300, 0.5, 32.5, float("nan"), float("inf"), "", "32", "a", "detect", "segment", "pose", "obb", "classify", "None",
    "\x00", "é" * 50, [], [64], [64, 64], [64, 65536], [65536, 65536], [4096, 4096], [0, 0], [-64, 64], [64.5, 64],
    ["64", "64"], [64, 64, 64], [[64], 64], [1, 3], [3, 2], [3, 3], [17, 3], [1000000, 3], [3, 1], [3, 4], {},
    {"0": "a"}, {"0": "a", "1": "b"}, {"1": "a"}, {"a": "b"}, {"0": None, "1": []}, {"0": {"0": "a"}},
    {"-1": "a", "0": "b"}, ["a"], ["a", "b"], ["a"] * 3, ["a"] * 200_000, [None] * 2,
)  # fmt: skip
WORDS = ("imgsz", "names", "task", "stride", "batch", "channels", "kpt_shape", "nms", "dynamic", "half", "int8")


class Metadata:
    """What the targets share: tiny models of all tasks, and mutations of their metadata."""

    form = "torchscript"

    def prepare(self) -> None:
        from ultralytics.engine.exporter import NMS, export
        from ultralytics.nn.formats import FORMATS

        torch.manual_seed(0)
        self.seeds = []
        form = FORMATS[self.form]
        for task in HEADS:
            model = tiny_of(task, Path("."))
            for nms in (None, NMS(2, 0.01)) if task == "detect" else (None,):
                name = Path(f"{task}{'-nms' if nms else ''}")
                export(model, form, form.file(name), 64, nms=nms, check=False, **self.settings)
                self.seeds.append(form.file(name))
        self.told = [self.read(file) for file in self.seeds]

    settings: dict[str, Any] = {}

    def case(self, rng: random.Random) -> None:
        from ultralytics import YOLO

        i = rng.randrange(len(self.seeds))
        text = self.mutated(rng, self.told[i])
        file = self.write(self.seeds[i], text)
        model = YOLO(file)
        image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        results = model.predict(image, conf=0.01, threads=1, verbose=False, save=False)
        assert len(results) == 1
        results[0].plot()

    def mutated(self, rng: random.Random, told: dict[str, Any]) -> str:
        """Return metadata as JSON, with some values of other kinds, some keys missing, or letters damaged."""
        found = copy.deepcopy(rng.choice(self.told) if rng.random() < 0.15 else told)
        found.pop("yaml", None)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            key = rng.choice((*WORDS, *found))
            if rng.random() < 0.15:
                found.pop(key, None)
            else:
                found[key] = copy.deepcopy(rng.choice(VALUES))
        text = json.dumps(found)
        return mutate.mutated_text(rng, text, [json.dumps(t) for t in self.told]) if rng.random() < 0.2 else text


class TorchScriptMetadata(Metadata):
    """TorchScript, whose metadata is a member of its zip."""

    def read(self, file: Path) -> dict[str, Any]:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(self.member(archive)))

    @staticmethod
    def member(archive: zipfile.ZipFile) -> str:
        return next(name for name in archive.namelist() if name.endswith("extra/metadata.json"))

    def write(self, seed: Path, text: str) -> Path:
        with zipfile.ZipFile(seed) as archive, zipfile.ZipFile("case.torchscript", "w") as copy:
            extra = self.member(archive)
            for name in archive.namelist():
                copy.writestr(name, text.encode("utf-8", "replace") if name == extra else archive.read(name))
        return Path("case.torchscript")


class OnnxMetadata(Metadata):
    """ONNX, whose metadata are texts by their keys."""

    form, settings = "onnx", {"opset": 12}  # traced, which takes a tenth of the time

    def read(self, file: Path) -> dict[str, Any]:
        import onnx

        props = onnx.load(file).metadata_props
        return {p.key: p.value if p.key in {"task", "author", "version"} else json.loads(p.value) for p in props}

    def write(self, seed: Path, text: str) -> Path:
        import onnx

        model = onnx.load(seed)
        del model.metadata_props[:]
        try:
            found = json.loads(text)
            found = found if isinstance(found, dict) else {"task": text}
        except (ValueError, RecursionError):  # damaged letters: one value is the whole text
            found = {**dict.fromkeys(("task", "names", "stride"), text), "imgsz": text}
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
        whole = {k.encode("utf-8", "replace").decode(): v.encode("utf-8", "replace").decode() for k, v in texts.items()}
        onnx.helper.set_model_props(model, whole)
        Path("case.onnx").write_bytes(model.SerializeToString())
        return Path("case.onnx")


class OpenVinoMetadata(Metadata):
    """OpenVINO, whose metadata is a file beside the graph."""

    form = "openvino"

    def read(self, file: Path) -> dict[str, Any]:
        return json.loads((file / "metadata.json").read_text(encoding="utf-8"))

    def write(self, seed: Path, text: str) -> Path:
        folder = Path("case_openvino_model")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seed, folder)
        (folder / "metadata.json").write_text(text.encode("utf-8", "replace").decode(), encoding="utf-8")
        return folder


TARGETS = {
    "torchscript_metadata": TorchScriptMetadata,
    "onnx_metadata": OnnxMetadata,
    "openvino_metadata": OpenVinoMetadata,
}
CASES = {"torchscript_metadata": 10_000, "onnx_metadata": 10_000, "openvino_metadata": 500}
PACKAGES = {"onnx_metadata": ("onnx", "onnxruntime"), "openvino_metadata": ("openvino", "onnx")}
