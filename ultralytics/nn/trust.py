"""The one door for code of strangers: what a model's file asks to run is run only where the caller trusts it.

Three kinds of files can ask: a model YAML and a weight file name module files (`nn/own_modules.py`), and TorchScript
holds operators that could write files (`nn/formats/scripts.py`). Both places refuse whatever was not let in here, and
name it. `trust_modules`, which no file can set, comes with the call: `YOLO(model, trust_modules=True)`, a setting of
the engines, or a word of the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.formats import format_of
from ultralytics.nn.formats.scripts import trust
from ultralytics.nn.own_modules import load_trusted
from ultralytics.nn.parse import yaml_model_load


def trust_modules(model: Any, where: bool | str) -> None:
    """Let in what the file of a model asks to run, if the caller trusts it.

    Args:
        model: a model YAML, a weight file or an exported file; what is no name of a file is passed over.
        where: the caller's `trust_modules`. True lets in module files as they were recorded, and a TorchScript file as
            it is; a folder, or a file in it, the module files that lie there (see `load_trusted`); False nothing.

    Raises:
        UserError: a file is missing, has changed, or cannot be run.
    """
    if not where or not isinstance(model, (str, Path)):
        return
    if form := format_of(model):
        if form.name == "torchscript":
            trust(model)
    else:
        is_yaml = Path(model).suffix in {".yaml", ".yml"}
        load_trusted(yaml_model_load(model) if is_yaml else load_checkpoint(model)["yaml"], where, model)
