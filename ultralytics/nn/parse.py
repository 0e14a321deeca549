"""From a model YAML to layers: find the file, read its scale, build each line, and name the line of a mistake."""

from __future__ import annotations

import ast
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ultralytics.cfg import find_model_yaml
from ultralytics.nn.modules.conv import default_activation
from ultralytics.nn.modules.head import heads_of_yolov8, is_legacy
from ultralytics.nn.own_modules import describe_files, loaded_entries, own_entries
from ultralytics.nn.registry import REGISTRY, Bound, Context, Entry, lookup
from ultralytics.utils import LOGGER, yaml_load
from ultralytics.utils.errors import ModelError, UserError, reason_of
from ultralytics.utils.files import read_text
from ultralytics.utils.hostile import limits


class Layer(nn.Module):
    """The attributes that `build_layers` sets on each layer, whatever its class.

    Attributes:
        i: index of its first output.
        f: index, or indices, of the outputs that it reads; -1 is the output before its own.
        span: number of indices that it fills.
        np: number of parameters.
        type: its class with the module's name.
        promised: channels of each of its outputs, by its rule or its `out_channels`.
    """

    i: int
    f: int | list[int]
    span: int
    np: int
    type: str  # type: ignore[assignment]  # hides nn.Module's method, as in 8.3.0
    promised: list[int]


_OF_LAYERS = ("i", "f", "type", "np", "span", "promised")  # attributes that `build_layers` sets
_SCALED_NAME = re.compile(r"(yolov?\d+|ghostnetv\d+)([nslmx])(?![a-z0-9])", re.IGNORECASE)


def guess_model_scale(path: str | Path) -> str:
    """Return the scale letter in a model name (`yolo11s-GhostConv.yaml`: 's'), or '' if it has none."""
    match = _SCALED_NAME.match(Path(path).stem)
    return match[2].lower() if match else ""


def yaml_model_load(path: str | Path) -> dict:
    """Read the YAML of a model name, with `scale` from the name and `yaml_file` as given added.

    Module files that it names under `modules` become entries of path and hash; they are not run.
    """
    file = find_model_yaml(path)
    d = yaml_load(file)
    d["scale"] = guess_model_scale(path)
    d["yaml_file"] = str(path)
    _check_keys(d)
    if d.get("modules"):
        d["modules"] = describe_files(d, file.parent)
    return d


def _scale(d: dict, verbose: bool) -> tuple[str, float, float, float]:
    """Return the scale letter and its depth, width and largest number of channels; without a letter the first one."""
    scales = d.get("scales")
    if not scales:
        return "", *_factors([d.get("depth_multiple", 1.0), d.get("width_multiple", 1.0)], d)
    if not isinstance(scales, dict) or not all(isinstance(letter, str) for letter in scales):
        raise ModelError(f"{d.get('yaml_file', 'The model')} has no mapping of letters under `scales`.")
    letter = d.get("scale") or next(iter(scales))
    if letter not in scales:
        raise ModelError(
            f"{d.get('yaml_file', 'The model')} has no scale '{letter}'. Its scales are {', '.join(scales)}."
        )
    if not d.get("scale") and len(scales) > 1 and verbose:
        LOGGER.info(
            f"{d.get('yaml_file', 'The model YAML')} names no scale: '{letter}' is taken. Others: {', '.join(scales)}."
        )
    return letter, *_factors(scales[letter], d)


def _factors(given: object, d: dict) -> tuple[float, float, float]:
    """Return the checked depth, width and largest number of channels of a scale."""
    numbers = list(given) if isinstance(given, (list, tuple)) else []
    kinds = all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 < n <= limits.NUMBER for n in numbers)
    if not kinds or not 2 <= len(numbers) <= 3:
        raise ModelError(
            f"{d.get('yaml_file', 'The model')} has the scale {str(given)[:60]}; it must be depth, width and the "
            "largest number of channels, such as [0.50, 0.25, 1024]."
        )
    return numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else float("inf")


