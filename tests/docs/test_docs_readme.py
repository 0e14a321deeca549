"""Both READMEs stay true and alike: the cost table, the commands, the examples and the links."""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ultralytics import YOLO
from ultralytics.cfg import find_model_yaml, get_cfg
from ultralytics.cli import VERBS, check_mode, parse
from ultralytics.engine.results import Results
from ultralytics.lab import explain, profile_run, transfer
from ultralytics.lab.compare import command as compare
from ultralytics.utils.metrics import DetMetrics

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")}
TEXT = TEXTS["README.md"]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = {"profile": profile_run, "compare": compare, "explain": explain, "transfer": transfer}
MINE = ("my_", "runs/", "labels/", "weights/")  # the reader has or makes them

SHAPE = (r"^(##?) \S", r"^<!-- .* -->$", r"^\| (?:`.+?`|yolo\S+|---)(?= )")  # headings, markers, rows of tables

MY_MODEL = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, GhostAttention, [256, 3, 2]]
head:
  - [[2], 1, Detect, [nc]]
"""
PRINT_LAYER = """
layer = model.model.model[2]
print(type(layer).__name__, *layer(torch.zeros(1, 16, 8, 8)).shape)
"""


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return [code for found, code in FENCED.findall(text) if found == language]


def quoted(text: str) -> list[str]:
    """What stands between backticks outside of the fenced blocks."""
    return re.findall(r"`([^`]+)`", FENCED.sub("", text))


def commands(text: str) -> list[str]:
    """Each single command of the bash blocks and of the running text."""
    lines = [part for code in blocks(text, "bash") for line in code.splitlines() for part in line.split(" && ")]
    return [line for line in lines + quoted(text) if re.match(r"(yolo|python|pip) ", line)]


def below(text: str, marker: str) -> list[str]:
    """The lines of the block or table right after a marker comment."""
    assert text.count(f"<!-- {marker} -->\n") == 1
    lines = text.split(f"<!-- {marker} -->\n")[1].splitlines()
    if lines[0] == "```bash":
        return lines[1 : lines.index("```")]
    return lines[: lines.index("")]


@pytest.fixture(scope="module")
def costs() -> list[str]:
    """The table of costs as it is now, of the models that the README's own command names."""
    line = next(line for line in commands(TEXT) if "model_costs.py" in line)
    models = shlex.split(line)[2:]
    assert len(models) == 6
    return runpy.run_path(str(ROOT / "benchmarks" / "model_costs.py"))["table"](models).splitlines()


@pytest.mark.parametrize("name", TEXTS)
def test_cost_table_is_what_the_models_cost(name, costs):
    table = below(TEXTS[name], "cost-table")
    assert table[1:] == costs[1:]
    assert table[0].count("|") == costs[0].count("|")
    assert table[0] == costs[0] or name != "README.md"


def test_both_readmes_have_the_same_commands_and_examples():
    english, chinese = TEXTS.values()
    for language in ("bash", "text"):
        assert blocks(english, language) == blocks(chinese, language) != []
    assert sorted(commands(english)) == sorted(commands(chinese))
    without_comments = [[re.sub(r" +#.*", "", code) for code in blocks(text, "yaml")] for text in (english, chinese)]
    assert without_comments[0] == without_comments[1] != []
    assert [bare(code) for code in blocks(english, "python")] == [bare(code) for code in blocks(chinese, "python")]


