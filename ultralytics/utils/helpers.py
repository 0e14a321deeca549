"""Small helpers that scripts written for 8.3.0 import from `ultralytics.utils`."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import TracebackType

from ultralytics.utils import LOGGER, yaml_load
from ultralytics.utils.system.console import ESCAPE


class SimpleClass:
    """Prints its attributes, and names itself when one is missing."""

    def __str__(self) -> str:
        lines = [f"{k}: {v!r}" for k, v in vars(self).items() if not k.startswith("_") and not callable(v)]
        kind = f"{type(self).__module__}.{type(self).__name__}"
        return f"{kind} object with attributes:\n\n" + "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def __getattr__(self, name: str) -> object:
        known = ", ".join(k for k in dir(type(self)) if not k.startswith("_"))
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'. It has {known or 'none'}.")


class TryExcept(contextlib.ContextDecorator):
    """Lets no error out of a block or function, but logs it: `with TryExcept("cleaning up"): ...`."""

    def __init__(self, msg: str = "", verbose: bool = True):
        self.msg, self.verbose = msg, verbose

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, exc_type: type | None, value: BaseException | None, traceback: TracebackType | None) -> bool:
        if value is None:
            return False
        if not isinstance(value, Exception):  # Ctrl+C and the like
            return False
        if self.verbose:
            LOGGER.warning(f"{self.msg}{': ' if self.msg else ''}{value}")
        return True


class Retry:
    """Calls a function again when it fails: `@Retry(times=3, delay=2)`.

    Args:
        times: maximum number of calls.
        delay: seconds before the second one; doubled each time.
    """

    def __init__(self, times: int = 3, delay: float = 2):
        self.times, self.delay = times, delay

    def __call__(self, func: Callable) -> Callable:
        @wraps(func)
        def again(*args, **kwargs):
            for attempt in range(1, self.times + 1):
                try:
                    return func(*args, **kwargs)
                except Exception as e:
                    LOGGER.warning(f"Attempt {attempt}/{self.times} failed: {e}")
                    if attempt == self.times:
                        raise
                    time.sleep(self.delay * 2 ** (attempt - 1))

        return again


class ThreadingLocked:
    """Lets one thread at a time into a function: `@ThreadingLocked()`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, f: Callable) -> Callable:
        @wraps(f)
        def locked(*args, **kwargs):
            with self.lock:
                return f(*args, **kwargs)

        return locked


def threaded(func: Callable) -> Callable:
    """Run a function in a thread of its own, and return that; `threaded=False` in the call runs it directly."""

    @wraps(func)
    def run(*args, **kwargs):
        if not kwargs.pop("threaded", True):
            return func(*args, **kwargs)
        thread = threading.Thread(target=func, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    return run


def emojis(string: str = "") -> str:
    """Return a text without emoji where the console cannot show them (Windows)."""
    return string.encode("ascii", "ignore").decode() if sys.platform == "win32" else string


def remove_colorstr(input_string: str) -> str:
    """Return a text without the colour codes of `colorstr`."""
    return ESCAPE.sub("", input_string)


def get_default_args(func: Callable) -> dict[str, object]:
    """Return the defaults of a function's parameters."""
    parameters = inspect.signature(func).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def yaml_print(yaml_file: str | Path | dict) -> None:
    """Log a YAML file or a mapping."""
    import yaml

    data = yaml_file if isinstance(yaml_file, dict) else yaml_load(yaml_file)
    LOGGER.info(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def deprecation_warn(arg: str, new_arg: str) -> None:
    """Log that a setting has a new name."""
    LOGGER.warning(f"'{arg}' is now called '{new_arg}'; please write '{new_arg}' in future.")


def clean_url(url: str) -> str:
    """Return a URL without its query."""
    return urllib.parse.unquote(str(url).replace(":\\", "://")).split("?")[0]


def url2file(url: str) -> str:
    """Return the file name at the end of a URL."""
    return clean_url(url).rpartition("/")[2]


def plt_settings(rcparams: dict | None = None, backend: str = "Agg") -> Callable:
    """Draw with other matplotlib settings and without a screen while a function runs: `@plt_settings()`."""

    def decorator(func: Callable) -> Callable:
        @wraps(func)
        def drawing(*args, **kwargs):
            import matplotlib
            from matplotlib import pyplot as plt

            before = matplotlib.get_backend()
            change = backend.lower() != before.lower()
            if change:
                plt.switch_backend(backend)
            try:
                with plt.rc_context(rcparams or {"font.size": 11}):
                    return func(*args, **kwargs)
            finally:
                if change:
                    plt.close("all")
                    plt.switch_backend(before)

        return drawing

    return decorator
