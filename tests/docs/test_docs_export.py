"""The table of formats in the guide is that of the code, and its commands are understood."""

from __future__ import annotations

import re
from pathlib import Path

from ultralytics.cfg.schema import DEFAULTS
from ultralytics.cli import parse
from ultralytics.nn.formats import FORMATS, Format

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def row(f: Format) -> str:
    file = f"`best{f.suffix}`" + ("" if f.suffix.startswith(".") else " (folder)")
    packages = (" ".join(names) for names in (f.writing, f.running))
    return f"| {' | '.join([f'`{f.name}`', f.title, file, ', '.join(sorted(f.options)), *packages, f.note])} |"


def test_the_table_is_that_of_the_code():
    lines = TEXT.split("<!-- formats -->\n")[1].split("\n\n")[0].splitlines()
    assert lines[2:] == [row(f) for f in FORMATS.values()]


def test_settings_and_commands_are_real():
    named = re.findall(r"^\| `(\w+)` +\| ", TEXT.split("\n| setting ")[1].split("\n\n")[0], re.MULTILINE)
    assert len(named) == 8 and not set(named) - DEFAULTS.keys()
    commands = re.findall(r"^yolo .*$", TEXT, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        assert parse(command.split()[1:])["mode"] in {"export", "predict", "val", "benchmark"}


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
