"""The predictor of a product that is not part of this package, for `isinstance` alone."""

from __future__ import annotations

from ultralytics import not_here
from ultralytics.utils.errors import ConfigError


class Predictor:
    """Stands for a predictor that no one can make here."""

    def __init__(self, *args: object, **kwargs: object):
        raise ConfigError(not_here(f"{__name__}.Predictor"))
