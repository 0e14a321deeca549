"""Draws pictures of fires, and of what only looks like fire, with labels."""

from __future__ import annotations

from .picture import Picture, draw

__all__ = ["Picture", "draw"]
