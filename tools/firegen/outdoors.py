"""Scenes under the sky: hills, forest, street, yard."""

from __future__ import annotations

import cv2
import numpy as np

from . import lookalikes as like
from .canvas import Scene, Spot, cuboid, lay_ground
from .noise import fbm, mix, polygon, profile, rgb, smoothstep, vary
from .surfaces import bricks, facade, rough

SKIES = {  # radiance at the zenith and at the horizon
    "day": (rgb(0.16, 0.34, 0.72), rgb(0.62, 0.76, 0.90)),
    "overcast": (rgb(0.45, 0.48, 0.52), rgb(0.66, 0.68, 0.70)),
    "dusk": (rgb(0.07, 0.09, 0.2), rgb(0.75, 0.32, 0.12)),
    "night": (rgb(0.004, 0.006, 0.014), rgb(0.018, 0.02, 0.034)),
}


def open_air(rng: np.random.Generator, shape: tuple[int, int], time: str, horizon: float) -> Scene:
    """A scene with nothing in it but its sky and clouds. `horizon` is a fraction of the height."""
    h, w = shape
    scene = Scene.blank(shape, time, like.LIGHTS[time] * rng.uniform(0.8, 1.15))
    scene.horizon = scene.eye = horizon * h
    zenith, low = (vary(rng, c, 0.1, 0.15) for c in SKIES[time])
    t = np.clip(np.arange(h, dtype=np.float32) / scene.horizon, 0, 1)[:, None, None]
    sky = np.broadcast_to(mix(zenith, low, t**1.6), (h, w, 3)).astype(np.float32)
    cloud = fbm(rng, shape, (0.28 * h, 0.8 * w), 6, 0.58)
    amount = rng.uniform(-0.6, 1.2) if time != "overcast" else rng.uniform(-1.2, -0.4)
    cover = smoothstep(amount - 0.3, amount + 1.3, cloud) * (0.25 + 0.75 * (1 - t[..., 0] * 0.6))
    relief = cloud - cv2.GaussianBlur(np.roll(cloud, int(0.03 * h), 0), (0, 0), 0.02 * h)
    bright = {
        "day": rgb(0.95, 0.95, 0.94),
        "overcast": rgb(0.6, 0.62, 0.64),
        "dusk": rgb(0.55, 0.28, 0.2),
        "night": rgb(0.02, 0.02, 0.026),
    }[time]
    tone = (
        bright * (0.86 + 0.3 * relief.clip(-1, 1))[..., None]
        if time != "dusk"
        else mix(rgb(0.14, 0.12, 0.18), rgb(0.85, 0.36, 0.16), (t * 0.9 + 0.2 * relief[..., None]).clip(0, 1))
    )
    scene.emission = mix(sky, tone, (cover * rng.uniform(0.5, 0.95))[..., None]).clip(0.001, None).astype(np.float32)
    return scene


def ridge(scene: Scene, rng: np.random.Generator, base: float, amount: float, colour: np.ndarray, trees: float) -> None:
    """A hill or a row of woods from `base` px downward; `trees` px is the height of its ragged top."""
    h, w = scene.shape
    top = base + amount * profile(rng, w, 0.6 * w, 4)
    top -= trees * (0.6 + 0.5 * np.abs(profile(rng, w, max(4.0, 1.3 * trees), 3, 0.7)))
    cover = smoothstep(-0.8, 0.8, np.arange(h, dtype=np.float32)[:, None] - top)
    grain = 1 + 0.2 * fbm(rng, (h, w), max(3.0, 0.8 * trees + 3), 4, 0.75)
    depth = (np.arange(h, dtype=np.float32)[:, None] - top) / (0.1 * h)
    scene.paint(
        cover, (colour * (grain * (1.1 - 0.25 * np.clip(depth, 0, 1)))[..., None]).clip(0.004, 0.9).astype(np.float32)
    )


