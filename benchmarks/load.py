"""Run a command beside busy processes, as on a machine in use: `python benchmarks/load.py 2 -- COMMAND ...`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

# ends by itself when the program that started it is gone
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many processes busy during this block, each with one thread that never waits."""
    busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    number, dashes, command = sys.argv[1:2], sys.argv[2:3], sys.argv[3:]
    if not command or dashes != ["--"] or not number[0].isdigit():
        sys.exit(__doc__)
    with load(int(number[0])):
        sys.exit(subprocess.run(command).returncode)
