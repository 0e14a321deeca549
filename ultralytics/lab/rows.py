"""Rows of a report, as a file and as a text."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows under the union of their keys."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with file.open("w", encoding="utf-8-sig", newline="") as f:  # the mark tells Excel that this is UTF-8
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows(rows)


def table(rows: Sequence[dict[str, Any]], most: int = 40) -> str:
    """Return rows as an aligned text, and below the means of what is a number, where there are several rows.

    Images in which nothing was found have no heat in boxes, so they have no part in the mean of what boxes cover.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[str(row.get(c, "")) for c in columns] for row in rows[:most]]
    if len(rows) > 1 and any("heat in boxes" in row for row in rows):
        found = [row for row in rows if "heat in boxes" in row]
        numbers = {c: [row[c] for row in found if isinstance(row.get(c), float)] for c in columns}
        cells.append(["mean", *(f"{np.mean(numbers[c]):.3f}" if numbers[c] else "" for c in columns[1:])])
    widths = [max(map(len, [c, *(row[k] for row in cells)])) for k, c in enumerate(columns)]
    return "\n".join("  ".join(f"{x:<{w}}" for x, w in zip(row, widths)).rstrip() for row in [columns, *cells])
