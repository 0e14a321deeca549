"""What the installed package holds and says of itself."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

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
