"""`yolo transfer`: the weights of a trained model in a model of another YAML, as a weight file with a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ultralytics.cfg import smart_value
from ultralytics.cfg.schema import Settings
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.cfg.words import key_values
from ultralytics.nn.tasks import (
    BaseModel,
    attempt_load_one_weight,
    describe,
    guess_model_task,
    trust_modules,
    yaml_model_load,
)
from ultralytics.nn.transfer import Report, transfer
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.system.console import say

USAGE = """yolo transfer model=best.pt to=NAME.yaml
                        the weights of a trained model in another one, layer by layer by their places; writes a file
  save=FILE.pt          where to write; by default NAME-from-best.pt in the working directory
  nc=N                  classes of the new model; by default those of the old one, with their names
  images=FOLDER       convert layers that became Ghost layers, by what the old ones give for these images
  data=NAME.yaml        the same with the training images of a data set
  count=32 imgsz=640    how many of the images, and in which size; by default the size that the model was trained with
  trust_modules=true    run the module files that the models name
"""
KEYS = ("model", "to", "save", "nc", "images", "data", "count", "imgsz", "trust_modules")
IMAGES = 32  # for the conversion: more change the filters little
KEPT_ARGS = ("imgsz", "data", "single_cls")  # of the old model's training, for what is done with the new one


def main(words: Sequence[str]) -> int:
    """Run `yolo transfer` and return the exit code."""
    if not words:
        say(USAGE, end="")
        return 0
    given = parse(words)
    missing = [key for key in ("model", "to") if key not in given]
    if missing:
        raise ConfigError(
            f"`yolo transfer` needs {' and '.join(f'{key}=' for key in missing)}: `yolo transfer` alone tells more."
        )
    file = _file(given)
    trusted = cast("bool | str", smart_value(given.get("trust_modules", "false")))
    source, _ = attempt_load_one_weight(given["model"], trusted=trusted)
    trust_modules(given["to"], trusted)
    target = build_target(given["to"], source, _number(given, "nc"))
    by_images = "images" in given or "data" in given
    say(_convert(source, target, given) if by_images else transfer(source, target))
    _save(target, file)
    say(f"\nWrote '{file}'. Train on with `yolo train model={file} data=...`.")
    return 0


def build_target(to: str | Path, source: BaseModel, nc: int | None = None) -> BaseModel:
    """Return an untrained model of a YAML in eval mode, with input channels and classes of another, or `nc` classes."""
    if Path(to).suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"to='{to}' is no model YAML, such as to=yolo11n-GhostConv.yaml.")
    d = yaml_model_load(to)
    task = guess_model_task(d)
    if "kpt_shape" in d and "kpt_shape" in source.yaml:
        d["kpt_shape"] = source.yaml["kpt_shape"]
    ch = source.yaml.get("ch", 3)
    target = load(TASKS[task].model)(d, ch=ch, nc=nc or len(source.names), verbose=False)
    if len(target.names) == len(source.names):
        target.names = dict(source.names)
    args = source.args if isinstance(source.args, dict) else vars(source.args)
    target.args = {**{k: args[k] for k in KEPT_ARGS if k in args}, "task": task}
    return target.eval()


def load_images(folder: str | Path | list, count: int, imgsz: int) -> torch.Tensor:
    """Return images (count, 3, imgsz, imgsz) RGB from 0 to 1, taken evenly from all that are there, letterboxed."""
    from ultralytics.data.augment import LetterBox
    from ultralytics.data.dataset import find_images
    from ultralytics.data.image_files import read_image

    files = find_images(folder)
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).astype(int))]
    frames = [LetterBox(imgsz)(image=read_image(file))[..., ::-1] for file in chosen]
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))).float() / 255


def parse(words: Sequence[str]) -> dict[str, str]:
    """Return `key=value` words as a dict."""
    return key_values(words, "transfer", KEYS)


def _number(given: dict[str, str], key: str) -> int | None:
    """Return a count, or None if it was not given."""
    if (text := given.get(key)) is None:
        return None
    if not text.isdigit() or not int(text):
        raise ConfigError(f"{key}={text} is not possible: it must be a whole number of 1 or more.")
    return int(text)


def _convert(source: BaseModel, target: BaseModel, given: dict[str, str]) -> Report:
    """Convert layers that became Ghost layers, by calibration images."""
    from ultralytics.lab.conversion.ghost import to_ghost

    if "images" in given and "data" in given:
        raise ConfigError("images= and data= both name the images for the conversion. Give one of them.")
    if (ch := target.yaml.get("ch", 3)) != 3:
        raise ConfigError(
            f"The images are read with 3 channels, and '{given['to']}' reads {ch}. Leave out images= and data=, or "
            "call to_ghost() in Python with images of your own."
        )
    trained_with = source.args.get("imgsz") if isinstance(source.args, dict) else None
    size = _number(given, "imgsz") or (trained_with if isinstance(trained_with, int) else Settings.imgsz)
    imgsz = check_imgsz(size, max(int(target.stride.max()), 32))  # below 32 a classifier's maps would end
    assert isinstance(imgsz, int)
    where = given.get("images") or _training_images(given["data"], target.task)
    return to_ghost(source, target, load_images(where, _number(given, "count") or IMAGES, imgsz))


def _training_images(data: str, task: str) -> str | list:
    """Return the paths of a dataset's training images."""
    from ultralytics.data.utils import check_cls_dataset, check_det_dataset

    found = (check_cls_dataset if task == "classify" else check_det_dataset)(data)["train"]
    return found if isinstance(found, list) else str(found)


def _file(given: dict[str, str]) -> Path:
    """Return where to write: `save=`, or a name that is not there yet."""
    from ultralytics.utils.files import increment_path

    if "save" not in given:
        return increment_path(f"{Path(given['to']).stem}-from-{Path(given['model']).stem}.pt")
    file = Path(given["save"])
    if file.suffix != ".pt":
        raise ConfigError(f"save={file} is no weight file: its name must end in .pt, such as save={file.stem}.pt.")
    if file.resolve() == Path(given["model"]).resolve():
        raise ConfigError(f"save={file} would overwrite the weights that are read. Give another name.")
    return file


def _save(model: BaseModel, file: Path) -> None:
    from ultralytics.nn.checkpoint import save_checkpoint

    file.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(file, describe(model))
