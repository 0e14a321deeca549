"""Whatever is printed or logged comes out on every stream, in other characters if need be, or is dropped."""

from __future__ import annotations

import ast
import errno
import io
import logging
import os
import sys
from pathlib import Path

import pytest

from ultralytics.utils import LOGGER, TQDM, colorstr, set_logging
from ultralytics.utils.system import console
from ultralytics.utils.system.console import Console, fitting, guarded, put, say

ROOT = Path(__file__).resolve().parents[2]
LINE = "0.3 ± 0.1 – 640×480 → ✓ ⚠️ 火"


class Failing(io.StringIO):
    """A stream that fails with an error."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stream(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)


@pytest.mark.parametrize(
    ("encoding", "errors", "wanted"),
    [
        ("utf-8", "strict", LINE),
        ("ascii", "strict", "0.3 +/- 0.1 - 640x480 -> ok ! \\u706b"),
        ("ascii", "backslashreplace", "0.3 +/- 0.1 - 640x480 -> ok ! \\u706b"),  # as standard error has it
        ("cp1252", "strict", "0.3 ± 0.1 – 640×480 -> ok ! \\u706b"),
        ("gbk", "strict", "0.3 ± 0.1 – 640×480 → ok ! 火"),
        ("no such encoding", "strict", "0.3 +/- 0.1 - 640x480 -> ok ! \\u706b"),
    ],
)
def test_signs_become_others_that_the_stream_holds(encoding, errors, wanted):
    assert fitting(LINE, encoding, errors) == wanted


def test_file_names_that_are_no_text_come_out():
    name = os.fsdecode(b"caf\xe9")
    assert fitting(name, "utf-8") == ascii(name)[1:-1]
    assert fitting(name, "ascii", "surrogateescape") == name


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "cp437", "latin-1", "shift_jis", "utf-8"])
def test_every_sign_is_written_by_say_the_log_and_bars(encoding):
    text = "".join(map(chr, [*range(0xA0, 0x2FF), *range(0x2000, 0x2C00), 0x706B, 0x1F680, 0xDC80]))
    out = stream(encoding)
    say(text, file=out)
    logger = set_logging(f"console-{encoding}")
    logger.handlers[0].setStream(out)
    logger.warning(text)
    for _ in TQDM(range(2), desc="É火 – ", file=out):
        pass
    lines = out.buffer.getvalue().decode(encoding).splitlines()
    assert len(lines) >= 3 and "2/2" in lines[-1]


def test_a_stream_that_does_not_say_what_it_holds():
    class Silent(io.StringIO):
        encoding = None

        def write(self, text: str) -> int:
            return super().write(text.encode("ascii").decode())

    out = Silent()
    put(out, "640×480\n")
    assert out.getvalue() == "640x480\n"


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "gone"),
        OSError(errno.EIO, "no terminal"),
        OSError(errno.ENOSPC, "full"),
        BlockingIOError(errno.EAGAIN, "wait"),
        ValueError("I/O operation on closed file."),
    ],
)
def test_what_cannot_be_written_is_dropped(error, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Failing(error))
    say("lost")
    LOGGER.warning("lost")
    assert list(TQDM(range(3))) == [0, 1, 2]


@pytest.mark.parametrize("closed", [False, True])
def test_no_streams_at_all(closed, monkeypatch):
    for name in ("stdout", "stderr"):
        gone = io.StringIO() if closed else None
        monkeypatch.setattr(sys, name, gone)
        if closed:
            gone.close()
    say("lost")
    LOGGER.warning("lost")
    assert list(TQDM(range(3), desc="scan")) == [0, 1, 2]
    assert not console.OUT.isatty()


def test_the_log_follows_standard_output(capsys):
    LOGGER.info("seen")
    assert capsys.readouterr().out == "seen\n"


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm"}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_escape_sequences_go_where_they_are_shown(terminal, environment, coloured, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    say(colorstr("red", "bold", "a"), "\x1b[Kb\x1b]0;title\x07")
    LOGGER.info(f"{colorstr('c')} d")
    for _ in TQDM(range(1), desc=colorstr("e"), file=out):
        pass
    text = out.getvalue()
    assert ("\x1b[31m\x1b[1ma\x1b[0m" in text and "\x1b[34m" in text) == coloured == ("\x1b" in text)


def test_records_are_plain_for_whoever_else_gets_them(caplog, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    other = logging.StreamHandler(file)
    LOGGER.addHandler(other)
    try:
        LOGGER.info(f"{colorstr('train: ')}%s", "begins")
    finally:
        LOGGER.removeHandler(other)
    assert caplog.messages == ["train: begins"] and file.getvalue() == "train: begins\n"


def test_guarded_commands_stand_on_consoles_and_put_back_what_was_there(monkeypatch):
    out = stream("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)

    @guarded()
    def command() -> int:
        print("火 ×")
        print("lost", file=sys.stderr)
        sys.stderr.flush()
        assert isinstance(sys.stdout, Console) and sys.stdout.encoding == "ascii"
        return 3

    assert command() == 3
    assert sys.stdout is out and sys.stderr is None
    assert out.buffer.getvalue() == b"\\u706b x\n"


def test_nothing_is_printed_in_another_way():
    scripts = [*ROOT.glob("ultralytics/**/*.py"), *ROOT.glob("train/*.py"), *ROOT.glob("benchmarks/*.py")]
    scripts += [*ROOT.glob("tools/*fire*.py"), *ROOT.glob("tools/firegen/*.py")]  # others do without this package
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in scripts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert len(scripts) > 150 and wrong == []
