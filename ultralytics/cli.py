"""The `yolo` command: its grammar, its help, and one sentence for each mistake."""

from __future__ import annotations

import errno
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import ultralytics
from ultralytics.cfg import (
    DEFAULT_CFG_PATH,
    TASK2DATA,
    TASK2MODEL,
    check_dict_alignment,
    copy_default_cfg,
    find_model_yaml,
    merge_equals_args,
    parse_key_value_pair,
    read_settings,
    smart_value,
)
from ultralytics.cfg.schema import DEFAULTS, SPECS, help_text
from ultralytics.cfg.tasks import MODES, TASKS, load
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError, did_you_mean
from ultralytics.utils.system.console import ERR, guarded, say

USAGE = f"""yolo TASK MODE key=value ...

  TASK  {", ".join(TASKS)}; may be left out, as the model knows it
  MODE  train, val, predict, track, export or benchmark
  key=value  any settings, in any order

Train:     yolo detect train model=yolo11n-GhostConv.yaml data=fire.yaml epochs=30 imgsz=320
Validate:  yolo detect val model=runs/detect/train/weights/best.pt data=fire.yaml
Predict:   yolo detect predict model=runs/detect/train/weights/best.pt source=images/
Track:     yolo detect track model=runs/detect/train/weights/best.pt source=video.mp4 tracker=bytetrack.yaml

Export:    yolo export model=runs/detect/train/weights/best.pt format=onnx
Benchmark: yolo benchmark model=runs/detect/train/weights/best.pt data=fire.yaml

Others:    yolo help [KEY or MODE]   this text; what a setting means; the settings of a mode
           yolo version              the version
           yolo checks               packages and devices of this machine
           yolo settings             folders and integrations; `yolo settings runs_dir=runs` changes one, `reset` all
           yolo data                 list, download, check and convert data sets
           yolo profile              cost and latency of models, layer by layer
           yolo compare              train several models with the same settings and seeds, and compare them
           yolo explain              heat maps on images, and the receptive fields of layers
           yolo transfer             move the weights of a trained model to another model YAML
           yolo cfg                  all settings with their defaults
           yolo copy-cfg             a copy of them to change and pass as cfg=default_copy.yaml
"""


# Grammar --------------------------------------------------------------------------------------------------------------


def parse(words: Sequence[str]) -> dict[str, object]:
    """Turn the words of a command into settings, checked one by one.

    Raises:
        ConfigError: a word is neither a task, a mode nor a setting, or a value is not allowed.
    """
    settings: dict = {}
    for word in merge_equals_args(words):
        settings.update(_parse_word(word.removeprefix("--").removesuffix(",")))
    check_dict_alignment(DEFAULTS, settings)
    if file := settings.pop("cfg", None):
        from ultralytics.utils.checks import check_yaml

        LOGGER.info(f"Settings are read from '{file}'; those of the command line take precedence.")
        base = {k: v for k, v in read_settings(check_yaml(file)).items() if k not in {"cfg", "save_dir"}}
        check_dict_alignment(DEFAULTS, base)
        settings = {**base, **settings}
    return {key: SPECS[key].check(value) for key, value in settings.items()}


def _parse_word(word: str) -> dict[str, object]:
    """Return the setting that one word of a command spells."""
    if not word:
        return {}
    if "=" in word:
        key, value = parse_key_value_pair(word)
        return {key: value}
    if word in TASKS:
        return {"task": word}
    if word in MODES:
        return {"mode": word}
    if word in DEFAULTS:
        if DEFAULTS[word] is True or DEFAULTS[word] is False:
            return {word: True}
        raise ConfigError(f"The setting '{word}' needs a value, such as '{word}={DEFAULTS[word]}'.")
    raise _unknown_word(word)


def _unknown_word(word: str) -> ConfigError:
    """Return the error for a word that is not a task, mode or setting, with the likeliest correction."""
    if Path(word).suffix in {".yaml", ".yml", ".pt"}:
        return ConfigError(f"'{word}' has no key. Did you mean 'model={word}' or 'data={word}'?")
    known = [*TASKS, *MODES, *VERBS, *DEFAULTS]
    hint = did_you_mean(word, known, n=1) or " `yolo help` shows how a command is written."
    return ConfigError(
        f"'{word}' is not a task ({', '.join(TASKS)}), a mode ({', '.join(MODES)}) or key=value setting.{hint}"
    )


# Running a mode -------------------------------------------------------------------------------------------------------


