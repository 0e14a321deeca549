"""What the installed package holds and says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ultralytics
from ultralytics.utils import checks

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and newer
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_has_one_source(project):
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "ultralytics.__build__"}
    assert ultralytics.__build__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_data_file_is_packed(project):
    """A file that no pattern matches would be missing from an installed package."""
    patterns = project["tool"]["setuptools"]["package-data"]["ultralytics"]
    package = ROOT / "ultralytics"
    files = [p.relative_to(package) for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    data = [p.as_posix() for p in files if p.suffix != ".py" and not p.name.endswith((".cache", ".npz", ".npy"))]
    assert "cfg/default.yaml" in data
    unpacked = [p for p in data if not any(fnmatch(f"/{p}", f"/{pattern.replace('**/', '*')}") for pattern in patterns)]
    assert not unpacked


def test_every_folder_of_code_is_a_package():
    folders = {p.parent for p in (ROOT / "ultralytics").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_report_knows_the_dependencies(project):
    declared = [re.match(r"[\w-]+", line)[0] for line in project["project"]["dependencies"]]
    assert sorted(declared) == sorted(checks.REQUIRED)
    assert project["project"]["requires-python"] == f">={checks.PYTHON_MINIMUM}"


def asked_for(lines: Iterable[str]) -> set[str]:
    """Return the names of all packages that requirements bring with them, as far as they are installed here."""
    seen: set[tuple[str, str]] = set()  # names, each with one of the extras that it is asked for with
    todo = [*map(Requirement, lines)]
    while todo:
        line = todo.pop()
        for extra in {"", *line.extras}:
            if (one := (canonicalize_name(line.name), extra)) in seen:
                continue
            seen.add(one)
            try:
                needed = [Requirement(text) for text in requires(line.name) or ()]
            except PackageNotFoundError:
                continue
            todo += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_no_extra_brings_the_vendors_package(project):
    """It has this package's name, so pip would put it in this one's place."""
    for extra, lines in {"": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}.items():
        found = asked_for(lines)
        assert len(found) >= len(lines) and not {n for n in found if n.startswith("ultralytics")}, extra


def test_a_package_that_asks_for_the_vendors_is_found():
    pytest.importorskip("sahi")
    assert "ultralytics" in asked_for(["sahi[ultralytics]"]) and "ultralytics" not in asked_for(["sahi"])
