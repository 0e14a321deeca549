"""The console: whatever is printed, logged or drawn as a bar comes out on every stream, or is dropped and work goes on.

A stream may be unable to hold a sign, may show no escape sequences, may have lost its reader, be closed, or not exist.
`say` takes the place of `print`, `OUT` and `ERR` stand before `sys.stdout` and `sys.stderr`, and `guarded` puts them in
their places while a command runs, so that what others print goes the same way.
"""

from __future__ import annotations

import copy
import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)?", re.DOTALL)  # colours, movements and the like
# What stands for a sign where the stream cannot hold it; other characters become their code, such as \u706b.
SIGNS = {
    "×": "x", "·": "*", "±": "+/-", "°": " deg", "²": "2", "³": "3", "µ": "u", "μ": "u", "–": "-", "—": "-", "−": "-",
    "…": "...", "•": "*", "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "€": "EUR", "₁": "1", "₂": "2",
    "→": "->", "←": "<-", "↑": "^", "↓": "v", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "Φ": "Phi", "✓": "ok",
    "✔": "ok", "✅": "ok", "✗": "x", "✘": "x", "❌": "x", "⚠": "!", "\ufe0f": "", "\u00a0": " ", "█": "#", "│": "|",
    "─": "-", "├": "|", "└": "|",
}  # fmt: skip
_GONE = {errno.EPIPE, errno.EBADF, errno.EIO, errno.ESHUTDOWN}  # nobody will read from this stream again
if sys.platform == "win32":
    _GONE.add(errno.EINVAL)  # a broken pipe there


# Text that a stream can hold ------------------------------------------------------------------------------------------


def is_live(stream: Any) -> bool:
    """Tell whether a stream is watched as it is written: by a terminal, or in a notebook."""
    with suppress(ValueError, OSError):  # a closed file
        return bool(getattr(stream, "isatty", lambda: False)()) or "ipykernel" in sys.modules
    return False


def shows_colours(stream: Any) -> bool:
    """Tell whether escape sequences may go to a stream: NO_COLOR forbids them, FORCE_COLOR asks for them."""
    if os.getenv("NO_COLOR"):
        return False
    if os.getenv("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return os.getenv("TERM") != "dumb" and is_live(stream)


def fitting(text: str, encoding: str | None, errors: str | None = None) -> str:
    """Return a text with the characters that an encoding does not have replaced by others."""
    kept = "surrogateescape" if errors == "surrogateescape" else "strict"  # file names as the system gave them

    def holds(part: str) -> bool:
        try:
            part.encode(encoding or "utf-8", kept)
        except UnicodeEncodeError:
            return False
        except LookupError:
            return part.isascii()
        return True

    if holds(text):
        return text
    return "".join(c if holds(c) else SIGNS.get(c, c.encode("ascii", "backslashreplace").decode()) for c in text)


def put(stream: Any, text: str) -> None:
    """Write a text to a stream, in other characters if need be; where that is not possible any more, drop it."""
    if stream is None:
        return
    if "\x1b" in text and not shows_colours(stream):
        text = ESCAPE.sub("", text)
    text = fitting(text, getattr(stream, "encoding", None), getattr(stream, "errors", None))
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # it does not say what it can hold
            stream.write(fitting(text, "ascii"))
        flush(stream)
    except (OSError, ValueError) as e:  # ValueError: the file is closed
        _give_up(stream, e)


def flush(stream: Any, last: bool = False) -> None:
    """Flush a stream; where that is not possible any more, or this was the last chance, drop what it holds."""
    try:
        getattr(stream, "flush", lambda: None)()
    except (OSError, ValueError) as e:
        _give_up(stream, e, last)


def _give_up(stream: Any, error: Exception, last: bool = False) -> None:
    """Let standard output or error lead nowhere once its reader has gone.

    So it does for whatever else writes there: other processes, native code, and Python, which flushes it at its end and
    would return another exit code. A full disk may have room again, so that only one text is dropped until the last.
    """
    with suppress(OSError, ValueError, AttributeError):
        if (last or getattr(error, "errno", None) in _GONE) and stream.fileno() in {1, 2}:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


# Streams --------------------------------------------------------------------------------------------------------------


class Console:
    """Text stream that stands before another one and never fails.

    Args:
        stream: the other one, or None to drop all; 'stdout' or 'stderr' is what `sys` has by that name at the moment.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def _target(self) -> Any:
        return getattr(sys, self._stream) if isinstance(self._stream, str) else self._stream

    def write(self, text: str) -> int:
        """Write a text and flush."""
        put(self._target(), text)
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        flush(self._target())

    def isatty(self) -> bool:
        """Tell whether the other stream is a terminal."""
        with suppress(ValueError, OSError, AttributeError):
            return bool(self._target().isatty())
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nothing to ask the other one for, who may not be there yet
            raise AttributeError(name)
        return getattr(self._target(), name)


OUT, ERR = Console("stdout"), Console("stderr")


def say(*values: object, sep: str = " ", end: str = "\n", file: Any = OUT) -> None:
    """Print values; see this module for what that means where `print` would fail."""
    put(file, sep.join(map(str, values)) + end)


@contextmanager
def guarded() -> Iterator[None]:
    """Let all that is printed during a command, by whomever, come out or be dropped; also a decorator, `@guarded()`."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Console(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            flush(stream, last=True)


def _fill_descriptors() -> None:
    """Let standard descriptors that are closed lead nowhere, for the next file opened would take their place.

    Native code that complains would write into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)


# The log --------------------------------------------------------------------------------------------------------------


class ConsoleHandler(logging.StreamHandler):
    """Handler that writes log records to a console, in colours where it shows them."""

    def __init__(self, stream: Any = OUT):
        super().__init__(stream if isinstance(stream, Console) else Console(stream))

    def setStream(self, stream: Any) -> Any:
        """Write to another stream; return the former one."""
        return super().setStream(stream if isinstance(stream, Console) else Console(stream))

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record with its colours."""
        if hasattr(record, "coloured"):
            record = copy.copy(record)
            record.msg = record.coloured
        return super().format(record)


def without_colours(record: logging.LogRecord) -> bool:
    """Keep the colours of a record apart, so that files and whoever else gets it see plain text; a logger's filter."""
    if isinstance(record.msg, str) and "\x1b" in record.msg:
        record.coloured, record.msg = record.msg, ESCAPE.sub("", record.msg)
    return True
