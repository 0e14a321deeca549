"""Errors that a user can fix: each message says in a sentence what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

LONGEST = 4000  # characters of a message: what it quotes may be as long as a file


class UserError(Exception):
    """Base of all errors whose message is written for the user; the command line prints it alone and exits with 2."""

    def __init__(self, message: object = "", *args: object) -> None:
        text = str(message)
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}", *args)


class ConfigError(UserError, ValueError):
    """A setting is unknown, of the wrong type, or out of bounds."""


class UnknownSettingError(ConfigError, SyntaxError):
    """A setting has no such name; scripts written for 8.3.0 catch this as a SyntaxError."""

    def __init__(self, message: object = "", *args: object) -> None:
        super().__init__(message, *args)
        self.msg = self.args[0]  # what a SyntaxError shows


class ModelError(UserError, ValueError):
    """A model YAML names something that cannot be built."""


class DataError(UserError, ValueError):
    """A dataset description, a label file or an image cannot be used."""


class CheckpointError(UserError, ValueError):
    """A weight file is damaged, foreign, or imports something that a weight file may not import."""


class NumbersError(UserError, ArithmeticError):
    """A training met a non-finite loss, gradient or weight."""


class RunError(UserError, RuntimeError):
    """A process of a training in several processes failed, hung, or was ended from outside."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class MissingPackageError(UserError, ImportError):
    """An optional package is not installed; the message holds the `pip install` line."""


def reason_of(e: BaseException) -> str:
    """Return what an exception says; one without text is said by its kind and the line of source that raised it."""
    text = " ".join(str(e).split())
    frames = traceback.extract_tb(e.__traceback__)
    if text or not frames:
        return text or type(e).__name__
    last = frames[-1]
    return f"{type(e).__name__} in {Path(last.filename).name} line {last.lineno}, `{last.line}`"


def did_you_mean(word: str, allowed: Iterable[str], n: int = 3) -> str:
    """Return ' Did you mean ...?' with the nearest of `allowed`, or '' if nothing is close."""
    word, by_lower = str(word).lower(), {str(a).lower(): str(a) for a in allowed}
    alike = {*difflib.get_close_matches(word, list(by_lower), n=len(by_lower) or 1, cutoff=0.55)}
    near = [a for a in by_lower if a in alike or (len(a) > 2 and word.startswith(a))]
    near.sort(key=lambda a: (_slips(word, a), -difflib.SequenceMatcher(None, a, word).ratio()))
    near = [by_lower[a] for a in near[:n]]
    return f" Did you mean {' or '.join(repr(m) for m in near)}?" if near else ""


def _slips(word: str, meant: str) -> float:
    """Count the letters left out, added or mistaken; a swap of two counts half."""
    if meant.startswith(word):  # epoch, retina
        return 0.5
    if word.startswith(meant):  # conf_thres
        return 0.5 + 0.25 * (len(word) - len(meant))
    before: list[float] = []
    last = [float(j) for j in range(len(meant) + 1)]
    for i, x in enumerate(word):
        row = [i + 1.0]
        for j, y in enumerate(meant):
            least = min(last[j] + (x != y), last[j + 1] + 1, row[j] + 1)
            if i and j and x == meant[j - 1] and y == word[i - 1]:
                least = min(least, before[j - 1] + 0.5)
            row.append(least)
        before, last = last, row
    return last[-1]
