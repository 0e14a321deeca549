"""The kinds of files that a model can be exported to and run from: a row of `FORMATS` and a module each.

The module of a format has `write(job)`, which writes `job.file`, and a class `Runner`, which runs such a file. Neither
is imported before it is used, and so are the packages that it needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ultralytics.utils.errors import ConfigError, MissingPackageError, did_you_mean


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: what `format=` calls it.
        title: what people call it.
        suffix: of the file; where it has no dot in front, the end of a folder's name.
        module: dotted name of the module that writes and runs it.
        writing, running: packages, by the names that pip knows, of which the module needs all.
        options: settings of `export` that it obeys, besides those that every format obeys.
        note: what it is for.
        threaded: whether its runner obeys a number of threads.
    """

    name: str
    title: str
    suffix: str
    module: str
    writing: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    note: str = ""
    threaded: bool = True

    def load(self) -> ModuleType:
        """Return the module that writes and runs it."""
        return importlib.import_module(self.module)

    def file(self, stem: Path) -> Path:
        """Return the path of the file, or folder, of the model called `stem`."""
        return stem.with_name(stem.name + self.suffix)

    def require(self, *, writing: bool) -> None:
        """Raise MissingPackageError, with the line that installs them, if packages are missing."""
        missing = missing_packages(self.writing if writing else self.running)
        if missing:
            what = "Writing" if writing else "Running"
            raise MissingPackageError(
                f"{what} {self.title} needs {' and '.join(missing)}, not installed here: "
                f"pip install {' '.join(missing)}."
            )


_HERE = "ultralytics.nn.formats"
FORMATS = {
    f.name: f
    for f in (
        Format(
            "torchscript", "TorchScript", ".torchscript", f"{_HERE}.torchscript",
            options=frozenset({"half", "nms"}), note="PyTorch and LibTorch without this package",
            threaded=False,
        ),
        Format(
            "onnx", "ONNX", ".onnx", f"{_HERE}.onnx", ("onnx", "onnxscript"), ("onnxruntime",),
            frozenset({"half", "dynamic", "simplify", "opset", "nms"}), "ONNX Runtime, and what converts ONNX further",
        ),
        Format(
            "openvino", "OpenVINO", "_openvino_model", f"{_HERE}.openvino", ("openvino",), ("openvino",),
            frozenset({"half", "int8", "dynamic", "nms"}), "Intel processors, graphics and NPUs",
        ),
        Format(
            "ncnn", "NCNN", "_ncnn_model", f"{_HERE}.ncnn", ("pnnx", "ncnn"), ("ncnn",),
            frozenset({"half"}), "phones and small ARM boards",
        ),
        Format(
            "tflite", "TensorFlow Lite", ".tflite", f"{_HERE}.tflite", ("litert-torch",), ("ai-edge-litert",),
            frozenset({"half", "int8"}), "Android, iOS and small boards",
        ),
        Format(
            "mnn", "MNN", ".mnn", f"{_HERE}.mnn", ("MNN", "onnx", "onnxscript"), ("MNN",),
            frozenset({"half", "int8", "opset", "simplify"}), "phones and small boards",
        ),
        Format(
            "executorch", "ExecuTorch", ".pte", f"{_HERE}.executorch", ("executorch",), ("executorch",),
            frozenset(), "phones and boards with the runtime of PyTorch's makers",
            threaded=False,
        ),
        Format(
            "engine", "TensorRT", ".engine", f"{_HERE}.tensorrt", ("tensorrt", "onnx", "onnxscript"), ("tensorrt",),
            frozenset({"half", "opset", "simplify", "workspace"}), "NVIDIA GPUs",
            threaded=False,
        ),
        Format(
            "rknn", "RKNN-ready ONNX", "_rknn_model", f"{_HERE}.rknn", ("onnx", "onnxscript"), ("onnxruntime",),
            frozenset({"opset", "simplify"}), "Rockchip NPUs, by way of rknn-toolkit2",
        ),
    )
}  # fmt: skip


def missing_packages(names: tuple[str, ...]) -> list[str]:
    """Return those of the packages, by their pip names, that are not installed."""
    return [name for name in dict.fromkeys(names) if not importlib.util.find_spec(name.replace("-", "_"))]


ALIASES = {"tensorrt": "engine", "trt": "engine"}  # as 8.3.0 has them


def format_named(name: str) -> Format:
    """Return the format that `format=` calls so, in letters of either case; raise ConfigError if there is none."""
    key = str(name).strip().lower()
    key = ALIASES.get(key, key)
    if key not in FORMATS:
        raise ConfigError(
            f"format='{name}' is not known. Choose {', '.join(FORMATS)}.{did_you_mean(str(name), FORMATS)}"
        )
    return FORMATS[key]


def format_of(path: str | Path) -> Format | None:
    """Return the format of a file or folder by its name, or None."""
    name = Path(path).name.lower()
    return next((f for f in FORMATS.values() if name.endswith(f.suffix)), None)
