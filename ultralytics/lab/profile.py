"""What a model costs: parameters, GFLOPs, activations and weight file, whole and by layer, before and after fusing.

`yolo profile` shows all of it (see `lab/profile_run.py`); `python -m ultralytics.lab.profile yolo11n.yaml ...` prints a
Markdown table of models at 80 classes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ultralytics.cfg import model_key, model_yamls
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.parse import line_numbers, yaml_model_load
from ultralytics.nn.tasks import describe
from ultralytics.utils.errors import MissingFileError, ModelError
from ultralytics.utils.files import file_size
from ultralytics.utils.flops import Forward, Tally, count_forward
from ultralytics.utils.system.console import say
from ultralytics.utils.torch_utils import unwrap

MB = 1 << 20
OUTSIDE = "outside"  # index of the row for what is in no layer


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
    model: nn.Module, imgsz: int | list[int] = 640, weights: str | Path | None = None, name: str = ""
) -> Profile:
    """Count what a model costs, whole and layer by layer; it is not touched.

    Args:
        model: not fused, or there is nothing to compare.
        imgsz: pixels, a side or [height, width], multiples of the model's stride; counted at just this size.
        weights: the weight file to weigh; without one the model is written, weighed and removed.
        name: of the model in tables.
    """
    model = deepcopy(unwrap(model)).cpu().float().eval()
    names = _parts(model)
    before, params = count_forward(model, imgsz, names), _own_params(model, names)
    size = file_size(weights) if weights else _weigh(model)
    if hasattr(model, "fuse"):
        model.fuse(verbose=False)
    after, fused = count_forward(model, imgsz, names), _own_params(model, names)
    cost = Cost(
        params=sum(params),
        params_fused=sum(fused),
        gflops=before.flops / 1e9,
        gflops_fused=after.flops / 1e9,
        size_mb=size,
        memory_mb=after.memory / MB,
        peak_mb=after.peak / MB,
    )
    layers = _rows(model, names, [before, after], [params, fused])
    return Profile(name, getattr(model, "task", ""), len(getattr(model, "names", ())), imgsz, cost, layers)


def layer_costs(model: nn.Module, imgsz: int | list[int] = 640) -> list[LayerCost]:
    """Return what each layer costs; see `profile`."""
    return profile(model, imgsz).layers


def cost_of(model: nn.Module, imgsz: int | list[int] = 640, weights: str | Path | None = None) -> Cost:
    """Return the cost of a model that is not fused; without a weight file one is written, weighed and removed."""
    return profile(model, imgsz, weights).cost


def load_model(name: str | Path, nc: int | None = None, trust_modules: bool | str = False) -> nn.Module:
    """Return the model of a YAML (for `nc` classes) or of a weight file, not fused.

    Raises:
        MissingFileError: there is no such file.
        ModelError: `nc` was given for a weight file, whose classes stand.
    """
    from ultralytics.nn import tasks

    is_yaml = Path(name).suffix.lower() in {".yaml", ".yml"}
    if not is_yaml and not Path(name).is_file():
        raise MissingFileError(f"The model '{name}' is neither a YAML nor a weight file that exists.")
    if not is_yaml and nc:
        raise ModelError(f"'nc={nc}' is for model YAMLs: the weight file '{name}' keeps its own classes.")
    tasks.trust_modules(name, trust_modules)
    if not is_yaml:
        return tasks.attempt_load_weights(name)
    cls = load(TASKS[tasks.guess_model_task(yaml_model_load(name))].model)
    return cls(str(name), nc=nc, verbose=False)


# Layers ---------------------------------------------------------------------------------------------------------------


def _parts(model: nn.Module) -> list[str]:
    """Return the names of the submodules that have rows: the lines of a YAML, else a module's children."""
    if hasattr(model, "yaml"):
        return [f"model.{name}" for name, _ in model.model.named_children()]
    return [name for name, _ in model.named_children()]


def _own_params(model: nn.Module, names: list[str]) -> list[int]:
    """Return the parameters of each part, then those outside of all; shared ones count where they come first."""
    seen: set[int] = set()
    counts = []
    for module in [*map(model.get_submodule, names), model]:
        new = {id(p): p.numel() for p in module.parameters() if id(p) not in seen}
        seen.update(new)
        counts.append(sum(new.values()))
    return counts


def _rows(model: nn.Module, names: list[str], passes: list[Forward], params: list[list[int]]) -> list[LayerCost]:
    """Return a row for each part, and one for what is outside of all of them if there is anything."""
    before, after = passes
    tallies = [(before.parts[name], after.parts[name]) for name in names]
    rest = tuple(_outside(whole) for whole in passes)
    labels = [*map(_labels, map(model.get_submodule, names), _yaml_lines(model, names)), dict(_NO_LABELS)]
    rows = [
        LayerCost(
            **{**label, "index": label["index"] or name.rpartition(".")[2]},
            shapes=new.shapes,
            params=params[0][i],
            params_fused=params[1][i],
            flops=old.flops,
            flops_fused=new.flops,
            memory=new.memory,
            peak=new.peak,
            unknown=old.unknown,
        )
        for i, (name, label, (old, new)) in enumerate(zip([*names, OUTSIDE], labels, [*tallies, rest]))
    ]
    *inside, last = rows
    return rows if last.params or last.flops or last.memory or last.unknown else inside


