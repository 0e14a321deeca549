"""From linear radiance to a photograph: bloom, exposure, tone, colour cast, vignette, blur, grain."""

from __future__ import annotations

import cv2
import numpy as np

from .noise import rgb


def bloom(radiance: np.ndarray, amount: float) -> np.ndarray:
    """Light scattered in lens and air around what is very bright."""
    h, w = radiance.shape[:2]
    bright = np.clip(radiance - 0.9, 0, 4)
    out = radiance.copy()
    for scale, share in ((0.01, 0.5), (0.035, 0.32), (0.12, 0.18)):
        q = 2 if scale < 0.02 else 8
        small = cv2.resize(bright, (max(w // q, 8), max(h // q, 8)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), max(scale * max(h, w) / q, 0.5), borderType=cv2.BORDER_REPLICATE)
        out += cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR) * amount * share
    return out


def expose(radiance: np.ndarray, rng: np.random.Generator, night: bool) -> np.ndarray:
    """Bring a scene to a fair brightness, nights less so than days, 0..1 with a soft shoulder."""
    key = float(np.exp(np.log(np.clip(radiance, 1e-3, 3).mean(-1) + 1e-3).mean()))
    gain = np.clip((0.2 / key) ** (0.45 if night else 0.75), 0.5, 3.0) * np.exp(rng.normal(0, 0.12))
    x = radiance * gain
    lum = 1 - np.exp(-1.35 * x)  # film: highlights of each channel saturate apart, so a flame's core turns yellow-white
    return np.clip(lum, 0, 1)


def develop(radiance: np.ndarray, rng: np.random.Generator, time: str) -> np.ndarray:
    """Linear RGB (h, w, 3) to an 8-bit BGR image."""
    h, w = radiance.shape[:2]
    night = time in ("night", "dusk")
    x = expose(bloom(radiance, rng.uniform(0.15, 0.4)), rng, night)
    x = x * np.exp(rng.normal(0, 0.045, 3)).astype(np.float32)  # white balance a little off
    yy, xx = np.ogrid[:h, :w]
    r2 = (((xx - w / 2) / (w / 2)) ** 2 + ((yy - h / 2) / (h / 2)) ** 2).astype(np.float32)
    x = x * (1 - rng.uniform(0.04, 0.17) * r2)[..., None]
    x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.45, 0.85))
    x = np.clip(x, 0, 1) ** np.float32(1 / 2.2)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.85, 1.12)
    contrast = rng.uniform(0.0, 0.35)
    x = x + contrast * (np.clip(x, 0, 1) ** 2 * (3 - 2 * np.clip(x, 0, 1)) - x)
    x = rng.uniform(0.0, 0.025) + x * rng.uniform(0.95, 1.0)
    grain = rng.standard_normal((h, w, 1), dtype=np.float32) + 0.35 * rng.standard_normal((h, w, 3), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.6)
    x = x + grain * rng.uniform(0.008, 0.022) * (1.7 if night else 1.0) * (1.15 - np.clip(grey, 0, 1))
    return np.ascontiguousarray((np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)[..., ::-1])


def haze(radiance: np.ndarray, rng: np.random.Generator, light: np.ndarray, amount: float) -> np.ndarray:
    """A veil of thin smoke over the whole image."""
    veil = light * rgb(0.35, 0.36, 0.38)
    return radiance + (veil - radiance) * amount
