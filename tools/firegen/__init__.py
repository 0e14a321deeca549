"""Draws images of fires, and of what only looks like fire, with labels."""

from __future__ import annotations

from .image import Image, draw

__all__ = ["Image", "draw"]
