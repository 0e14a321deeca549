"""One image of the set, from its number: a scene, its fires, what only looks like fire, and the boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from . import lookalikes as like
from .camera import develop, haze
from .canvas import Scene, Spot
from .flame import VISIBLE, Flame, blend, cast_light, light_flame, smoke, sparks
from .fuel import FUELS, Layer
from .indoors import kitchen, room, warehouse
from .noise import ellipse, fbm, rgb, smoothstep
from .outdoors import forest, hills, street, yard

BLOCK = 8  # of so many images in a row, one has no fire
SMALLEST = 8  # px; a flame thinner or lower than this is not drawn
SCENES = (hills, street, forest, room, yard, warehouse, kitchen, yard, hills, street, room, forest)
TIMES = ("day", "night", "overcast", "dusk", "day", "night", "day")
ASPECTS = ((4, 3), (3, 2), (16, 9), (1, 1), (3, 4), (4, 3), (2, 3))


@dataclass
class Image:
    """image (h, w, 3) uint8 BGR; masks (n, h, w) bool, the visible flame of each fire; boxes (n, 4) xyxy, pixels."""

    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray

    def labels(self) -> list[str]:
        """Lines of a YOLO label file: class, centre x, y, width, height, as parts of the image's size."""
        h, w = self.image.shape[:2]
        lines = []
        for x0, y0, x1, y1 in self.boxes.tolist():
            lines.append(f"0 {(x0 + x1) / 2 / w:.6f} {(y0 + y1) / 2 / h:.6f} {(x1 - x0) / w:.6f} {(y1 - y0) / h:.6f}")
        return lines


@dataclass
class Plan:
    """What an image shows, before it is drawn."""

    size: tuple[int, int]  # (h, w) px
    scene: Callable
    time: str
    fires: int


def turn(seed: int, number: int, cycle: int, salt: int) -> int:
    """Which of `cycle` choices falls to an image: each comes once in `cycle` images, in an order of its own."""
    block, place = divmod(number - 1, cycle)
    return int(np.random.default_rng([seed, salt, block]).permutation(cycle)[place])


def plan(seed: int, number: int, rng: np.random.Generator) -> Plan:
    """Deal out scene, time of day, shape and number of fires evenly, whatever part of the set is drawn."""
    a, b = ASPECTS[turn(seed, number, len(ASPECTS), 1)]
    long = int(rng.choice([320, 384, 400, 448, 480, 512, 560, 640], p=[0.1, 0.15, 0.15, 0.2, 0.16, 0.12, 0.06, 0.06]))
    short = round(long * min(a, b) / max(a, b))
    fires = int(rng.choice([1, 2, 3, 4], p=[0.56, 0.27, 0.11, 0.06])) if turn(seed, number, BLOCK, 4) else 0
    size = (short, long) if a >= b else (long, short)
    return Plan(size, SCENES[turn(seed, number, len(SCENES), 2)], TIMES[turn(seed, number, len(TIMES), 3)], fires)


