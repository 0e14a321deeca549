"""What burns: logs, heaps, barrels, boxes, grass. Each is drawn behind its flames and leaves a piece before them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Scene, cuboid
from .noise import ellipse, fbm, polygon, profile, rgb, smoothstep, vary

Layer = tuple[np.ndarray, np.ndarray]  # cover (h, w), albedo (h, w, 3)


def embers(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> None:
    """Scorched ground with glowing coals below a fire."""
    scene.paint(
        0.85 * ellipse(scene.shape, x, y, 0.62 * width, 0.16 * width, soft=0.2 * width), rgb(0.015, 0.013, 0.012)
    )
    coals = smoothstep(0.7, 1.6, fbm(rng, scene.shape, max(3.0, 0.08 * width), 3, 0.8)) * ellipse(
        scene.shape, x, y, 0.45 * width, 0.08 * width, 0.1 * width
    )
    scene.emission += coals[..., None] * rgb(0.5, 0.07, 0.008)


def stick(shape: tuple[int, int], a: tuple[float, float], b: tuple[float, float], t: float) -> np.ndarray:
    d = np.float32(b) - np.float32(a)
    n = np.float32([-d[1], d[0]]) / (np.hypot(*d) + 1e-6) * t
    return polygon(shape, [a + n, b + n, b - n, a - n], 0.4)


def logs(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """Crossed logs, some of them before the flames."""
    embers(scene, rng, x, y, width, height)
    grain = 1 + 0.3 * fbm(rng, scene.shape, max(3.0, 0.05 * width), 3)
    cover, tone = np.zeros(scene.shape, np.float32), np.zeros((*scene.shape, 3), np.float32)
    n = int(rng.integers(4, 8))
    for i in range(n):
        a = (x + rng.uniform(-0.62, -0.2) * width, y + rng.uniform(-0.02, 0.1) * width)
        b = (x + rng.uniform(0.2, 0.62) * width, y + rng.uniform(-0.08, 0.1) * width)
        wood = (vary(rng, rgb(0.10, 0.07, 0.05)) * grain[..., None]).clip(0.005, 0.6)
        m = stick(scene.shape, a, b, max(1.0, 0.04 * width))
        if i < n // 2:
            scene.paint(m, wood)
        else:
            cover, tone = np.maximum(cover, m), tone + (wood - tone) * m[..., None]
    return cover, tone


def heap(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """A dark pile of rubbish, tyres or rubble; its lower part hides the foot of the flames."""
    embers(scene, rng, x, y, width, height)
    h, w = scene.shape
    xs = (np.arange(w, dtype=np.float32) - x) / (0.62 * width)
    bump = 0.2 * width * np.clip(1 - xs**2, 0, 1) * (0.75 + 0.22 * profile(rng, w, max(4.0, 0.25 * width), 3, 0.7))
    top = y + 0.09 * width - bump
    cover = smoothstep(-0.8, 0.8, np.arange(h, dtype=np.float32)[:, None] - top) * (np.abs(xs) < 1)
    cover *= smoothstep(
        y + 0.13 * width, y + 0.05 * width, np.arange(h, dtype=np.float32)[:, None] + 0.03 * width * xs**2
    )
    tone = (
        vary(rng, rgb(0.07, 0.06, 0.05)) * (1 + 0.55 * fbm(rng, scene.shape, max(3.0, 0.14 * width), 4, 0.8))[..., None]
    )
    return cover, tone.clip(0.004, 0.6).astype(np.float32)


def barrel(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """A steel drum with the fire inside."""
    half, tall = 0.5 * width, 1.25 * width
    scene.shadow(x, y + tall, 1.3 * half, 0.3 * half)
    xs = (np.arange(scene.shape[1], dtype=np.float32) - x) / half
    relief = (1.0 - 0.65 * xs**2 + 0.3 * np.exp(-(((xs + 0.35) / 0.2) ** 2))).clip(0.1, 1.5)[None, :, None]
    rust = vary(rng, [rgb(0.17, 0.09, 0.06), rgb(0.10, 0.12, 0.15), rgb(0.3, 0.3, 0.3)][rng.integers(3)])
    tone = rust * relief * (1 + 0.25 * fbm(rng, scene.shape, max(3.0, 0.3 * width), 4))[..., None]
    ring = (np.arange(scene.shape[0], dtype=np.float32) - y) / tall
    tone *= (1 - 0.4 * (np.abs(np.mod(ring * 3, 1) - 0.5) < 0.04))[:, None, None]
    scene.paint(ellipse(scene.shape, x, y, half, 0.22 * half), rgb(0.03, 0.02, 0.02), rgb(0.5, 0.1, 0.01))
    body = polygon(
        scene.shape,
        [
            (x - half, y),
            (x - 0.7 * half, y + 0.16 * half),
            (x, y + 0.22 * half),
            (x + 0.7 * half, y + 0.16 * half),
            (x + half, y),
            (x + half, y + tall),
            (x + 0.5 * half, y + tall + 0.16 * half),
            (x - 0.5 * half, y + tall + 0.16 * half),
            (x - half, y + tall),
        ],
        0.4,
    )
    return body, tone.clip(0.004, 0.8).astype(np.float32)


def crate(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """A carton, bin or piece of furniture that burns from its top."""
    tall = width * rng.uniform(0.4, 0.9)
    colour = vary(rng, [rgb(0.3, 0.2, 0.12), rgb(0.08, 0.14, 0.1), rgb(0.12, 0.12, 0.13)][rng.integers(3)])
    cuboid(scene, x, y + tall, (1.1 * width, tall, 0.35 * width), colour, rng)
    char = smoothstep(0.0, 0.6, (np.arange(scene.shape[0], dtype=np.float32) - y) / tall)[:, None]
    front = polygon(
        scene.shape,
        [(x - 0.55 * width, y), (x + 0.55 * width, y), (x + 0.55 * width, y + tall), (x - 0.55 * width, y + tall)],
        0.4,
    )
    tone = colour * (0.12 + 0.88 * char * (1 + 0.2 * fbm(rng, scene.shape, max(4.0, 0.2 * width), 3)))[..., None]
    return front, tone.clip(0.004, 0.8).astype(np.float32)


def grass(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """Low growth that burns along a line."""
    h, w = scene.shape
    scene.paint(
        0.8 * ellipse(scene.shape, x, y + 0.05 * height, 0.56 * width, 0.16 * height + 2, soft=0.2 * height + 2),
        rgb(0.025, 0.022, 0.018),
    )
    xs = np.abs((np.arange(w, dtype=np.float32) - x) / (0.6 * width))
    blades = (
        0.13
        * height
        * (0.6 + 0.6 * np.abs(profile(rng, w, max(3.0, 0.1 * height), 3, 0.8)))
        * np.clip(1.3 - xs**2, 0, 1)
    )
    yy = np.arange(h, dtype=np.float32)[:, None]
    cover = (
        smoothstep(-1, 1, yy - (y + 0.07 * height - blades))
        * smoothstep(y + 0.2 * height, y + 0.05 * height, yy)
        * (xs < 1)
    )
    tone = (
        vary(rng, rgb(0.08, 0.075, 0.03))
        * (1 + 0.35 * fbm(rng, scene.shape, (max(4.0, 0.2 * height), 3.0), 3))[..., None]
    )
    return cover, tone.clip(0.004, 0.6).astype(np.float32)


def bare(scene: Scene, rng: np.random.Generator, x: float, y: float, width: float, height: float) -> Layer:
    """Nothing but a scorched place."""
    embers(scene, rng, x, y, width, height)
    return np.zeros(scene.shape, np.float32), np.zeros((*scene.shape, 3), np.float32)


Fuel = Callable[[Scene, np.random.Generator, float, float, float, float], Layer]
# fuel: how wide its fire is for its height, from and to; how often outdoors and indoors
FUELS: dict[Fuel, tuple[float, float, float, float]] = {
    logs: (0.55, 1.0, 0.26, 0.10),
    heap: (0.6, 1.3, 0.26, 0.24),
    barrel: (0.4, 0.65, 0.10, 0.06),
    crate: (0.5, 0.95, 0.12, 0.42),
    grass: (1.4, 3.2, 0.18, 0.0),
    bare: (0.45, 1.0, 0.08, 0.18),
}
