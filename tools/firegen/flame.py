"""Flames, their light, sparks and smoke."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import Scene
from .noise import fbm, mix, rgb, smoothstep

VISIBLE = 0.4  # alpha from which a pixel counts as flame


@dataclass
class Flame:
    """A fire drawn on the whole image: alpha (h, w) in 0..1, emission (h, w, 3) linear RGB, foot and size px."""

    alpha: np.ndarray
    emission: np.ndarray
    x: float
    y: float
    width: float
    height: float


def black_body(heat: np.ndarray, power: float) -> np.ndarray:
    """Radiance (..., 3) of soot at relative temperature 0..1: deep red, orange, yellow, nearly white."""
    heat = np.clip(heat, 0, 1.3)
    stops = np.float32([0, 0.25, 0.5, 0.8, 1.3])
    red, green, blue = [0.28, 0.9, 1.5, 2.3, 3.4], [0.02, 0.16, 0.5, 1.25, 2.5], [0.004, 0.012, 0.045, 0.26, 1.1]
    return np.stack([np.interp(heat, stops, c) for c in (red, green, blue)], -1).astype(np.float32) * power


def tongues(
    rng: np.random.Generator,
    shape: tuple[int, int],
    foot: float,
    centre: float,
    width: float,
    height: float,
    lean: float,
):
    """Density (h, w) of a fire, positive inside, at most 1, and the height above its foot in flame heights."""
    h, w = shape
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    v = (foot - yy) / height
    rise = np.clip(v, 0, 1.5)
    broad = width / height
    cell = height * min(0.5, 0.25 + 0.3 * broad)
    slow, fast = fbm(rng, shape, (cell * 1.3, cell * 0.9), 3), fbm(rng, shape, (cell * 0.5, cell * 0.28), 3)
    lift, fine = fbm(rng, shape, (cell * 0.8, cell * 0.35), 2), fbm(rng, shape, (cell * 0.2, cell * 0.1), 2)
    bend = lean * rise**1.4 + 0.1 * slow * rise**0.8 + 0.045 * fast * rise**0.5 + 0.012 * fine * np.sqrt(rise)
    v = v + 0.06 * lift * rise
    count = int(np.clip(2 + 3.2 * broad + rng.integers(0, 2), 2, 14))
    places = np.linspace(-0.8, 0.8, count) + rng.normal(0, 0.1, count)
    density = np.full(shape, -1.0, np.float32)
    peak, shape_power = rng.uniform(-0.35, 0.35), rng.uniform(0.75, 1.15)
    for i, c in enumerate(places):
        low = rng.uniform(0.35, 1.0) * (1 - 0.45 * min(abs(c - peak), 1.0))
        tall = 1.0 if i == np.argmin(abs(places - peak)) else low
        half = (1.0 / count**0.78 + 0.13) * rng.uniform(0.75, 1.25) * (0.6 + 0.4 * tall)
        twist = np.roll(bend, (i * 23) % h, 0) * 0.35 + bend * 0.65
        u = (xx - centre) / (width / 2) - twist * 2 / broad * (0.5 + 0.5 * tall)
        t = np.clip(v / tall, -0.2, 1)
        taper = 1.3 * (np.clip(t, 0, 1) + 0.25) ** 0.25 * np.clip(1 - t, 0, 1) ** shape_power
        converge = c * (1 - 0.35 * rise)
        density = np.maximum(density, np.where(t < 1, 1 - np.abs(u - converge) / (half * taper + 1e-3), -1))
    return np.minimum(density, 1), v


def light_flame(
    rng: np.random.Generator,
    shape: tuple[int, int],
    x: float,
    y: float,
    width: float,
    height: float,
    power: float,
    lean: float,
) -> Flame:
    """Draw one fire whose foot is centred at (x, y) px on an image of the given shape."""
    zoom = float(np.clip(110 / height, 1.0, 4.0))  # small flames are drawn large and reduced, for soft edges
    wide, high = int((1.7 * width + (1.0 + abs(lean)) * height) * zoom) + 8, int(1.3 * height * zoom) + 8
    fw, fh = width * zoom, height * zoom
    foot, centre = high - 0.1 * fh - 2, wide / 2
    density, v = tongues(rng, (high, wide), foot, centre, fw, fh, lean)
    rise = np.clip(v, 0, 1)
    strands = 1 - np.abs(fbm(rng, (high, wide), (0.42 * fh, 0.1 * fh), 4, 0.55)) * 0.9
    holes = fbm(rng, (high, wide), (0.22 * fh, 0.13 * fh), 4, 0.6)
    body = density - (0.12 + 0.62 * rise) * np.clip(0.35 - 0.5 * strands - 0.28 * holes, 0, 1) * 1.5
    body -= 1.5 * smoothstep(0.012, -0.035, v + 0.01 * holes)  # a ragged foot
    soft = rng.uniform(0.14, 0.34)
    alpha = smoothstep(0.0, soft, body) * (1 - rng.uniform(0, 0.3) * smoothstep(0.4, 1.0, rise))
    heat = (
        0.17
        + 0.78 * np.clip(body, 0, 1) ** 0.9 * (1.08 - 0.6 * rise)
        + 0.2 * strands * (1 - 0.5 * rise) * smoothstep(0.05, 0.3, body)
        + 0.04 * holes
    )
    alpha = keep_main(alpha)
    glow = black_body(heat, power) * alpha[..., None]
    size = (max(2, round(wide / zoom)), max(2, round(high / zoom)))
    small_a, small_e = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (alpha, glow))
    left, top = round(x - size[0] / 2), round(y - foot / zoom)
    return Flame(place(small_a, shape, left, top), place(small_e, shape, left, top), x, y, width, height)


def keep_main(alpha: np.ndarray) -> np.ndarray:
    """Put out flamelets that have come loose and are too small to count as part of the fire."""
    solid = (alpha > 0.15).astype(np.uint8)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    if n < 3:
        return alpha
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas > 0.06 * areas.max()
    return alpha * keep[labels]


def place(patch: np.ndarray, shape: tuple[int, int], left: int, top: int) -> np.ndarray:
    """Copy a patch into an empty image at (left, top), cutting off what sticks out."""
    full = np.zeros((*shape, *patch.shape[2:]), np.float32)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + patch.shape[0], shape[0]), min(left + patch.shape[1], shape[1])
    if y1 > y0 and x1 > x0:
        full[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    return full


def cast_light(scene: Scene, flame: Flame, strength: float, rng: np.random.Generator) -> None:
    """Let a fire light the ground and walls around it."""
    seen = float(flame.alpha.sum()) / max(flame.width * flame.height * 0.4, 1.0)
    colour = rgb(1.0, 0.42, 0.12) * strength * min(seen, 1.0) * rng.uniform(0.7, 1.1)
    reach = (flame.width * flame.height) ** 0.5
    scene.shine(flame.x, flame.y - 0.35 * flame.height, 0.9 * reach, colour, drop=1.25)
    scene.shine(flame.x, flame.y - 0.2 * flame.height, 2.6 * reach, colour * 0.22)


def smoke(
    scene: Scene, flame: Flame, rng: np.random.Generator, drift: float, density: float
) -> tuple[np.ndarray, np.ndarray]:
    """A turbulent plume over a fire: cover (h, w) and reflectance (h, w, 3)."""
    h, w = scene.shape
    q = 2
    yy, xx = (np.mgrid[0:h:q, 0:w:q]).astype(np.float32)
    up = np.clip((flame.y - 0.45 * flame.height - yy) / flame.height, 0, None)
    size = max(flame.width, 0.5 * flame.height)
    cell = max(8.0, 0.7 * size / q)
    warp = fbm(rng, yy.shape, cell * 1.2, 3)
    axis = flame.x + (drift * up**1.25 + 0.12 * warp * np.sqrt(up)) * flame.height
    spread = size * (0.38 + 0.34 * up)
    envelope = (
        np.exp(-(((xx - axis) / spread) ** 2) * 1.6) * smoothstep(0.0, 0.7, up) * np.exp(-up * rng.uniform(0.12, 0.3))
    )
    lumps = smoothstep(-1.3, 1.4, fbm(rng, yy.shape, cell, 5, 0.6) + 0.6 * warp)
    cover = cv2.resize(np.clip(envelope * (0.25 + lumps) * density, 0, 0.93), (w, h), interpolation=cv2.INTER_LINEAR)
    tone = rng.choice([0.05, 0.12, 0.3, 0.45]) * (1 + 0.22 * fbm(rng, (h, w), cell * 1.3, 4))
    return cover, (tone[..., None] * rgb(1.0, 0.98, 0.96)).clip(0.01, 0.9).astype(np.float32)


def sparks(scene: Scene, flame: Flame, rng: np.random.Generator, count: int, drift: float) -> np.ndarray:
    """Glowing specks carried up by the hot air: radiance (h, w, 3)."""
    h, w = scene.shape
    out = np.zeros((h, w, 3), np.float32)
    for _ in range(count):
        up = rng.gamma(2.0, 0.45) + 0.2
        x = flame.x + flame.height * (drift * up + rng.normal(0, 0.16 + 0.15 * up))
        y = flame.y - flame.height * up
        length = rng.uniform(0, 0.012) * flame.height + 0.3
        tip = (x + length * rng.normal(0, 0.8), y - length)
        ends = [tuple(round(c * 8) for c in p) for p in ((x, y), tip)]
        cv2.line(out, ends[0], ends[1], (rgb(3, 1.1, 0.2) * rng.uniform(0.15, 1.0)).tolist(), 1, cv2.LINE_8, shift=3)
    return cv2.GaussianBlur(out, (0, 0), 0.6)


def blend(radiance: np.ndarray, flame: Flame, visible: np.ndarray) -> np.ndarray:
    """Put a flame before a background; `visible` (h, w) is what foreground leaves of it."""
    a = (flame.alpha * visible)[..., None]
    return mix(radiance, 0.12 * radiance, a) + flame.emission * visible[..., None]
