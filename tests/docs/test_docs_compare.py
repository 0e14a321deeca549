"""The guide to comparisons: its commands are understood, and its figures and file names are right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ultralytics.cfg import find_model_yaml
from ultralytics.lab.compare.command import OWN, parse
from ultralytics.lab.compare.statistics import t_quantile
from ultralytics.utils.checks import check_yaml

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^yolo compare .*$", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line):
    given = parse(shlex.split(line)[2:])
    assert all(find_model_yaml(model) for model in given.get("models", []))
    assert "data" not in given or check_yaml(given["data"])


def test_both_languages_show_the_same_commands():
    assert len(COMMANDS) == 2
    assert all(TEXT.count(line) == 2 for line in COMMANDS)


def test_words_of_its_own_are_all_explained():
    assert all(f"{word}=" in TEXT for word in OWN)


@pytest.mark.parametrize(("seeds", "factor"), [(2, "12.7"), (3, "4.3"), (5, "2.8")])
def test_factors_of_the_interval(seeds, factor):
    assert f"{t_quantile(0.975, seeds - 1):.1f}" == factor
    assert TEXT.count(factor) == 2
