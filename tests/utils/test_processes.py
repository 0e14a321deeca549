"""A script that its own processes would run again is told so before they start."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import multiprocessing
import sys
from ultralytics.utils.system.processes import check_main_guard

def start():
    multiprocessing.set_start_method({method!r}, force=True)
    check_main_guard("the 2 processes", "set workers=0")
    print("went on")
"""
GUARDED = {
    "block": 'if __name__ == "__main__":\n    start()',
    "early end": 'if __name__ != "__main__":\n    sys.exit()\nstart()',
    "other question": 'if multiprocessing.current_process().name == "MainProcess":\n    start()',
}
UNGUARDED = {
    "call": "start()",
    "in a function": "def main():\n    start()\nmain()",
    "another condition": "if sys.argv:\n    start()",
    "a guard that comes too late": 'start()\nif __name__ == "__main__":\n    pass',
}


def run(folder, body: str, method: str = "spawn", *options: str) -> subprocess.CompletedProcess:
    code = textwrap.dedent(SCRIPT).format(method=method) + body + "\n"
    (folder / "script.py").write_text(code, encoding="utf-8")
    words = options or (str(folder / "script.py"),)
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("body", UNGUARDED.values(), ids=UNGUARDED)
def test_a_script_without_a_guard_is_told_once(body, tmp_path):
    done = run(tmp_path, body)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "went on" not in done.stdout and len(done.stderr.splitlines()) < 20
    assert "script.py' would be run again by each of the 2 processes" in last
    assert 'below `if __name__ == "__main__":`, or set workers=0.' in last


@pytest.mark.parametrize("body", GUARDED.values(), ids=GUARDED)
def test_a_guarded_script_goes_on(body, tmp_path):
    done = run(tmp_path, body)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_forked_processes_import_nothing(tmp_path):
    assert run(tmp_path, "start()", "fork").stdout == "went on\n"


def test_a_module_that_is_imported_by_the_main_program(tmp_path):
    assert run(tmp_path, "start()", "spawn", "-c", "import script").stdout == "went on\n"
