"""Settings: reading them from files, dictionaries and the command line, and checking each against the schema."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

from ultralytics import modules_of
from ultralytics.cfg.schema import DEFAULTS, SPECS, Settings
from ultralytics.cfg.tasks import MODES, TASKS, load
from ultralytics.utils import LOGGER, RANK, ROOT, yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError, UnknownSettingError, did_you_mean
from ultralytics.utils.files import RunFolder, atomic_write

TASK2DATA = {name: task.data for name, task in TASKS.items()}
TASK2MODEL = {name: task.weights for name, task in TASKS.items()}
TASK2METRIC = {name: task.metric for name, task in TASKS.items()}
MODELS = frozenset(TASK2MODEL.values())

DEFAULT_CFG_PATH = ROOT / "cfg" / "default.yaml"
DEFAULT_CFG_DICT = dict(DEFAULTS)
DEFAULT_CFG_KEYS = DEFAULT_CFG_DICT.keys()
DEFAULT_CFG = Settings()
# The settings by what they hold, as 8.3.0 sorts them
CFG_BOOL_KEYS = frozenset(key for key, spec in SPECS.items() if spec.kinds == ("bool",))
CFG_INT_KEYS = frozenset(key for key, spec in SPECS.items() if "int" in spec.kinds and "float" not in spec.kinds)
CFG_FRACTION_KEYS = frozenset(key for key, spec in SPECS.items() if "float" in spec.kinds and (spec.hi or 2) <= 1)
CFG_FLOAT_KEYS = frozenset(key for key, spec in SPECS.items() if "float" in spec.kinds) - CFG_FRACTION_KEYS
KEPT_FROM_CHECKPOINT = ("imgsz", "data", "task", "single_cls", "crop_fraction")  # what later calls start from

SettingsLike = str | Path | dict | SimpleNamespace  # in a YAML file, a dictionary or a namespace

# Old names of settings: the new name, and how the old value becomes the new one.
RENAMED: dict[str, tuple[str, Callable[[object], object]]] = {
    "boxes": ("show_boxes", lambda v: v),
    "hide_labels": ("show_labels", lambda v: not v),
    "hide_conf": ("show_conf", lambda v: not v),
    "line_thickness": ("line_width", lambda v: v),
}


def cfg2dict(cfg: SettingsLike) -> dict:
    """Return settings from a YAML file, a dictionary or a namespace as a new dictionary."""
    if isinstance(cfg, (str, Path)):
        return read_settings(cfg)
    return dict(vars(cfg) if isinstance(cfg, SimpleNamespace) else cfg)


def read_settings(file: str | Path) -> dict:
    """Read the settings in a YAML file, except `trust_modules`, which no file may set."""
    found = yaml_load(file)
    if found.pop("trust_modules", None):
        LOGGER.warning(
            f"'{file}' sets trust_modules, which a file cannot: it is ignored. If you trust the module files that "
            "the model names, write trust_modules=true in the command, or pass trust_modules=True."
        )
    return found


def check_dict_alignment(base: dict, custom: dict, e: Exception | None = None) -> None:
    """Rename old keys of `custom` in place; raise UnknownSettingError, caused by `e`, for one that `base` lacks."""
    for old in [key for key in custom if key in RENAMED]:
        new, convert = RENAMED[old]
        LOGGER.warning(f"'{old}' is now called '{new}'; please write '{new}' in future.")
        custom[new] = convert(custom.pop(old))
    unknown = [str(key) for key in custom if key not in base]
    if unknown:
        hints = "".join(did_you_mean(key, base, n=1) for key in unknown)
        what = f"'{unknown[0]}' is not a setting." if len(unknown) == 1 else f"{unknown} are not settings."
        raise UnknownSettingError(f"{what}{hints or ' `yolo help` lists all settings.'}") from e


def check_cfg(cfg: dict, hard: bool = True) -> dict:
    """Convert each setting to its type, in place; return them.

    Args:
        cfg: settings.
        hard: else a text is read as on the command line first: `"0.5"` is a number.

    Raises:
        ConfigError: a value is not allowed.
    """
    for key in [key for key in cfg if key in SPECS]:
        text = not hard and isinstance(cfg[key], str)
        cfg[key] = SPECS[key].check(parse_value(key, cfg[key]) if text else cfg[key])
    return cfg


def get_cfg(cfg: SettingsLike = DEFAULT_CFG_DICT, overrides: SettingsLike | None = None) -> Settings:
    """Return all settings: the defaults, changed by `cfg`, changed by `overrides`, and checked.

    `save_dir`, which a run writes into its `args.yaml`, is kept from `cfg` and ignored in `overrides`.

    Raises:
        UnknownSettingError: a key is unknown; a ConfigError that is a SyntaxError, too.
        ConfigError: a value has a wrong type or is out of bounds.
    """
    base, changes = cfg2dict(cfg), cfg2dict(overrides or {})
    if "save_dir" not in base:
        changes.pop("save_dir", None)
    for given in (base, changes):
        check_dict_alignment({**DEFAULT_CFG_DICT, "save_dir": None}, given)
    merged = check_cfg({**DEFAULT_CFG_DICT, **base, **changes})
    if merged["name"] == "model":  # `name=model` calls the run after its model
        merged["name"] = Path(merged["model"] or "").stem
    settings = Settings()
    vars(settings).update(merged)  # save_dir among them
    return settings


def smart_value(v: str) -> object:
    """Parse a text as a Python literal, such as `None`, `True`, `0.5` or `[1, 2]`; other texts stay texts."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if v.lower() in words:
        return words[v.lower()]
    try:
        value = ast.literal_eval(v)
        str(value)  # refuses a number of thousands of digits, which no message could quote
        return value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return v


