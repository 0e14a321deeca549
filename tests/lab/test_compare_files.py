"""What a comparison writes: figures by hand, names that mean something to each format, and nothing from outside."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from comparisons import make_outcome, make_plan

from ultralytics.lab.compare.command import write
from ultralytics.lab.compare.latencies import notes_on
from ultralytics.lab.compare.outcome import Outcome
from ultralytics.lab.compare.tables import latex_text, markdown, plain, tables_of
from ultralytics.lab.latency import Latency
from ultralytics.lab.tables import shown_width

EVIL = 'a_b%&<i>|$x^2$"{\\火'


class Page(HTMLParser):
    """Reads a page: its texts, its tags, what it refers to, and whether each tag is closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.links, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A comparison of three models with three seeds, one cell of which failed, as files."""
    folder = tmp_path_factory.mktemp("compared")
    outcome = make_outcome(folder, ["yolo11n", "ghost", EVIL])
    row = outcome.rows[1]
    row.results.pop(2)
    row.failures[2] = "RuntimeError: <out> of memory"
    write(outcome, folder)
    return outcome, folder


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def test_csv_holds_the_figures(written):
    _, folder = written
    table = rows_of(folder / "table.csv")
    assert [row["model"] for row in table] == ["yolo11n", "ghost", EVIL]
    first = table[0]
    assert float(first["mAP50-95 mean"]) == pytest.approx(0.51)
    assert float(first["mAP50-95 std"]) == pytest.approx(0.01)
    assert (first["seeds"], first["failed"], table[1]["seeds"], table[1]["failed"]) == ("3", "0", "2", "1")
    assert (first["params"], first["params_fused"], float(first["onnxruntime median_ms"])) == ("2590035", "2582347", 10)
    assert "AP medium mean" not in first  # no image has such objects
    cells = rows_of(folder / "cells.csv")
    assert len(cells) == 9
    assert [row["error"] for row in cells if row["error"]] == ["RuntimeError: <out> of memory"]


def test_differences_are_paired(written):
    _, folder = written
    found = {(r["model"], r["figure"]): r for r in rows_of(folder / "differences.csv")}
    third = found[EVIL, "mAP50-95"]  # 0.2, 0.22, 0.24
    assert third["pairs"] == "3"
    assert float(third["difference"]) == pytest.approx(0.22)
    assert float(third["low95"]) == pytest.approx(0.22 - 4.30265273 * 0.02 / 3**0.5, abs=1e-5)
    assert found["ghost", "mAP50-95"]["pairs"] == "2"


def test_page_is_whole_and_loads_nothing(written):
    outcome, folder = written
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("img") == 4
    assert page.links and all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert "script" not in page.tags and "i" not in page.tags  # the name stayed a name
    assert not re.search(r"https?://|@import|url\(", text)
    said = "".join(page.texts)
    assert all("".join(table.head) in said for table in tables_of(outcome))
    assert said.count(EVIL) >= 4
    assert "seed 2 failed: RuntimeError: <out> of memory" in said
    assert all(value in said for _, value in outcome.facts)


def test_latex_is_balanced(written):
    text = (written[1] / "table.tex").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}%&$#_]", "", code)
    assert bare.count("{") == bare.count("}") > 0
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", code) == [*("table", "tabular") * 3]
    assert sorted(re.findall(r"\\end\{(\w+)\}", code)) == sorted(re.findall(r"\\begin\{(\w+)\}", code))
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", code, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        widths = [len(re.findall(r"(?<!\\)&", line)) + sum(int(n) - 1 for n in re.findall(r"multicolumn\{(\d+)", line))
                  for line in lines]  # fmt: skip
        assert len(set(widths)) == 1
    assert not re.search(r"(?<!\\)[#_^~<>|]", re.sub(r"\\(label|if\w*|caption)\b.*", "", code))


def test_latex_escapes_names_and_signs():
    assert latex_text("a_b 5% #1 & ~^\\") == r"a\_b 5\% \#1 \& \textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert latex_text("-0.012 [-0.1, +0.2]") == "$-$0.012 {[}$-$0.1, $+$0.2{]}"
    assert latex_text("mAP50-95 yolo11n-2") == "mAP50-95 yolo11n-2"


def test_markdown_rows_have_all_columns(written):
    text = (written[1] / "table.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    assert "<i>" not in text
    assert "2 of 3" in text


def test_the_terminal_gets_a_column_for_each_model(written):
    outcome, _ = written
    tables = tables_of(outcome)
    text = plain(outcome, tables)
    assert EVIL in text and "+0.220 [+0.170, +0.270]*" in text and "\\_" not in text and "&lt;" not in text
    assert "seed 2 failed: RuntimeError: <out> of memory" in text
    for table in tables:
        head, rule, *rows = text.partition(f"{table.title}\n\n")[2].partition("\n\n")[0].splitlines()
        assert head.split()[0] == "model" and {*rule} == {"-"}
        assert {shown_width(row) for row in rows} == {shown_width(head)} and shown_width(head) <= 110
        assert len(rows) == len(table.head) - 1


@pytest.mark.slow
def test_images_are_drawn(written):
    for name in ("training", "pr", "latency", "gflops"):
        data = np.fromfile(written[1] / f"{name}.png", np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20  # lines, not an empty sheet
        assert b"<svg" in (written[1] / f"{name}.svg").read_bytes()


def test_one_seed_has_no_interval(tmp_path):
    outcome = make_outcome(tmp_path, ["a", "b"], seeds=1)
    text = markdown(outcome, tables_of(outcome))
    assert "+0.100 (no interval)" in text
    assert "±" not in text
    assert "there is no standard deviation and no interval" in text


@pytest.mark.parametrize(("task", "titles", "main"), [
    ("classify", ["top-1", "top-5"], "top-1"),
    pytest.param(
        "segment", ["P box", "R box", "mAP50 box", "mAP50-95 box", "P mask", "R mask", "mAP50 mask", "mAP50-95 mask",
                    "AP small", "AP large"], "mAP50-95 mask", marks=pytest.mark.slow,
    ),
])  # fmt: skip
def test_columns_are_those_of_the_task(tmp_path, task, titles, main):
    outcome = make_outcome(tmp_path, ["a", "b"], seeds=2, task=task)
    assert [c.title for c in outcome.columns] == titles
    assert outcome.main.title == main
    write(outcome, tmp_path)
    assert (tmp_path / "pr.png").exists() == (task != "classify")
    assert (tmp_path / "training.png").exists()


def test_nothing_finished_is_still_a_table(tmp_path):
    plan = make_plan(tmp_path, ["a", "b"], seeds=1)
    for cell in plan.cells:
        (cell.folder / "result.json").unlink()
        cell.fail("No module 'x'.")
    outcome = Outcome.of(plan, "yolo compare models=a,b")
    write(outcome, tmp_path)
    assert outcome.failed == 2
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("seed 0 failed: No module 'x'.") == 2


def test_only_eager_latency_is_called_so(tmp_path):
    rows = [Latency("a", "eager", 5.0, 6.0, threads=1, device="cpu", rounds=5)]
    text = " ".join(notes_on(rows, 64, ("eager", "onnxruntime", "openvino")))
    assert "ONNX Runtime was not measured" in text and "OpenVINO was not measured" in text
    assert "Only eager PyTorch was measured" in text
    both = [*rows, replace(rows[0], runtime="onnxruntime")]
    assert "Only eager" not in " ".join(notes_on(both, 64, ("eager", "onnxruntime")))


def test_models_without_a_common_seed_are_told(tmp_path):
    outcome = make_outcome(tmp_path, ["a", "b"], seeds=2)
    assert not any("No difference" in note for note in outcome.remarks)
    del outcome.rows[0].results[0], outcome.rows[1].results[1]
    assert any("No difference of b: a has no finished run" in note for note in outcome.remarks)


def test_unlike_cells_are_told(tmp_path):
    outcome = make_outcome(tmp_path, ["a", "b"])
    assert not any("Not all cells" in note for note in outcome.remarks)
    outcome.rows[1].results[0]["device"] = "cuda:0"
    outcome.rows[1].results[0]["precision"] = "float32"
    outcome.rows[0].results[0]["precision"] = "float16"
    assert any("Not all cells" in note for note in outcome.remarks)
    assert any("are in float32" in note for note in outcome.remarks)
