"""The screen as a source of predictions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ultralytics.data.frames import Batch, Frame, SourceTypes
from ultralytics.utils.errors import ConfigError


class LoadScreenshots:
    """Screenshots, one after the other without an end.

    Args:
        source: `screen`, or `screen LEFT TOP WIDTH HEIGHT` in pixels; 8.3.0's number of the screen may come first, of
            which 0 is all of them together.

    Raises:
        ConfigError: the text is another, or there is no screen.
    """

    def __init__(self, source: str = "screen"):
        words = str(source).lower().split()[1:]
        try:
            numbers = [int(word) for word in words]
        except ValueError:
            numbers = [0] * 6
        if len(numbers) > 5:
            raise ConfigError(f"source='{source}' is not possible; write `screen`, or `screen LEFT TOP WIDTH HEIGHT`.")
        self.screen = numbers.pop(0) if len(numbers) in {1, 5} else 0
        left, top, width, height = numbers if len(numbers) == 4 else (0, 0, 0, 0)
        self.box = (left, top, left + width, top + height) if width and height else None
        self.mode, self.bs, self.fps, self.frame = "stream", 1, 30, 0
        self.source_type = SourceTypes(screenshot=True)
        self.grab()

    def grab(self) -> np.ndarray:
        """Return the screen as it is now, (h, w, 3) BGR."""
        from PIL import ImageGrab

        try:
            image = ImageGrab.grab(self.box, all_screens=True)
        except (OSError, ImportError) as e:  # no screen; a Pillow without support for this system's
            raise ConfigError(
                f"source=screen is not available here ({e}). Save a screenshot to a file and give its path."
            ) from None
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.frame += 1
            yield Batch([Frame(self.grab(), f"screen {self.screen}", "stream", 0, 1, self.frame, fps=self.fps)])