def choose_model(given: str | None, task: str | None, mode: str) -> str:
    """Return the model to use; raise MissingFileError if its file does not exist.

    Without a model, the task's default weights are used; if they are not here, training starts from their YAML.
    """
    from ultralytics.utils.settings import find_weights

    model = given
    if model is None:
        model = TASK2MODEL[task or str(DEFAULTS["task"])]
        if mode == "train" and not os.path.isfile(find_weights(model)):
            model = str(Path(model).with_suffix(".yaml"))
        LOGGER.warning(f"No 'model' was given; 'model={model}' is used.")
    suffix = Path(model).suffix.lower()
    if suffix in {".yaml", ".yml"}:
        find_model_yaml(model)
    elif not suffix and not os.path.exists(model):
        hint = did_you_mean(f"{model}.yaml", [f"{model}.yaml"]) if _is_model_name(model) else ""
        raise MissingFileError(f"The model '{model}' is neither a YAML nor a weight file.{hint}")
    elif os.path.isfile(find_weights(model)):
        return str(find_weights(model))
    elif "://" not in model and not os.path.isdir(model):
        raise MissingFileError(_missing_weights(model))
    return model


def _is_model_name(name: str) -> bool:
    try:
        return bool(find_model_yaml(f"{name}.yaml"))
    except MissingFileError:
        return False


def _missing_weights(model: str) -> str:
    """Return the message for a missing weight file, with what to do."""
    parent = Path(model).parent
    near = did_you_mean(Path(model).name, [p.name for p in parent.glob("*.pt")] if os.path.isdir(parent) else (), n=1)
    if not near:
        trained = sorted(Path("runs").glob("*/*/weights/best.pt"), key=lambda p: p.stat().st_mtime)
        near = f" The last one trained here is '{trained[-1].as_posix()}'." if trained else ""
    yaml = f" To train from scratch, write 'model={Path(model).stem}.yaml'." if _is_model_name(Path(model).stem) else ""
    return f"The weight file '{model}' does not exist, and nothing is downloaded: put the file there.{near}{yaml}"


def choose_data(task: str) -> str:
    """Return the task's default data YAML; raise MissingFileError, with where to put it, if there is none."""
    from ultralytics.utils.checks import check_yaml

    data = TASK2DATA[task]
    if not check_yaml(data, hard=False):
        folder = DEFAULT_CFG_PATH.parent / "datasets"
        own = " or ".join(f"'data={file.name}'" for file in sorted(folder.glob("*.yaml")))
        raise MissingFileError(
            f"No 'data' was given, and the default '{data}' is not here (nothing is downloaded): write 'data=' and the "
            f"path of your data YAML{f', or {own}' if own else ''}, or put '{data}' into '{Path.cwd()}'."
        )
    LOGGER.warning(f"No 'data' was given; 'data={data}' is used.")
    return data


def check_mode(mode: str | None) -> None:
    """Raise ConfigError if no mode was given."""
    if mode is None:
        raise ConfigError(f"No mode was given. Write one of {', '.join(MODES)}, as in `yolo train model=yolo11n.yaml`.")


def resumed_model(resume: bool | str | None) -> str | None:
    """Return the checkpoint to resume from when no model was named: the one given, or the last one written here."""
    if not resume or isinstance(resume, str):
        return None if resume == "auto" else resume or None
    from ultralytics.utils.files import get_latest_run

    latest = get_latest_run()
    if not latest:
        raise MissingFileError("There is no interrupted run here to resume. Name its last.pt: 'resume=PATH/last.pt'.")
    return str(latest)


def run_mode(settings: dict) -> None:
    """Build the model that the settings name and run the mode with it."""
    settings = dict(settings)
    task, mode = settings.pop("task", None), settings.pop("mode", None)
    check_mode(mode)
    resume = settings.get("resume")
    file = choose_model(settings.pop("model", None) or resumed_model(resume), task, mode)

    from ultralytics import YOLO

    trusts = {key: settings[key] for key in ("trust_modules",) if settings.get(key)}
    model = YOLO(file, task=task, **trusts)
    if mode in {"train", "val"} and not (settings.get("data") or resume or model.overrides.get("data")):
        settings["data"] = choose_data(task or model.task)
    if mode in {"predict", "track"}:
        settings.setdefault("save", DEFAULTS["save"])  # the command writes files where Python returns results
        deque(getattr(model, mode)(**settings, stream=True), maxlen=0)  # keeps no results: a video may be long
    else:
        getattr(model, mode)(**settings)


# Verbs ----------------------------------------------------------------------------------------------------------------