def bare(code: str) -> str:
    """Return Python code without comments and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.unparse(tree)


def test_both_readmes_have_the_same_sections_markers_and_tables():
    english, chinese = ([re.findall(p, text, re.MULTILINE) for p in SHAPE] for text in TEXTS.values())
    assert english == chinese
    assert [len(found) for found in english] == [8, 4, 24]


def test_compared_models_are_those_of_the_command():
    line = next(line for line in commands(TEXT) if line.startswith("yolo compare") and "my_bccd" in line)
    models = re.search(r"models=(\S+)", line)[1].replace(".yaml", "").split(",")
    english, chinese = (below(text, "comparison")[2:] for text in TEXTS.values())
    assert [row.split("|")[1].strip() for row in english] == models
    assert english == chinese


@pytest.mark.parametrize("line", commands(TEXT))
def test_commands_are_understood(line):
    program, *words = shlex.split(line)
    if program == "yolo" and words[0] not in VERBS:
        check_yolo(words)
    elif program == "yolo" and words[0] in TOOLS:
        check_tool(*words)
    elif program == "yolo":
        assert len(words) == 1 or words == ["help", "KEY"]
    elif words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1])
        assert all((ROOT / w).exists() for w in words[2:] if w == "tests")
        assert all(find_model_yaml(w) for w in words[2:] if w.endswith(".yaml"))
    elif program == "python" and words[0].startswith("benchmarks/"):
        assert (ROOT / words[0]).is_file()
        assert all(find_model_yaml(w) for w in words[1:])
    elif program == "python":
        check_training(ROOT / words[0], words[1:])
    else:
        assert words[0] in {"install", "uninstall"}
        allowed = r"\.|\.\[(dev|logging|export)\]|ultralytics|torch|torchvision|--index-url|https://download\.pytorch\.org/\S+"
        assert all(re.fullmatch(allowed, w) for w in words[1:])


def check_yolo(words: list[str]) -> None:
    """Assert that a `yolo` command has a mode, settings that are allowed, and files that exist."""
    settings = parse(words)
    check_mode(settings["mode"])
    get_cfg(overrides=settings)
    if len(words) == 1:  # the running text names the command alone
        return
    model = settings["model"]
    assert find_model_yaml(model) if model.endswith(".yaml") else model.startswith("runs/")
    for key in ("data", "source"):
        file = settings.get(key)
        assert file is None or file.startswith(MINE) or Path(file).name.startswith(MINE) or (ROOT / file).exists()


def check_tool(verb: str, *words: str) -> None:
    """Assert that a tool has the settings, and that the models exist."""
    assert TOOLS[verb].parse(words)
    for name in re.findall(r"yolo11\S*?\.yaml", " ".join(words)):
        assert find_model_yaml(name)


def check_training(script: Path, words: list[str]) -> None:
    """Assert that `train/train.py` takes the arguments."""
    spec = importlib.util.spec_from_file_location("readme_train", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    args, extra = module.parse(words)
    get_cfg(overrides={**{k: v for k, v in vars(args).items() if k != "settings" and v is not None}, **extra})
    assert find_model_yaml(args.model)
    assert Path(args.data).name.startswith(MINE) or Path(args.data).is_file()


def test_test_command_is_one_line_that_runs_pytest():
    (line,) = below(TEXT, "test-command")
    assert "python -m pytest tests" in line
    setup = "python -m venv .venv && . .venv/bin/activate && pip install "
    assert line.startswith(setup)
    assert below(TEXT, "main-command")[0].startswith(setup)


@pytest.mark.skipif(not shutil.which("awk"), reason="has no awk")
def test_ci_runs_the_test_command():
    program = re.search(r"\$\(awk '(.*?)' README.md\)", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.DOTALL)[1]
    result = subprocess.run(["awk", program, "README.md"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert result.stdout.splitlines() == below(TEXT, "test-command"), result.stderr


def example(words: str) -> str:
    """The one Python block of the README that contains some words."""
    (code,) = (code for code in blocks(TEXT, "python") if words in code)
    return code


def test_main_example_uses_names_files_and_settings_that_exist():
    tree = ast.parse(example("model.train("))
    result = Results(np.zeros((8, 8, 3), np.uint8), "image.jpg", {0: "fire"})
    objects = {"model": YOLO, "model.val()": DetMetrics(), "result": result}

    def value(node: ast.expr) -> object:
        text = ast.unparse(node)
        return objects[text] if text in objects else getattr(value(node.value), node.attr)

    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and value(node) is not None}
    assert used >= {"model.train", "model.val", "model.val().box.map50", "result.path", "result.verbose"}
    calls = {ast.unparse(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert find_model_yaml(calls["YOLO"].args[0].value)
    assert (ROOT / calls["model"].args[0].value).is_dir()
    settings = {word.arg: word.value.value for word in calls["model.train"].keywords}
    assert (ROOT / get_cfg(overrides=settings).data).is_file()


def test_added_module_builds_from_a_yaml_that_names_it(tmp_path):
    (tmp_path / "my_model.yaml").write_text(MY_MODEL, encoding="utf-8")
    (tmp_path / "example.py").write_text(example("@register") + PRINT_LAYER, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "GhostAttention 1 256 4 4"


def test_yaml_line_of_the_added_module_is_the_one_that_is_tried():
    line = re.search(r"\[-1, 1, GhostAttention, .*\]\]", TEXT)[0]
    assert f"  - {line}\n" in MY_MODEL


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files(name):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]) if "://" not in link]
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_chinese_readme_leads_to_the_chinese_texts():
    for target in ("改进流程.md", "docs/ghostnet原理.md", "train/训练说明.txt", "README.md"):
        assert f"]({target})" in TEXTS["README.zh-CN.md"]
    assert "`pip uninstall ultralytics`" in TEXTS["README.zh-CN.md"].split("```")[0]


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_exist(name):
    paths = [
        p
        for p in quoted(TEXTS[name])
        if re.fullmatch(r"[\w.-]+/[\w./-]+", p) and not (p.startswith(MINE) or Path(p).name.startswith(MINE))
    ]
    models = [p for p in quoted(TEXTS[name]) if re.fullmatch(r"yolo11\S*\.yaml", p)]
    assert len(paths) >= 3
    assert [p for p in paths if not (ROOT / p).exists()] == []
    assert len(models) == 7
    assert all(find_model_yaml(model) for model in models)