_NO_LABELS = {"index": OUTSIDE, "line": None, "source": None, "module": "(no layer)", "text": ""}


def _labels(module: nn.Module, where: tuple[int | None, str]) -> dict:
    """Return what a layer is called and where it stands."""
    first, span = getattr(module, "i", None), getattr(module, "span", 1)
    index = "" if first is None else f"{first}-{first + span - 1}" if span > 1 else str(first)
    kind = vars(module).get("type", type(module).__name__).rpartition(".")[2]  # every module has a method `type`
    return {"index": index, "line": where[0], "source": getattr(module, "f", None), "module": kind, "text": where[1]}


def _yaml_lines(model: nn.Module, names: list[str]) -> list[tuple[int | None, str]]:
    """Return the number and text of each part's line in the model's YAML."""
    d = getattr(model, "yaml", None)
    if not d:
        return [(None, "")] * len(names)
    content = [*d["backbone"], *d["head"]]
    numbers: list = line_numbers(d)
    if numbers:  # the file may not be the one that a checkpoint was made from
        now = yaml_model_load(d["yaml_file"])
        numbers = numbers if [*now["backbone"], *now["head"]] == content else []
    return [(n, str(line).replace("'", "")) for n, line in zip(numbers or [None] * len(content), content)]


def _outside(whole: Forward) -> Tally:
    """Return what a pass costs outside of its parts."""
    parts = whole.parts.values()
    unknown = whole.unknown - sum((p.unknown for p in parts), Counter())
    flops, memory = whole.flops - sum(p.flops for p in parts), whole.memory - sum(p.memory for p in parts)
    return Tally(flops, memory, whole.peak, [], unknown)


def _weigh(model: nn.Module) -> float:
    """Return the megabytes of the model's weight file in half precision."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        save_checkpoint(file, {**describe(deepcopy(model).half()), "args": {}})
        return file_size(file)


# Tables ---------------------------------------------------------------------------------------------------------------


def lightening_table(first: tuple[str, Cost], second: tuple[str, Cost], nc: int, imgsz: int = 640) -> str:
    """Return a table of two models side by side, and what the second one saves."""
    (name1, a), (name2, b) = first, second
    rows = [
        ("parameters", f"{a.params:,}", f"{b.params:,}", a.params, b.params),
        ("parameters, fused", f"{a.params_fused:,}", f"{b.params_fused:,}", a.params_fused, b.params_fused),
        (f"GFLOPs at {imgsz}", f"{a.gflops:.2f}", f"{b.gflops:.2f}", a.gflops, b.gflops),
        (f"GFLOPs at {imgsz}, fused", f"{a.gflops_fused:.2f}", f"{b.gflops_fused:.2f}", a.gflops_fused, b.gflops_fused),
        ("weight file, MB", f"{a.size_mb:.2f}", f"{b.size_mb:.2f}", a.size_mb, b.size_mb),
    ]
    wide = max(len(name1), len(name2), 12) + 2
    head = f"{f'nc={nc}':<24}{name1:>{wide}}{name2:>{wide}}{'change':>10}"
    lines = [f"{what:<24}{x:>{wide}}{y:>{wide}}{(v - u) / u:>+10.1%}" for what, x, y, u, v in rows]
    return "\n".join([head, "-" * len(head), *lines])


def plain_twin(model: nn.Module) -> str:
    """Return the name of the YAML that a model was lightened from, that of its family, scale and task.

    `yolo11s-GhostConv-seg.yaml`, and weights trained from it, give `yolo11s-seg.yaml`. Who has no family is
    compared with yolo11.
    """
    family, scale, variant = "yolo11", model.yaml.get("scale") or "n", ""
    if match := re.match(r"(yolo11|yolov8)[nslmx]?((?:-\w+)*)$", Path(model.yaml.get("yaml_file") or "").stem):
        family, variant = match[1], "".join(re.findall(r"-p[26](?!\w)", match[2]))
    _, dash, task = Path(TASKS[model.task].weights).stem.partition("-")  # yolo11n-seg
    names = [f"{family}{scale}{variant}{dash}{task}.yaml", f"{family}{scale}{dash}{task}.yaml"]
    bundled = model_yamls()
    return next((name for name in names if model_key(Path(name)) in bundled), f"yolo11{scale}{dash}{task}.yaml")


def markdown_table(models: Sequence[str], nc: int = 80, imgsz: int = 640) -> str:
    """Return a Markdown table of what model YAMLs cost, each compared with the first."""
    costs = [cost_of(load_model(name, nc), imgsz) for name in models]
    lines = [
        f"| model (nc={nc}, {imgsz} pixels) | parameters | fused | GFLOPs | fused | weight file |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, c in zip(models, costs):
        share = f" ({(c.params - costs[0].params) / costs[0].params:+.0%})" if c is not costs[0] else ""
        less = f" ({(c.gflops - costs[0].gflops) / costs[0].gflops:+.0%})" if c is not costs[0] else ""
        lines.append(
            f"| {Path(name).stem} | {c.params:,}{share} | {c.params_fused:,} | {c.gflops:.2f}{less} "
            f"| {c.gflops_fused:.2f} | {c.size_mb:.1f} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    say(markdown_table(sys.argv[1:] or ["yolo11n.yaml", "yolo11n-GhostConv.yaml"]))
