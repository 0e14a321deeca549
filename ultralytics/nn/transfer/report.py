"""The report of a transfer, layer by layer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

WHOLE, PART, CONVERTED, RANDOM, NOTHING = HOWS = ("whole", "part", "converted", "random", "-")


@dataclass(frozen=True)
class Row:
    """One layer of the target model in the report.

    Args:
        layer: index of the layer in the target.
        source: index and class of the source's layer, such as "3 Conv"; empty if there is none.
        kind: class of the layer, as its YAML line names it.
        how: "whole", "part", "converted" (computed from other weights), "random" (as it was), "-" (it has no weights).
        taken: values of its state dict that came from the source.
        numbers: values in its state dict.
        note: further remarks.
        taken_entries: entries of its state dict that were taken whole.
        entries: entries in its state dict; 0 if they were not counted.
    """

    layer: int
    source: str
    kind: str
    how: str
    taken: int
    numbers: int
    note: str = ""
    taken_entries: int = 0
    entries: int = 0

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise ValueError(f"how='{self.how}' is not one of {', '.join(HOWS)}.")


@dataclass
class Report:
    """The rows of a transfer in the order of the target's layers; printed, it is a table with its summary below."""

    rows: list[Row] = field(default_factory=list)

    @property
    def taken(self) -> int:
        """Number of values taken."""
        return sum(r.taken for r in self.rows)

    @property
    def numbers(self) -> int:
        """Number of values in the target's state dict."""
        return sum(r.numbers for r in self.rows)

    @property
    def share(self) -> float:
        """Share of the target's values that were taken, from 0 to 1."""
        return self.taken / max(self.numbers, 1)

    def row(self, layer: int) -> Row:
        """Return the row of the layer with this index."""
        return next(r for r in self.rows if r.layer == layer)

    def replace(self, rows: Iterable[Row] | Report) -> Report:
        """Return a report in which these rows replace those of the same layers; others are added.

        A row with fewer values taken replaces none, and one of the same `how` keeps the note of the old one.
        """
        found = {r.layer: r for r in self.rows}
        for r in rows.rows if isinstance(rows, Report) else rows:
            old = found.get(r.layer)
            if old and r.taken < old.taken:
                continue
            if old and r.how == old.how:
                r = dataclasses.replace(r, note="; ".join(note for note in (old.note, r.note) if note))
            if old and not r.entries:  # they were not counted for this row
                whole = old.entries if r.taken == r.numbers else old.taken_entries
                r = dataclasses.replace(r, taken_entries=whole, entries=old.entries)
            found[r.layer] = r
        return Report(sorted(found.values(), key=lambda r: r.layer))

    def summary(self) -> str:
        """Return one line on what was taken."""
        entries, of = (sum(getattr(r, name) for r in self.rows) for name in ("taken_entries", "entries"))
        counts = Counter(r.how for r in self.rows if r.numbers)
        share = self.share if self.taken == self.numbers else min(self.share, 0.99)  # 100 % is all of them
        hows = ", ".join(f"{counts[how]} {how}" for how in HOWS if counts[how])
        return (
            f"Transferred {entries}/{of} entries ({share:.0%} of the numbers) from pretrained weights. "
            f"Layers: {hows or 'none with weights'}."
        )

    def table(self) -> str:
        """Return the rows as a text table with titles."""
        titles = ("layer", "kind", "from", "how", "taken", "of", "note")
        cells = [titles]
        for r in self.rows:
            counts = (f"{r.taken:,}", f"{r.numbers:,}") if r.numbers else ("", "")
            cells.append((str(r.layer), r.kind, r.source, r.how, *counts, r.note))
        widths = [max(len(row[k]) for row in cells) for k in range(len(titles))]
        return "\n".join(
            "  ".join(
                f"{text:{'>' if k in (0, 4, 5) else '<'}{w}}" for k, (text, w) in enumerate(zip(row, widths))
            ).rstrip()
            for row in cells
        )

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.summary()}"
