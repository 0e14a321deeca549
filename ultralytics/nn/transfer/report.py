"""What a transfer of weights did, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One layer of the target: where its numbers come from, and how many of them."""

    layer: str
    source: str
    kind: str
    how: str  # whole, part, converted or random
    taken: int
    total: int
    note: str = ""


@dataclass
class Report:
    """The rows of all layers of the target."""

    rows: list[Row] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the target's parameters that come from the source, 0..1."""
        return sum(r.taken for r in self.rows) / max(sum(r.total for r in self.rows), 1)

    def table(self) -> str:
        """Return the rows as text, one line each, and the share below."""
        head = ("layer", "source", "kind", "how", "taken", "total", "note")
        lines = [head, *((r.layer, r.source, r.kind, r.how, str(r.taken), str(r.total), r.note) for r in self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
        text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines]
        return "\n".join([*text, f"{self.share:.1%} of the parameters are taken over."])

    def __str__(self) -> str:
        return self.table()
