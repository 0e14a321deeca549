"""The Ghost guides show what the scripts beside them give."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = ["ghostnet.md", "ghostnet原理.md"]


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAW = script(DOCS / "diagrams" / "draw.py")


@pytest.mark.parametrize("name", DRAW.DIAGRAMS)
def test_committed_diagram_is_what_the_script_draws(name):
    drawn = DRAW.DIAGRAMS[name]()
    assert (DOCS / "diagrams" / name).read_text(encoding="utf-8") == drawn
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


@pytest.mark.parametrize("name", DRAW.DIAGRAMS)
def test_diagram_stays_on_its_page(name):
    root = ElementTree.fromstring(DRAW.DIAGRAMS[name]())
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height


@pytest.fixture(scope="module")
def tables() -> list[list[str]]:
    costs = script(DOCS.parent / "benchmarks" / "ghost_costs.py")
    return [costs.stages(), costs.networks(), costs.layers()]


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_tables_in_the_guides_are_what_the_script_prints(guide, tables):
    text = (DOCS / guide).read_text(encoding="utf-8")
    for rows in tables:
        assert "\n".join(rows) in text


@pytest.mark.parametrize("guide", GUIDES)
def test_links_of_the_guides_lead_to_files(guide):
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / guide).read_text(encoding="utf-8"))
    assert len(links) >= 5
    assert [link for link in links if not (DOCS / link).is_file()] == []
