"""The user's settings: read late, written only on a change, never half-written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.settings import DEFAULTS, SettingsManager, user_config_dir


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "settings.json"


def test_nothing_is_written_until_a_value_changes(file, log):
    settings = SettingsManager(file)
    assert dict(settings) == DEFAULTS and not log  # that there is no file yet is nothing to warn of
    settings.update(DEFAULTS)
    settings["runs_dir"] = "runs"
    assert not file.parent.exists()
    settings["runs_dir"] = Path("elsewhere")
    assert json.loads(file.read_text(encoding="utf-8"))["runs_dir"] == "elsewhere"
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_changes_last(file):
    SettingsManager(file).update(wandb=True, datasets_dir="数据")
    settings = SettingsManager(file)
    assert settings["wandb"] is True and settings["datasets_dir"] == "数据"
    settings.reset()
    assert dict(SettingsManager(file)) == DEFAULTS


def test_it_is_a_mapping(file):
    settings = SettingsManager(file)
    assert "runs_dir" in settings and "nothing" not in settings
    assert settings.get("nothing", 3) == 3
    assert len(settings) == len(DEFAULTS)
    assert "runs_dir=runs" in str(settings) and "settings.json" in repr(settings)
    with pytest.raises(ConfigError, match="cannot be removed"):
        del settings["runs_dir"]


def test_mistakes_are_refused_and_change_nothing(file):
    settings = SettingsManager(file)
    with pytest.raises(KeyError):
        settings["run_dir"]
    with pytest.raises(ConfigError) as e:
        settings["run_dir"] = "x"
    assert str(e.value) == "'run_dir' is not one of the settings. Did you mean 'runs_dir'?"
    with pytest.raises(ConfigError, match="'tensorboard' takes True or False"):
        settings.update(runs_dir="x", tensorboard="yes")
    with pytest.raises(ConfigError, match="'runs_dir' takes a text"):
        settings["runs_dir"] = 3
    assert dict(settings) == DEFAULTS and not file.exists()


@pytest.mark.parametrize("content", ["{", "[1, 2]", "", b"\xff\xfe"])
def test_a_damaged_file_gives_defaults_and_a_warning(file, content, caplog):
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with caplog.at_level(logging.WARNING):
        assert SettingsManager(file)["runs_dir"] == "runs"
    assert str(file) in caplog.text


def test_foreign_keys_and_types_are_passed_over(file):
    file.parent.mkdir()
    file.write_text(json.dumps({"api_key": "x", "sync": "yes", "wandb": True}))
    assert dict(SettingsManager(file)) == {**DEFAULTS, "wandb": True}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    settings = SettingsManager(tmp_path / "taken" / "settings.json")
    with pytest.raises(ConfigError, match="YOLO_CONFIG_DIR"):
        settings["wandb"] = True
    assert settings["wandb"] is False


def test_where_the_file_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    assert SettingsManager().file == tmp_path / "settings.json"
    monkeypatch.delenv("YOLO_CONFIG_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert user_config_dir().parent == tmp_path / "xdg"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "appdata"))
    assert user_config_dir().parent == tmp_path / "appdata"
