"""Ground floor: paths, logger, YAML files and small helpers. Imports neither torch nor cv2 nor matplotlib."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ultralytics import __version__, modules_of  # noqa: F401  8.3.0 has the version here too
from ultralytics.utils.system.logger import LOCAL_RANK, LOGGER, RANK, WORLD_SIZE, set_logging  # noqa: F401  public

FILE = Path(__file__).resolve()
ROOT = FILE.parents[1]  # the package folder
ASSETS = ROOT / "assets"

_COLORS = dict(zip(("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"), range(30, 38)))
_STYLES = {"bold": 1, "underline": 4}


def colorstr(*parts: str) -> str:
    """Colour the last argument for a terminal: `colorstr('red', 'bold', 'text')`; one alone is blue and bold."""
    *styles, text = parts if len(parts) > 1 else ("blue", "bold", parts[0])
    codes = [_STYLES.get(s) or _COLORS[s.removeprefix("bright_")] + 60 * s.startswith("bright_") for s in styles]
    return "".join(f"\033[{c}m" for c in codes) + f"{text}\033[0m"


class IterableSimpleNamespace(SimpleNamespace):
    """A namespace that iterates over its (key, value) pairs and has `get`."""

    def __iter__(self) -> Iterator[tuple[str, object]]:
        return iter(vars(self).items())

    def __str__(self) -> str:
        return "\n".join(f"{k}={v}" for k, v in self)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


def yaml_load(file: str | Path, append_filename: bool = False) -> dict:
    """Read a YAML file with the safe loader (see `safe_yaml`); an empty file gives {}.

    Args:
        file: path of the file, in UTF-8, UTF-16 or GBK.
        append_filename: add the path under the key `yaml_file`.

    Raises:
        MissingFileError: there is no such file.
        ConfigError: the file is not a YAML mapping.
        DataError: it is far too large, or cannot be read.
    """
    from ultralytics.utils.errors import ConfigError, MissingFileError
    from ultralytics.utils.files import read_text
    from ultralytics.utils.hostile import limits, safe_yaml

    file = Path(file)
    if not os.path.isfile(file):  # not Path.is_file, which raises for names that are too long
        raise MissingFileError(f"The YAML file '{file}' does not exist. Check the path and the folder you are in.")
    try:
        data = safe_yaml.load(read_text(file, limits.YAML_BYTES, errors="replace")) or {}
    except ConfigError as e:
        raise ConfigError(f"'{file}' is not valid YAML: {e}. Fix that line and try again.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"'{file}' holds a {type(data).__name__}, but a mapping of 'key: value' lines is wanted.")
    if append_filename:
        data["yaml_file"] = str(file)
    return data


def yaml_save(file: str | Path = "data.yaml", data: dict | None = None, header: str = "") -> None:
    """Write a mapping as YAML (UTF-8, key order kept); paths become strings. `header` is written first, as it is."""
    import yaml

    from ultralytics.utils.files import atomic_write

    data = {k: str(v) if isinstance(v, Path) else v for k, v in (data or {}).items()}
    with atomic_write(file, "w", encoding="utf-8") as f:
        f.write(header + yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


# Names that cost an import or a file, or that live a floor above: looked up when first asked for.
_LAZY = {
    "DEFAULT_CFG": "ultralytics.cfg:DEFAULT_CFG",
    "DEFAULT_CFG_DICT": "ultralytics.cfg:DEFAULT_CFG_DICT",
    "DEFAULT_CFG_KEYS": "ultralytics.cfg:DEFAULT_CFG_KEYS",
    "DEFAULT_CFG_PATH": "ultralytics.cfg:DEFAULT_CFG_PATH",
    "HELP_MSG": "ultralytics.cli:USAGE",
    "SETTINGS": "ultralytics.utils.settings:SETTINGS",
    "SettingsManager": "ultralytics.utils.settings:SettingsManager",
    "TQDM": "ultralytics.utils.system.progress:TQDM",
    "TQDM_BAR_FORMAT": "ultralytics.utils.system.progress:TQDM_BAR_FORMAT",
    "strip_optimizer": "ultralytics.nn.checkpoint:strip_optimizer",
}
# Further names of 8.3.0 that scripts import from here, separated by spaces, by the modules that hold them.
_ELSEWHERE = {
    "ultralytics.utils.system.environment": """
        MACOS LINUX WINDOWS ARM64 PYTHON_VERSION TORCH_VERSION TORCHVISION_VERSION NUM_THREADS VERBOSE LOGGING_NAME
        AUTOINSTALL ONLINE IS_COLAB IS_KAGGLE IS_JUPYTER IS_DOCKER IS_RASPBERRYPI IS_PIP_PACKAGE IS_GIT_DIR GIT_DIR
        USER_CONFIG_DIR DATASETS_DIR WEIGHTS_DIR RUNS_DIR is_ubuntu is_colab is_kaggle is_jupyter is_docker
        is_raspberrypi is_github_action_running is_pytest_running is_pip_package is_dir_writeable is_git_dir
        get_git_dir is_online get_user_config_dir ARGV IS_JETSON IS_VSCODE PROC_DEVICE_MODEL TESTS_RUNNING ENVIRONMENT
        SETTINGS_FILE is_jetson read_device_model get_ubuntu_version get_git_branch get_git_origin_url""",
    "ultralytics.utils.helpers": """
        SimpleClass TryExcept Retry ThreadingLocked threaded emojis remove_colorstr get_default_args
        yaml_print clean_url url2file plt_settings deprecation_warn""",
    "ultralytics.utils.patches": "imread imshow imwrite torch_load torch_save",
}
_LAZY |= {name: f"{module}:{name}" for module, names in _ELSEWHERE.items() for name in names.split()}


_module = modules_of(__name__)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        return _module(name)
    module, _, attribute = _LAZY[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value
