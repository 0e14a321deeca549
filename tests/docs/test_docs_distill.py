"""The guide to distillation stays true: its commands and settings exist, and its table is that of the schema."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ultralytics.cfg import find_model_yaml, get_cfg
from ultralytics.cfg.schema import DEFAULTS
from ultralytics.cli import parse
from ultralytics.lab.distill import LESSONS

TEXT = (Path(__file__).parents[2] / "docs" / "distill.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^yolo detect train .*$", TEXT, re.MULTILINE))
def test_commands_are_understood(line: str):
    settings = parse(shlex.split(line)[1:])
    find_model_yaml(settings["model"])
    get_cfg(overrides=settings)


def test_table_is_that_of_the_schema():
    rows = dict(re.findall(r"^\| `(distill_\w+)` +\| +([\d.]+) \|", TEXT, re.MULTILINE))
    assert {k: float(v) for k, v in rows.items()} == {k: v for k, v in DEFAULTS.items() if k.startswith("distill_")}
    assert all(f"`{column}`" in TEXT for column in LESSONS.values())
    chinese = TEXT.split("\n# ")[-1]
    assert {k: float(v) for k, v in re.findall(r"`(distill_\w+)`（默认 ([\d.]+)）", chinese)} == {
        k: float(v) for k, v in rows.items()
    }
