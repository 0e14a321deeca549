"""ONNX: one file, run by ONNX Runtime, and the start of many other conversions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ultralytics.nn.formats.job import HalfInside, Job, from_texts
from ultralytics.nn.formats.nms import WithNMS, append_to_onnx
from ultralytics.utils.checks import check_version
from ultralytics.utils.errors import ConfigError, ModelError

# Since 2.9 torch exports by torch.export and ONNX Script as it comes; older ones trace, up to opset 17.
MODERN = check_version(torch.__version__, ">=2.9")
OPSET = 18 if MODERN else 17


def write(job: Job) -> None:
    """Write an ONNX file; pictures and outputs are float32 also where the weights are float16."""
    import onnx

    net = WithNMS(job.net, job.nms) if job.nms and job.nms.rotated else job.net
    net = HalfInside(net) if job.half else net
    options: dict[str, Any] = {"input_names": ["images"], "output_names": job.outputs}
    options |= {"opset_version": job.opset or OPSET, **_axes(job)}
    if MODERN:
        options |= {"dynamo": True, "external_data": False, "verbose": False, "optimize": job.simplify}
    x = torch.cat((job.x, job.x)) if job.dynamic else job.x  # a batch of one would be taken for a constant
    torch.onnx.export(net, (x,), str(job.file), **options)
    model = onnx.load(job.file)
    if job.nms and not job.nms.rotated:
        model = append_to_onnx(model, job.nms)
    values = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in job.metadata.items()}
    onnx.helper.set_model_props(model, values)
    onnx.save(model, job.file)


def _axes(job: Job) -> dict[str, Any]:
    """Return the arguments that leave sizes open."""
    if not job.dynamic:
        return {}
    stride = job.metadata["stride"]
    if MODERN:
        sides = (stride * torch.export.Dim(name, min=1, max=8192 // stride) for name in ("rows", "columns"))
        return {"dynamic_shapes": ({0: torch.export.Dim("batch", max=4096), **dict(zip((2, 3), sides))},)}
    axes = {"images": {0: "batch", 2: "height", 3: "width"}}
    return {"dynamic_axes": axes | {name: {0: "batch"} for name in job.outputs}}


class Runner:
    """Runs an ONNX file by ONNX Runtime.

    Args:
        file: to run.
        device: where; a GPU needs the package onnxruntime-gpu.
        threads: of one run; 0 leaves it to ONNX Runtime.
        providers: what computes, in order of preference, such as 'OpenVINOExecutionProvider,CPUExecutionProvider'.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        import onnxruntime

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
            raise ModelError(f"'{file}' is no ONNX file that can be read: it is damaged or of another kind.") from e
        self.name = self.session.get_inputs()[0].name
        self.texts = self.session.get_modelmeta().custom_metadata_map
        self.file = file

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of itself."""
        return from_texts(self.texts, self.file)

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(y) for y in self.session.run(None, {self.name: x.cpu().numpy()})]


def _providers(wanted: str, device: torch.device) -> list[str]:
    """Return the names of ONNX Runtime's providers for a device, or those that were asked for."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
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