def _check_keys(d: dict) -> None:
    """Raise ModelError if a model description lacks layers, or its numbers are out of range."""
    name = d.get("yaml_file") or "The model"
    missing = [k for k in ("backbone", "head") if not isinstance(d.get(k), (list, tuple))]
    if missing or not (d["backbone"] or d["head"]):
        raise ModelError(f"{name} has no list of layers under {' and '.join(missing) or 'backbone and head'}.")
    for key, most in {"nc": limits.CLASSES, "ch": limits.NUMBER}.items():
        if key in d and (type(d[key]) is not int or not 1 <= d[key] <= most):
            raise ModelError(f"{name} says `{key}: {str(d[key])[:40]}`; it must be a whole number from 1 to {most}.")


def _check_numbers(values: object) -> int:
    """Return the product of the greater numbers among a layer's arguments; raise ModelError if one is out of range."""
    product = 1
    for value in values if isinstance(values, (list, tuple)) else [values]:
        if isinstance(value, (list, tuple)):
            product *= _check_numbers(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if not abs(value) <= limits.NUMBER:
                raise ModelError(f"the number {value:g} is beyond what a layer can have ({limits.NUMBER}).")
            product *= max(int(abs(value)), 1) if abs(value) > 16 else 1
    return product


def _check_size(entry: Entry, args: list, repeats: int) -> None:
    """Raise ModelError if a layer has too many parameters; one that may is first built without memory."""
    if _check_numbers(args) <= limits.USUAL:
        return
    try:
        with torch.device("meta"):
            count = sum(p.numel() for p in entry.cls(*args).parameters())
    except (
        Exception
    ):  # a user's class that cannot be built so, or arguments that do not fit, which `_build_line` reports
        return
    if count * max(repeats, 1) > limits.PARAMETERS:
        raise ModelError(f"it would have {count * max(repeats, 1)} parameters; allowed are {limits.PARAMETERS}.")


def _activation(text: str | None) -> nn.Module:
    """Return the module of `activation: nn.LeakyReLU(0.1)` in a YAML, SiLU by default; the text is never run."""
    if not text:
        return nn.SiLU()  # the model's own instance, as fusing changes it
    try:
        call = ast.parse(str(text).strip(), mode="eval").body
        func, args, kwargs = (call.func, call.args, call.keywords) if isinstance(call, ast.Call) else (call, [], [])
        name = func.attr if isinstance(func, ast.Attribute) else ast.unparse(func)
        if name not in nn.modules.activation.__all__ or name == "MultiheadAttention":
            raise ValueError(f"it has no {name}")
        cls = getattr(nn.modules.activation, name)
        values, named = [ast.literal_eval(a) for a in args], {str(k.arg): ast.literal_eval(k.value) for k in kwargs}
        _check_numbers([*values, *named.values()])
        return cls(*values, **named)
    except (SyntaxError, AttributeError, TypeError, ValueError, RuntimeError, MemoryError) as e:
        given = str(text)[:80]
        raise ModelError(f"activation: '{given}' is not an activation of torch.nn, such as nn.ReLU(): {e}.") from None


def _argument(value: object, d: dict) -> object:
    """Resolve a YAML argument: the name of a YAML key (nc) is its value, a literal in quotes the literal."""
    if not isinstance(value, str):
        return value
    if value in d and not isinstance(d[value], dict):
        return d[value]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def line_numbers(d: dict) -> list[int]:
    """Return the line number of each layer of a model description in its YAML file; [] if that is gone."""
    from ultralytics.utils.hostile import safe_yaml

    try:
        text = read_text(find_model_yaml(d.get("yaml_file") or ""), limits.YAML_BYTES)
        root = safe_yaml.compose(text)
        nodes = {k.value: v for k, v in root.value if isinstance(k.value, str)} if root else {}
        return [row.start_mark.line + 1 for part in ("backbone", "head") for row in nodes[part].value]
    except (UserError, OSError, KeyError, AttributeError, TypeError, ValueError):
        return []  # the model came from a dictionary or a checkpoint


def describe_line(d: dict, number: int) -> str:
    """Return 'FILE line 12 (layer 3: [-1, 1, Conv, [64, 3, 2]]): ' for the `number`-th line of backbone and head."""
    where = d.get("yaml_file") or "model"
    line, lines = [*d["backbone"], *d["head"]][number], line_numbers(d)
    where += f" line {lines[number]}" if number < len(lines) else ""
    return f"{where} (layer {number}: {str(line).replace(chr(39), '')}): "


def _checked(given: object, i: int) -> tuple[list[int], int]:
    """Return the indices that a YAML line reads and its repeats, having checked the line's form."""
    kinds: tuple[type | tuple[type, ...], ...] = ((int, list), int, str, list)
    line = given if isinstance(given, (list, tuple)) else []
    form = len(line) == 4 and all(isinstance(part, kind) for part, kind in zip(line, kinds))
    sources = (line[0] if isinstance(line[0], list) else [line[0]]) if form else []
    if not form or not sources or not all(isinstance(j, int) for j in sources):
        raise ModelError("a layer is written [from, repeats, module, [arguments]], such as [-1, 1, Conv, [64, 3, 2]].")
    if not 0 <= line[1] <= limits.REPEATS:
        raise ModelError(f"{str(line[1])[:20]} repeats are not possible; there can be up to {limits.REPEATS}.")
    for j in sources:
        if not -max(i, 1) <= j < i:
            raise ModelError(f"'from' names layer {j}, but only the layers before this one ({i}) can be read.")
    return sources, line[1]


def _file_place(line: object, own: Mapping[str, Entry]) -> int | None:
    """Return the index of a weight file among the arguments of a YAML line; None if it has none."""
    if not (isinstance(line, (list, tuple)) and len(line) == 4 and isinstance(line[3], list)):
        return None
    entry = own.get(str(line[2])) or REGISTRY.get(str(line[2]))
    return entry.weights if entry and entry.weights is not None and entry.weights < len(line[3]) else None


def weight_files(d: dict) -> dict[int, str]:
    """Return the weight files that a new model starts from, by the number of the line that names them."""
    own = loaded_entries(d)
    found: dict[int, str] = {}
    for number, line in enumerate([*d["backbone"], *d["head"]]):
        place = _file_place(line, own)
        if place is not None and (file := _argument(line[3][place], d)):
            found[number] = str(file)
    return found


def without_weight_files(d: dict) -> dict:
    """Return a model description that names no weight files, for a model whose weights come from a checkpoint."""
    _check_keys(d)
    own = loaded_entries(d)

    def bare(line: list) -> list:
        place = _file_place(line, own)
        return line if place is None else [*line[:3], line[3][:place] + line[3][place + 1 :]]

    return {**d, **{part: [bare(line) for line in d[part]] for part in ("backbone", "head")}}


def _build_line(context: Context, line: list, entry: Entry, place: int | None) -> tuple[Layer, list[int]]:
    """Return the module of one YAML line and the channels of each of its outputs; `place` is that of a weight file."""
    name = line[2]
    args = [_argument(a, context.yaml) for k, a in enumerate(line[3]) if k != place]
    try:
        _check_numbers(args)
        bound = entry.bind(context, args)
        _check_size(entry, bound.args, bound.repeats)
        modules = _repeated(entry, bound, context.c1)
    except UserError:
        raise
    except Exception as e:  # constructors raise anything where arguments do not fit
        given = f"{context.channels} input channels and the arguments {str(args)[:200]}"
        raise ModelError(f"{name} cannot be built from {given}: {reason_of(e)}.") from e
    if place is not None and len(modules) > 1:
        raise ModelError(f"{name} starts from a weight file, so it cannot be repeated. Write 1 repeat.")
    module = cast(Layer, modules[0] if len(modules) == 1 else nn.Sequential(*modules))
    taken = [k for k in _OF_LAYERS if any(k in held for held in (vars(module), module._modules, module._parameters))]
    if taken:
        raise ModelError(f"{name} has an attribute '{taken[0]}', which each layer gets from the model. Rename its own.")
    module.type = f"{entry.cls.__module__}.{entry.cls.__name__}".replace("__main__.", "")
    out = getattr(modules[-1], "out_channels", bound.channels)
    return module, out if isinstance(out, list) else [out]


def _repeated(entry: Entry, bound: Bound, c1: int) -> list[nn.Module]:
    """Return the repeats of a line; after the first, each takes the channels that the one before gives.

    Raises:
        ModelError: the first gives several maps, so none can follow.
    """
    modules = [entry.cls(*bound.args)]
    for _ in range(bound.repeats - 1):
        channels, args = getattr(modules[-1], "out_channels", bound.channels), bound.args
        if isinstance(channels, list):
            raise ModelError(f"it gives {len(channels)} maps, so it cannot be repeated. Write 1 repeat.")
        modules.append(entry.cls(*([channels, *args[1:]] if args[:1] == [c1] else args)))
    return modules


def _known_entries(d: dict, own: Mapping[str, Entry], namespace: Mapping[str, object] | None) -> dict[int, Entry]:
    """Return the entries of a model's lines by their numbers, without those that `build_layers` will refuse."""
    found = {}
    for number, line in enumerate([*d["backbone"], *d["head"]]):
        if isinstance(line, (list, tuple)) and len(line) == 4 and isinstance(line[2], str):
            with suppress(ModelError):
                found[number] = lookup(line[2], own, namespace)
    return found


def build_layers(
    d: dict, ch: int, verbose: bool = True, namespace: Mapping[str, object] | None = None
) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a model description; weight files that it names are not read (see `weight_files`).

    Args:
        d: a model YAML as a dictionary; it is not changed.
        ch: channels of the input image.
        verbose: log the table of layers.
        namespace: classes that are neither registered nor of `torch.nn`, by name.

    Returns:
        The layers, each with the attributes of `Layer`; and the indices whose outputs later layers read.

    Raises:
        ModelError: a module is unknown, its arguments or channels do not fit, or it reads a layer that does not exist.
    """
    _check_keys(d)
    own = own_entries(d, namespace=namespace)
    letter, depth, width, max_channels = _scale(d, verbose)
    channels, i = [ch], 0  # channels: of the image, then of each index
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    save: set[int] = set()
    if verbose:
        LOGGER.info(f"\n{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<45}{'arguments':<30}")
    entries = _known_entries(d, own, namespace)
    legacy = is_legacy(d.get("legacy"), [*entries.values()])
    with default_activation(_activation(d.get("activation"))), heads_of_yolov8(legacy):
        for number, line in enumerate([*d["backbone"], *d["head"]]):
            try:
                sources, n = _checked(line, i)
                repeats = min(max(round(n * depth), 1), limits.REPEATS) if n > 1 else n
                inputs = [channels[j] if j < 0 else channels[j + 1] for j in sources]
                context = Context(inputs, repeats, width, max_channels, letter, d)
                entry = entries.get(number) or lookup(line[2], own, namespace)
                m, out = _build_line(context, line, entry, _file_place(line, own))
            except UserError as e:
                raise type(e)(f"{describe_line(d, number)}{e}") from e
            m.i, m.f, m.span, m.np = i, line[0], len(out), sum(p.numel() for p in m.parameters())
            m.promised = out
            if verbose:
                LOGGER.info(f"{i:>3}{line[0]!s:>20}{repeats:>3}{m.np:10.0f}  {m.type:<45}{line[3]!s:<30}")
            save.update(j % i for j in sources if j != -1)
            layers[str(i)] = m
            channels, i = channels + out, i + len(out)
    return nn.Sequential(layers), sorted(save)
