"""Settings of the user for all runs: folders and integrations, kept as JSON in the user's configuration folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from ultralytics.utils.errors import ConfigError, MissingFileError, did_you_mean
from ultralytics.utils.files import atomic_write, read_json
from ultralytics.utils.system.logger import LOGGER

# Relative folders are relative to the working directory at the time of use. Integrations that talk to other machines
# are off until asked for.
DEFAULTS: dict[str, object] = {
    "settings_version": "0.0.6",
    "datasets_dir": "datasets",
    "weights_dir": "weights",
    "runs_dir": "runs",
    "uuid": "",
    "sync": False,
    "clearml": False,
    "comet": False,
    "dvc": False,
    "hub": False,
    "mlflow": False,
    "neptune": False,
    "raytune": False,
    "tensorboard": True,
    "wandb": False,
    "vscode_msg": False,
}


def user_config_dir() -> Path:
    """Return the folder for the user's settings: $YOLO_CONFIG_DIR, or a folder where the platform keeps such files."""
    if folder := os.getenv("YOLO_CONFIG_DIR"):
        return Path(folder)
    if sys.platform == "win32":
        base = Path(os.getenv("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.getenv("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "ultralytics-ghost"  # not the vendor's folder: its paths and integrations are not ours


class SettingsManager(MutableMapping):
    """A dictionary with fixed keys; read from its file when first used, written to it when a value changes.

    Args:
        file: where it is kept; in the user's configuration folder if None.
        version: without effect; the keys are those of `DEFAULTS`.
    """

    def __init__(self, file: str | Path | None = None, version: str = "0.0.6") -> None:
        self._file = Path(file) if file else None
        self._values: dict[str, object] | None = None

    @property
    def file(self) -> Path:
        """The JSON file, which exists only after a value was changed."""
        return self._file or user_config_dir() / "settings.json"

    def __getitem__(self, key: str) -> Any:
        self._check_key(key)
        return self._read()[key]

    def __setitem__(self, key: str, value: object) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise ConfigError(f"The setting '{key}' cannot be removed. `yolo settings reset` brings back the default.")

    def __iter__(self) -> Iterator[str]:
        return iter(DEFAULTS)

    def __len__(self) -> int:
        return len(DEFAULTS)

    def __str__(self) -> str:
        return "\n".join(f"{key}={value}" for key, value in self.items())

    def __repr__(self) -> str:
        return f"SettingsManager({self.file}: {dict(self)})"

    def update(self, *args, **kwargs) -> None:
        """Change values and write the file; nothing changes if one of them is wrong."""
        changes = dict(*args, **kwargs)
        for key, value in changes.items():
            self._check_key(key)
            changes[key] = value = str(value) if isinstance(value, Path) else value
            wanted = type(DEFAULTS[key])
            if type(value) is not wanted:
                kind = {bool: "True or False", str: "a text"}[wanted]
                raise ConfigError(f"The setting '{key}={value}' is not possible: '{key}' takes {kind}.")
        values = {**self._read(), **changes}
        if values != self._read():
            self._write(values)

    def reset(self) -> None:
        """Restore all defaults."""
        self._values = dict(DEFAULTS)
        if self.file.exists():
            self._write(self._values)

    def _check_key(self, key: str) -> None:
        if key not in DEFAULTS:
            raise UnknownSettingError(f"'{key}' is not one of the settings.{did_you_mean(key, DEFAULTS, n=1)}")

    def _read(self) -> dict[str, object]:
        if self._values is None:
            self._values = dict(DEFAULTS)
            try:
                stored = read_json(self.file)
                fitting = {k: v for k, v in stored.items() if k in DEFAULTS and type(v) is type(DEFAULTS[k])}
                self._values.update(fitting)
            except MissingFileError:
                pass
            except (OSError, ValueError, AttributeError) as e:
                LOGGER.warning(f"The settings file '{self.file}' cannot be read ({e}); defaults are used.")
        return self._values

    def _write(self, values: dict[str, object]) -> None:
        try:
            with atomic_write(self.file, "w", encoding="utf-8") as f:
                json.dump(values, f, indent=2, ensure_ascii=False)
        except UnicodeEncodeError:
            raise ConfigError("A value has a character that is not text, so it was not kept. Give another.") from None
        except OSError as e:
            raise ConfigError(
                f"The settings file '{self.file}' cannot be written ({e.strerror}). "
                "Make the folder writable, or name another in the environment variable YOLO_CONFIG_DIR."
            ) from None
        self._values = values


class UnknownSettingError(ConfigError, KeyError):
    """A key that is not a setting; a KeyError too, as `in` and `get` of a mapping expect."""

    __str__ = Exception.__str__  # KeyError would put the sentence in quotes


SETTINGS = SettingsManager()


def find_weights(name: str | Path) -> Path:
    """Return the path of a weight file: as given, or in `weights_dir` of the settings if it is only there."""
    given, kept = Path(name), Path(SETTINGS["weights_dir"], name)
    return kept if os.path.isfile(kept) and not os.path.exists(given) else given
