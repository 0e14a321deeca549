"""Child processes: their end with the parent, and the main guard that starting them needs."""

from __future__ import annotations

import ast
import ctypes
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from ultralytics.utils.errors import ConfigError


def end_with_parent(parent: int) -> None:
    """Make the system end this process when its parent, the process `parent`, ends in any way (Linux only)."""
    if not sys.platform.startswith("linux"):
        return  # workers notice by themselves after some seconds
    try:
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it ended before that was arranged
        os._exit(1)


def check_main_guard(what: str, instead: str) -> None:
    """Raise ConfigError if processes about to start would run the script again that is starting them.

    Unless they are forked from this process, they import the main script. So what it does must be below
    `if __name__ == "__main__":`, or each of them does it as well, and fails with a long traceback.

    Args:
        what: the processes, as the message calls them.
        instead: what works without them.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not file or multiprocessing.get_start_method() == "fork":
        return
    frame: FrameType | None = sys._getframe()
    while frame and not (frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"):
        frame = frame.f_back
    if frame and _is_unguarded(file, frame.f_lineno):
        raise ConfigError(
            f"Line {frame.f_lineno} of '{file}' would be run again by each of {what}, for they import that file. Put "
            f'what follows its imports below `if __name__ == "__main__":`, or {instead}.'
        )


def _is_unguarded(file: str, line: int) -> bool:
    """Check whether a line of a script runs on import: no condition up to its statement asks who runs it."""
    try:
        statements = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    asking = {"__name__", "current_process", "parent_process"}
    found = {n.id if isinstance(n, ast.Name) else n.attr for s in statements if s.lineno <= line for n in _tests(s)}
    return not asking & found


def _tests(statement: ast.stmt) -> list[ast.Name | ast.Attribute]:
    """Return the names in the conditions of a statement."""
    nodes = [n for n in ast.walk(statement) if isinstance(n, (ast.If, ast.IfExp, ast.While, ast.Assert))]
    return [n for test in nodes for n in ast.walk(test.test) if isinstance(n, (ast.Name, ast.Attribute))]
