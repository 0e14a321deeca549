"""The guide's chapter for those who come from a tutorial: each module in its table works in yolo11n as the row says."""

from __future__ import annotations

import ast
import inspect
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from fill import fill, image
from ultralytics import YOLO
from ultralytics.nn.own_modules import load_file
from ultralytics.nn.registry import Entry
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "examples" / "tutorial_modules.py"
CHAPTER = (ROOT / "改进流程.md").read_text(encoding="utf-8").split("\n## 16. ")[1]
# Class, signature, YAML line, and where it goes.
ROWS = re.findall(r"^\| [^|]+ \| `(\w+)(\(.*?\))` \| `(.+?)` \| (替换|插在) (\d+)(?: 之后)? \|$", CHAPTER, re.MULTILINE)


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    """What the example file registers, by name."""
    return load_file(MODULES)


def yolo11n_with(rows: list[tuple]) -> dict:
    """Return YOLO11n with a line replaced, or one more inserted behind it, for each row of the table."""
    d = deepcopy(yaml_model_load("yolo11n.yaml"))
    lines = [*d["backbone"], *d["head"]]
    for *_, text, way, place in sorted(rows, key=lambda row: row[3] == "插在"):  # numbers stay until then
        number = int(place)
        if way == "替换":
            lines[number] = read(text)
        else:
            lines = [[shifted(line[0], number), *line[1:]] for line in lines]
            lines.insert(number + 1, read(text))
    return {**d, "backbone": lines, "head": [], "modules": [str(MODULES)]}


def read(text: str) -> list:
    """Return a YAML line as data; its words are names."""
    return ast.literal_eval(re.sub(r"(?<=[ \[])(?!True|False|None)([A-Za-z][\w.]*)", r"'\1'", text))


def shifted(sources: int | list[int], number: int) -> int | list[int]:
    """Return what a line reads once another is inserted behind `number`, which is read in its stead."""
    if isinstance(sources, list):
        return [shifted(i, number) for i in sources]
    return sources + (sources >= number)


def test_the_table_has_sixteen_rows_and_the_file_their_classes(entries):
    assert len(ROWS) == 16
    assert {name for name, *_ in ROWS} | {"BiFPN_Concat3"} == entries.keys()


@pytest.mark.parametrize(("name", "signature"), [row[:2] for row in ROWS])
def test_constructors_are_those_of_the_table(name, signature, entries):
    args = ast.parse(f"def f{signature}: ...").body[0].args
    names, defaults = [a.arg for a in args.args], [ast.literal_eval(d) for d in args.defaults]
    mine = inspect.signature(entries[name].cls).parameters.values()
    assert [p.name for p in mine] == names
    assert [p.default for p in mine if p.default is not p.empty] == defaults


INSERTED = [row for row in ROWS if row[3] == "插在"]
REPLACED = {row[4]: row for row in ROWS if row[3] == "替换"}  # one for each place
OTHERS = [row for row in ROWS if row not in INSERTED and row not in REPLACED.values()]
ALONE = [pytest.param([row], marks=pytest.mark.slow, id=row[0]) for row in ROWS]


@pytest.mark.parametrize("rows", [INSERTED, [*REPLACED.values()], OTHERS, *ALONE])
def test_the_lines_build_and_learn_in_yolo11n(rows, entries):
    model = DetectionModel(yolo11n_with(rows), nc=3, verbose=False)
    assert model.stride.tolist() == [8, 16, 32]
    sum(maps.square().mean() for maps in model.train()(image(2, 64, 64))).backward()
    for name, *_ in rows:
        (layer,) = (m for m in model.model if type(m) is entries[name].cls)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_the_example_model_is_yolo11_with_the_line_of_the_table():
    model = YOLO(ROOT / "examples" / "yolo11n-CBAM.yaml", trust_modules=True).model
    wanted = yolo11n_with([row for row in ROWS if row[0] == "CBAM"])["backbone"]
    assert [*model.yaml["backbone"], *model.yaml["head"]] == wanted
    assert type(model.model[11]).__name__ == "CBAM"


def test_branches_of_an_own_module_are_merged_by_fusing(entries):
    torch.manual_seed(0)
    d = {"nc": 2, "backbone": [[-1, 1, "RepVGG", [16, 3, 2]], [-1, 1, "RepVGG", [16]]], "modules": [str(MODULES)]}
    model = fill(DetectionModel({**d, "head": [[[0, 1], 1, "Detect", ["nc"]]]}, verbose=False)).eval()
    x = image(1, 64, 64)
    with torch.no_grad():
        before = model(x)[0]
        torch.testing.assert_close(model.fuse(verbose=False)(x)[0], before, rtol=1e-4, atol=1e-3)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
