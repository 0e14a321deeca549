"""The page of a comparison: one HTML file with everything in it, which loads nothing from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from ultralytics.lab.compare.outcome import Outcome
from ultralytics.lab.compare.tables import Entry, Table

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1240px; padding: 32px 24px 64px; background: #fff; color: #24292f;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 20px; margin: 40px 0 10px; }
.lead { color: #57606a; margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; text-align: right; overflow-wrap: break-word; }
th:first-child, td:first-child { text-align: left; min-width: 7em; }
thead th { border-bottom: 2px solid #24292f; vertical-align: bottom; }
tbody td { border-bottom: 1px solid #d9dee3; }
tbody tr:last-child td { border-bottom: 2px solid #24292f; }
tbody td:first-child { font-weight: 600; }
td.wide { text-align: left; color: #a40e26; overflow-wrap: anywhere; }
td.strong { font-weight: 700; }
td small { font-size: 13px; }
td:not(.strong) small { color: #57606a; }
figure { margin: 24px 0 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
ul { padding-left: 20px; } li { margin: 4px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13.5px/1.5 ui-monospace, Consolas, monospace; background: #f3f5f7; padding: 2px 5px; border-radius: 4px; }
@media (max-width: 760px) { /* no room for columns: a block for each model, with a line for each figure */
  body { padding: 20px 16px 48px; }
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tbody td, tbody tr:last-child td { display: flex; justify-content: space-between; gap: 16px;
    padding: 3px 0; border: 0; }
  tbody td::before { content: attr(data-head); color: #57606a; font-weight: 400; }
  tbody td:first-child { padding-top: 12px; border-top: 2px solid #24292f; }
  tbody td:first-child::before, td.wide::before { content: none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
}
@media print { body { max-width: none; padding: 0; } figure, table { break-inside: avoid; } }
"""


def page(outcome: Outcome, tables: Sequence[Table], images: Mapping[str, tuple[str, bytes, bytes]]) -> str:
    """Return the page."""
    names = " · ".join(row.label for row in outcome.rows)
    figures = [_figure(title, svg) for title, _, svg in images.values()]
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{_fact(k, v)}</dd>" for k, v in outcome.facts)
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Comparison: {escape(names)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f'<h1>Comparison of {len(outcome.rows)} models</h1>\n<p class="lead">{escape(names)}</p>',
        *map(_table, tables),
        f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in outcome.remarks)}</ul>",
        *figures,
        f"<h2>What was run</h2>\n<dl>{facts}</dl>\n</body>\n</html>\n",
    ])  # fmt: skip


def _fact(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name == "command" else escape(text)


def _table(table: Table) -> str:
    """Return a table under its title."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    body = []
    for row in table.rows:
        cells = []
        for title, entry in zip(table.head, row):
            kind = f' data-head="{escape(title)}"' + ' class="strong"' * entry.strong
            if entry.wide:
                kind = f' class="wide" colspan="{len(table.head) - len(row) + 1}"'
            cells.append(f"<td{kind}><span>{_entry(entry)}</span></td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{''.join(body)}</tbody>\n</table></div>"
    )


def _entry(entry: Entry) -> str:
    """Return the text of an entry; an interval or a change stands below its figure, so that the table stays narrow."""
    figure, bracket, rest = ("", "", "") if entry.wide or not entry.compound else entry.text.partition(" [")
    return f"{escape(figure)}<br><small>[{escape(rest)}</small>" if bracket else escape(entry.text)


def _figure(title: str, svg: bytes) -> str:
    """Return an image that is part of the page."""
    data = b64encode(svg).decode()
    return (
        f'<h2>{escape(title)}</h2>\n<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}"></figure>'
    )