def tree(scene: Scene, rng: np.random.Generator, x: float, foot: float, h: float, colour: np.ndarray) -> None:
    t = 0.035 * h
    bark = vary(rng, rgb(0.09, 0.07, 0.05))
    scene.shadow(x, foot, 0.35 * h, 0.05 * h)
    scene.fill([(x - t, foot), (x + t, foot), (x + 0.4 * t, foot - 0.6 * h), (x - 0.4 * t, foot - 0.6 * h)], bark)
    for _ in range(3):
        like.foliage(
            scene,
            rng,
            x + rng.normal(0, 0.1) * h,
            foot - rng.uniform(0.55, 0.75) * h,
            rng.uniform(0.2, 0.3) * h,
            rng.uniform(0.18, 0.28) * h,
            colour,
        )
    hidden = [s for s in scene.spots if s.kind == "window" and abs(s.x - x) < 0.5 * h and foot - 1.1 * h < s.y < foot]
    scene.spots = [s for s in scene.spots if s not in hidden]  # no flame from a window behind the crown


def leaf_colour(rng: np.random.Generator, autumn: float) -> np.ndarray:
    return vary(rng, rgb(0.5, 0.2, 0.045), 0.1) if rng.random() < autumn else vary(rng, rgb(0.07, 0.11, 0.035), 0.12)


def grass_edge(scene: Scene, rng: np.random.Generator, colour: np.ndarray) -> None:
    """Blurred blades along the lower edge, nearer than any fire."""
    h, w = scene.shape
    top = h - rng.uniform(0.03, 0.1) * h * (
        0.7 + 0.5 * np.abs(profile(rng, w, 0.02 * w, 3, 0.8)) + 0.3 * profile(rng, w, 0.4 * w, 2)
    )
    cover = smoothstep(-2.0, 2.0, np.arange(h, dtype=np.float32)[:, None] - top)
    tone = colour * (0.6 + 0.2 * fbm(rng, (h, w), (0.08 * h, 0.01 * w + 2), 3))[..., None]
    scene.foreground.append((cv2.GaussianBlur(cover, (0, 0), 1.2), tone.clip(0.005, 0.9).astype(np.float32)))


def ground_spots(scene: Scene, rng: np.random.Generator, low: float = 0.08, high: float = 0.9) -> None:
    """Places for fires over the whole ground, near ones taller."""
    h, w = scene.shape
    depth = h - scene.horizon
    for t in rng.uniform(low, high, 24):
        scene.spots.append(Spot(rng.uniform(0.08, 0.92) * w, scene.horizon + t * depth, (0.22 + 1.5 * t) * depth))


