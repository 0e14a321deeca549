"""The package's logger, and the rank of this process among those that train together."""

from __future__ import annotations

import functools
import logging
import os

from ultralytics.utils.system.console import ConsoleHandler, without_colours

RANK = int(os.getenv("RANK", -1))  # of this process among all that train together; -1: alone
LOCAL_RANK = int(os.getenv("LOCAL_RANK", -1))
WORLD_SIZE = int(os.getenv("WORLD_SIZE", 1))


def set_logging(name: str = "ultralytics", verbose: bool = True) -> logging.Logger:
    """Return a logger of plain messages on standard output; with `verbose` off, or on ranks above 0, of errors only."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = ConsoleHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.addFilter(without_colours)
        logger.propagate = False
    logger.setLevel(logging.INFO if verbose and RANK in {-1, 0} else logging.ERROR)
    return logger


LOGGER = set_logging("ultralytics", verbose=os.getenv("YOLO_VERBOSE", "true").lower() == "true")


@functools.cache
def say_once(message: str) -> None:
    """Log a line, but only once in this process."""
    LOGGER.info(message)
