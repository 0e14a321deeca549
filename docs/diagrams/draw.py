"""Draw the diagrams of the Ghost guides: `python docs/diagrams/draw.py` writes the SVG files beside this script.

Standard library only; the same script always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

INK, MUTED, LINE = "#1e293b", "#64748b", "#475569"
# kind: fill, edge
KINDS = {
    "plain": ("#f1f5f9", "#94a3b8"),
    "conv": ("#dbeafe", "#3b82f6"),
    "cheap": ("#ffedd5", "#f97316"),
    "gate": ("#ede9fe", "#8b5cf6"),
    "out": ("#dcfce7", "#22c55e"),
}
Point = tuple[float, float]


class Drawing:
    """An SVG being put together; x grows to the right, y downwards, units are pixels."""

    def __init__(self, width: int, height: int, title: str):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" font-family="Helvetica, Arial, DejaVu Sans, sans-serif">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0.8 10 5 0 9.2z" fill="{LINE}"/></marker></defs>',
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12" fill="#fff" stroke="#e2e8f0"/>',
        ]

    def text(self, x: float, y: float, text: str, size: float = 13, color=INK, bold=False, anchor="middle") -> None:
        """Write one line whose middle is at height y."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y + size * 0.35:g}" font-size="{size:g}" fill="{color}" text-anchor="{anchor}"'
            f"{weight}>{escape(text)}</text>"
        )

    def box(self, x: float, y: float, w: float, h: float, lines: str, kind: str = "plain") -> None:
        """Draw a rounded box around (x, y) with a heading and, below it, smaller lines."""
        fill, edge = KINDS[kind]
        self.parts.append(
            f'<rect x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w:g}" height="{h:g}" rx="8" fill="{fill}" '
            f'stroke="{edge}" stroke-width="1.5"/>'
        )
        head, *rest = lines.split("\n")
        top = y - 8 * len(rest)
        self.text(x, top, head, bold=True)
        for i, line in enumerate(rest, 1):
            self.text(x, top + 16 * i, line, 11.5, MUTED)

    def arrow(self, *points: Point, dashed: bool = False, tip: bool = True) -> None:
        """Draw a line through the points with rounded corners and a tip at its end."""
        path = f"M{points[0][0]:g} {points[0][1]:g}"
        for before, corner, after in zip(points, points[1:], points[2:]):
            (ax, ay), (bx, by) = _towards(corner, before, 8), _towards(corner, after, 8)
            path += f" L{ax:g} {ay:g} Q{corner[0]:g} {corner[1]:g} {bx:g} {by:g}"
        path += f" L{points[-1][0]:g} {points[-1][1]:g}"
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        end = ' marker-end="url(#tip)"' if tip else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6"{dash}{end}/>')

    def symbol(self, x: float, y: float, sign: str) -> None:
        """Draw a circle with a plus or a times sign."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="14" fill="#fff" stroke="{LINE}" stroke-width="1.6"/>')
        reach = 7.0 if sign == "+" else 5.0
        ends = [(reach, 0), (0, reach)] if sign == "+" else [(reach, reach), (reach, -reach)]
        for dx, dy in ends:
            self.parts.append(
                f'<path d="M{x - dx:g} {y - dy:g} L{x + dx:g} {y + dy:g}" stroke="{INK}" stroke-width="2" '
                'stroke-linecap="round"/>'
            )

    def maps(self, x: float, y: float, kinds: list[str], size: float = 58, step: float = 9) -> None:
        """Draw a stack of feature maps around (x, y), one square a map, the last one in front."""
        spread = step * (len(kinds) - 1)
        for i, kind in enumerate(kinds):
            fill, edge = KINDS[kind]
            left, top = x - (size + spread) / 2 + i * step, y - (size + spread) / 2 + i * step
            self.parts.append(
                f'<rect x="{left:g}" y="{top:g}" width="{size:g}" height="{size:g}" rx="3" fill="{fill}" '
                f'stroke="{edge}" stroke-width="1.3"/>'
            )

    def grid(self, x: float, y: float, n: int, cell: float, kind: Callable[[int, int], str]) -> None:
        """Draw n x n cells with the upper left corner at (x, y); kind(row, column) colours them."""
        for row in range(n):
            for column in range(n):
                fill, edge = KINDS[kind(row, column)]
                self.parts.append(
                    f'<rect x="{x + column * cell:g}" y="{y + row * cell:g}" width="{cell:g}" height="{cell:g}" '
                    f'fill="{fill}" stroke="{edge}" stroke-width="0.8"/>'
                )

    def frame(self, x: float, y: float, w: float, h: float) -> None:
        """Draw a dashed frame around what belongs together, its upper left corner at (x, y)."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="12" fill="#f8fafc" stroke="#94a3b8" '
            'stroke-dasharray="6 4"/>'
        )

    def svg(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


def _towards(start: Point, end: Point, length: float) -> Point:
    """Return the point at most `length` from start on the way to end."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    part = min(length / max((dx * dx + dy * dy) ** 0.5, 1e-9), 0.5)
    return round(start[0] + dx * part, 2), round(start[1] + dy * part, 2)


def ghost_module() -> str:
    """An ordinary convolution above, the Ghost module below."""
    d = Drawing(900, 430, "An ordinary convolution and a Ghost module with n output maps")
    d.text(28, 30, "Ordinary convolution", 15, bold=True, anchor="start")
    d.maps(90, 110, ["plain"] * 4)
    d.arrow((140, 110), (232, 110))
    d.box(310, 110, 150, 56, "Conv k × k\nn filters of c · k · k", "conv")
    d.arrow((388, 110), (748, 110))
    d.maps(800, 110, ["conv"] * 6)
    d.text(90, 172, "c maps", 12, MUTED)
    d.text(800, 182, "n maps", 12, MUTED)
    d.arrow((28, 205), (872, 205), dashed=True, tip=False)

    d.text(28, 232, "Ghost module (here s = 2)", 15, bold=True, anchor="start")
    d.maps(90, 318, ["plain"] * 4)
    d.arrow((140, 318), (192, 318))
    d.box(270, 318, 150, 70, "Conv k × k\nn / s filters of c · k · k\nBN, ReLU", "conv")
    d.arrow((348, 318), (396, 318))
    d.maps(440, 318, ["conv"] * 3)
    d.arrow((486, 292), (510, 292), (510, 265), (672, 265), (672, 292), (748, 292))
    d.text(591, 250, "identity: intrinsic maps", 12, MUTED)
    d.arrow((486, 344), (516, 344))
    d.box(591, 344, 150, 70, "Depthwise d × d\ncheap operation Φ\nBN, ReLU", "cheap")
    d.arrow((666, 344), (748, 344))
    d.text(708, 318, "concat", 12, MUTED)
    d.maps(800, 318, ["conv"] * 3 + ["cheap"] * 3)
    d.text(90, 380, "c maps", 12, MUTED)
    d.text(440, 378, "m = n / s", 12, MUTED)
    d.text(440, 394, "intrinsic maps", 12, MUTED)
    d.text(591, 397, "one d × d filter a map", 12, MUTED)
    d.text(800, 386, "n maps:", 12, MUTED)
    d.text(800, 402, "intrinsic and ghosts", 12, MUTED)
    return d.svg()


def ghost_bottleneck() -> str:
    """The bottleneck at stride 1 on the left, at stride 2 on the right."""
    d = Drawing(900, 590, "The Ghost bottleneck at stride 1 and at stride 2")
    d.arrow((410, 26), (410, 566), dashed=True, tip=False)
    gate = ("Squeeze-and-excitation\nin some rows of the table", "gate")
    expand = ("Ghost module\nBN, ReLU · expands c₁ to h", "conv")
    reduce = ("Ghost module\nBN, no ReLU · reduces h to c₂", "conv")
    halve = ("Depthwise k × k, stride 2\nBN · halves the size", "cheap")
    _bottleneck(d, 240, "Stride 1", [(178, expand), (291, gate), (404, reduce)])
    _bottleneck(d, 560, "Stride 2", [(150, expand), (242, halve), (334, gate), (426, reduce)])

    d.arrow((176, 72), (96, 72), (96, 496), (226, 496))
    d.text(86, 276, "identity", 12, MUTED, anchor="end")
    d.text(86, 294, "if c₁ = c₂", 12, MUTED, anchor="end")
    d.arrow((624, 72), (776, 72), (776, 214))
    d.box(776, 242, 160, 56, "Depthwise k × k\nstride 2 · BN", "cheap")
    d.arrow((776, 270), (776, 306))
    d.box(776, 334, 160, 56, "Conv 1 × 1\nBN · c₁ to c₂", "conv")
    d.arrow((776, 362), (776, 496), (574, 496))
    return d.svg()


def _bottleneck(d: Drawing, x: float, title: str, rows: list[tuple[float, tuple[str, str]]]) -> None:
    """Draw the main path of a bottleneck from its input down to the sum and the output."""
    d.text(x, 32, title, 15, bold=True)
    d.box(x, 72, 128, 36, "Input, c₁ maps")
    start = 90.0
    for y, (lines, kind) in rows:
        d.arrow((x, start), (x, y - 28))
        d.box(x, y, 214, 56, lines, kind)
        start = y + 28
    d.arrow((x, start), (x, 482))
    d.symbol(x, 496, "+")
    d.arrow((x, 510), (x, 536))
    d.box(x, 554, 144, 36, "Output, c₂ maps", "out")


def dfc_attention() -> str:
    """The two branches of a Ghost module with DFC attention, and what one place of the gate sees."""
    d = Drawing(1080, 490, "DFC attention gates a Ghost module")
    d.text(28, 30, "Ghost module with DFC attention", 15, bold=True, anchor="start")
    d.maps(72, 146, ["plain"] * 4, 48, 8)
    d.text(72, 202, "H × W", 12, MUTED)
    d.arrow((114, 126), (140, 126), (140, 78), (430, 78))
    d.box(520, 78, 180, 50, "Ghost module\nH × W", "conv")
    d.arrow((610, 78), (912, 78), (912, 132))
    d.arrow((114, 166), (140, 166), (140, 212), (160, 212))
    steps = [
        ("Average 2 × 2\nH/2 × W/2", "plain", 118),
        ("Conv 1 × 1\nBN", "gate", 100),
        ("Depthwise 1 × 5\nBN · along the row", "gate", 144),
        ("Depthwise 5 × 1\nBN · along the column", "gate", 150),
        ("Sigmoid\n0 to 1", "gate", 84),
        ("Upsample\nnearest, H × W", "plain", 112),
    ]
    left = 160.0
    for i, (lines, kind, w) in enumerate(steps):
        if i:
            d.arrow((left - 20, 212), (left, 212))
        d.box(left + w / 2, 212, w, 54, lines, kind)
        left += w + 20
    d.arrow((912, 185), (912, 160))
    d.symbol(912, 146, "×")
    d.arrow((926, 146), (962, 146))
    d.maps(1008, 146, ["out"] * 4, 48, 8)
    d.text(1012, 202, "gated maps", 12, MUTED)

    d.arrow((28, 266), (1052, 266), dashed=True, tip=False)
    d.text(28, 294, "What one place of the gate sees", 15, bold=True, anchor="start")
    d.text(318, 294, "(on the halved map)", 12, MUTED, anchor="start")
    images = [
        ("Full self-attention", "(HW/4)² weights", lambda r, c: "gate"),
        ("Row: 1 × 5", "one filter a map", lambda r, c: "gate" if r == 4 and abs(c - 4) <= 2 else "plain"),
        ("then column: 5 × 1", "one filter a map", lambda r, c: "gate" if c == 4 and abs(r - 4) <= 2 else "plain"),
        ("Together", "5 × 5 places, 10 weights", lambda r, c: "gate" if max(abs(r - 4), abs(c - 4)) <= 2 else "plain"),
    ]
    for i, (head, sub, kind) in enumerate(images):
        x = 150 + 260 * i
        d.text(x, 326, head, bold=True)
        d.grid(x - 54, 342, 9, 12, lambda r, c, kind=kind: "cheap" if r == c == 4 else kind(r, c))
        d.text(x, 468, sub, 12, MUTED)
    return d.svg()


def yolo11_ghostnet() -> str:
    """YOLO11 on a GhostNet backbone: layer indices as in yolo11-GhostNetV1.yaml."""
    d = Drawing(1020, 650, "YOLO11 on a GhostNet backbone")
    for x, head in ((180, "Backbone"), (450, "Neck: top down"), (690, "Neck: bottom up"), (910, "Head")):
        d.text(x, 30, head, 15, bold=True)
    d.frame(58, 108, 244, 366)
    d.text(192, 94, "one YAML line: Ghostnetv1, 2 or 3", 11.5, MUTED, anchor="start")
    d.box(180, 66, 150, 34, "Image")
    top, ys = 83.0, [142, 216, 290, 364, 438]
    for i, (y, channels) in enumerate(zip(ys, (16, 24, 40, 112, 160))):
        d.arrow((180, top), (180, y - 23))
        d.box(180, y, 200, 46, f"{i} · stride {2 << i}\n{channels} channels", "conv")
        top = y + 23
    d.arrow((180, top), (180, 505))
    d.box(180, 528, 200, 46, "5 · SPPF\npooling at three sizes", "gate")
    d.arrow((180, 551), (180, 580))
    d.box(180, 603, 200, 46, "6 · C2PSA × 2\nself-attention", "gate")

    d.arrow((280, 603), (601, 603))
    d.arrow((450, 603), (450, 389))
    d.arrow((280, 364), (361, 364))
    d.arrow((280, 290), (361, 290))
    d.box(450, 364, 178, 50, "7–9 · Upsample\nConcat with 3, C3k2")
    d.arrow((450, 339), (450, 315))
    d.box(450, 290, 178, 50, "10–12 · Upsample\nConcat with 2, C3k2")

    d.arrow((539, 290), (842, 290))
    d.arrow((690, 290), (690, 339))
    d.arrow((539, 364), (601, 364))
    d.box(690, 364, 178, 50, "13–15 · Conv, stride 2\nConcat with 9, C3k2")
    d.arrow((690, 389), (690, 578))
    d.box(690, 603, 178, 50, "16–18 · Conv, stride 2\nConcat with 6, C3k2")
    d.arrow((779, 364), (842, 364))
    d.arrow((779, 603), (842, 603))
    for y, size, stride in ((290, "small", 8), (364, "medium", 16), (603, "large", 32)):
        d.box(910, y, 136, 50, f"19 · Detect\n{size}, stride {stride}", "out")
    return d.svg()


DIAGRAMS = {
    "ghost-module.svg": ghost_module,
    "ghost-bottleneck.svg": ghost_bottleneck,
    "dfc-attention.svg": dfc_attention,
    "yolo11-ghostnet.svg": yolo11_ghostnet,
}


def main() -> None:
    for name, draw in DIAGRAMS.items():
        (Path(__file__).parent / name).write_bytes(draw().encode())


if __name__ == "__main__":
    main()