def hills(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """Fields and woods before a range of hills; sometimes a road."""
    h, w = shape
    scene = open_air(rng, shape, time, rng.uniform(0.32, 0.58))
    if time == "dusk" or (time == "day" and rng.random() < 0.12):
        like.sun(scene, rng)
    n = int(rng.integers(2, 5))
    haze = rgb(0.30, 0.36, 0.42)
    for i in range(n):
        near = (i + 1) / n
        colour = mix(haze, vary(rng, rgb(0.06, 0.085, 0.035)), near**0.7) * rng.uniform(0.8, 1.1)
        ridge(
            scene,
            rng,
            scene.horizon - (1 - near) * 0.13 * h,
            (0.05 - 0.03 * near) * h,
            colour,
            (0.004 + 0.03 * near * rng.random()) * h,
        )
    field = vary(rng, [rgb(0.13, 0.15, 0.05), rgb(0.30, 0.24, 0.11), rgb(0.16, 0.12, 0.08)][rng.integers(3)])
    wave = profile(rng, w, 0.7 * w, 3) * 0.008 * h
    lay_ground(scene, field, rng, 0.3, lambda x: scene.horizon + wave[x])
    if rng.random() < 0.4:
        vx, a, b = rng.uniform(0.3, 0.7) * w, rng.uniform(-0.3, 0.5) * w, rng.uniform(0.7, 1.4) * w
        scene.fill(
            [(vx - 1, scene.horizon), (vx + 1, scene.horizon), (b, h), (a, h)],
            vary(rng, rgb(0.2, 0.18, 0.16)),
            blur=1.0,
        )
    autumn = rng.choice([0.0, 0.0, 0.4])
    for t in np.sort(rng.uniform(0.0, 0.3, int(rng.integers(0, 6)))):
        tree(
            scene,
            rng,
            rng.uniform(0, 1) * w,
            scene.horizon + t * (h - scene.horizon),
            (0.1 + t) * h,
            leaf_colour(rng, autumn),
        )
    if rng.random() < 0.35:
        house(scene, rng)
    ground_spots(scene, rng)
    if rng.random() < 0.5:
        grass_edge(scene, rng, field)
    return scene


def house(scene: Scene, rng: np.random.Generator) -> None:
    """A small house on the field."""
    h, w = scene.shape
    x, foot, ww = rng.uniform(0.1, 0.9) * w, scene.horizon + rng.uniform(0.02, 0.12) * h, rng.uniform(0.15, 0.35) * w
    hh = ww * rng.uniform(0.35, 0.55)
    wall, glow, _ = facade(rng, (120, 220), 0.5 if scene.time in ("night", "dusk") else 0.0)
    scene.shadow(x, foot, 0.6 * ww, 0.05 * ww)
    scene.texture(
        wall, [(x - ww / 2, foot - hh), (x + ww / 2, foot - hh), (x + ww / 2, foot), (x - ww / 2, foot)], glow
    )
    roof = vary(rng, rgb(0.22, 0.10, 0.07))
    scene.fill(
        [
            (x - 0.57 * ww, foot - hh),
            (x - 0.38 * ww, foot - 1.6 * hh),
            (x + 0.38 * ww, foot - 1.6 * hh),
            (x + 0.57 * ww, foot - hh),
        ],
        roof,
    )


def forest(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """Trunks in depth, leaves above, litter below."""
    h, w = shape
    scene = open_air(rng, shape, time, rng.uniform(0.42, 0.6))
    ridge(scene, rng, scene.horizon - rng.uniform(0.05, 0.25) * h, 0.03 * h, vary(rng, rgb(0.12, 0.16, 0.08)), 0.08 * h)
    lay_ground(scene, vary(rng, rgb(0.13, 0.10, 0.055)), rng, 0.4)
    autumn = rng.choice([0.0, 0.15, 0.8])
    for i in range(3):
        near = (i + 1) / 3
        foot = scene.horizon + (0.02 + 0.16 * near**2) * h
        for x in rng.uniform(-0.02, 1.02, int(rng.integers(5, 12) * (1.25 - near) + 2)) * w:
            t = (0.004 + 0.017 * near * rng.uniform(0.6, 1.3)) * w
            bark = mix(rgb(0.2, 0.22, 0.19), vary(rng, rgb(0.085, 0.065, 0.05)), near)
            lean = rng.normal(0, 0.02) * h
            yf = foot + rng.normal(0, 0.015) * h
            scene.shadow(x, yf, 4 * t, t)
            scene.fill([(x - t, yf), (x + t, yf), (x + lean + 0.6 * t, -5), (x + lean - 0.6 * t, -5)], bark)
            scene.fill(
                [(x + 0.15 * t, yf), (x + t, yf), (x + lean + 0.6 * t, -5), (x + lean + 0.1 * t, -5)], bark * 0.6
            )
        for _ in range(int(rng.integers(2, 6))):
            colour = mix(rgb(0.14, 0.18, 0.09), leaf_colour(rng, autumn), 0.4 + 0.6 * near)
            like.foliage(
                scene,
                rng,
                rng.uniform(0, 1) * w,
                rng.uniform(-0.05, 0.22) * h,
                rng.uniform(0.12, 0.3) * w,
                rng.uniform(0.08, 0.18) * h,
                colour,
            )
        for _ in range(int(rng.integers(1, 4))):
            like.foliage(
                scene,
                rng,
                rng.uniform(0, 1) * w,
                foot,
                rng.uniform(0.05, 0.14) * w,
                rng.uniform(0.02, 0.06) * h,
                leaf_colour(rng, autumn * 0.5),
            )
    bark_grain = 1 + 0.12 * fbm(rng, shape, (0.08 * h, 4), 3)
    scene.albedo *= bark_grain[..., None]
    if autumn or rng.random() < 0.3:
        like.leaf_litter(scene, rng)
    scene.light *= (0.75 + 0.25 * smoothstep(-1, 1, fbm(rng, shape, 0.25 * h, 3)))[..., None]
    ground_spots(scene, rng, 0.2)
    if rng.random() < 0.5:
        grass_edge(scene, rng, rgb(0.06, 0.08, 0.03))
    return scene


def street(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """House fronts along a road that runs to the horizon."""
    h, w = shape
    scene = open_air(rng, shape, time, rng.uniform(0.48, 0.62))
    y0, vx = scene.horizon, rng.uniform(0.35, 0.65) * w
    lit = {"night": 0.4, "dusk": 0.35}.get(time, 0.0)
    ridge(scene, rng, y0, 0.01 * h, vary(rng, rgb(0.16, 0.17, 0.17)), 0.05 * h)
    lay_ground(scene, vary(rng, rgb(0.16, 0.16, 0.165), 0.04), rng, 0.14)
    walk, sunny = vary(rng, rgb(0.34, 0.33, 0.31), 0.04), rng.choice([-1, 1])
    for s in (-1, 1):
        edge, lit_side = vx + s * rng.uniform(0.55, 0.9) * w, 1.0 if s == sunny else 0.6
        scene.fill([(vx + s * 2, y0), (vx + s * 8 * w, y0 + 0.1 * h), (vx + s * 8 * w, h), (edge, h)], walk, blur=0.6)
        for i in range(2, -1, -1):
            far, near = 0.12 + 0.3 * i / 1.5, (0.12 + 0.3 * (i - 1) / 1.5 if i else -0.35)
            wall_fronts(scene, rng, vx, s, far, near, lit, lit_side)
    if time == "day":  # one side of the street throws its shade on the road
        edge = vx - sunny * rng.uniform(-0.2, 0.5) * w
        scene.shade(polygon(shape, [(vx, y0), (edge, h), (vx - sunny * 9 * w, h), (vx - sunny * 9 * w, y0)], 2.0), 0.5)
    for t in np.sort(rng.uniform(0.05, 0.45, int(rng.integers(0, 4)))):
        tree(
            scene,
            rng,
            vx + rng.choice([-1, 1]) * (0.75 + 0.3 * rng.random()) * t * 1.6 * w,
            y0 + t * (h - y0),
            (0.12 + 1.1 * t) * h,
            leaf_colour(rng, 0.25),
        )
    for k in range(6):  # lane marks
        a, b = 0.97 * 0.62**k, 0.8 * 0.62**k
        ya, yb = y0 + (h - y0) * a, y0 + (h - y0) * b
        scene.fill(
            [(vx - 0.012 * w * a, ya), (vx + 0.012 * w * a, ya), (vx + 0.012 * w * b, yb), (vx - 0.012 * w * b, yb)],
            rgb(0.5, 0.5, 0.46),
            blur=0.5,
        )
    for t in np.sort(rng.uniform(0.06, 0.42, int(rng.integers(0, 4)))):
        s = rng.choice([-1, 1])
        like.car(scene, rng, vx + s * rng.uniform(0.35, 0.75) * t * w, y0 + t * (h - y0), 0.55 * t * w)
    for t in np.sort(rng.uniform(0.1, 0.5, int(rng.integers(1, 4)))):
        like.street_lamp(scene, rng, vx + rng.choice([-1, 1]) * 0.9 * t * w, y0 + t * (h - y0), (0.12 + 0.9 * t) * h)
    ground_spots(scene, rng, 0.12)
    return scene


def window_spots(
    scene: Scene, rng: np.random.Generator, windows: list, tile: tuple[int, int], quad: list, most: int
) -> None:
    """Let some windows of a house front, stretched from `tile` (h, w) px to `quad`, be places for fires."""
    h, w = scene.shape
    th, tw = tile
    matrix = cv2.getPerspectiveTransform(np.float32([(0, 0), (tw, 0), (tw, th), (0, th)]), np.float32(quad))
    for i in rng.permutation(len(windows))[:most]:
        x0, top, x1, sill = windows[i]
        corners = np.float32([[(x0, sill), (x1, sill), (x0, top)]])
        (ax, ay), (bx, by), (_, cy) = cv2.perspectiveTransform(corners, matrix)[0].tolist()
        x, y = (ax + bx) / 2, (ay + by) / 2
        if 0.04 * w < x < 0.96 * w and 0.2 * h < y < h:
            scene.spots.append(Spot(x, y, 2.2 * abs(ay - cy), "window", abs(bx - ax)))


def wall_fronts(
    scene: Scene, rng: np.random.Generator, vx: float, s: int, far: float, near: float, lit: float, tone: float
) -> None:
    """One house front on side s (-1 left, 1 right) between two distances; its windows may burn."""
    h, w = scene.shape
    y0 = scene.horizon
    tall, off = rng.uniform(0.45, 1.1) * h, rng.uniform(0.95, 1.1) * w
    points = {}
    for name, t in (("far", far), ("near", near)):
        k = 1.15 - t * 2.0  # nearness along the street
        k = max(k, 0.12)
        points[name] = (vx + s * off * 0.62 * k, y0 + 0.3 * k * (h - y0), y0 - tall * k)
    (xf, ff, tf), (xn, fn, tn) = points["far"], points["near"]
    wall, glow, windows = facade(rng, (200, 260), lit)
    quad = [(xf, tf), (xn, tn), (xn, fn), (xf, ff)]
    scene.texture(wall * tone * rng.uniform(0.75, 1.05), quad, glow)
    window_spots(scene, rng, windows, wall.shape[:2], quad, 3)


def yard(rng: np.random.Generator, shape: tuple[int, int], time: str) -> Scene:
    """A wall or house front seen head on, with ground before it and things that stand there."""
    h, w = shape
    scene = open_air(rng, shape, time, rng.uniform(0.5, 0.66))
    top = rng.uniform(-0.3, 0.3) * h
    foot = scene.horizon
    lit = {"night": 0.3, "dusk": 0.3}.get(time, 0.0)
    kind = rng.random()
    skew = rng.uniform(-0.06, 0.06) * h
    x0, x1 = rng.choice([-0.1, 0.12]) * w, rng.choice([1.1, 0.85]) * w
    quad = [(x0, top + skew), (x1, top - skew), (x1, foot + 1), (x0, foot + 1)]
    ridge(scene, rng, foot - 0.02 * h, 0.02 * h, vary(rng, rgb(0.07, 0.09, 0.045)), 0.1 * h)
    if kind < 0.55:
        wall, glow, windows = facade(rng, (220, 320), lit)
        scene.texture(wall, quad, glow)
        window_spots(scene, rng, windows, wall.shape[:2], quad, 4)
    else:
        wall = (
            bricks(rng, (220, 320))
            if kind < 0.8
            else rough(rng, (220, 320), vary(rng, rgb(0.36, 0.35, 0.33), 0.05), 0.14)
        )
        scene.texture(wall, quad)
    lay_ground(
        scene, vary(rng, [rgb(0.2, 0.2, 0.2), rgb(0.16, 0.13, 0.09), rgb(0.11, 0.13, 0.05)][rng.integers(3)]), rng, 0.18
    )
    scene.shadow(0.5 * w, foot, 0.7 * w, 0.035 * h, 0.5)
    for t in np.sort(rng.uniform(0.02, 0.3, int(rng.integers(0, 4)))):
        colour = vary(
            rng,
            [rgb(0.08, 0.16, 0.12), rgb(0.3, 0.2, 0.12), rgb(0.15, 0.18, 0.25), rgb(0.45, 0.1, 0.05)][rng.integers(4)],
        )
        k = (0.4 + t) * h
        cuboid(
            scene,
            rng.uniform(0.05, 0.95) * w,
            foot + t * (h - foot),
            (rng.uniform(0.15, 0.4) * k, rng.uniform(0.2, 0.4) * k, 0.2 * k),
            colour,
            rng,
        )
    if rng.random() < 0.3:
        like.cloth(
            scene,
            rng,
            rng.uniform(0.05, 0.8) * w,
            rng.uniform(0.15, 0.3) * h,
            rng.uniform(0.06, 0.2) * w,
            rng.uniform(0.1, 0.25) * h,
        )
    if rng.random() < 0.4:
        tree(
            scene, rng, rng.choice([0.05, 0.95]) * w, foot + 0.05 * h, rng.uniform(0.4, 0.7) * h, leaf_colour(rng, 0.3)
        )
    if rng.random() < 0.3:
        like.car(scene, rng, rng.uniform(0.1, 0.9) * w, foot + rng.uniform(0.05, 0.12) * h, rng.uniform(0.18, 0.32) * w)
    ground_spots(scene, rng, 0.12)
    return scene