def choose_spots(
    scene: Scene, rng: np.random.Generator, count: int
) -> list[tuple[Spot, Callable | None, float, float]]:
    """Fires kept apart from one another: (spot, fuel, flame width px, flame height px)."""
    h, w = scene.shape
    fuels, shares = list(FUELS), np.array([v[3 if scene.indoor else 2] for v in FUELS.values()])
    chosen, taken = [], list(scene.things)
    spots = [scene.spots[i] for i in rng.permutation(len(scene.spots))]
    for i in range(count):
        goal = min(h, w) * float(np.exp(rng.normal(np.log(0.42 if i == 0 else 0.24), 0.5)))
        goal = float(np.clip(goal, 0.055 * min(h, w), 0.85 * min(h, w)))
        for spot in spots:
            fuel = None if spot.kind != "ground" else fuels[rng.choice(len(fuels), p=shares / shares.sum())]
            height = max(min(goal, spot.tallest), 14.0)
            if height < 0.45 * goal:
                continue
            low, high = FUELS[fuel][:2] if fuel else (0.5, 1.0)
            width = height * rng.uniform(low, high)
            if fuel and low > 1:
                height, width = 0.6 * height, 0.75 * width
            if spot.kind != "ground":
                width = spot.width * rng.uniform(1.0, 1.25)
                height = max(min(height, 2.6 * width), 0.8 * width)
            if width < SMALLEST * 1.3 or width > 0.95 * w:
                continue
            rect = (
                spot.x - 0.75 * width - 0.1 * height,
                spot.y - 1.15 * height,
                spot.x + 0.75 * width + 0.1 * height,
                spot.y + 0.1 * height,
            )
            if rect[1] < -0.15 * height or any(
                rect[0] < t[2] and t[0] < rect[2] and rect[1] < t[3] and t[1] < rect[3] for t in taken
            ):
                continue
            chosen.append((spot, fuel, width, height))
            taken.append(rect)
            break
    return sorted(chosen, key=lambda c: c[0].y)


def draw_scene(p: Plan, rng: np.random.Generator) -> Scene:
    """The place without fire but with its look-alikes."""
    scene = p.scene(rng, p.size, p.time)
    weather(scene, rng)
    wanted = rng.choice([0, 1, 2, 3], p=[0.35, 0.35, 0.2, 0.1]) if p.fires else rng.integers(1, 4)
    if p.scene is not kitchen:
        like.ground_things(scene, rng, int(wanted))
    return scene


def weather(scene: Scene, rng: np.random.Generator) -> None:
    """Grime on every surface, and outdoors the uneven light of passing clouds."""
    h, w = scene.shape
    grime = (
        1 + 0.07 * fbm(rng, scene.shape, 0.2 * h, 6, 0.75) + 0.025 * fbm(rng, scene.shape, (0.5 * h, 0.015 * w + 2), 3)
    )
    scene.albedo *= grime.clip(0.5, 1.5)[..., None]
    if not scene.indoor:
        sunny = 0.35 if scene.time == "day" else 0.15
        patches = smoothstep(-0.6, 0.5, fbm(rng, scene.shape, (0.3 * h, 0.9 * w), 3))
        scene.light *= (1.05 - sunny + sunny * patches)[..., None]


def set_fires(scene: Scene, rng: np.random.Generator, count: int) -> tuple[list[Flame], list[Layer]]:
    """Light the fires: draw fuel, glow; return flames and what stands before each."""
    wind, dark = rng.normal(0, 0.14), scene.time in ("night", "dusk")
    flames, fronts = [], []
    for spot, fuel, width, height in choose_spots(scene, rng, count):
        flame = light_flame(
            rng,
            scene.shape,
            spot.x,
            spot.y,
            width,
            height,
            float(np.exp(rng.uniform(np.log(0.5), np.log(1.25)))),
            float(wind),
        )
        if spot.kind == "window":
            scene.paint(
                ellipse(scene.shape, spot.x, spot.y - 0.25 * height, 0.42 * spot.width, 0.3 * height),
                rgb(0.02, 0.02, 0.02),
                rgb(0.5, 0.11, 0.015),
            )
            cover = np.zeros(scene.shape, np.float32)
            cover[min(int(spot.y) + 2, scene.shape[0]) :] = 1
            fronts.append((cover * 0, scene.albedo))
            flame.alpha *= 1 - cover
            flame.emission *= (1 - cover)[..., None]
            soot = ellipse(scene.shape, spot.x, spot.y - 1.1 * height, 0.5 * width, 0.7 * height, soft=0.8 * width)
            scene.albedo *= (1 - 0.6 * soot)[..., None]
        else:
            fronts.append(
                fuel(scene, rng, spot.x, spot.y, width, height)
                if fuel
                else (np.zeros(scene.shape, np.float32), scene.albedo)
            )
        cast_light(scene, flame, 0.9 if dark else 0.6, rng)
        flames.append(flame)
    return flames, fronts


