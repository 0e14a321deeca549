"""The mistakes a user can mend: each message is a sentence that says what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 4000  # characters of a message: what it quotes may be as long as a file


class UserError(Exception):
    """Base of all errors whose message is written for the user; the command line prints it alone and exits with 2."""

    def __init__(self, message: object = "", *args: object) -> None:
        text = str(message)
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}", *args)


class ConfigError(UserError, ValueError):
    """A setting is unknown, of the wrong type, or out of bounds."""


class ModelError(UserError, ValueError):
    """A model YAML names something that cannot be built."""


class DataError(UserError, ValueError):
    """A dataset description, a label file or a picture cannot be used."""


class CheckpointError(UserError, ValueError):
    """A weight file is damaged, foreign, or asks for something that a weight file may not ask for."""


class NumbersError(UserError, ArithmeticError):
    """A training met a loss, gradients or weights that are not finite."""


class RunError(UserError, RuntimeError):
    """A process of a training in several processes failed, hung, or was ended from outside."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class MissingPackageError(UserError, ImportError):
    """An optional package is not installed; the message holds the `pip install` line."""


def did_you_mean(word: str, allowed: Iterable[str], n: int = 3) -> str:
    """Return ' Did you mean ...?' with the nearest of `allowed`, or '' if nothing is near."""
    by_lower = {str(a).lower(): str(a) for a in allowed}
    near = [by_lower[m] for m in difflib.get_close_matches(str(word).lower(), list(by_lower), n=n, cutoff=0.55)]
    return f" Did you mean {' or '.join(repr(m) for m in near)}?" if near else ""
