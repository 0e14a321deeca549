"""Weight files: written with builtins and tensors only, read without running code; those of ultralytics 8.x, too."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ultralytics.cfg.tasks import TASKS
from ultralytics.nn.unpickle import AGAIN, NAME_ONE, Archive, Record, TensorRecord, module_tensors
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError, UserError
from ultralytics.utils.files import atomic_write, file_size
from ultralytics.utils.hostile.limits import CLASSES
from ultralytics.utils.hostile.names import clean_names
from ultralytics.utils.settings import find_weights

FORMAT, FORMAT_VERSION = "ghost", 1
DOC = (
    "Weights of a YOLO model: `model` holds names and tensors, `yaml` describes the network, and nothing here is code. "
    "For the network with its weights, a torch.nn.Module: `from ultralytics import YOLO; YOLO(FILE).model`."
)
REQUIRED = {"yaml": dict, "task": str, "names": dict, "nc": int, "stride": list, "args": dict, "model": dict}
KEPT = (*REQUIRED, "best_fitness", "metrics", "train_results", "date", "version")  # for inference and for readers
HALF_TOLERANCE = 5e-3  # largest change of an output by half precision, as a part of its row's range (1 at least)
WEIGHT_TOLERANCE = 2e-3  # largest change of a tensor, as a part of its norm; rounding to half alone makes 3e-4

T = TypeVar("T")
_CLASS_BRANCH = re.compile(r"model\.\d+\.cv3\.0\.0\.(0\.)?conv\.weight")  # the first layer of a head's class branch
_PLAIN: tuple[type, ...] = (bool, int, float, str, bytes)
_REMEDIES = {
    errno.ENOSPC: "the disk is full. Free some space",
    getattr(errno, "EDQUOT", -1): "the disk quota is used up. Free some space",  # unknown on Windows
    errno.EFBIG: "it is larger than this system allows a file to be. Choose another folder",
    errno.EROFS: "the disk is read-only. Choose a folder that can be written",
    errno.EACCES: "permission is denied. Choose a folder that you may write",
    errno.EPERM: "permission is denied. Choose a folder that you may write",
    errno.EISDIR: "a folder has that name. Choose another name",
    errno.ENOTDIR: "a part of the path is a file. Choose another folder",
    errno.EEXIST: "a part of the path is a file. Choose another folder",
}

# ------------------------------------------------------------------------------------------------------------ writing


def save_checkpoint(path: str | Path, ckpt: Mapping[str, object], keep: Path | None = None) -> None:
    """Write a checkpoint that `torch.load(path, weights_only=True)` reads, completely or not at all.

    Args:
        path: file to write; an older file stays as it is until the new one is complete on the disk.
        ckpt: the keys of `REQUIRED` and any others; arrays, paths and namespaces become tensors, strings and dicts.
        keep: name under which the older file stays, in the same folder.

    Raises:
        CheckpointError: a value has a type that a weight file cannot hold, or the file cannot be written.
    """
    _write(Path(path), ckpt, Path(path), keep)


def _write(path: Path, ckpt: Mapping[str, object], named: Path, keep: Path | None = None) -> None:
    """Write a checkpoint to `path`; errors name the file `named`."""
    absent = [k for k in REQUIRED if k not in ckpt]
    if absent:
        raise CheckpointError(f"'{named}' was not written: the checkpoint lacks {', '.join(absent)}.")
    marks = {"__doc__": DOC, "format": FORMAT, "format_version": FORMAT_VERSION}
    marks["date"] = datetime.now().isoformat(timespec="seconds")
    content = _storable(
        {**marks, **{k: v for k, v in ckpt.items() if k not in {"source", "__doc__", "format", "format_version"}}}, ""
    )
    try:
        with atomic_write(path, keep=keep) as f:
            torch.save(content, f)
    except (OSError, RuntimeError) as e:  # torch's writer hides the system's error behind one of its own
        raise CheckpointError(_unwritable(named, e)) from e


def _unwritable(path: Path, e: BaseException) -> str:
    """Return the message for a failed write, by the system's own error, which may be the cause of torch's."""
    cause: BaseException | None = e
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    reason = _REMEDIES.get(cause.errno) if cause else None
    reason = (
        reason or f"{(cause.strerror if cause else None) or ' '.join(str(e).split())}. Check the disk and the folder"
    )
    old = " The older file of that name is as it was." if path.is_file() else ""
    return f"The weight file '{path}' could not be written: {reason}.{old}"


def _storable(value: object, where: str) -> object:
    """Return a value as builtins and tensors; `where` names it in the error."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        whole = value.untyped_storage().nbytes() == value.numel() * value.element_size()
        return value if whole and type(value) is torch.Tensor else value.clone()  # a view drags its base along
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        simple = value.dtype.kind in "bif" or value.dtype == np.uint8  # torch lacks most unsigned types
        return torch.from_numpy(value.copy()) if simple else value.tolist()
    for kind in _PLAIN:
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if value is None:
        return value
    if isinstance(value, dict):
        return {_storable(k, where): _storable(v, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_storable(v, f"{where}[{i}]") for i, v in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, (set, frozenset)):
        return sorted((_storable(v, where) for v in value), key=str)
    if isinstance(value, (os.PathLike, torch.device, torch.dtype)):
        return str(value)
    if type(value).__name__.endswith("Namespace"):
        return _storable(vars(value), where)
    raise CheckpointError(
        f"The checkpoint's entry '{where}' is of type {type(value).__name__}. A weight file holds numbers, text, "
        f"lists, dicts and tensors only; store its state_dict() instead."
    )


# ------------------------------------------------------------------------------------------------------------ reading


def load_checkpoint(path: str | Path) -> dict:
    """Read a weight file of this package or of ultralytics 8.x; no code in the file is run.

    Args:
        path: of the file; a name that is not here is looked for in `weights_dir` of the settings.

    Returns:
        yaml, task, names {int: str}, nc, stride [float], args, model (name -> tensor in state-dict order, float32, EMA
        if there is one), epoch (-1: finished), best_fitness, date, version, source ('ghost' or 'ultralytics'); with
        files of this package all else that was saved, such as optimizer and train_model.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is damaged, is something else, or asks for something that a weight file may not ask for.
    """
    with Archive(find_weights(path)) as archive:
        tree = archive.tree
        if isinstance(tree, Record):  # torch.save(model)
            tree = {"model": tree}
        if not isinstance(tree, dict):
            raise CheckpointError(f"'{path}' holds a {type(tree).__name__}, not a checkpoint. {NAME_ONE}")
        try:
            ckpt = _own(archive, tree) if tree.get("format") == FORMAT else _imported(archive, tree)
        except UserError:
            raise
        except Exception as e:  # contents of the wrong types can raise anything
            raise archive.damaged(e) from e
    defaults = {"epoch": -1, "best_fitness": None, "date": "", "version": ""}
    return {**defaults, **ckpt, "yaml": _with_kind_of_head(ckpt["yaml"], ckpt["model"])}


def _with_kind_of_head(yaml: dict, names: Iterable[str]) -> dict:
    """Return a model description that says whether its head is YOLOv8's (`legacy`), as the names of its weights do.

    The description alone need not: what its classes are may have changed since.
    """
    if "legacy" in yaml:
        return yaml
    found = next((m for name in names if (m := _CLASS_BRANCH.fullmatch(name))), None)
    return {**yaml, "legacy": not found[1]} if found else yaml


def _own(archive: Archive, tree: dict) -> dict:
    """Return the content of a file of this package."""
    version = archive.plain(tree.get("format_version"))
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"The weight file '{archive.path}' has format version {str(version)[:20]}, but this package reads up to "
            f"{FORMAT_VERSION}. Install the newer package that wrote it."
        )
    ckpt = archive.plain(tree)
    wrong = [k for k, kind in REQUIRED.items() if not isinstance(ckpt.get(k), kind)]
    if wrong or not all(isinstance(v, torch.Tensor) for v in ckpt["model"].values()):
        what = ", ".join(wrong or ["model"])
        raise CheckpointError(f"The weight file '{archive.path}' is damaged: its {what} cannot be used. {AGAIN}")
    if not 1 <= ckpt["nc"] <= CLASSES:
        raise ValueError(f"{ckpt['nc']} classes")
    return {
        **ckpt,
        "names": clean_names(ckpt["names"]),
        "stride": [float(s) for s in ckpt["stride"]],
        "model": _as_float(ckpt["model"].items()),
        "epoch": int(_number(ckpt.get("epoch"), -1)),
        "source": "ghost",
    }


