"""Things as bright, red or orange as a fire that are none: suns, lamps, cloth, leaves, cones, tail lights."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import Scene
from .noise import ellipse, fbm, polygon, rgb, smoothstep, vary

LIGHTS = {
    "day": rgb(1.0, 0.96, 0.88),
    "overcast": rgb(0.62, 0.65, 0.7),
    "dusk": rgb(0.30, 0.22, 0.2),
    "night": rgb(0.02, 0.025, 0.04),
}


def sun(scene: Scene, rng: np.random.Generator) -> None:
    """A low sun with its halo, above the horizon."""
    h, w = scene.shape
    x, y = rng.uniform(0.1, 0.9) * w, scene.horizon * rng.uniform(0.45, 0.95)
    r = rng.uniform(0.018, 0.05) * max(h, w)
    yy, xx = np.ogrid[:h, :w]
    d = np.hypot(xx - x, yy - y).astype(np.float32)
    halo = 1 / (1 + (d / (3.5 * r)) ** 2)
    sky = smoothstep(0.6, 0.0, scene.albedo.max(-1) / 0.01)[..., None]  # only where nothing solid stands
    scene.emission += sky * halo[..., None] * rgb(1.0, 0.45, 0.12) * 0.9
    scene.emission += sky * (smoothstep(r * 1.12, r * 0.9, d))[..., None] * rgb(5, 3.2, 1.3)


def lamp(scene: Scene, rng: np.random.Generator, x: float, y: float, r: float) -> None:
    """A bulb or a round shade that glows warm or white, and lights what is near."""
    tone = rgb(1.0, 0.72, 0.38) if rng.random() < 0.7 else rgb(0.95, 0.97, 1.0)
    cover = ellipse(scene.shape, x, y, r, r * rng.uniform(0.6, 1.0), soft=1.5)
    scene.paint(cover, rgb(0.8, 0.8, 0.8), tone * rng.uniform(1.5, 4.0))
    scene.shine(x, y + r, 9 * r, tone * rng.uniform(0.15, 0.4))


def street_lamp(scene: Scene, rng: np.random.Generator, x: float, foot: float, height: float) -> None:
    side = rng.choice([-1, 1]) * 0.16 * height
    t = max(0.9, 0.01 * height)
    scene.fill(
        [(x - t, foot), (x + t, foot), (x + t * 0.7, foot - height), (x - t * 0.7, foot - height)],
        rgb(0.08, 0.085, 0.09),
    )
    scene.fill(
        [
            (x, foot - height),
            (x + side, foot - height * 1.03),
            (x + side, foot - height * 1.03 + 2 * t),
            (x, foot - height + 2 * t),
        ],
        rgb(0.08, 0.085, 0.09),
    )
    if scene.time in ("night", "dusk"):
        lamp(scene, rng, x + side, foot - height * 1.02, max(1.5, 0.025 * height))
        scene.shine(x + side, foot, 0.35 * height, rgb(0.35, 0.22, 0.09), drop=2.5)
    else:
        scene.paint(
            ellipse(scene.shape, x + side, foot - height * 1.02, 0.04 * height, 0.014 * height), rgb(0.6, 0.6, 0.58)
        )


def shape_relief(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> np.ndarray:
    """Light and dark of folds, (h, w), about 1."""
    return (1 + 0.28 * fbm(rng, shape, cell, 3)).clip(0.3, 1.7)


def cloth(scene: Scene, rng: np.random.Generator, x: float, y: float, w: float, h: float) -> None:
    """A hanging red or orange cloth, curtain or banner with folds; (x, y) is its top left, px."""
    colour = vary(rng, rgb(0.55, 0.05, 0.04) if rng.random() < 0.55 else rgb(0.7, 0.25, 0.04), 0.08, 0.15)
    hem = np.linspace(0, 1, 12)
    wave = 0.03 * h * np.sin(hem * rng.uniform(8, 20) + rng.uniform(0, 6))
    points = [(x, y), (x + w, y), *[(x + w * (1 - s), y + h + d) for s, d in zip(hem, wave)]]
    folds = shape_relief(rng, scene.shape, (1.5 * h, 0.2 * w + 2))
    scene.paint(polygon(scene.shape, points), (colour * folds[..., None]).clip(0.01, 0.9))


def cone(scene: Scene, rng: np.random.Generator, x: float, foot: float, h: float) -> None:
    """A traffic cone with a white band."""
    colour = vary(rng, rgb(0.8, 0.2, 0.03), 0.05, 0.1)
    half = 0.3 * h
    scene.shadow(x, foot, half * 1.6, 0.14 * h)
    scene.fill(
        [
            (x - 1.35 * half, foot),
            (x - 1.1 * half, foot - 0.1 * h),
            (x + 1.1 * half, foot - 0.1 * h),
            (x + 1.35 * half, foot),
        ],
        colour * 0.6,
    )
    for low, high, tone in ((0.08, 0.4, colour), (0.4, 0.65, rgb(0.75, 0.75, 0.72)), (0.65, 1.0, colour)):
        a, b = half * (1 - low * 0.88), half * (1 - high * 0.88)
        for s0, s1, k in ((-1, 0.1, 1.05), (0.1, 1, 0.7)):  # a lit and a shaded side
            scene.fill(
                [
                    (x + s0 * a, foot - low * h),
                    (x + s1 * a, foot - low * h),
                    (x + s1 * b, foot - high * h),
                    (x + s0 * b, foot - high * h),
                ],
                tone * k,
            )


def person(
    scene: Scene, rng: np.random.Generator, x: float, foot: float, h: float, colour: np.ndarray | None = None
) -> None:
    """A figure seen from afar, mostly in an orange or red jacket."""
    if colour is None:
        jackets = [rgb(0.75, 0.22, 0.03), rgb(0.55, 0.05, 0.04), rgb(0.06, 0.09, 0.16), rgb(0.3, 0.3, 0.28)]
        colour = vary(rng, jackets[rng.choice(4, p=[0.45, 0.3, 0.15, 0.1])], 0.06, 0.1)
    trousers, skin = vary(rng, rgb(0.05, 0.06, 0.09)), vary(rng, rgb(0.42, 0.27, 0.19), 0.03, 0.3)
    scene.shadow(x, foot, 0.2 * h, 0.04 * h)
    stride = rng.uniform(0.02, 0.09) * h
    for s in (-1, 1):
        scene.fill(
            [
                (x + s * 0.09 * h, foot - 0.5 * h),
                (x, foot - 0.5 * h),
                (x + s * stride - 0.03 * h, foot),
                (x + s * stride + 0.045 * h, foot),
            ],
            trousers,
        )
    relief = shape_relief(rng, scene.shape, (0.2 * h + 2, 0.08 * h + 2))[..., None]
    torso = polygon(
        scene.shape,
        [
            (x - 0.13 * h, foot - 0.8 * h),
            (x - 0.05 * h, foot - 0.85 * h),
            (x + 0.05 * h, foot - 0.85 * h),
            (x + 0.13 * h, foot - 0.8 * h),
            (x + 0.11 * h, foot - 0.45 * h),
            (x - 0.11 * h, foot - 0.45 * h),
        ],
        0.4,
    )
    scene.paint(torso, colour * relief * 0.9)
    for s in (-1, 1):
        swing = rng.uniform(-0.02, 0.08) * h
        arm = [
            (x + s * 0.12 * h, foot - 0.81 * h),
            (x + s * (0.16 * h + swing), foot - 0.5 * h),
            (x + s * (0.12 * h + swing), foot - 0.47 * h),
            (x + s * 0.075 * h, foot - 0.78 * h),
        ]
        scene.paint(polygon(scene.shape, arm, 0.4), colour * relief * 0.75)
    scene.paint(ellipse(scene.shape, x, foot - 0.92 * h, 0.05 * h, 0.068 * h), skin)
    scene.paint(ellipse(scene.shape, x, foot - 0.95 * h, 0.054 * h, 0.05 * h), vary(rng, rgb(0.05, 0.035, 0.03)))


def car(scene: Scene, rng: np.random.Generator, x: float, foot: float, w: float) -> None:
    """A parked car from behind; its tail lights glow."""
    h = 0.72 * w
    paints = [
        rgb(0.5, 0.5, 0.5),
        rgb(0.04, 0.045, 0.05),
        rgb(0.45, 0.04, 0.03),
        rgb(0.07, 0.12, 0.25),
        rgb(0.7, 0.7, 0.68),
    ]
    colour = vary(rng, paints[rng.integers(5)], 0.05)
    scene.shadow(x, foot, 0.62 * w, 0.07 * w, 0.2)
    at = lambda px, py: (x + px * w, foot - py * h)  # noqa: E731
    for s in (-1, 1):
        scene.fill([at(s * 0.44, 0), at(s * 0.28, 0), at(s * 0.28, 0.3), at(s * 0.44, 0.3)], rgb(0.02, 0.02, 0.02))
    sheen = (0.85 + 0.3 * smoothstep(foot, foot - h, np.arange(scene.shape[0], dtype=np.float32)))[:, None, None]
    body = polygon(
        scene.shape,
        [
            at(-0.5, 0.18),
            at(-0.5, 0.45),
            at(-0.45, 0.6),
            at(0.45, 0.6),
            at(0.5, 0.45),
            at(0.5, 0.18),
            at(0.46, 0.1),
            at(-0.46, 0.1),
        ],
        0.5,
    )
    scene.paint(body, colour * sheen)
    scene.paint(
        polygon(
            scene.shape,
            [at(-0.44, 0.58), at(-0.33, 0.97), at(-0.28, 1.0), at(0.28, 1.0), at(0.33, 0.97), at(0.44, 0.58)],
            0.5,
        ),
        colour * sheen * 1.05,
    )
    scene.fill([at(-0.37, 0.62), at(-0.29, 0.92), at(0.29, 0.92), at(0.37, 0.62)], rgb(0.05, 0.06, 0.07))
    scene.fill([at(-0.16, 0.28), at(0.16, 0.28), at(0.16, 0.38), at(-0.16, 0.38)], rgb(0.6, 0.6, 0.55))
    glow = rgb(1.6, 0.1, 0.04) if scene.time in ("night", "dusk") else rgb(0.15, 0.01, 0.01)
    for s in (-1, 1):
        scene.fill(
            [at(s * 0.48, 0.42), at(s * 0.34, 0.42), at(s * 0.36, 0.54), at(s * 0.47, 0.54)],
            rgb(0.45, 0.03, 0.02),
            glow,
            0.4,
        )


def foliage(
    scene: Scene, rng: np.random.Generator, x: float, y: float, rx: float, ry: float, colour: np.ndarray
) -> None:
    """A crown of leaves: clumps lit from above, with gaps; autumn colours make it as orange as a flame."""
    h, w = scene.shape
    x0, x1, y0, y1 = (
        int(max(x - 1.5 * rx, 0)),
        int(min(x + 1.5 * rx, w)),
        int(max(y - 1.5 * ry, 0)),
        int(min(y + 1.5 * ry, h)),
    )
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    shape = (y1 - y0, x1 - x0)
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    lumps, leaves = fbm(rng, shape, max(4.0, 0.5 * rx), 3), fbm(rng, shape, max(2.0, 0.1 * rx), 3, 0.9)
    d = np.sqrt(((xx - x) / rx) ** 2 + ((yy - y) / ry) ** 2) + 0.17 * lumps + 0.1 * leaves
    cover = smoothstep(1.05, 0.95, d)
    lit = 0.75 + 0.3 * lumps * 0.6 + 0.3 * leaves - 0.4 * (yy - y) / ry * 0.8
    tone = (colour * lit[..., None].clip(0.12, 1.9) * (1 + 0.1 * lumps[..., None] * np.float32([0.5, 1, 0.2]))).clip(
        0.004, 0.95
    )
    a = cover[..., None]
    scene.albedo[y0:y1, x0:x1] += (tone - scene.albedo[y0:y1, x0:x1]) * a
    scene.emission[y0:y1, x0:x1] *= 1 - a


def extinguisher(scene: Scene, rng: np.random.Generator, x: float, foot: float, h: float) -> None:
    """A red cylinder with a dark head: extinguisher, hydrant or gas bottle."""
    half = 0.17 * h
    xs = (np.arange(scene.shape[1], dtype=np.float32) - x) / half
    round_ = (1.15 - 0.7 * xs**2 + 0.5 * np.exp(-(((xs + 0.4) / 0.15) ** 2))).clip(0.2, 1.6)[None, :, None]
    scene.shadow(x, foot, 1.5 * half, 0.35 * half)
    body = polygon(
        scene.shape,
        [
            (x - half, foot),
            (x + half, foot),
            (x + half, foot - 0.68 * h),
            (x + 0.4 * half, foot - 0.8 * h),
            (x - 0.4 * half, foot - 0.8 * h),
            (x - half, foot - 0.68 * h),
        ],
        0.4,
    )
    scene.paint(body, rgb(0.55, 0.035, 0.03) * round_)
    scene.box(x - 0.35 * half, foot - 0.92 * h, x + 0.5 * half, foot - 0.79 * h, rgb(0.04, 0.04, 0.04))
    scene.box(x - half, foot - 0.5 * h, x + half, foot - 0.3 * h, rgb(0.6, 0.58, 0.5))


def ground_things(scene: Scene, rng: np.random.Generator, count: int) -> None:
    """Put a few look-alikes on the ground, the far ones first."""
    h, w = scene.shape
    depth = h - scene.horizon
    near, camera = np.sort(rng.uniform(0.08, 0.85, count)), rng.uniform(0.7, 1.2)
    for t in near:
        x, y = rng.uniform(0.04, 0.96) * w, scene.horizon + t * depth
        size = (y - scene.eye) * camera + 0.04 * h
        things = [cone, person, extinguisher, autumn_bush]
        odds = [0.2, 0.4, 0.34, 0.06] if scene.indoor else [0.3, 0.4, 0.1, 0.2]
        tall = {cone: 0.42, person: 1.05, extinguisher: 0.36, autumn_bush: 0.6}
        thing = things[rng.choice(4, p=odds)]
        thing(scene, rng, x, y, tall[thing] * size)
        half = 0.22 * size if thing is person else 0.15 * size
        scene.things.append((x - half, y - 0.9 * tall[thing] * size, x + half, y + 0.03 * h))


def autumn_bush(scene: Scene, rng: np.random.Generator, x: float, foot: float, h: float) -> None:
    """A shrub in autumn orange."""
    scene.shadow(x, foot, 0.6 * h, 0.14 * h)
    foliage(scene, rng, x, foot - 0.42 * h, 0.5 * h, 0.42 * h, vary(rng, rgb(0.5, 0.2, 0.04), 0.1))


def leaf_litter(scene: Scene, rng: np.random.Generator) -> None:
    """Fallen orange leaves strewn over the ground."""
    h, w = scene.shape
    specks = np.zeros((h, w), np.float32)
    n = int(rng.integers(150, 600))
    t = rng.random(n) ** 0.7
    xs, ys = rng.integers(0, w, n), scene.horizon + t * (h - scene.horizon)
    for x, y, s in zip(xs, ys, t * 0.008 * h + 0.7):
        cv2.ellipse(
            specks,
            (int(x), int(y)),
            (max(1, int(s * 1.3)), max(1, int(s * 0.7))),
            float(rng.uniform(0, 180)),
            0,
            360,
            float(rng.uniform(0.4, 0.9)),
            -1,
            cv2.LINE_AA,
        )
    tone = vary(rng, rgb(0.5, 0.2, 0.05), 0.1) * (1 + 0.3 * fbm(rng, (h, w), 6, 2))[..., None]
    scene.paint(specks, tone.clip(0.02, 0.9).astype(np.float32))
