"""`yolo profile`: what models cost, layer by layer and side by side, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultralytics.cfg import smart_value
from ultralytics.cfg.words import key_values
from ultralytics.lab.latency import RUNTIMES, latency_table, measure
from ultralytics.lab.profile import Profile, load_model, profile
from ultralytics.lab.profile_report import layer_table, model_table, unknown_text, write_csv
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.system.console import say

USAGE = """yolo profile model=yolo11n.yaml                      what it costs, layer by layer, and how long it takes
yolo profile model=yolo11n.yaml,yolo11n-GhostConv.yaml nc=1 rounds=50
                                                     models side by side; the latency measured in turn

  model     YAMLs or weight files, separated by commas
  imgsz     640      side in pixels, or [height, width]; counted at just this size
  nc                 number of classes of the YAMLs, in the place of their own
  layers             the table of layers: true or false; true for one model
  rounds    20       of the latency, each with every model and runtime; 0 measures none
  runtimes  eager,onnxruntime,openvino
  threads   1        of each runtime
  batch     1        images in one run of the latency
  device    cpu      of the latency: cpu, or the number of a GPU
  csv                file for the layers; the whole models go to NAME_models.csv beside it
  trust_modules      true runs the module files that a YAML names
"""
Settings = dict[str, Any]
DEFAULTS: Settings = {
    "model": None,
    "imgsz": 640,
    "nc": None,
    "layers": None,
    "rounds": 20,
    "runtimes": ",".join(RUNTIMES),
    "threads": 1,
    "batch": 1,
    "device": "cpu",
    "csv": None,
    "trust_modules": False,
}
_LEAST = {"nc": 1, "rounds": 0, "threads": 1, "batch": 1}  # whole numbers


def main(words: Sequence[str]) -> int:
    """Run `yolo profile` and return the exit code."""
    if not words:
        say(USAGE, end="")
        return 0
    given = parse(words)
    models = {}
    for file in given["model"]:
        models[_label(file, given["model"])] = file, load_model(file, given["nc"], given["trust_modules"])
    stride = max(_stride(model) for _, model in models.values())
    imgsz = check_imgsz(given["imgsz"], stride=stride)
    profiles = [_profiled(name, file, model, imgsz) for name, (file, model) in models.items()]
    show(profiles, layers=given["layers"] if given["layers"] is not None else len(profiles) == 1)
    latencies = []
    if given["rounds"]:
        options = {key: given[key] for key in ("runtimes", "threads", "rounds", "batch", "device")}
        latencies = measure({name: model for name, (_, model) in models.items()}, imgsz, **options)
        say(f"\n{latency_table(latencies)}")
    if given["csv"]:
        say("\nWrote " + " and ".join(f"'{file}'" for file in write_csv(profiles, latencies, given["csv"])) + ".")
    return 0


def show(profiles: Sequence[Profile], layers: bool) -> None:
    """Print the tables of what models cost."""
    for found in profiles if layers else ():
        say(f"{layer_table(found)}\n")
    say(model_table(profiles))
    say(
        "\nGFLOPs by PyTorch's counter: two for each multiply-accumulate of convolutions, matrix products and"
        "\nattention; batch norms have none. Activations: float32 results of a fused pass of one image, all of them,"
        "\nand with the image what is held at once at most."
        "\nWeight file: as it is for a .pt; for a YAML one in half precision, as training leaves it."
    )
    for found in profiles:
        say(unknown_text(found))
    if len({p.nc for p in profiles}) > 1:
        say("The numbers of classes differ, and so do heads: set nc=... to compare models of equal classes.")


def parse(words: Sequence[str]) -> Settings:
    """Parse words into settings, with defaults for the others; a word alone is the model."""
    texts = key_values(words, "profile", DEFAULTS, first="model")
    found = {k: v if k in {"model", "runtimes", "device", "csv"} else smart_value(v) for k, v in texts.items()}
    if "model" not in found:
        raise ConfigError("Which model? Write `yolo profile model=yolo11n.yaml`, or several with commas between them.")
    given = {**DEFAULTS, **found}
    given["model"], given["runtimes"] = _list(given["model"]), _list(given["runtimes"])
    if not given["model"]:
        raise ConfigError(f"'model={found['model']}' names no model. Write model=yolo11n.yaml.")
    _check(given)
    return given


def _check(given: Settings) -> None:
    """Raise ConfigError for a value that is not possible."""
    for key, least in _LEAST.items():
        value = given[key]
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(f"'{key}={value}' is not possible: a whole number of at least {least} is wanted.")
    if given["layers"] is not None and not isinstance(given["layers"], bool):
        raise ConfigError(f"'layers={given['layers']}' is not possible: true or false is wanted.")
    if given["csv"] and Path(given["csv"]).suffix.lower() != ".csv":
        raise ConfigError(f"'csv={given['csv']}' is not possible: a file is wanted that ends in .csv.")
    if unknown := [name for name in given["runtimes"] if name not in RUNTIMES]:
        hint = did_you_mean(unknown[0], RUNTIMES, n=1)
        raise ConfigError(f"There is no runtime '{unknown[0]}', but {', '.join(RUNTIMES)}.{hint}")


def _list(text: str) -> list[str]:
    """Return the parts of 'a,b', '[a, b]' or \"['a', 'b']\", each once."""
    parts = [part.strip(" '\"") for part in text.strip().strip("[]").split(",")]
    return list(dict.fromkeys(part for part in parts if part))


def _label(file: str, files: Sequence[str]) -> str:
    """Return a model's name in tables: its file's stem, or its path where another has the same stem."""
    stem = Path(file).stem
    return stem if [Path(f).stem for f in files].count(stem) == 1 else file


def _stride(model: BaseModel) -> int:
    return max(int(max(model.stride)), 1)


def _profiled(name: str, file: str, model: BaseModel, imgsz: int | list[int]) -> Profile:
    """Return the profile of a model; a weight file is weighed as it is."""
    is_yaml = Path(file).suffix.lower() in {".yaml", ".yml"}
    return profile(model, imgsz, weights=None if is_yaml else file, name=name)