def _imported(archive: Archive, tree: dict) -> dict:
    """Return the content of a file of ultralytics 8.x."""
    model = next((tree[k] for k in ("ema", "model") if isinstance(tree.get(k), Record)), None)
    yaml = model.get("yaml") if model else None
    if model is None or not isinstance(yaml, dict):
        raise CheckpointError(_no_model(archive, tree, model))
    layers = model.get("model")
    head = next(reversed(layers.state["_modules"].values())) if isinstance(layers, Record) else None
    args = archive.plain(tree.get("train_args") or model.get("args")) or {}
    names = archive.plain(model.get("names")) or {}
    names = dict(names.items() if isinstance(names, dict) else enumerate(names))
    nc = (head.get("nc") if isinstance(head, Record) else None) or len(names) or yaml["nc"]
    stride = archive.plain(model.get("stride"))
    return {
        "yaml": archive.plain(yaml),
        "task": _task(archive, args, model, head),
        "names": clean_names(names) or {i: f"{i}" for i in range(min(int(nc), CLASSES))},
        "nc": int(nc),
        "stride": [float(s) for s in (stride.tolist() if isinstance(stride, torch.Tensor) else stride or [8, 16, 32])],
        "args": args,
        "model": _as_float((name, archive.tensor(t)) for name, t in module_tensors(model)),
        "epoch": int(_number(tree.get("epoch"), -1)),
        "best_fitness": _number(tree.get("best_fitness"), None),
        "date": str(archive.plain(tree.get("date")) or ""),
        "version": str(archive.plain(tree.get("version")) or ""),
        "source": "ultralytics",
    }


