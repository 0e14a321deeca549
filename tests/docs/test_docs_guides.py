"""The Chinese guides stay true: their code runs, their figures and diffs are right, their files and commands exist."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ultralytics.cfg import find_model_yaml, get_cfg
from ultralytics.cli import VERBS, check_mode, parse

ROOT = Path(__file__).resolve().parents[2]
GUIDE, NOTES = ROOT / "改进流程.md", ROOT / "train" / "训练说明.txt"
TEXT = GUIDE.read_text(encoding="utf-8")
# Language and content of each block, and the output that stands right below it.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(TEXT)
PYTHON = [i for i, (language, _, _) in enumerate(BLOCKS) if language == "python"]
LONG = [i for i in PYTHON if ".train(" in BLOCKS[i][1]]  # minutes of work: their arguments are checked, no more
SHOWN = [i for i in PYTHON if BLOCKS[i][2]]
COSTS = next(i for i in PYTHON if "cost_of" in BLOCKS[i][1])
MINE = re.compile(r"my_|runs/|labels/classes|train/(images|labels|weights)/|train/my_")  # the reader has or makes them
# Runs each file of a folder in one process (torch is slow to import) and gives what each printed.
DRIVER = """
import contextlib, io, json, runpy, sys
from ultralytics.utils import LOGGER
printed = {}
for name in json.loads(sys.argv[1]):
    stream = io.StringIO()
    LOGGER.setLevel("INFO")
    for handler in LOGGER.handlers:
        if hasattr(handler, "setStream"):
            handler.setStream(stream)
    with contextlib.redirect_stdout(stream):
        runpy.run_path(name, run_name=name.removesuffix(".py"))
    printed[name] = stream.getvalue()
