"""Tables as text: aligned for a terminal, as Markdown, as CSV; the first row is the head."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from unicodedata import combining, east_asian_width


def aligned(rows: Sequence[Sequence[str]], left: int = 1, rules: Sequence[int] = (1,)) -> str:
    """Return columns of equal width, the first `left` to the left, the others to the right; rules before some rows."""
    widths = [max(map(shown_width, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = []
        for k, (text, width) in enumerate(zip(row, widths)):
            blank = " " * (width - shown_width(text))
            cells.append(text + blank if k < left else blank + text)
        lines.append("  ".join(cells).rstrip())
    for at in sorted(rules, reverse=True):
        lines.insert(at, "-" * max(map(shown_width, lines)))
    return "\n".join(lines)


def shown_width(text: str) -> int:
    """Return the width of a text in a terminal: Chinese characters take two columns, combining accents none."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column to the left."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"| --- |{' ---: |' * (len(rows[0]) - 1)}", *others])


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as CSV, a column for each key; None and missing values are empty, floats have six digits."""
    head = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()
