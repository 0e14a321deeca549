"""Progress bars that stay quiet without a terminal."""

from __future__ import annotations

import logging

from tqdm import tqdm

from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.system.console import Console, is_live

TQDM_BAR_FORMAT = "{l_bar}{bar:10}{r_bar}"


class TQDM(tqdm):
    """tqdm that is off with the logger or on ranks above 0, and draws only its last state without a terminal."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs["file"] = Console(kwargs.get("file") or "stderr")
        self._live = is_live(kwargs["file"])
        self._closing = False
        kwargs["disable"] = bool(kwargs.get("disable")) or RANK > 0 or not LOGGER.isEnabledFor(logging.INFO)
        kwargs.setdefault("bar_format", TQDM_BAR_FORMAT)
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar; without a terminal to overwrite it on, only for the last time."""
        return super().display(msg, pos) if self._live or self._closing else False

    def close(self) -> None:
        """Draw the last state and end the line."""
        self._closing = True
        super().close()