print("\\n" + json.dumps(printed))
"""


def file_name(code: str) -> str:
    """Return the file that a block says it is, or ''."""
    match = re.match(r"# 文件：(\S+)\n", code)
    return match[1] if match else ""


def run(folder: Path, names: list[str]) -> dict[str, str]:
    """Run files in a folder one after the other and return what each prints."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # faster for small work on busy cores
    result = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(names)],
        cwd=folder,
        env={**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[int, str]:
    """What each Python block that is quick prints, run as the reader would: from files in an empty folder."""
    folder = tmp_path_factory.mktemp("guide")
    names = {}
    for i, (language, code, _) in enumerate(BLOCKS):
        if file_name(code) or (language == "python" and i not in [*LONG, COSTS]):
            name = file_name(code) or f"block_{i}.py"
            (folder / name).write_text(code, encoding="utf-8")
            if language == "python":
                names[i] = name
    outputs = run(folder, [*names.values()])
    return {i: outputs[name] for i, name in names.items()}


def costs(folder: Path, models: str = "") -> list[str]:
    """Return the rows of the table of costs, of some models alone where they are named."""
    code = BLOCKS[COSTS][1]
    if models:
        code, changes = re.subn(r"for name in \([^)]*\):", f"for name in ({models}):", code)
        assert changes == 1
    (folder / "costs.py").write_text(code, encoding="utf-8")
    return run(folder, ["costs.py"])["costs.py"].splitlines()


@pytest.mark.slow
def test_costs_are_those_of_the_models(tmp_path):
    rows, table = costs(tmp_path, '"n-GhostConv", "n-GhostNetV1 0.5"'), BLOCKS[COSTS][2].splitlines()
    assert rows == [table[0], table[2], table[6]]


@pytest.mark.slow
def test_costs_are_those_of_all_models(tmp_path):
    assert costs(tmp_path) == BLOCKS[COSTS][2].splitlines()


@pytest.mark.parametrize("i", [i for i in SHOWN if i != COSTS])
def test_code_prints_what_stands_below_it(i, printed):
    assert printed[i].splitlines() == BLOCKS[i][2].splitlines()


def test_each_example_shows_its_output():
    silent = [i for i in PYTHON if i not in SHOWN + LONG]
    assert [file_name(BLOCKS[i][1]) or "latency" for i in silent] == ["my_blocks.py", "latency"]


def test_latency_example_measures_both_models(printed):
    output = next(out for i, out in printed.items() if "perf_counter" in BLOCKS[i][1])
    assert [float(ms) > 0 for ms in re.findall(r"中位数 ([\d.]+) ms", output)] == [True, True]


@pytest.mark.parametrize("i", LONG)
def test_settings_of_the_training_examples_are_allowed(i):
    code = BLOCKS[i][1]
    compile(code, f"block {i}", "exec")
    for words in re.findall(r"\.(?:train|val)\((.*?)\)", code):
        get_cfg(overrides=parse(words.replace('"', "").split(", ")))
    for name in re.findall(r'YOLO\("(.+?\.yaml)"\)', code):
        find_model_yaml(name)


@pytest.mark.parametrize("block", [code for language, code, _ in BLOCKS if language == "diff"])
def test_diffs_hold_all_lines_that_differ(block):
    old, new, *changes = block.splitlines()
    files = [(ROOT / line[4:]).read_text(encoding="utf-8").splitlines() for line in (old, new)]
    layers = [[line for line in lines if line.startswith("  - [")] for lines in files]
    wanted = [w for w in difflib.unified_diff(*layers, n=0, lineterm="") if not w.startswith(("---", "+++", "@@"))]
    assert sorted(changes) == sorted(wanted)
    for sign, lines in zip("-+", layers):  # in the order of the file
        assert [c[1:] for c in changes if c[0] == sign] == [w[1:] for w in wanted if w[0] == sign]
        assert {c[1:] for c in changes if c[0] == sign} <= set(lines)


def test_head_indices_in_the_table_are_those_of_the_yaml():
    yaml = (ROOT / "ultralytics/cfg/models/11/yolo11-GhostNetV2.yaml").read_text(encoding="utf-8")
    assert re.findall(r"\[\[-1, (\d+)\], 1, Concat", yaml) == ["3", "2", "9", "6"]
    assert "[[12, 15, 18], 1, Detect, [nc]]" in yaml
    assert "头部的序号为什么是 3、2、9、6，`Detect` 为什么是 12、15、18" in TEXT


@pytest.mark.parametrize("guide", [GUIDE, NOTES], ids=["guide", "notes"])
def test_files_that_are_named_exist(guide):
    text = guide.read_text(encoding="utf-8")
    quoted, plain = r"`([^`\n ]+/[^`\n ]+)`", r"(?<![\w/])(?:train|docs|datasets)/[^\s，。；：（）、]+"
    names = [n for n in re.findall(quoted if guide == GUIDE else plain, text) if not MINE.match(n)]
    assert len(names) >= 5
    assert [n for n in names if not (ROOT / n).exists()] == []


def commands() -> list[str]:
    """The command lines of both guides."""
    lines = [line for language, code, _ in BLOCKS if language == "bash" for line in code.splitlines()]
    lines += [line.strip() for line in NOTES.read_text(encoding="utf-8").splitlines() if line.startswith(" " * 8)]
    return [line for line in lines if re.match(r"(yolo|python) ", line)]


@pytest.mark.parametrize("line", commands())
def test_commands_are_understood(line):
    program, *words = shlex.split(line)
    if program == "yolo" and words[0] in VERBS:
        return
    if program == "yolo":
        settings = parse(words)
        check_mode(settings["mode"])
    elif words[0] == "-m":
        assert importlib.util.find_spec(words[1])
        assert all((ROOT / w).exists() for w in words[2:] if "/" in w)
        return
    else:
        script = ROOT / words[0]
        assert script.is_file()
        if script.name != "train.py":
            options = {w for w in words if w.startswith("--")}
            assert all(o in script.read_text(encoding="utf-8") for o in options)
            return
        settings = train_settings(script, words[1:])
    get_cfg(overrides=settings)
    if str(settings.get("model", "")).endswith(".yaml"):
        find_model_yaml(settings["model"])
    for key in ("data", "source"):
        path = str(settings.get(key) or "")
        assert not path or "my_data" in path or (ROOT / path).exists()


def train_settings(script: Path, words: list[str]) -> dict:
    """Return what `train/train.py` makes of its arguments."""
    spec = importlib.util.spec_from_file_location("guides_train", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    args, extra = module.parse(words)
    named = {k: v for k, v in vars(args).items() if k != "settings" and v is not None}
    return {**named, **extra}


def test_messages_that_are_explained_are_those_of_the_code():
    table = TEXT.split("## 14.")[1].split("## 15.")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) >= 12
    code = "\n".join(f.read_text(encoding="utf-8") for f in (ROOT / "ultralytics").rglob("*.py"))
    assert [m for m in messages if m not in code] == []


def test_rules_of_the_registry_are_all_in_the_table():
    from ultralytics.nn import registry

    rules = {name for name in vars(registry) if name.startswith("bind_")}
    assert rules == set(re.findall(r"`(bind_\w+)` \|$", TEXT, re.MULTILINE))


def test_names_in_the_table_of_changes_are_in_their_files():
    rows = re.findall(r"^\| `(ultralytics/[^`]+\.py)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert len(rows) >= 6
    for file, change in rows:
        code = (ROOT / file).read_text(encoding="utf-8")
        assert [n for n in re.findall(r"`([A-Z]\w+)`", change) if n not in code] == []


def test_notes_have_a_readable_length_and_plain_text():
    lines = NOTES.read_text(encoding="utf-8").splitlines()
    assert 60 <= len(lines) <= 100
    assert all(len(line) <= 120 for line in lines)
