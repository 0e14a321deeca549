"""Flat images of surfaces, to be stretched over walls and floors: each returns reflectance (h, w, 3)."""

from __future__ import annotations

import cv2
import numpy as np

from .noise import fbm, rgb, vary


def rough(
    rng: np.random.Generator, shape: tuple[int, int], colour: np.ndarray, amount: float = 0.08, cell: float = 60
) -> np.ndarray:
    """Plaster, concrete, cloth: one colour with stains and grain."""
    stain = fbm(rng, shape, cell, 5, 0.62)
    return (colour * (1 + amount * stain)[..., None]).clip(0.01, 0.95).astype(np.float32)


def grid(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: tuple[int, int],
    colour: np.ndarray,
    joint: np.ndarray,
    stagger: bool,
    differ: float = 0.14,
    line: int = 2,
) -> np.ndarray:
    """Bricks, planks or tiles of `size` (h, w) px, each in its own shade, with joints between."""
    h, w = shape
    bh, bw = size
    yy, xx = np.mgrid[0:h, 0:w]
    row = yy // bh
    shift = (row * (bw // 2 if stagger else 0)) if bw < 3 * bh or not stagger else (row * 7919) % bw
    col = (xx + shift) // bw
    shades = 1 + differ * rng.standard_normal((h // bh + 2, (w + int(shift.max())) // bw + 2, 1)).astype(np.float32)
    body = colour * shades[row, col] * (1 + 0.07 * fbm(rng, shape, 20, 4, 0.7))[..., None]
    seam = (yy % bh < line) | ((xx + shift) % bw < line)
    return np.where(seam[..., None], joint, body).clip(0.01, 0.95).astype(np.float32)


def bricks(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    colour = vary(rng, rgb(0.30, 0.15, 0.10) if rng.random() < 0.6 else rgb(0.42, 0.38, 0.32))
    return grid(rng, shape, (10, 24), colour, rgb(0.34, 0.32, 0.30), True)


def planks(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    colour = vary(rng, rgb(0.30, 0.19, 0.11))
    base = grid(rng, shape, (26, 190), colour, colour * 0.35, True, 0.12, 1)
    return (base * (1 + 0.09 * fbm(rng, shape, (5, 90), 3))[..., None]).clip(0.01, 0.9).astype(np.float32)


def tiles(rng: np.random.Generator, shape: tuple[int, int], size: int = 40) -> np.ndarray:
    colour = vary(rng, rgb(0.55, 0.54, 0.50), 0.08, 0.2)
    return grid(rng, shape, (size, size), colour, colour * 0.65, False, 0.04)


def facade(rng: np.random.Generator, shape: tuple[int, int], lit: float) -> tuple[np.ndarray, np.ndarray, list]:
    """A house front with rows of windows: reflectance, own light, and window rectangles (x0, y0, x1, y1) px."""
    h, w = shape
    palette = [
        rgb(0.42, 0.38, 0.33),
        rgb(0.30, 0.17, 0.12),
        rgb(0.50, 0.44, 0.34),
        rgb(0.33, 0.34, 0.36),
        rgb(0.55, 0.53, 0.50),
    ]
    colour = vary(rng, palette[rng.integers(5)], 0.06, 0.2)
    wall = bricks(rng, shape) if rng.random() < 0.25 else rough(rng, shape, colour, 0.07)
    glow = np.zeros_like(wall)
    rows, cols = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    fh, fw = h / (rows + 0.3), w / cols
    ww, wh = fw * rng.uniform(0.35, 0.62), fh * rng.uniform(0.42, 0.66)
    boxes, balcony = [], rng.random() < 0.3
    for r in range(rows):
        for c in range(cols):
            x0, y0 = int(c * fw + (fw - ww) / 2), int(r * fh + 0.35 * fh)
            x1, y1 = int(x0 + ww), int(y0 + wh)
            boxes.append((x0, y0, x1, y1))
            cv2.rectangle(wall, (x0 - 2, y0 - 2), (x1 + 2, y1 + 3), (colour * 1.35).clip(0, 0.9).tolist(), -1)
            pane = rough(rng, (y1 - y0, x1 - x0), rgb(0.05, 0.06, 0.075) * rng.uniform(0.6, 2.2), 0.3, 30)
            wall[y0:y1, x0:x1] = pane
            if rng.random() < lit:
                tone = rgb(0.9, 0.62, 0.30) if rng.random() < 0.7 else rgb(0.7, 0.75, 0.8)
                curtain = 1 + 0.25 * fbm(rng, pane.shape[:2], (60, 9), 2)[..., None]
                glow[y0:y1, x0:x1] = tone * curtain * rng.uniform(0.15, 0.75)
            elif rng.random() < 0.4:
                wall[y0 : y0 + (y1 - y0) * int(rng.integers(1, 4)) // 4, x0:x1] = vary(rng, rgb(0.5, 0.48, 0.44), 0.1)
            xm = (x0 + x1) // 2
            wall[y0:y1, xm - 1 : xm + 1] = colour * 1.2
            glow[y0:y1, xm - 1 : xm + 1] = 0
        y = int((r + 1) * fh)
        cv2.line(wall, (0, y), (w, y), (colour * 0.75).tolist(), 1)
        if balcony and r < rows - 1:
            railing(wall, glow, boxes[-cols:], fh)
    streaks = 1 + 0.1 * fbm(rng, shape, (0.8 * h, 7), 3) + 0.07 * fbm(rng, shape, 40, 5, 0.7)
    foot = 1 - 0.35 * np.linspace(0, 1, h, dtype=np.float32)[:, None] ** 6  # splashes and shade low down
    return (wall * (streaks * foot)[..., None]).clip(0.008, 0.9).astype(np.float32), glow.clip(0, None), boxes


def railing(wall: np.ndarray, glow: np.ndarray, windows: list, storey: float) -> None:
    """Balconies below a row of windows, with the shade they throw."""
    for x0, _, x1, sill in windows:
        pad = (x1 - x0) // 4
        a, b, c = (
            slice(max(x0 - pad, 0), x1 + pad),
            slice(int(sill - 0.2 * storey), int(sill + 0.05 * storey)),
            slice(int(sill + 0.05 * storey), int(sill + 0.2 * storey)),
        )
        wall[b, a] = wall[b, a] * 0.25 + 0.22
        glow[b, a] *= 0.3
        wall[c, a] *= 0.5


def shelves(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A rack full of cartons, drums and gaps, for warehouses and shops."""
    h, w = shape
    out = np.full((h, w, 3), 0.02, np.float32)
    rows = int(rng.integers(3, 5))
    step = h // rows
    colours = [
        rgb(0.38, 0.26, 0.15),
        rgb(0.45, 0.34, 0.22),
        rgb(0.30, 0.30, 0.31),
        rgb(0.12, 0.2, 0.35),
        rgb(0.5, 0.12, 0.08),
        rgb(0.5, 0.5, 0.48),
    ]
    weights = [0.36, 0.28, 0.12, 0.1, 0.04, 0.1]
    for r in range(rows):
        x, floor = 4, (r + 1) * step - 5
        while x < w - 10:
            bw, bh = int(rng.integers(18, 46)), int(step * rng.uniform(0.35, 0.85))
            if rng.random() < 0.85:
                box = rough(rng, (bh, min(bw, w - x)), vary(rng, colours[rng.choice(6, p=weights)], 0.05), 0.1, 20)
                box[:, bw // 2 : bw // 2 + 2] *= 1.3
                box[:, -2:] *= 0.5
                out[floor - bh : floor, x : x + bw] = box
            x += bw + int(rng.integers(1, 6))
        beam = [0.42, 0.16, 0.05] if rng.random() < 0.3 else [0.10, 0.13, 0.2]
        out[floor : floor + 5] = beam
    for x in range(0, w, 110):
        out[:, x : x + 4] = [0.09, 0.11, 0.16]
    return out.clip(0.01, 0.9)
