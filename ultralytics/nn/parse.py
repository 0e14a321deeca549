"""From a model YAML to layers: find the file, read its scale, build each line, and say in which line a mistake is."""

from __future__ import annotations

import ast
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics.cfg import find_model_yaml
from ultralytics.nn.modules.conv import default_activation
from ultralytics.nn.own_modules import describe_files, own_entries
from ultralytics.nn.registry import Context, Entry, lookup
from ultralytics.utils import LOGGER, yaml_load
from ultralytics.utils.errors import MissingFileError, ModelError, UserError

_SCALED_NAME = re.compile(r"(yolov?\d+|ghostnetv\d+)([nslmx])(?![a-z0-9])", re.IGNORECASE)


def guess_model_scale(path: str | Path) -> str:
    """Return the scale letter in a model name (`yolo11s-GhostConv.yaml`: 's'), or '' if it has none."""
    match = _SCALED_NAME.match(Path(path).stem)
    return match[2].lower() if match else ""


def yaml_model_load(path: str | Path) -> dict:
    """Read the YAML that a model name stands for, with `scale` from the name and `yaml_file` as given added.

    Module files that it names under `modules` become entries of path and hash; they are not run.
    """
    file = find_model_yaml(path)
    d = yaml_load(file)
    missing = [k for k in ("backbone", "head") if not isinstance(d.get(k), list)]
    if missing:
        raise ModelError(f"The model file '{path}' has no list of layers under {' and '.join(map(repr, missing))}.")
    d["scale"] = guess_model_scale(path)
    d["yaml_file"] = str(path)
    if d.get("modules"):
        d["modules"] = describe_files(d, file.parent)
    return d


def _scale(d: dict, verbose: bool) -> tuple[str, float, float, float]:
    """Return the scale letter and its depth, width and largest number of channels; without a letter the first one."""
    scales = d.get("scales")
    if not scales:
        return "", d.get("depth_multiple", 1.0), d.get("width_multiple", 1.0), float("inf")
    letter = d.get("scale") or next(iter(scales))
    if letter not in scales:
        raise ModelError(
            f"{d.get('yaml_file', 'The model')} has no scale '{letter}'. Its scales are {', '.join(scales)}."
        )
    if not d.get("scale") and verbose:
        LOGGER.info(
            f"{d.get('yaml_file', 'The model YAML')} names no scale: '{letter}' is taken. Others: {', '.join(scales)}."
        )
    depth, width, *rest = scales[letter]
    return letter, depth, width, rest[0] if rest else float("inf")


def _activation(text: str | None) -> nn.Module:
    """Return the module of `activation: nn.LeakyReLU(0.1)` in a YAML, else SiLU; the text is parsed, never run."""
    if not text:
        return nn.SiLU()  # one of the model's own, for fusing changes it
    try:
        call = ast.parse(str(text).strip(), mode="eval").body
        func, args, kwargs = (call.func, call.args, call.keywords) if isinstance(call, ast.Call) else (call, [], [])
        name = func.attr if isinstance(func, ast.Attribute) else func.id
        cls = getattr(nn.modules.activation, name)
        return cls(*map(ast.literal_eval, args), **{k.arg: ast.literal_eval(k.value) for k in kwargs})
    except (SyntaxError, AttributeError, TypeError, ValueError) as e:
        raise ModelError(f"activation: '{text}' is no activation of torch.nn, such as nn.ReLU(): {e}.") from None


def _argument(value: Any, d: dict) -> Any:
    """Return what a YAML argument means: the name of a YAML key (nc) its value, a literal in quotes the literal."""
    if not isinstance(value, str):
        return value
    if value in d and not isinstance(d[value], dict):
        return d[value]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def line_numbers(d: dict) -> list[int]:
    """Return the line of each layer of a model description in its YAML file; [] if there is no such file any more."""
    import yaml

    try:
        text = find_model_yaml(d.get("yaml_file") or "").read_text(encoding="utf-8")
        nodes = dict((k.value, v) for k, v in yaml.compose(text).value)
        return [row.start_mark.line + 1 for part in ("backbone", "head") for row in nodes[part].value]
    except (MissingFileError, OSError, KeyError, AttributeError, yaml.YAMLError):
        return []  # the model came from a dictionary or a checkpoint