def parse_value(key: str, text: str) -> object:
    """Parse the text of a setting; texts of settings that take only texts stay texts."""
    kinds = SPECS[key].kinds if key in SPECS else ("Any",)
    if not {"Any", "bool", "int", "float", "list", "list[int]"} & {*kinds} and text.lower() not in {"none", "null"}:
        return text
    return smart_value(text)


def parse_key_value_pair(pair: str) -> tuple[str, object]:
    """Split a word of a command such as 'imgsz=640' into its key and its value.

    Raises:
        ConfigError: there is no value.
    """
    key, _, text = (part.strip() for part in pair.partition("="))
    if not text:
        raise ConfigError(f"'{pair}' has no value. Write '{key}=' and the value behind it.")
    return key, parse_value(key, text)


def merge_equals_args(args: Sequence[str]) -> list[str]:
    """Join words around '=' and inside brackets, so that `key = value` and `key=[1, 2]` are one word each."""
    joined: list[str] = []
    for i, word in enumerate(args):
        last = joined[-1] if joined else ""
        waits_for_value = last.endswith("=") and last.count("=") == 1 and ("=" not in word or args[i - 1] == "=")
        begins_with_equals = last and word.startswith("=") and "=" not in last
        in_brackets = "=[" in last and last.count("[") > last.count("]")
        if waits_for_value or begins_with_equals or in_brackets:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def copy_default_cfg(folder: str | Path = ".") -> Path:
    """Copy `default.yaml` into a folder for the user to change; return the new file, which must not exist yet."""
    file = Path(folder) / "default_copy.yaml"
    if file.exists():
        raise ConfigError(f"'{file}' exists already and may hold your changes. Rename or delete it, then try again.")
    try:
        with atomic_write(file) as f:
            f.write(DEFAULT_CFG_PATH.read_bytes())
    except OSError as e:
        raise ConfigError(
            f"'{file.absolute()}' cannot be written: {e.strerror or e}. Make room, or work in another folder."
        ) from None
    return file


