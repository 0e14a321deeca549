"""What a scene is made of before a camera sees it: reflectance, light, emission, and places where a fire may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from .noise import ellipse, fbm, polygon, smoothstep


@dataclass
class Spot:
    """A place for a fire: its foot (x, y) px, the tallest flame that suits it, px, and how it sits there."""

    x: float
    y: float
    tallest: float
    kind: str = "ground"  # ground: anything may burn here; surface: bare flame; window: it leans out over a sill
    width: float = 0.0  # px, for window and surface


@dataclass
class Scene:
    """Linear RGB layers, each (h, w, 3): seen radiance = albedo * light + emission."""

    shape: tuple[int, int]
    albedo: np.ndarray
    light: np.ndarray
    emission: np.ndarray
    time: str
    horizon: float = 0.0  # px; the ground lies below
    eye: float = 0.0  # px; as high as the camera: a person's head is about here
    indoor: bool = False
    spots: list[Spot] = field(default_factory=list)
    things: list[tuple[float, float, float, float]] = field(default_factory=list)  # xyxy px, where no fire may stand
    foreground: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # (cover, albedo), before the fires

    @classmethod
    def blank(cls, shape: tuple[int, int], time: str, light: np.ndarray) -> Scene:
        h, w = shape
        zeros = np.zeros((h, w, 3), np.float32)
        return cls(shape, zeros.copy(), np.broadcast_to(light, (h, w, 3)).astype(np.float32), zeros.copy(), time)

    def paint(self, cover: np.ndarray, colour: np.ndarray, glow: np.ndarray | float = 0.0) -> None:
        """Lay a surface of the given reflectance (and own radiance) over what is there. cover (h, w) in 0..1."""
        a = cover[..., None]
        self.albedo += (colour - self.albedo) * a
        self.emission += (glow - self.emission) * a

    def fill(self, points: list, colour: np.ndarray, glow: np.ndarray | float = 0.0, blur: float = 0.0) -> None:
        """Paint a polygon."""
        self.paint(polygon(self.shape, points, blur), colour, glow)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: np.ndarray, glow: np.ndarray | float = 0.0
    ) -> None:
        """Paint an upright rectangle."""
        self.fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, glow)

    def texture(self, tile: np.ndarray, quad: list, glow: np.ndarray | None = None, cover: float = 1.0) -> None:
        """Stretch an image of a surface over four corners: top left, top right, bottom right, bottom left."""
        h, w = self.shape
        th, tw = tile.shape[:2]
        corners = np.float32([(0, 0), (tw, 0), (tw, th), (0, th)])
        matrix = cv2.getPerspectiveTransform(corners, np.float32(quad))
        area = max(cv2.contourArea(np.float32(quad)), 1.0)
        shrink = np.sqrt(tw * th / area)

        def warp(t: np.ndarray) -> np.ndarray:
            t = cv2.GaussianBlur(t, (0, 0), 0.4 * shrink) if shrink > 1.2 else t  # against moire
            return cv2.warpPerspective(t, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

        self.paint(polygon(self.shape, quad) * cover, warp(tile), 0.0 if glow is None else warp(glow))

    def shade(self, cover: np.ndarray, factor: float) -> None:
        """Darken the light under a cover: contact shadows."""
        self.light *= (1 - cover * (1 - factor))[..., None]

    def shadow(self, x: float, y: float, rx: float, ry: float, factor: float = 0.45) -> None:
        """The soft dark patch below a thing that stands at (x, y)."""
        self.shade(ellipse(self.shape, x, y, rx, ry, soft=1.4 * min(rx, ry)), factor)

    def shine(self, x: float, y: float, reach: float, colour: np.ndarray, drop: float = 1.0) -> None:
        """Add light that falls off with distance from (x, y); `reach` px is where a half is left."""
        h, w = self.shape
        yy, xx = np.mgrid[0:h:4, 0:w:4].astype(np.float32)
        d2 = ((xx - x) ** 2 + (drop * (yy - y)) ** 2) / max(reach, 1.0) ** 2
        fall = cv2.resize(1 / (1 + d2) ** 1.3, (w, h), interpolation=cv2.INTER_LINEAR)
        self.light += fall[..., None] * colour

    def radiance(self) -> np.ndarray:
        """What leaves the scene towards the camera, (h, w, 3)."""
        return self.albedo * self.light + self.emission


def ground_map(scene: Scene, tile: np.ndarray, scale: float) -> np.ndarray:
    """A square texture seen on the floor plane below the horizon, (h, w, 3), fading to its mean in the distance."""
    h, w = scene.shape
    size = tile.shape[0]
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    below = np.maximum(yy - scene.horizon, 0.5)
    z = h / below
    u, v = (xx - w * 0.47) / w * z * scale * size, z * scale * size * 0.8
    u, v = (
        size - 1.5 - np.abs(np.mod(t, 2 * size - 3) - size + 1.5) for t in (u + 0.5 * size, v)
    )  # mirrored: no seams
    seen = cv2.remap(tile, u, v, cv2.INTER_LINEAR)
    near = smoothstep(0.0, 0.25 * h, below)[..., None]
    return seen * near + tile.mean((0, 1)) * (1 - near)


def lay_ground(
    scene: Scene, colour: np.ndarray, rng: np.random.Generator, rough: float = 0.25, edge: Callable | None = None
) -> None:
    """Paint everything below the horizon as rough ground (grass, soil, asphalt)."""
    h, w = scene.shape
    grain = 1 + rough * fbm(rng, (512, 512), 24, 5, 0.8)
    tile = (
        grain[..., None] * colour * (1 + 0.06 * fbm(rng, (512, 512), 80, 2)[..., None] * np.float32([1, 0.3, -1]))
    ).clip(0.01, 0.95)
    top = scene.horizon if edge is None else edge(np.arange(w))
    cover = smoothstep(-0.7, 0.7, np.mgrid[0:h, 0:w][0].astype(np.float32) - top)
    patches = 1 + 0.18 * fbm(rng, (h, w), (0.12 * h, 0.4 * w), 4)
    scene.paint(cover, (ground_map(scene, tile, 0.35) * patches[..., None]).clip(0.005, 0.95).astype(np.float32))


def cuboid(
    scene: Scene,
    x: float,
    y: float,
    size: tuple[float, float, float],
    colour: np.ndarray,
    rng: np.random.Generator,
    tile: np.ndarray | None = None,
) -> None:
    """A box standing at (x, y) with (width, height, depth) px, seen from above and from the image's middle."""
    w, h, d = size
    side = np.sign(scene.shape[1] / 2 - x) or 1.0
    sx, rise = side * d * 0.55, d * 0.35
    scene.shadow(x, y, w * 0.75, max(3.0, d * 0.35))
    x0, x1, top = x - w / 2, x + w / 2, y - h
    near = x1 if side > 0 else x0
    scene.fill([(near, y), (near + sx, y - rise), (near + sx, top - rise), (near, top)], colour * 0.55)
    scene.fill([(x0, top), (x1, top), (x1 + sx, top - rise), (x0 + sx, top - rise)], colour * 1.15)
    if tile is None:
        tile = (colour * (1 + 0.08 * fbm(rng, (64, 64), 24)[..., None])).clip(0.01, 0.95).astype(np.float32)
    tone = np.linspace(1.0, 0.75, tile.shape[0], dtype=np.float32)[:, None, None]
    scene.texture(tile * tone, [(x0, top), (x1, top), (x1, y), (x0, y)])
