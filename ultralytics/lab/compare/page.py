"""The page of a comparison: one self-contained HTML file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from ultralytics.lab.compare.outcome import Outcome
from ultralytics.lab.compare.tables import Table

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
td.strong { font-weight: 700; }
figure { margin: 24px 0 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
ul { padding-left: 20px; } li { margin: 4px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13.5px/1.5 ui-monospace, Consolas, monospace; background: #f3f5f7; padding: 2px 5px; border-radius: 4px; }
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
    body = ""
    for row in table.rows:
        cells = (f"<td{' class=strong' * entry.strong}>{escape(entry.text)}</td>" for entry in row)
        body += f"<tr>{''.join(cells)}</tr>"
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody>\n</table></div>"
    )


def _figure(title: str, svg: bytes) -> str:
    """Return an image embedded in the page."""
    data = b64encode(svg).decode()
    return (
        f'<h2>{escape(title)}</h2>\n<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}"></figure>'
    )