def describe_line(d: dict, number: int) -> str:
    """Return 'FILE line 12 (layer 3: [-1, 1, Conv, [64, 3, 2]]): ' for the `number`-th line of backbone and head."""
    where = d.get("yaml_file") or "model"
    line, lines = [*d["backbone"], *d["head"]][number], line_numbers(d)
    where += f" line {lines[number]}" if number < len(lines) else ""
    return f"{where} (layer {number}: {str(line).replace(chr(39), '')}): "


def _checked(line: Any, i: int) -> tuple[list[int], int]:
    """Return the indices that a YAML line reads and its repeats, after a look at the line's form."""
    form = isinstance(line, (list, tuple)) and len(line) == 4 and isinstance(line[1], int) and isinstance(line[3], list)
    sources = (line[0] if isinstance(line[0], list) else [line[0]]) if form else []
    if not form or not sources or not all(isinstance(j, int) for j in sources):
        raise ModelError("a layer is written [from, repeats, module, [arguments]], such as [-1, 1, Conv, [64, 3, 2]].")
    for j in sources:
        if not -max(i, 1) <= j < i:
            raise ModelError(f"'from' names layer {j}, but only the layers before this one ({i}) can be read.")
    return sources, line[1]


def _build_line(context: Context, line: list, own: dict[str, Entry]) -> tuple[nn.Module, list[int]]:
    """Return the module of one YAML line and the channels of each of its outputs."""
    name, args = line[2], [_argument(a, context.yaml) for a in line[3]]
    entry = lookup(name, own)
    try:
        bound = entry.bind(context, args)
        modules = [entry.cls(*bound.args)]
        for _ in range(bound.repeats - 1):  # what follows the first takes its output
            modules.append(
                entry.cls(*([bound.channels, *bound.args[1:]] if bound.args[0] == context.c1 else bound.args))
            )
    except UserError:
        raise
    except (TypeError, IndexError, ValueError, ZeroDivisionError, RuntimeError) as e:
        given = f"{context.channels} input channels and the arguments {args}"
        raise ModelError(f"{name} cannot be built from {given}: {e}.") from e
    module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    module.type = f"{entry.cls.__module__}.{entry.cls.__name__}".replace("__main__.", "")
    out = getattr(module, "out_channels", bound.channels)
    return module, out if isinstance(out, list) else [out]


def parse_model(d: dict, ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a model description.

    Args:
        d: a model YAML as a dictionary; it is not changed.
        ch: channels of the input picture.
        verbose: log the table of layers.

    Returns:
        The layers, each with `i` (index of its first output), `f` (from), `type`, `np` (parameters), `span` (how many
        indices it fills); and the indices whose outputs later layers read.

    Raises:
        ModelError: a module is unknown, its arguments or channels do not fit, or it reads a layer that is not there.
    """
    own = own_entries(d)
    letter, depth, width, max_channels = _scale(d, verbose)
    channels, layers, save, i = [ch], OrderedDict(), set(), 0  # channels: of the picture, then of each index
    if verbose:
        LOGGER.info(f"\n{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<45}{'arguments':<30}")
    with default_activation(_activation(d.get("activation"))):
        for number, line in enumerate([*d["backbone"], *d["head"]]):
            try:
                sources, n = _checked(line, i)
                repeats = max(round(n * depth), 1) if n > 1 else n
                inputs = [channels[j] if j < 0 else channels[j + 1] for j in sources]
                m, out = _build_line(Context(inputs, repeats, width, max_channels, letter, d), line, own)
            except UserError as e:
                raise type(e)(f"{describe_line(d, number)}{e}") from e
            m.i, m.f, m.span, m.np = i, line[0], len(out), sum(p.numel() for p in m.parameters())
            if verbose:
                LOGGER.info(f"{i:>3}{line[0]!s:>20}{repeats:>3}{m.np:10.0f}  {m.type:<45}{line[3]!s:<30}")
            save.update(j % i for j in sources if j != -1)
            layers[str(i)] = m
            channels, i = channels + out, i + len(out)
    return nn.Sequential(layers), sorted(save)