def run_folder(args: SimpleNamespace, name: str | None = None) -> RunFolder:
    """Return the run folder that settings name: `save_dir`, or `project/name` with a number if it is taken."""
    if getattr(args, "save_dir", None):
        return RunFolder(args.save_dir, numbered=False)
    from ultralytics.utils import SETTINGS

    project = Path(args.project) if args.project else Path(SETTINGS["runs_dir"]) / args.task
    folder = project / (name or args.name or args.mode)
    return RunFolder(folder, numbered=not args.exist_ok and RANK in {-1, 0})


def get_save_dir(args: SimpleNamespace, name: str | None = None) -> Path:
    """Return the path of the run folder that settings name; `run_folder(...).make()` makes it, too."""
    return run_folder(args, name).path


def _stem(name: str | Path) -> str:
    """Return a model name without folder and suffix, in lower case, hyphens for underscores."""
    return Path(name).stem.lower().replace("_", "-")


def model_key(name: str | Path) -> str:
    """Return the name of a model YAML that serves all scales: as `_stem`, without a scale letter."""
    return re.sub(r"^((?:yolo|ghostnet)\D*\d+)[nslmx](?=[-.]|$)", r"\1", _stem(name))


@lru_cache(maxsize=1)
def model_yamls() -> dict[str, Path]:
    """Return the package's model YAMLs by their names, in lower case and with hyphens."""
    return {_stem(file): file for file in sorted((ROOT / "cfg" / "models").rglob("*.yaml"))}


def find_model_yaml(name: str | Path) -> Path:
    """Return the file of a model YAML: the path itself, the same without its scale letter, or the package's own.

    Underscores and hyphens are the same. A folder in `name` must be where the file lies.

    Raises:
        MissingFileError: there is none; the message names the nearest.
    """
    path = Path(name)
    keys = (_stem(path), model_key(path))  # some networks have a file for each scale
    here = sorted(path.parent.glob("*.y*ml"), reverse=True) if os.path.isdir(path.parent) else []
    siblings = {_stem(file): file for file in here}
    found = path if os.path.isfile(path) else siblings.get(keys[0], siblings.get(keys[1]))
    if found is None:
        found, folders = model_yamls().get(keys[0], model_yamls().get(keys[1])), path.parent.parts
        if found and folders and found.parent.parts[-len(folders) :] != folders:
            found = None  # a folder was named, and it is not the package's
    if found is None:
        names = [file.name for file in model_yamls().values()]
        hint = did_you_mean(path.name, names) or f" This package has {', '.join(names)}."
        raise MissingFileError(f"There is no model YAML '{name}' here or in the package.{hint}")
    return found


def entrypoint(debug: str = "") -> int:
    """Run the `yolo` command, or the words of `debug` in its place; the installed script calls this."""
    return load("ultralytics.cli:main")(debug.split() or None)


def handle_yolo_settings(args: list[str]) -> int:
    """Run `yolo settings` with these words."""
    return load("ultralytics.cli:change_settings")(args)


_module = modules_of(__name__)


def __getattr__(name: str) -> object:
    """Offer the text of `yolo help`, which stands a floor above, and the modules."""
    return load("ultralytics.cli:USAGE") if name == "CLI_HELP_MSG" else _module(name)


__all__ = (
    "CFG_BOOL_KEYS",
    "CFG_FLOAT_KEYS",
    "CFG_FRACTION_KEYS",
    "CFG_INT_KEYS",
    "DEFAULT_CFG",
    "DEFAULT_CFG_DICT",
    "DEFAULT_CFG_KEYS",
    "DEFAULT_CFG_PATH",
    "MODELS",
    "MODES",
    "TASK2DATA",
    "TASK2METRIC",
    "TASK2MODEL",
    "TASKS",
    "cfg2dict",
    "check_cfg",
    "check_dict_alignment",
    "copy_default_cfg",
    "entrypoint",
    "find_model_yaml",
    "get_cfg",
    "get_save_dir",
    "handle_yolo_settings",
    "load",
    "merge_equals_args",
    "model_key",
    "model_yamls",
    "parse_key_value_pair",
    "parse_value",
    "smart_value",
)
