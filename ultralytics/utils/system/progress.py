"""Progress bars that keep quiet where nobody watches."""

from __future__ import annotations

import logging
from typing import Any

from tqdm import tqdm

from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.system.console import Console, is_live


class TQDM(tqdm):
    """tqdm that is off with the logger or on ranks above 0, and draws only its end where there is no terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["file"] = Console(kwargs.get("file") or "stderr")
        self._live = is_live(kwargs["file"])
        self._closing = False
        kwargs["disable"] = bool(kwargs.get("disable")) or RANK > 0 or not LOGGER.isEnabledFor(logging.INFO)
        kwargs.setdefault("bar_format", "{l_bar}{bar:10}{r_bar}")
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, unless it is not the last time and no terminal is there to overwrite it."""
        return super().display(msg, pos) if self._live or self._closing else False

    def close(self) -> None:
        """Draw the last state and end the line."""
        self._closing = True
        super().close()
