"""Running cells: each in a process of its own, one at a time on each device; failures do not stop the others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO

from ultralytics.cfg.tasks import TASKS
from ultralytics.lab.compare.cell import Cell
from ultralytics.utils import LOGGER, ROOT
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.system.threads import physical_cores

COMMAND = (sys.executable, "-m", "ultralytics.lab.compare.work")
POLL = 0.2  # seconds between two checks of the processes
GRACE = 10.0  # seconds in which a cell may end by itself
REPORT = 30.0  # seconds between two lines on the progress of a cell


@dataclass
class Running:
    """A cell whose process is running."""

    cell: Cell
    device: str | None
    process: subprocess.Popen
    log: IO[bytes]
    start: float = field(default_factory=time.monotonic)
    reported: float = field(default_factory=time.monotonic)
    epochs: int = 0

    def report(self) -> None:
        """Log the progress of the training at intervals."""
        if time.monotonic() - self.reported < REPORT:
            return
        self.reported = time.monotonic()
        with suppress(OSError):
            done = (self.cell.run / "results.csv").read_text(encoding="utf-8").count("\n") - 1
            if done > self.epochs:
                self.epochs = done
                LOGGER.info(f"  {self.cell.name}: epoch {done} done")

    def end(self) -> None:
        """End the process, which watches its input and exits when that is closed."""
        if self.process.stdin:
            with suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def device_list(device: object) -> list[str | None]:
    """Return the devices that cells are spread over: `0,1` two GPUs, `cpu,cpu` two cells at once on the CPU."""
    if device is None or device == "":
        return [None]
    parts = device if isinstance(device, (list, tuple)) else str(device).strip("[]()").split(",")
    devices = [str(part).strip().removeprefix("cuda:") for part in parts if str(part).strip()]
    wrong = next((d for d in devices if not (d.isdigit() or d in {"cpu", "mps"})), None)
    if wrong or not devices:
        raise ConfigError(f"device={device!r} is not possible. Write cpu, mps, 0, or several such as 0,1 or cpu,cpu.")
    return [*devices]


def run_cells(cells: Sequence[Cell], devices: Sequence[str | None]) -> None:
    """Run all cells that have no result yet.

    A cell that failed in an earlier call is tried again. When this process is interrupted or killed, those that it
    started end too, and the next call goes on from their last.pt.
    """
    waiting = deque((i, cell) for i, cell in enumerate(cells, 1) if cell.result is None)
    if done := len(cells) - len(waiting):
        LOGGER.info(f"{done} of {len(cells)} cells are finished and not repeated.")
    free = list(devices)
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and free:
                (i, cell), device = waiting.popleft(), free.pop(0)
                where = f" on {device}" if device else ""
                LOGGER.info(f"[{i}/{len(cells)}] {cell.name}{where}; its log is '{cell.folder / 'log.txt'}'")
                running.append(start(cell, device, devices))
            time.sleep(POLL)
            for item in [item for item in running if item.process.poll() is not None]:
                running.remove(item)
                free.append(item.device)
                finish(item)
            for item in running:
                item.report()
    finally:
        for item in running:
            item.end()


def start(cell: Cell, device: str | None, devices: Sequence[str | None]) -> Running:
    """Start the process of a cell."""
    (cell.folder / "error.json").unlink(missing_ok=True)
    job = replace(cell, device=device).write_job()
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}  # its log is a file
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT.parent), *filter(None, sys.path)])  # finds the same modules
    if (beside := Counter(devices)["cpu"]) > 1:  # they share the cores instead of fighting for them
        environment.setdefault("OMP_NUM_THREADS", str(max(1, physical_cores() // beside)))
    log = open(cell.folder / "log.txt", "ab")  # noqa: SIM115 - closed when the process has ended
    process = subprocess.Popen(
        [*COMMAND, str(job)],
        stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
    )  # fmt: skip
    return Running(cell, device, process, log)


def finish(item: Running) -> None:
    """Log how a cell ended, and record an error if it has no result."""
    item.end()
    cell, code, minutes = item.cell, item.process.returncode, (time.monotonic() - item.start) / 60
    if result := cell.result:
        metric = TASKS[cell.task].metric
        LOGGER.info(f"  {cell.name}: {metric} {result['metrics'].get(metric, 0.0):.4f} after {minutes:.1f} minutes")
        return
    if not cell.error:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        cell.fail(f"Its process {how}; see '{cell.folder / 'log.txt'}'.")
    LOGGER.warning(f"  {cell.name} failed: {cell.error}")
