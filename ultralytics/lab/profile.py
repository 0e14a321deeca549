"""What a model costs: parameters, GFLOPs, activations and weight file, whole and by layer, before and after fusing.

`yolo profile` shows all of it, see `lab/profile_run.py`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ultralytics.cfg.tasks import TASKS, load
from ultralytics.nn import trust
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.parse import Layer, line_numbers, yaml_model_load
from ultralytics.nn.tasks import BaseModel, attempt_load_one_weight, describe, guess_model_task
from ultralytics.utils.errors import MissingFileError, ModelError
from ultralytics.utils.files import file_size
from ultralytics.utils.flops import Forward, count_forward
from ultralytics.utils.torch_utils import get_num_params, unwrap

MB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """Figures of one model at one image size; FLOPs are 2 x multiply-accumulates, MB are 2**20 bytes."""

    params: int
    params_fused: int
    gflops: float
    gflops_fused: float
    size_mb: float  # of the weight file as it is after training, in half precision where that is exact
    memory_mb: float = 0.0  # all results of a fused float32 pass of one image
    peak_mb: float = 0.0  # of image and results, what such a pass holds at once at most

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates in 10**9."""
        return self.gflops / 2

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight file."""
        return round(self.size_mb * MB)


@dataclass(frozen=True)
class LayerCost:
    """Figures of one line of a model YAML; those but `peak` add up to those of the model."""

    index: str  # in the model, '0-4' for a backbone that fills several
    line: int | None  # in the YAML file
    source: int | list[int] | None  # the layers that it reads
    module: str
    text: str  # the line as the YAML has it
    shapes: list[tuple[int, ...]]  # of the tensors that it hands on
    params: int
    params_fused: int
    flops: int
    flops_fused: int
    memory: int  # bytes of all results that its operators make, fused; views and changes in place make none
    peak: int  # bytes of image and results that are held at once at most while it runs, fused
    unknown: Counter[str] = field(default_factory=Counter)  # calls of operators whose FLOPs are not known

    @property
    def gflops(self) -> float:
        return self.flops / 1e9

    @property
    def gflops_fused(self) -> float:
        return self.flops_fused / 1e9


@dataclass(frozen=True)
class Profile:
    """What one model costs at one image size (a side, or [height, width])."""

    name: str
    task: str
    nc: int
    imgsz: int | list[int]
    cost: Cost
    layers: list[LayerCost]

    @property
    def unknown(self) -> Counter[str]:
        """Calls of operators whose FLOPs are not known, in the whole model."""
        return sum((row.unknown for row in self.layers), Counter())


def profile(
    model: BaseModel, imgsz: int | list[int] = 640, weights: str | Path | None = None, name: str = ""
) -> Profile:
    """Measure the cost of a model, whole and layer by layer; the model is not changed.

    Args:
        model: one of this package, not fused, or there is nothing to compare.
        imgsz: pixels, a side or [height, width], multiples of the model's stride; counted at just this size.
        weights: the weight file to weigh; without one the model is written, weighed and removed.
        name: of the model in tables.
    """
    model = deepcopy(cast("BaseModel", unwrap(model))).cpu().float().eval()
    names = [f"model.{name}" for name, _ in model.model.named_children()]  # with gaps behind backbones
    before, params = count_forward(model, imgsz, names), get_num_params(model)
    own_params = [get_num_params(layer) for layer in model.model]
    size = file_size(weights) if weights else _weigh(model)
    model.fuse(verbose=False)
    after = count_forward(model, imgsz, names)
    cost = Cost(
        params=params,
        params_fused=get_num_params(model),
        gflops=before.flops / 1e9,
        gflops_fused=after.flops / 1e9,
        size_mb=size,
        memory_mb=after.memory / MB,
        peak_mb=after.peak / MB,
    )
    layers = _layers(model, before, after, own_params)
    return Profile(name, model.task, len(model.names), imgsz, cost, layers)


def cost_of(model: BaseModel, imgsz: int | list[int] = 640, weights: str | Path | None = None) -> Cost:
    """Return the cost of a model that is not fused; without a weight file one is written, weighed and removed."""
    return profile(model, imgsz, weights).cost


def load_model(name: str | Path, nc: int | None = None, trust_modules: bool | str = False) -> BaseModel:
    """Return the model of a YAML (for `nc` classes) or of a weight file, not fused.

    Raises:
        MissingFileError: there is no such file.
        ModelError: `nc` was given for a weight file, whose classes stand.
    """
    is_yaml = Path(name).suffix.lower() in {".yaml", ".yml"}
    if not is_yaml and not Path(name).is_file():
        raise MissingFileError(f"The model '{name}' is neither a YAML nor a weight file that exists.")
    if not is_yaml and nc:
        raise ModelError(f"'nc={nc}' is for model YAMLs: the weight file '{name}' keeps its own classes.")
    if not is_yaml:
        return attempt_load_one_weight(name, trusted=trust_modules)[0]
    trust.trust_modules(name, trust_modules)
    cls = load(TASKS[guess_model_task(yaml_model_load(name))].model)
    return cls(str(name), nc=nc, verbose=False)


# Layers ---------------------------------------------------------------------------------------------------------------


def _layers(model: BaseModel, before: Forward, after: Forward, params: list[int]) -> list[LayerCost]:
    """Return a row for each line of the YAML, from the passes before and after fusing."""
    rows = []
    parts = zip(before.parts.values(), after.parts.values())
    layers = cast("list[Layer]", list(model.model))
    for i, (layer, (line, text), (old, new)) in enumerate(zip(layers, _yaml_lines(model), parts)):
        rows.append(
            LayerCost(
                index=f"{layer.i}-{layer.i + layer.span - 1}" if layer.span > 1 else str(layer.i),
                line=line,
                source=layer.f,
                module=layer.type.rpartition(".")[2],
                text=text,
                shapes=new.shapes,
                params=params[i],
                params_fused=get_num_params(layer),
                flops=old.flops,
                flops_fused=new.flops,
                memory=new.memory,
                peak=new.peak,
                unknown=old.unknown,
            )
        )
    return rows


def _yaml_lines(model: BaseModel) -> list[tuple[int | None, str]]:
    """Return the number and text of each line in the model's YAML."""
    d = model.yaml
    content = [*d["backbone"], *d["head"]]
    numbers: list = line_numbers(d)
    if numbers:  # the file may not be the one that a checkpoint was made from
        now = yaml_model_load(d["yaml_file"])
        numbers = numbers if [*now["backbone"], *now["head"]] == content else []
    return [(n, str(line).replace("'", "")) for n, line in zip(numbers or [None] * len(content), content)]


def _weigh(model: BaseModel) -> float:
    """Return the megabytes of the model's weight file in half precision."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        save_checkpoint(file, {**describe(deepcopy(model).half()), "args": {}})
        return file_size(file)
