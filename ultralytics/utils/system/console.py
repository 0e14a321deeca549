"""Console output that never fails: what a stream cannot take is replaced or dropped, and the program goes on.

A stream may be unable to encode a character or show escape sequences, may have lost its reader, be closed, or not
exist. `say` replaces `print`, `OUT` and `ERR` wrap `sys.stdout` and `sys.stderr`, and `guarded` puts such wrappers in
place while a command runs, so that what others print goes the same way.
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
from typing import Protocol

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)?", re.DOTALL)  # colours, movements and the like
# Replacements of characters that a stream cannot encode; all others become their code, such as \u706b.
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


class TextStream(Protocol):
    """Whatever text can be written to: a file, a terminal, or a `Console`."""

    def write(self, text: str, /) -> object: ...


# Text that a stream can encode ----------------------------------------------------------------------------------------


def is_live(stream: object) -> bool:
    """Check whether a stream is a terminal or a notebook, where text is seen as it is written."""
    with suppress(ValueError, OSError):  # a closed file
        return bool(getattr(stream, "isatty", lambda: False)()) or "ipykernel" in sys.modules
    return False


def shows_colours(stream: object) -> bool:
    """Check whether escape sequences may go to a stream: NO_COLOR forbids them, FORCE_COLOR asks for them."""
    if os.getenv("NO_COLOR"):
        return False
    if os.getenv("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return os.getenv("TERM") != "dumb" and is_live(stream)


def fitting(text: str, encoding: str | None, errors: str | None = None) -> str:
    """Replace the characters of a text that an encoding lacks."""
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


def put(stream: TextStream | None, text: str) -> None:
    """Write a text to a stream, with characters replaced if need be; drop it if the stream is gone."""
    if stream is None:
        return
    if "\x1b" in text and not shows_colours(stream):
        text = ESCAPE.sub("", text)
    text = fitting(text, getattr(stream, "encoding", None), getattr(stream, "errors", None))
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # it does not say what it can encode
            stream.write(fitting(text, "ascii"))
        flush(stream)
    except (OSError, ValueError) as e:  # ValueError: the file is closed
        _give_up(stream, e)


def flush(stream: TextStream | None, last: bool = False) -> None:
    """Flush a stream; if that fails for good, or this is the last attempt, drop what it holds."""
    try:
        getattr(stream, "flush", lambda: None)()
    except (OSError, ValueError) as e:
        _give_up(stream, e, last)


def _give_up(stream: TextStream | None, error: Exception, last: bool = False) -> None:
    """Redirect standard output or error to nowhere once its reader is gone.

    That covers whatever else writes there: other processes, native code, and Python, which flushes it at its end and
    would return another exit code. A full disk may have room again, so it costs one text only, until the last attempt.
    """
    fileno = getattr(stream, "fileno", None)
    with suppress(OSError, ValueError, AttributeError):
        if fileno and (last or getattr(error, "errno", None) in _GONE) and fileno() in {1, 2}:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, fileno())
            os.close(nowhere)


# Streams --------------------------------------------------------------------------------------------------------------


class Console:
    """Text stream that wraps another one and never fails.

    Args:
        stream: the other one, or None to drop all; 'stdout' or 'stderr' is what `sys` has by that name at the moment.
    """

    def __init__(self, stream: TextStream | str | None):
        self._stream = stream

    def _target(self) -> TextStream | None:
        return getattr(sys, self._stream) if isinstance(self._stream, str) else self._stream

    def write(self, text: str) -> int:
        """Write a text and flush."""
        put(self._target(), text)
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        flush(self._target())

    def isatty(self) -> bool:
        """Check whether the other stream is a terminal."""
        with suppress(ValueError, OSError, AttributeError):
            return bool(getattr(self._target(), "isatty", lambda: False)())
        return False

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):  # not to be asked of the other one, which may not be set yet
            raise AttributeError(name)
        return getattr(self._target(), name)


OUT, ERR = Console("stdout"), Console("stderr")


def say(*values: object, sep: str = " ", end: str = "\n", file: TextStream | None = OUT) -> None:
    """Print values without ever failing, as this module's docstring describes."""
    put(file, sep.join(map(str, values)) + end)


@contextmanager
def guarded() -> Iterator[None]:
    """Wrap standard output and error in a `Console` during a command; also a decorator, `@guarded()`."""
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
    """Open closed standard descriptors on the null device, for the next file opened would take their place.

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

    def __init__(self, stream: TextStream | str | None = OUT):
        super().__init__(stream if isinstance(stream, Console) else Console(stream))

    def setStream(self, stream: TextStream | str | None) -> TextStream | None:
        """Write to another stream; return the former one."""
        return super().setStream(stream if isinstance(stream, Console) else Console(stream))

    def format(self, record: logging.LogRecord) -> str:
        """Format a record with its colours."""
        if hasattr(record, "coloured"):
            record = copy.copy(record)
            record.msg = record.coloured
        return super().format(record)


def without_colours(record: logging.LogRecord) -> bool:
    """Move the colours of a record aside, so that files and other handlers see plain text; a logger's filter."""
    if isinstance(record.msg, str) and "\x1b" in record.msg:
        record.coloured, record.msg = record.msg, ESCAPE.sub("", record.msg)
    return True
