"""Trust in untrusted code: what a model's file asks to run is run only where the caller trusts it.

Three kinds of files can ask: a model YAML and a weight file name module files (`nn/own_modules.py`), and TorchScript
holds operators that could write files (`nn/formats/scripts.py`). Both refuse, by name,
what was not allowed here. `trust_modules`, which no file can set, comes with the call: `YOLO(model,
trust_modules=True)`, a setting of
the engines, or a word of the command.
"""

from __future__ import annotations

from pathlib import Path

from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.formats import format_of
from ultralytics.nn.formats.scripts import trust
from ultralytics.nn.own_modules import load_trusted
from ultralytics.nn.parse import yaml_model_load


def trust_modules(model: object, where: bool | str) -> None:
    """Allow what the file of a model asks to run, if the caller trusts it.

    Args:
        model: a model YAML, a weight file or an exported file; what is not a file name is ignored.
        where: the caller's `trust_modules`. True allows module files as they were recorded, and a TorchScript file as
            it is; a folder, or a file in it, allows the module files there (see `load_trusted`); False allows none.

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