def show_help(words: Sequence[str]) -> int:
    """Print how to write a command, the settings of a mode, or what one setting means."""
    for word in words or ("",):
        name = word.removeprefix("--")
        if name in SPECS and name not in MODES:
            say(help_text(key=name))
        elif name in MODES:
            say(f"Settings of `yolo {name}`, with their defaults:\n\n{help_text(mode=name)}")
        elif not name or name in TASKS or name in VERBS:
            say(USAGE, end="")
        else:
            raise ConfigError(f"There is no help on '{word}'.{did_you_mean(name, [*MODES, *SPECS], n=1)}")
    return 0


def show_version(words: Sequence[str]) -> int:
    """Print the version."""
    _no_more("version", words)
    say(ultralytics.__build__)
    return 0


def show_checks(words: Sequence[str]) -> int:
    """Log packages and devices; the exit code is 1 if torch cannot be imported."""
    from ultralytics.utils.checks import collect_system_info, report_faults

    _no_more("checks", words)
    info = collect_system_info()
    report_faults(info)
    return int("cannot be imported" in info["torch"])


def change_settings(words: Sequence[str]) -> int:
    """Print the user's settings, change some, or restore the defaults."""
    from ultralytics.utils import SETTINGS

    words = [word.removesuffix(",") for word in merge_equals_args(words)]
    if words == ["reset"]:
        SETTINGS.reset()
    elif words:
        wrong = next((word for word in words if "=" not in word), None)
        if wrong:
            hint = did_you_mean(wrong, ["reset", *SETTINGS], n=1)
            raise ConfigError(f"'{wrong}' is not possible here: write `yolo settings key=value` or `reset`.{hint}")
        pairs = {key: text for key, _, text in (word.partition("=") for word in words)}
        SETTINGS.update({k: v if isinstance(SETTINGS[k], str) else smart_value(v) for k, v in pairs.items()})
    say(f"{SETTINGS}\n\nThese are kept in '{SETTINGS.file}'; `yolo settings key=value` changes one.")
    return 0


def tool(main: str) -> Callable[[Sequence[str]], int]:
    """Return the verb of a tool that parses its own words: `main` is a function, named by a dotted string."""

    def run_tool(words: Sequence[str]) -> int:
        return load(main)([word.removeprefix("--").removesuffix(",") for word in merge_equals_args(words)])

    return run_tool


def show_cfg(words: Sequence[str]) -> int:
    """Print all settings with their defaults."""
    _no_more("cfg", words)
    say(DEFAULT_CFG_PATH.read_text(encoding="utf-8"), end="")
    return 0


def copy_cfg(words: Sequence[str]) -> int:
    """Copy the default settings here for the user to change."""
    _no_more("copy-cfg", words)
    file = copy_default_cfg()
    say(f"Wrote '{file}'. Change it, then run `yolo train cfg={file}`.")
    return 0


def _no_more(verb: str, words: Sequence[str]) -> None:
    if words:
        raise ConfigError(f"`yolo {verb}` takes nothing more, but '{words[0]}' was given.")


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "help": show_help,
    "version": show_version,
    "checks": show_checks,
    "settings": change_settings,
    "data": tool("ultralytics.data.tools:main"),
    "profile": tool("ultralytics.lab.profile_run:main"),
    "compare": tool("ultralytics.lab.compare.command:main"),
    "explain": tool("ultralytics.lab.explain:main"),
    "transfer": tool("ultralytics.lab.transfer:main"),
    "cfg": show_cfg,
    "copy-cfg": copy_cfg,
}
_FLAGS = {"--help": "help", "-h": "help", "--version": "version", "-v": "version", "--checks": "checks"}


def _no_name(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return True
    return False


def run(words: Sequence[str]) -> int:
    """Run one command and return its exit code; mistakes are raised as UserError."""
    for word in words:
        if "\0" in word or _no_name(word):
            raise ConfigError(f"{word[:100]!r} has a character that is not allowed in names. Remove it.")
    words = [_FLAGS.get(word, word) for word in words] or ["help"]
    if "help" in words:
        return show_help([word for word in words if word != "help" and "=" not in word and word not in TASKS])
    if words[0] in VERBS:
        return VERBS[words[0]](words[1:])
    run_mode(parse(words))
    return 0


@guarded()
def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    try:
        return run(sys.argv[1:] if words is None else words)
    except UserError as e:
        say(e, file=ERR)
        return 2
    except KeyboardInterrupt:
        say("Interrupted.", file=ERR)
        return 130
    except OSError as e:
        if e.errno != errno.ENAMETOOLONG:
            raise
        say(f"'{str(e.filename)[:100]}...' is longer than this system allows. Give a shorter name.", file=ERR)
        return 2


if __name__ == "__main__":
    sys.exit(main())
