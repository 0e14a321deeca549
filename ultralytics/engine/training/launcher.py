"""Training in several processes of this machine: start them, pass signals on, and end all when one fails."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import distributed as dist
from torch import nn

from ultralytics.cfg.tasks import load
from ultralytics.engine.training.interrupt import SIGNALS, Interrupts
from ultralytics.engine.training.resume import resume_command
from ultralytics.engine.training.watchdog import first_failed
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.tasks import attempt_load_one_weight, describe
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.errors import ConfigError, RunError, UserError
from ultralytics.utils.system.console import guarded
from ultralytics.utils.system.processes import end_with_parent

INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit codes of a process that a signal ended in good order
IN_ORDER = (None, 0, *INTERRUPTED)  # a process that runs has None
PATIENCE = 3.0  # seconds in which the others may end by themselves, with words of their own, after one has failed


def launch(trainer: Any) -> None:
    """Run a trainer with one process for each of its devices; wait until all end.

    The trainer's class is found again by module and name, so it must stand in an importable file. SIGINT and SIGTERM
    are passed on, so that the processes finish their batch and keep its state; a second one ends all at once.

    Raises:
        UserError: the class stands in a script, or what a process said of a mistake in settings, data or model.
        RunError: a process failed; its own message stands above.
        SystemExit: after a signal, with 128 and its number.
    """
    cls, count = type(trainer), len(trainer.ranks)
    if cls.__module__ == "__main__":
        raise ConfigError(
            f"{cls.__name__} is defined in the script itself, where other processes cannot find it. Put it into a file "
            f"of its own and import it, or launch the script: torchrun --nproc_per_node {count} SCRIPT.py"
        )
    if any(trainer.callbacks.values()):
        LOGGER.warning("Callbacks added in this process do not run in the processes that are launched.")
    args = {**vars(trainer.args), "device": "cpu" if "cpu" in trainer.ranks else ",".join(trainer.ranks)}
    if getattr(trainer.model, "yaml", {}).get("modules") and not args["trust_modules"]:
        args["trust_modules"] = True  # it runs in this process, so it was trusted here
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.pt"
        if isinstance(trainer.model, nn.Module):  # as it is in memory, with what was loaded into it
            save_checkpoint(weights, {**describe(trainer.model), "args": {}})
        job = Path(folder) / "job.json"
        job.write_text(
            json.dumps({"trainer": f"{cls.__module__}:{cls.__qualname__}", "args": args}, default=str), encoding="utf-8"
        )
        LOGGER.info(f"Launching {count} processes on devices {', '.join(trainer.ranks)}.")
        with Interrupts() as interrupts:
            codes, failed = _run([sys.executable, "-m", __name__, str(job), str(os.getpid())], count, interrupts)
        mistakes = [f.read_text(encoding="utf-8") for f in sorted(Path(folder).glob("mistake-*"))]
    if interrupts.received or (failed is None and any(codes)):
        if any(code not in INTERRUPTED for code in codes):
            said = "The signal came before or after the batches of training, so no state of this moment is kept."
            LOGGER.info(f"{said}{_how_to_go_on(trainer.last)}")
        raise SystemExit(128 + interrupts.received if interrupts.received else codes[0])
    if mistakes:
        raise UserError(mistakes[0])
    if failed is not None:
        raise RunError(f"Training in {count} processes failed{_report(*failed)}{_how_to_go_on(trainer.last)}")


def _run(command: list[str], count: int, interrupts: Interrupts) -> tuple[list[int], tuple[int, int] | None]:
    """Run a command in several processes.

    Returns:
        Their exit codes, or minus the signals that ended them.
        The rank that failed first and its exit code, or None.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # where they meet
    together = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # finds the same modules
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
    }  # fmt: skip
    together.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; a CPU's threads are shared out later
    if sys.platform.startswith("linux"):
        together.setdefault("GLOO_SOCKET_IFNAME", "lo")  # not whatever the machine's name stands for
    processes: list[subprocess.Popen] = []
    try:
        with _sigint_held_back():
            for rank in range(count):
                environment = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(subprocess.Popen(command, env=environment))
        failed = _wait(processes, interrupts)
        if failed and failed[1] > 0:  # it may have followed another, which has said so, but is slower to end
            rank = first_failed(store, failed[0])
            failed = rank, processes[rank].poll() or 1
    finally:
        for process in processes:
            process.kill()
    return [process.wait() for process in processes], failed


def _wait(processes: list[subprocess.Popen], interrupts: Interrupts) -> tuple[int, int] | None:
    """Pass a signal on, and wait until all processes end, or one failed and the others had time to.

    Returns:
        The rank that failed and its exit code, or None. Of several it is one that a signal ended: others notice that.
    """
    until, passed_on = math.inf, False
    while any(process.poll() is None for process in processes) and time.monotonic() < until:
        if interrupts.received and not passed_on:
            passed_on = True
            for process in processes:
                process.terminate()
        if until == math.inf and any(process.poll() not in IN_ORDER for process in processes):
            until = time.monotonic() + PATIENCE
        time.sleep(0.1)
    failed = [(rank, process.returncode) for rank, process in enumerate(processes)]
    failed = [(rank, code) for rank, code in failed if code not in IN_ORDER]
    return min(failed, key=lambda pair: (pair[1] > 0, pair[0]), default=None)


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Start processes that never see Ctrl-C: their launcher does, and passes it on once, in the way they can bear."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _report(rank: int, code: int) -> str:
    """Return which process failed, and how."""
    if code > 0:
        return f" with exit code {code}, that of rank {rank}; see its message above."
    memory = ", as a system does that is short of memory" if code == -signal.SIGKILL else ""
    return f": rank {rank} was ended by {signal.Signals(-code).name}{memory}."


def _how_to_go_on(last: Path) -> str:
    return f" Go on from the last state with\n\n  {resume_command(last)}\n" if last.exists() else ""


@guarded()
def main(job: str, parent: str) -> int:
    """Train in one of the launched processes; return the exit code."""
    end_with_parent(int(parent))
    spec, weights = json.loads(Path(job).read_text()), Path(job).with_name("model.pt")
    args = spec["args"]
    try:
        trainer = load(spec["trainer"])(cfg={"save_dir": args["save_dir"]}, overrides=args)
        if weights.exists():
            model, ckpt = attempt_load_one_weight(weights)
            trainer.model = trainer.get_model(cfg=ckpt["yaml"], weights=model, verbose=False)
        trainer.train()
    except UserError as e:
        Path(job).with_name(f"mistake-{RANK}").write_text(str(e), encoding="utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