def _number(value: object, default: T) -> float | T:
    return value if isinstance(value, (int, float)) else default


def _as_float(items: Iterable[tuple[object, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return a state dict in which half precision became float32."""
    return {str(k): v.float() if v.dtype in (torch.float16, torch.bfloat16) else v for k, v in items}


def _task(archive: Archive, args: dict, model: Record, head: object) -> str:
    """Return the task of a recorded model, by its training's settings or else by the class of its head."""
    head_name = head.kind if isinstance(head, Record) else ""
    by_class = (t.name for t in TASKS.values() if head_name in t.heads or t.model.endswith(f":{model.kind}"))
    task = args.get("task") or next(by_class, None) or model.kind
    if task not in TASKS:
        raise CheckpointError(
            f"The weight file '{archive.path}' is for {str(task)[:40]!r}, but this package knows {', '.join(TASKS)}. "
            f"Name a model for one of these."
        )
    return task


def _no_model(archive: Archive, tree: dict, model: Record | None) -> str:
    """Return the message for a file that holds no model with its description."""
    if model is not None:
        return (
            f"The weight file '{archive.path}' holds a {model.path} without a model YAML. Save its state_dict() and "
            f"load that into a model YAML."
        )
    if _state_dict(tree):
        return (
            f"'{archive.path}' holds weights without a description of their model. Build that model from "
            f"its YAML, and load them into it: YOLO('yolo11n.yaml').load('{archive.path}') for a "
            f"YOLO11n, or in training pretrained={archive.path}."
        )
    keys = ", ".join(str(key)[:40] for key in list(tree)[:6]) or "nothing"
    return f"'{archive.path}' is not a checkpoint of YOLO: it holds {keys}. {NAME_ONE}"


def _state_dict(tree: object) -> dict[str, TensorRecord]:
    """Return the names and tensors of a bare state dict, also one under 'state_dict' or 'model'; {} if none."""
    inner = (tree.get("state_dict"), tree.get("model")) if isinstance(tree, dict) else ()
    for found in (tree, *inner):
        if isinstance(found, dict) and found and all(isinstance(v, TensorRecord) for v in found.values()):
            return {str(k).removeprefix("module."): v for k, v in found.items()}
    return {}


def load_state_dict_file(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the names and tensors of any weight file: a bare state dict, one under 'state_dict', or a checkpoint.

    Names lose the 'module.' that parallel training puts before them. Nothing in the file is run.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is damaged, holds no weights, or asks for something that a weight file may not ask for.
    """
    with Archive(path) as archive:
        tensors = _state_dict(archive.tree)
        if tensors:
            return {k: archive.tensor(v) for k, v in tensors.items()}
    return load_checkpoint(path)["model"]


# ---------------------------------------------------------------------------------------------------------- stripping


def strip_checkpoint(
    path: str | Path,
    check: Callable[[dict], torch.Tensor | float] | None = None,
    save_as: str | Path | None = None,
    tolerance: float = HALF_TOLERANCE,
) -> dict:
    """Keep what inference needs, in half precision where that changes no output, and log which precision was kept.

    Args:
        path: weight file; replaced by the stripped one unless `save_as` is given.
        check: returns the outputs of a checkpoint's model for a fixed input. They are compared before and after, with
            the file read back from the disk. Without it the weights themselves are compared.
        save_as: where to write instead.
        tolerance: largest change, as a part of the range of the outputs' last dimension (1 at least).

    Returns:
        The checkpoint that was kept, with 'precision' added: 'float16' or 'float32'.
    """
    path, target = Path(path), Path(save_as or path)
    full = load_checkpoint(path)
    full = {**{k: full[k] for k in KEPT if k in full}, "epoch": -1, "precision": "float32"}
    weights = {k: v.half() if v.is_floating_point() else v for k, v in full["model"].items()}
    trial = target.with_name(f".{target.stem[:40]}-{os.getpid()}-half.tmp")  # resuming removes such files
    try:
        _write(trial, {**full, "precision": "float16", "model": weights}, named=target)
        read = load_checkpoint(trial)
        if check is None:
            change = _weight_change(full["model"], read["model"])
        else:
            change = _output_change(check(full), check(read))
        if change <= (WEIGHT_TOLERANCE if check is None else tolerance):
            os.replace(trial, target)
            kept = read
        else:
            save_checkpoint(target, full)
            kept = full
    except OSError as e:
        raise CheckpointError(_unwritable(target, e)) from e
    finally:
        trial.unlink(missing_ok=True)
    exact = kept["precision"] == "float16"
    why = "half precision" if exact else f"float32, since half precision changes what it gives by {change:.2g}"
    saved_as = f", saved as {target}" if save_as else ""
    LOGGER.info(f"Optimizer stripped from {path}{saved_as}: {file_size(target):.1f} MB, {why}")
    return kept


def strip_optimizer(f: str | Path = "best.pt", s: str | Path = "") -> None:
    """Reduce a checkpoint to what inference needs, in half precision where that is exact; `s`: write there."""
    strip_checkpoint(f, save_as=s or None)


def _weight_change(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    """Return the largest change of a tensor, as a part of its norm (1e-4 at least); inf where a number overflows."""
    worst = 0.0
    for name, old in before.items():
        if old.is_floating_point() and old.numel():
            change = float((old - after[name]).norm() / old.norm().clamp_min(1e-4))
            worst = max(worst, change if math.isfinite(change) else math.inf)
    return worst


def _output_change(before: torch.Tensor | float, after: torch.Tensor | float) -> float:
    """Return the largest change of an output, as a part of its row's largest value, or of 1 where that is smaller."""
    old, new = (torch.as_tensor(x).float() for x in (before, after))
    rows = old.abs().amax(dim=-1, keepdim=True) if old.ndim else old.abs()
    change = float(((old - new).abs() / rows.clamp_min(1.0)).max())
    return change if math.isfinite(change) else math.inf
