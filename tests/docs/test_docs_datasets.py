"""The guide to datasets: its commands are understood, its settings and files exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

from ultralytics.cli import parse
from ultralytics.data import tools
from ultralytics.utils.checks import check_yaml

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line, monkeypatch):
    program, *words = shlex.split(line)
    assert program == "yolo"
    if words[0] != "data":
        settings = parse(words)
        assert check_yaml(settings["data"])
        return
    called = []
    monkeypatch.setattr(tools, "download_dataset", lambda name, keep: called.append(tools._data_yaml(name)))
    monkeypatch.setattr(tools, "check_dataset", lambda data, task: called.append(data) or ("", 0))
    for name, function in list(tools._CONVERT.items()):

        def stand_in(*args, function=function, **kwargs):
            called.append(inspect.signature(function).bind(*args, **kwargs))

        stand_in.__signature__ = inspect.signature(function)
        monkeypatch.setitem(tools._CONVERT, name, stand_in)
    assert tools.main(words[1:]) == 0
    assert called or words[1] == "list"


def test_code_names_what_exists():
    for code in (code for kind, code in BLOCKS if kind == "python"):
        tree = ast.parse(code)
        found = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                found |= {a.name: getattr(importlib.import_module(node.module), a.name) for a in node.names}
            elif isinstance(node, ast.Expr):
                keywords = [k.arg for k in node.value.keywords]
                inspect.signature(found[node.value.func.id]).bind(*node.value.args, **dict.fromkeys(keywords))


def test_the_yaml_is_read():
    (code,) = (code for kind, code in BLOCKS if kind == "yaml")
    data = yaml.safe_load(code)
    assert tools._sources(data, Path("my_data.yaml")) == [("https://example.com/my_data.zip", ".")]


def test_every_format_is_described():
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == set(tools._CONVERT)