def compose(
    scene: Scene, flames: list[Flame], fronts: list[Layer], rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Radiance of the whole, and the visible cover (h, w) of each fire."""
    drift, ambient = rng.normal(0, 0.35), scene.light.mean((0, 1))
    plumes = []
    for flame in flames:
        if rng.random() < 0.7:
            plumes.append(smoke(scene, flame, rng, float(drift), rng.uniform(0.3, 1.0)))
    out = scene.radiance()
    for cover, tone in plumes:
        a = cover[..., None]
        out = out + (tone * (0.35 * scene.light + 0.65 * ambient) - out) * a
    layers = [*fronts, *scene.foreground]
    seen = []
    for i, flame in enumerate(flames):
        clear = np.ones(scene.shape, np.float32)
        for cover, _ in layers[i:]:  # its own front, and all that stands nearer
            clear = clear * (1 - cover)
        out = blend(out, flame, np.ones_like(clear))
        cover, tone = fronts[i]
        out = out + (tone * scene.light - out) * cover[..., None]
        seen.append(flame.alpha * clear)
        if rng.random() < 0.5:
            out += sparks(scene, flame, rng, int(rng.integers(5, 40)), float(drift)) * clear[..., None]
    for cover, tone in scene.foreground:
        out = out + (tone * scene.light - out) * cover[..., None]
    if flames and rng.random() < 0.3:
        out = haze(out, rng, ambient, rng.uniform(0.04, 0.18))
    return out, seen


def visible_masks(seen: list[np.ndarray]) -> list[np.ndarray]:
    """Flame pixels of each fire, specks left out, faint fires dropped, those that overlap taken as one."""
    masks: list[np.ndarray] = []
    for cover in seen:
        solid = (cover > VISIBLE).astype(np.uint8)
        n, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
        if n < 2:
            continue
        areas = stats[1:, cv2.CC_STAT_AREA]
        masks.append(np.isin(labels, 1 + np.flatnonzero(areas > 0.03 * areas.max())))
    merged = True
    while merged:
        merged = False
        for i in range(len(masks)):
            for j in range(i + 1, len(masks)):
                if not merged and overlap(box_of(masks[i]), box_of(masks[j])) > 0.2:
                    masks[i], merged = masks[i] | masks.pop(j), True
    return masks


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tightest box (x0, y0, x1, y1) px around a mask; x1 and y1 lie just outside."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def overlap(a: tuple, b: tuple) -> float:
    """Shared area as part of the smaller box."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    least = min((t[2] - t[0]) * (t[3] - t[1]) for t in (a, b))
    return max(w, 0) * max(h, 0) / least


def big_enough(mask: np.ndarray) -> bool:
    x0, y0, x1, y1 = box_of(mask)
    return min(x1 - x0, y1 - y0) >= max(SMALLEST, 0.022 * max(mask.shape)) and mask.sum() >= 40


def draw(number: int, seed: int = 0) -> Image:
    """Image `number` (from 1) of the set with this seed."""
    for attempt in range(12):
        rng = np.random.default_rng([seed, number, attempt])
        p = plan(seed, number, rng)
        scene = draw_scene(p, rng)
        flames, fronts = set_fires(scene, rng, p.fires)
        radiance, seen = compose(scene, flames, fronts, rng)
        masks = visible_masks(seen)
        if len(masks) == len(flames) and all(map(big_enough, masks)) and bool(masks) == bool(p.fires):
            break  # else some flame is hidden or too small: an image whose labels would be doubtful
    image = develop(radiance, rng, p.time)
    boxes = np.array([box_of(m) for m in masks], np.int64).reshape(-1, 4)
    return Image(image, np.array(masks, bool).reshape(-1, *p.size), boxes)
