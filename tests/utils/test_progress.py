"""Progress bars draw where somebody watches."""

from __future__ import annotations

import io
import logging

import pytest

from ultralytics.utils import LOGGER, TQDM


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(file: io.StringIO, **kwargs) -> str:
    bar = TQDM(range(5), file=file, mininterval=0, **kwargs)
    for i in bar:
        bar.set_description(f"step {i}")
    return file.getvalue()


def test_a_terminal_sees_every_step():
    text = run(Terminal())
    assert text.count("\r") > 5 and "step 4" in text and "5/5" in text


def test_a_file_gets_the_last_state_alone():
    text = run(io.StringIO())
    assert text.count("5/5") == 1 and "step 4" in text
    assert "step 3" not in text and "0/5" not in text and text.endswith("\n")


@pytest.mark.parametrize("quiet", ["logger", "rank", "disable"])
def test_quiet(quiet, monkeypatch):
    level = LOGGER.level
    if quiet == "logger":
        LOGGER.setLevel(logging.ERROR)
    if quiet == "rank":
        monkeypatch.setattr("ultralytics.utils.system.progress.RANK", 1)
    try:
        assert run(Terminal(), **({"disable": True} if quiet == "disable" else {})) == ""
    finally:
        LOGGER.setLevel(level)
