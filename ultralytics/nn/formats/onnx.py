"""ONNX: one file, run by ONNX Runtime, and the start of many other conversions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.facts import Metadata, Shape
from ultralytics.nn.formats.job import HalfInside, Job, from_texts
from ultralytics.nn.formats.nms import WithNMS, append_to_onnx
from ultralytics.utils.checks import check_version
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.system.telemetry import quiet_import

FORMAT = Format(
    "onnx", "ONNX", ".onnx", __name__, ("onnx", "onnxscript"), ("onnxruntime",),
    frozenset({"half", "dynamic", "simplify", "opset", "nms"}), "ONNX Runtime, and converters to other formats",
)  # fmt: skip

# Since 2.9 torch exports by torch.export and ONNX Script, from opset 18 on; below, and before, by tracing.
MODERN = check_version(torch.__version__, ">=2.9")
OPSET = 18 if MODERN else 17  # default
OPSETS = range(11, 24 if MODERN else 18)  # that can be written and that runtimes read; with NMS from 12


def write(job: Job) -> None:
    """Write an ONNX file; images and outputs are float32 even where the weights are float16."""
    import onnx

    opset = checked_opset(job.opset, OPSETS[1:] if job.nms else OPSETS)
    modern = MODERN and opset >= OPSET
    whole = WithNMS(job.net, job.nms) if job.nms and job.nms.rotated else job.net
    net = HalfInside(whole) if job.half else whole
    options: dict[str, Any] = {"input_names": ["images"], "output_names": job.outputs}
    options |= {"opset_version": opset, **_axes(job, modern)}
    if modern:
        options |= {"dynamo": True, "external_data": False, "verbose": False, "optimize": job.simplify}
    elif MODERN:
        options |= {"dynamo": False}
    torch.onnx.export(net, (_example(job),), str(job.file), **options)
    model = onnx.load(job.file)
    written = next(each.version for each in model.opset_import if not each.domain)
    if written != opset:
        raise ModelError(f"PyTorch wrote opset {written}, not {opset}: give opset={written}, or leave it out.")
    if job.nms and not job.nms.rotated:
        model = append_to_onnx(model, job.nms)
    values = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in job.metadata.items()}
    onnx.helper.set_model_props(model, values)
    onnx.save(model, job.file)


def checked_opset(opset: int | None, allowed: range, who: str = "this package writes") -> int:
    """Return the opset to write, `OPSET` by default; raise ConfigError if it is not allowed."""
    if opset is None:
        return OPSET
    if opset not in allowed:
        raise ConfigError(
            f"opset={opset} is not possible: {who} {allowed[0]} to {allowed[-1]}. "
            f"Give one of them, or leave it out for {OPSET}."
        )
    return opset


def _example(job: Job) -> torch.Tensor:
    """Return images to export with; where sizes stay open, no feature map has a side of 1, taken as constant."""
    if not job.dynamic:
        return job.x
    least = 2 * job.metadata["stride"]
    h, w = (max(side, least) for side in job.x.shape[-2:])
    return nn.functional.interpolate(torch.cat((job.x, job.x)), (h, w))


def _axes(job: Job, modern: bool) -> dict[str, object]:
    """Return the arguments that leave sizes open."""
    if not job.dynamic:
        return {}
    stride = job.metadata["stride"]
    if modern:
        sides = (stride * torch.export.Dim(name, min=1, max=8192 // stride) for name in ("rows", "columns"))
        return {"dynamic_shapes": ({0: torch.export.Dim("batch", max=4096), **dict(zip((2, 3), sides))},)}
    axes: dict[str, dict[int, str]] = {"images": {0: "batch", 2: "height", 3: "width"}}
    return {"dynamic_axes": axes | {name: {0: "batch"} for name in job.outputs}}


class Runner:
    """Runs an ONNX file by ONNX Runtime.

    Args:
        file: to run.
        device: where; a GPU needs the package onnxruntime-gpu.
        threads: of one run; 0 leaves it to ONNX Runtime.
        providers: in order of preference, such as 'OpenVINOExecutionProvider,CPUExecutionProvider'.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        onnxruntime = quiet_import("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would slow what runs next
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=_providers(providers, torch.device(device))
            )
        except ConfigError:
            raise
        except Exception as e:  # ONNX Runtime's own kinds of errors share no base
            raise ModelError(f"'{file}' is not an ONNX file that can be read: it is damaged or of another kind.") from e
        self.name = next((each.name for each in self.session.get_inputs()), "")
        self.texts: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.file = file

    @property
    def shapes(self) -> tuple[Sequence[Shape], Sequence[Shape]]:
        """Shapes of the inputs and of the outputs, as the graph states them."""
        inputs, outputs = (
            [[n if isinstance(n, int) else None for n in each.shape] for each in ports]
            for ports in (self.session.get_inputs(), self.session.get_outputs())
        )
        return inputs, outputs

    @property
    def metadata(self) -> Metadata:
        """The metadata in the file."""
        return from_texts(self.texts, self.file)

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(y) for y in self.session.run(None, {self.name: x.cpu().numpy()})]


def _providers(wanted: str, device: torch.device) -> list[str]:
    """Return the names of the execution providers that were asked for, or those for a device."""
    there = quiet_import("onnxruntime").get_available_providers()
    if wanted:
        names = [name.strip() for name in wanted.split(",")]
        unknown = [name for name in names if name not in there]
        if unknown:
            raise ConfigError(
                f"providers='{wanted}': ONNX Runtime has no {', '.join(unknown)} here, but {', '.join(there)}."
            )
        return names
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in there:
            raise ConfigError(
                "This ONNX Runtime has no CUDA: pip uninstall onnxruntime, then pip install onnxruntime-gpu; "
                "or run it with device=cpu."
            )
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
