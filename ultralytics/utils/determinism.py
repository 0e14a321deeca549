"""Operators that do not repeat to the last bit although that was asked for: named in one log line each."""

from __future__ import annotations

import warnings
from typing import Any

from ultralytics.utils import LOGGER

_PHRASE = " does not have a deterministic implementation"  # what torch says after an operator's name


def name_operators() -> None:
    """Log each operator without a repeatable kernel once from now on, in place of torch's warning at every call.

    Torch tells when such an operator runs, so a training names them in its first batch. Other warnings stay.
    """
    shown = warnings.showwarning
    warnings.showwarning = _Namer(shown.otherwise if isinstance(shown, _Namer) else shown)
    warnings.filterwarnings("always", message=f".*{_PHRASE}")  # the log decides what was said already


class _Namer:
    """Takes the place of `warnings.showwarning`.

    Args:
        otherwise: shows all other warnings.
    """

    def __init__(self, otherwise: Any):
        self.otherwise = otherwise
        self.named: set[str] = set()

    def __call__(self, message: Warning | str, *args: Any, **kwargs: Any) -> None:
        operator, found, _ = str(message).partition(_PHRASE)
        if not found:
            self.otherwise(message, *args, **kwargs)
        elif operator not in self.named:
            self.named.add(operator)
            LOGGER.warning(
                f"WARNING ⚠️ The operator '{operator}' is not deterministic on this device, so that another run of the "
                "same seed may end with slightly other weights (deterministic=True repeats all the others)."
            )
