"""Scenes under a roof: living room, kitchen, warehouse."""

from __future__ import annotations

import numpy as np

from . import lookalikes as like
from .canvas import Scene, Spot, cuboid
from .noise import ellipse, fbm, polygon, rgb, smoothstep, vary
from .outdoors import ground_spots
from .surfaces import planks, rough, shelves, tiles

INSIDE = {
    "day": rgb(0.55, 0.52, 0.48),
    "overcast": rgb(0.40, 0.41, 0.42),
    "dusk": rgb(0.26, 0.2, 0.15),
    "night": rgb(0.05, 0.045, 0.045),
}


def shell(
    rng: np.random.Generator,
    shape: tuple[int, int],
    time: str,
    wall: np.ndarray,
    floor: np.ndarray,
    ceiling: np.ndarray,
    depth: float,
) -> tuple[Scene, tuple]:
    """Five sides of a room in one-point perspective, and its back wall (x0, y0, x1, y1) px."""
    h, w = shape
    scene = Scene.blank(shape, time, INSIDE[time] * rng.uniform(0.8, 1.2))
    scene.indoor = True
    cx, cy = rng.uniform(0.38, 0.62) * w, rng.uniform(0.4, 0.52) * h
    bw, bh = depth * w * 0.5, depth * h * 0.5
    x0, y0, x1, y1 = cx - bw, cy - bh, cx + bw, cy + bh
    k = 1.25 / depth
    far = lambda x, y: (cx + (x - cx) * k, cy + (y - cy) * k)  # noqa: E731
    scene.texture(ceiling, [far(x0, y0), far(x1, y0), (x1, y0), (x0, y0)])
    scene.texture(floor, [(x0, y1), (x1, y1), far(x1, y1), far(x0, y1)])
    scene.texture(wall * 0.86, [far(x0, y0), (x0, y0), (x0, y1), far(x0, y1)])
    scene.texture(wall * 0.8, [(x1, y0), far(x1, y0), far(x1, y1), (x1, y1)])
    scene.texture(wall, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    corner = np.minimum.reduce([np.abs(xx - x0), np.abs(xx - x1), np.abs(yy - y0), np.abs(yy - y1)]) / (0.06 * h)
    scene.light *= (0.8 + 0.2 * np.clip(corner, 0, 1) ** 0.6)[..., None]
    scene.horizon, scene.eye = y1, cy
    return scene, (x0, y0, x1, y1)


def window(scene: Scene, rng: np.random.Generator, x: float, y: float, w: float, h: float) -> None:
    """A window in the back wall with what is outside, and the light it lets in; (x, y) is its top left."""
    outside = {
        "day": rgb(1.1, 1.2, 1.35),
        "overcast": rgb(0.9, 0.93, 0.98),
        "dusk": rgb(0.75, 0.34, 0.14),
        "night": rgb(0.01, 0.012, 0.022),
    }[scene.time]
    frame = vary(rng, rgb(0.6, 0.58, 0.54), 0.05)
    scene.box(x - 3, y - 3, x + w + 3, y + h + 4, frame)
    ramp = np.linspace(1.1, 0.7, scene.shape[0], dtype=np.float32)[:, None, None]
    cover_tone = outside * ramp * (1 + 0.15 * fbm(rng, scene.shape, 0.3 * h + 3, 3))[..., None]
    scene.box(x, y, x + w, y + h, rgb(0.02, 0.02, 0.02), cover_tone)
    scene.box(x + w / 2 - 1.2, y, x + w / 2 + 1.2, y + h, frame)
    scene.box(x, y + 0.38 * h - 1, x + w, y + 0.38 * h + 1, frame)
    scene.shine(x + w / 2, y + 1.5 * h, 1.6 * w, outside * 0.5)


def furnish(scene: Scene, rng: np.random.Generator, count: int) -> None:
    """Cupboards, tables and sofas as boxes, along the back first."""
    h, w = scene.shape
    depth = h - scene.horizon
    for t in np.sort(rng.uniform(0.02, 0.45, count)):
        k = (0.25 + 0.6 * t) * h
        wide, tall = rng.uniform(0.35, 0.9) * k, rng.uniform(0.25, 0.85) * k
        colour = vary(
            rng,
            [
                rgb(0.22, 0.13, 0.07),
                rgb(0.5, 0.47, 0.42),
                rgb(0.14, 0.16, 0.2),
                rgb(0.4, 0.06, 0.04),
                rgb(0.25, 0.24, 0.22),
            ][rng.choice(5, p=[0.35, 0.2, 0.15, 0.1, 0.2])],
        )
        x = rng.choice([rng.uniform(0.0, 0.35), rng.uniform(0.65, 1.0)]) * w
        foot, kind = scene.horizon + t * depth, rng.random()
        if kind < 0.35:
            sofa(scene, rng, x, foot, 1.1 * k, vary(rng, colour, 0.1))
        else:
            front = cupboard(rng, colour) if kind < 0.65 else shelves(rng, (110, 130))
            cuboid(scene, x, foot, (wide, tall * (1.4 if kind > 0.65 else 1.0), 0.3 * k), colour, rng, front)


def sofa(scene: Scene, rng: np.random.Generator, x: float, foot: float, w: float, colour: np.ndarray) -> None:
    """A sofa from the front: back, seat cushions, arms."""
    h = 0.42 * w
    relief = (1 + 0.08 * fbm(rng, scene.shape, max(4.0, 0.15 * w), 3))[..., None]
    scene.shadow(x, foot, 0.6 * w, 0.08 * w, 0.3)
    soft = max(0.6, 0.006 * w)
    rects = [
        (-0.45, 0.45, 0.3, 1.0, 0.75),
        (-0.42, 0.0, 0.3, 0.55, 1.15),
        (0.0, 0.42, 0.3, 0.55, 1.1),
        (-0.45, 0.45, 0.06, 0.3, 0.6),
        (-0.52, -0.4, 0.04, 0.68, 0.95),
        (0.4, 0.52, 0.04, 0.68, 0.85),
    ]
    for a, b, low, high, tone in rects:
        box = [
            (x + a * w, foot - high * h),
            (x + b * w, foot - high * h),
            (x + b * w, foot - low * h),
            (x + a * w, foot - low * h),
        ]
        scene.paint(polygon(scene.shape, box, soft * 1.6), rgb(0.02, 0.018, 0.016))
        inner = [(px + np.sign(x + (a + b) / 2 * w - px) * 1.2 * soft, py) for px, py in box]
        scene.paint(polygon(scene.shape, inner, soft), (colour * tone * relief).clip(0.01, 0.9))


def cupboard(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A front with doors or drawers."""
    front = rough(rng, (90, 120), colour, 0.02, 90)
    front *= (1 + 0.05 * fbm(rng, (90, 120), (50, 4), 2))[..., None]
    rows, cols = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    for r in range(rows):
        for c in range(cols):
            y, x = r * 90 // rows, c * 120 // cols
            front[y : y + 2, x : x + 120 // cols] *= 0.4
            front[y : y + 90 // rows, x : x + 2] *= 0.4
            front[y + 45 // rows : y + 45 // rows + 3, x + 100 // cols : x + 110 // cols] = 0.5
    return front


def room(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """A living room or office."""
    h, w = shape
    paint = vary(
        rng,
        [rgb(0.6, 0.56, 0.48), rgb(0.45, 0.5, 0.5), rgb(0.55, 0.42, 0.28), rgb(0.62, 0.61, 0.6)][rng.integers(4)],
        0.06,
        0.12,
    )
    floor = (
        planks(rng, (320, 320))
        if rng.random() < 0.6
        else (
            tiles(rng, (320, 320)) * 0.7
            if rng.random() < 0.5
            else rough(rng, (320, 320), vary(rng, rgb(0.25, 0.21, 0.18)), 0.15, 20)
        )
    )
    scene, (x0, y0, x1, y1) = shell(
        rng,
        shape,
        time,
        rough(rng, (200, 300), paint, 0.03),
        floor,
        rough(rng, (100, 100), rgb(0.6, 0.6, 0.58), 0.03),
        rng.uniform(0.5, 0.75),
    )
    bw, bh = x1 - x0, y1 - y0
    if rng.random() < 0.7:
        wx = x0 + rng.uniform(0.08, 0.55) * bw
        window(scene, rng, wx, y0 + 0.15 * bh, 0.3 * bw, 0.42 * bh)
        if rng.random() < 0.6:
            for side in (-0.08, 0.28):
                like.cloth(scene, rng, wx + side * bw, y0 + 0.1 * bh, 0.1 * bw, 0.75 * bh)
    for _ in range(int(rng.integers(0, 3))):
        px, py, s = x0 + rng.uniform(0.05, 0.85) * bw, y0 + rng.uniform(0.15, 0.35) * bh, rng.uniform(0.08, 0.18) * bw
        scene.box(px - 2, py - 2, px + s + 2, py + 0.75 * s + 2, rgb(0.12, 0.08, 0.05))
        scene.box(px, py, px + s, py + 0.75 * s, vary(rng, rgb(0.4, 0.3, 0.22), 0.35, 0.3))
    if rng.random() < 0.5:
        rug(scene, rng, (x0 + x1) / 2, y1)
    scene.light *= (0.86 + 0.2 * smoothstep(1.0, -0.4, np.mgrid[0:h, 0:w][1] / w * rng.choice([-1, 1]) + 0.5)).astype(
        np.float32
    )[..., None]
    furnish(scene, rng, int(rng.integers(2, 5)))
    if rng.random() < 0.55:
        like.lamp(scene, rng, rng.uniform(0.15, 0.85) * w, rng.uniform(0.05, 0.35) * h, rng.uniform(0.015, 0.035) * w)
    ground_spots(scene, rng, 0.12, 0.85)
    return scene


def rug(scene: Scene, rng: np.random.Generator, cx: float, back: float) -> None:
    """A patterned rug on the floor, sometimes a red one."""
    h, w = scene.shape
    tile = rough(
        rng,
        (120, 180),
        vary(rng, [rgb(0.35, 0.05, 0.04), rgb(0.4, 0.36, 0.3), rgb(0.12, 0.15, 0.22)][rng.integers(3)]),
        0.12,
        10,
    )
    tile[8:14], tile[-14:-8], tile[:, 8:14], tile[:, -14:-8] = (tile.mean((0, 1)) * 1.6 for _ in range(4))
    a, b, y0, y1 = (
        rng.uniform(0.15, 0.25) * w,
        rng.uniform(0.3, 0.45) * w,
        back + 0.25 * (h - back),
        back + rng.uniform(0.6, 0.85) * (h - back),
    )
    scene.texture(tile.clip(0.01, 0.8), [(cx - a, y0), (cx + a, y0), (cx + b, y1), (cx - b, y1)])


def kitchen(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """A worktop with cupboards, hob and pots before a tiled wall, seen head on."""
    h, w = shape
    scene = Scene.blank(shape, time, INSIDE[time] * rng.uniform(0.8, 1.2))
    scene.indoor = True
    top, foot = rng.uniform(0.56, 0.68) * h, rng.uniform(1.0, 1.12) * h
    scene.texture(tiles(rng, (240, 360), int(rng.integers(22, 45))), [(0, -2), (w, -2), (w, top), (0, top)])
    scene.light *= (0.75 + 0.25 * smoothstep(0.0, 0.4 * h, np.mgrid[0:h, 0:w][0].astype(np.float32)))[..., None]
    colour = vary(
        rng, [rgb(0.5, 0.48, 0.45), rgb(0.3, 0.18, 0.1), rgb(0.2, 0.25, 0.28), rgb(0.6, 0.58, 0.52)][rng.integers(4)]
    )
    n = int(rng.integers(3, 6))
    hood = int(rng.integers(0, n))
    for i in range(n):
        a, b = i * w / n, (i + 1) * w / n
        if i != hood:
            scene.texture(cupboard(rng, colour), [(a, -0.1 * h), (b, -0.1 * h), (b, 0.2 * h), (a, 0.2 * h)])
            scene.shadow((a + b) / 2, 0.22 * h, 0.5 * (b - a), 0.04 * h, 0.55)
        else:
            scene.fill(
                [(a + 0.3 * (b - a), -5), (b - 0.3 * (b - a), -5), (b, 0.16 * h), (a, 0.16 * h)], rgb(0.38, 0.39, 0.4)
            )
            scene.box(a, 0.16 * h, b, 0.195 * h, rgb(0.28, 0.29, 0.3))
        scene.texture(cupboard(rng, colour), [(a, top + 0.05 * h), (b, top + 0.05 * h), (b, foot), (a, foot)])
    scene.box(0, top, w, top + 0.022 * h, rgb(0.5, 0.49, 0.47))
    scene.box(0, top + 0.022 * h, w, top + 0.05 * h, rgb(0.16, 0.15, 0.145))
    scene.shadow(w / 2, top + 0.065 * h, 0.8 * w, 0.025 * h, 0.5)
    hx = (hood + 0.5) * w / n
    oven(scene, (hood * w / n, top + 0.055 * h, (hood + 1) * w / n, min(foot, h)))
    scene.box(hx - 0.45 * w / n, top + 0.002 * h, hx + 0.45 * w / n, top + 0.018 * h, rgb(0.02, 0.02, 0.02))
    pots(scene, rng, hx, top, n)
    if rng.random() < 0.5:
        window(scene, rng, ((hood + 1.6) % n) * w / n, 0.24 * h, 0.8 * w / n, 0.22 * h)
    if rng.random() < 0.6:
        like.lamp(scene, rng, rng.uniform(0.1, 0.9) * w, rng.uniform(0.2, 0.28) * h, 0.014 * w)
    if rng.random() < 0.45:
        like.cloth(scene, rng, rng.uniform(0.05, 0.85) * w, top + 0.07 * h, 0.08 * w, 0.18 * h)
    return scene


def oven(scene: Scene, rect: tuple[float, float, float, float]) -> None:
    """A steel front with a dark glass door."""
    x0, y0, x1, y1 = rect
    w, h = x1 - x0, y1 - y0
    scene.box(x0 + 1, y0, x1 - 1, y1, rgb(0.33, 0.33, 0.34))
    scene.box(x0 + 0.1 * w, y0 + 0.3 * h, x1 - 0.1 * w, y0 + 0.85 * h, rgb(0.025, 0.027, 0.03))
    scene.box(x0 + 0.12 * w, y0 + 0.2 * h, x1 - 0.12 * w, y0 + 0.235 * h, rgb(0.6, 0.6, 0.6))
    for k in range(4):
        scene.paint(
            ellipse(scene.shape, x0 + (0.2 + 0.2 * k) * w, y0 + 0.09 * h, 0.03 * w, 0.03 * w), rgb(0.06, 0.06, 0.06)
        )


def pots(scene: Scene, rng: np.random.Generator, hob: float, top: float, n: int) -> None:
    """Pots, jars and boxes on the worktop; a pan on the hob, and any of them, may burn."""
    h, w = scene.shape
    for x in np.concatenate([[hob], rng.uniform(0.05, 0.95, int(rng.integers(3, 7))) * w]):
        ww, hh = rng.uniform(0.04, 0.1) * w, rng.uniform(0.04, 0.11) * h
        tone = vary(
            rng,
            [rgb(0.08, 0.08, 0.085), rgb(0.5, 0.5, 0.5), rgb(0.6, 0.12, 0.04), rgb(0.25, 0.3, 0.2)][rng.integers(4)],
        )
        xs = (np.arange(w, dtype=np.float32) - x) / (ww / 2)
        relief = (1.1 - 0.6 * xs**2 + 0.4 * np.exp(-(((xs + 0.4) / 0.18) ** 2))).clip(0.2, 1.5)[None, :, None]
        scene.shadow(x, top + 0.006 * h, 0.7 * ww, 0.012 * h)
        scene.fill(
            [
                (x - ww / 2, top + 0.008 * h),
                (x + ww / 2, top + 0.008 * h),
                (x + ww / 2, top - hh),
                (x - ww / 2, top - hh),
            ],
            tone * relief,
            blur=0.4,
        )
        scene.paint(ellipse(scene.shape, x, top - hh, ww / 2, 0.008 * h + 1), tone * 0.5)
        scene.spots.append(Spot(x, top - hh + 0.006 * h, 0.85 * (top - hh), "surface", ww * rng.uniform(0.9, 1.3)))


def warehouse(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """Racks on both sides of an aisle, lamps under the roof."""
    h, w = shape
    floor = rough(rng, (320, 320), vary(rng, rgb(0.34, 0.34, 0.33), 0.04), 0.1)
    beams = np.repeat(rough(rng, (200, 100), rgb(0.16, 0.17, 0.18), 0.05), 2, 1)
    beams[::25] = 0.05
    scene, (x0, y0, x1, y1) = shell(rng, shape, time, shelves(rng, (240, 420)), floor, beams, rng.uniform(0.28, 0.5))
    scene.texture(
        rough(rng, (100, 150), vary(rng, rgb(0.4, 0.41, 0.42), 0.05), 0.06), [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    )
    door = rng.uniform(0.15, 0.5) * (x1 - x0)
    scene.box(x0 + door, y1 - 0.6 * (y1 - y0), x0 + door + 0.35 * (x1 - x0), y1, vary(rng, rgb(0.2, 0.22, 0.25)))
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    bright = {"night": 0.5, "dusk": 0.8}.get(time, 1.0)
    for k in (1.2, 1.7, 2.5):
        x, y, r = cx, cy - (cy - y0) * 0.92 * k, 0.018 * w * k
        scene.fill(
            [(x - 2.2 * r, y), (x + 2.2 * r, y), (x + 2.6 * r, y - 0.5 * r), (x - 2.6 * r, y - 0.5 * r)],
            rgb(0.7, 0.7, 0.7),
            rgb(2.2, 2.1, 1.9) * bright,
        )
        scene.shine(x, y + 4 * r, 10 * r, rgb(0.3, 0.29, 0.27) * bright)
    for t in np.sort(rng.uniform(0.02, 0.4, int(rng.integers(1, 5)))):
        colour = vary(
            rng, [rgb(0.38, 0.27, 0.16), rgb(0.2, 0.22, 0.3), rgb(0.5, 0.16, 0.04)][rng.choice(3, p=[0.6, 0.25, 0.15])]
        )
        k = (0.2 + 0.6 * t) * h
        cuboid(
            scene,
            rng.uniform(0.1, 0.9) * w,
            y1 + t * (h - y1),
            (0.5 * k, rng.uniform(0.3, 0.6) * k, 0.3 * k),
            colour,
            rng,
        )
    ground_spots(scene, rng, 0.1, 0.85)
    return scene
