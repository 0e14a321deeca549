"""The module of Neptune's callbacks in 8.3.0, which has none without its package; this package has no such logger.

`engine.integrations.Integration` is the class of which a logger of your own is a subclass.
"""

from __future__ import annotations

from collections.abc import Callable

callbacks: dict[str, Callable] = {}
