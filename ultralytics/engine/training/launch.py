"""Training in several processes of this machine: PyTorch's elastic agent starts them, and ends all when one fails."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from torch.distributed.elastic.agent.server import WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.api import RunResult
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, LogsDest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure, record
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from ultralytics.cfg.tasks import load
from ultralytics.engine.training.interrupt import SIGNALS, Interrupts
from ultralytics.engine.training.resume import resume_command
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.tasks import attempt_load_one_weight, describe
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, RunError, UserError
from ultralytics.utils.system.console import guarded
from ultralytics.utils.system.processes import end_with_parent

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

SCRIPTS = "yolo-ddp-"  # how the folders of `write_script` are called
MISTAKE = 2  # exit code of a rank whose error is a sentence for the user
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit codes of a rank that a signal ended in good order
TOGETHER = 5  # seconds within which ranks fail for the same cause; one that hangs is ended by the agent later


def launch(trainer: BaseTrainer) -> None:
    """Run a trainer with one process for each of its devices; wait until all end.

    The trainer's class is found again by module and name, so it must stand in an importable file. SIGINT and SIGTERM
    are passed on, so that the processes finish their batch and keep its state; a second one ends all at once.

    Raises:
        UserError: the class stands in a script, or what a process said of a mistake in settings, data or model.
        RunError: a process failed; its own message stands above.
        SystemExit: after a signal, with 128 and its number.
    """
    count = len(trainer.ranks)
    if type(trainer).__module__ == "__main__":
        raise ConfigError(
            f"{type(trainer).__name__} is defined in the script itself, where other processes cannot find it. Put it "
            f"into a file of its own and import it, or launch the script: torchrun --nproc_per_node {count} SCRIPT.py"
        )
    if any(trainer.callbacks.values()):
        LOGGER.warning("Callbacks added in this process do not run in the processes that are launched.")
    with tempfile.TemporaryDirectory() as folder:
        job = _write_job(trainer, Path(folder))
        LOGGER.info(f"Launching {count} processes on devices {', '.join(trainer.ranks)}.")
        with Interrupts() as interrupts, _agent_silenced():
            failures = _run([sys.executable, "-m", __name__, str(job), str(os.getpid())], count, folder, interrupts)
    if interrupts.received or failures:
        _raise(failures, interrupts.received, trainer.last, count)


def _write_job(trainer: BaseTrainer, folder: Path) -> Path:
    """Write what the ranks need of a trainer: its class, its settings and, if it is in memory, its model."""
    args = {**vars(trainer.args), "device": "cpu" if "cpu" in trainer.ranks else ",".join(trainer.ranks)}
    if getattr(trainer.model, "yaml", {}).get("modules") and not args["trust_modules"]:
        args["trust_modules"] = True  # it runs in this process, so it was trusted here
    if isinstance(trainer.model, nn.Module):  # as it is in memory, with what was loaded into it
        save_checkpoint(folder / "model.pt", {**describe(trainer.learner.network), "args": {}})
    cls, job = type(trainer), folder / "job.json"
    spec = {"trainer": f"{cls.__module__}:{cls.__qualname__}", "args": args}
    job.write_text(json.dumps(spec, default=str), encoding="utf-8")
    return job


def write_script(trainer: BaseTrainer) -> Path:
    """Write a script that trains as one of the processes of `torchrun`, into a new folder, and return its path."""
    folder = Path(tempfile.mkdtemp(prefix=SCRIPTS))
    job, script = _write_job(trainer, folder), folder / "train.py"
    script.write_text(f"from {__name__} import main\n\nraise SystemExit(main({str(job)!r}))\n", encoding="utf-8")
    return script


# The agent ------------------------------------------------------------------------------------------------------------


def _run(command: list[str], count: int, folder: str, interrupts: Interrupts) -> dict[int, ProcessFailure]:
    """Run a command in several processes, as `torchrun --standalone` does; return those that failed, by rank."""
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # finds the same modules
    environment["OMP_NUM_THREADS"] = os.getenv("OMP_NUM_THREADS", "1")  # a CPU's threads are shared out later
    if sys.platform.startswith("linux"):
        environment["GLOO_SOCKET_IFNAME"] = os.getenv("GLOO_SOCKET_IFNAME", "lo")  # not what the host's name stands for
    where = RendezvousParameters("c10d", "127.0.0.1:0", str(uuid.uuid4()), 1, 1, local_addr="127.0.0.1")
    spec = WorkerSpec(
        role="train", local_world_size=count, entrypoint=command[0], args=tuple(command[1:]), max_restarts=0,
        monitor_interval=0.1, rdzv_handler=get_rendezvous_handler(where), local_addr="127.0.0.1",
    )  # fmt: skip
    try:
        return _Agent(spec, _Reports(folder, environment), interrupts).run().failures
    finally:
        spec.rdzv_handler.shutdown()


class _Reports(DefaultLogsSpecs):
    """Where the ranks write their errors, and their environment variables besides those of the agent."""

    def __init__(self, folder: str, environment: dict[str, str]):
        super().__init__(log_dir=folder)
        self._environment = environment

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        for env in envs.values():
            env.update(self._environment)
        return super().reify(envs)


class _Agent(LocalElasticAgent):
    """PyTorch's agent, except that the first signal is passed on to the ranks, which have their time to end."""

    def __init__(self, spec: WorkerSpec, logs_specs: DefaultLogsSpecs, interrupts: Interrupts):
        super().__init__(spec, logs_specs)
        self._interrupts, self._passed_on = interrupts, False

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, object]:
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        try:
            return super()._start_workers(worker_group)
        finally:  # torch's own handlers would give the ranks half a minute, and end a run under nohup with its terminal
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) != handler:
                    signal.signal(number, handler)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        if self._interrupts.received and not self._passed_on:
            self._passed_on = True
            for worker in worker_group.workers:
                with suppress(ProcessLookupError):
                    os.kill(worker.id, signal.SIGTERM)
        return super()._monitor_workers(worker_group)


@contextmanager
def _agent_silenced() -> Iterator[None]:
    """Drop the agent's log lines in this block, since one message tells the user the same."""
    log, nowhere = logging.getLogger("torch.distributed.elastic"), logging.NullHandler()
    log.addHandler(nowhere)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        log.removeHandler(nowhere)


# The end --------------------------------------------------------------------------------------------------------------


def _raise(failures: dict[int, ProcessFailure], received: int, last: Path, count: int) -> None:
    """Raise the error that the exits of the ranks amount to, with how to resume from the state `last`."""
    how_to_go_on = f" Go on from the last state with\n\n  {resume_command(last)}\n" if last.exists() else ""
    in_order = next((f.exitcode for f in failures.values() if f.exitcode in INTERRUPTED), None)
    if received or in_order:
        if in_order is None:
            said = "The signal came before or after the batches of training, so no state of this moment is kept."
            LOGGER.info(f"{said}{how_to_go_on}")
        raise SystemExit(128 + received if received else in_order)
    rank, first = _first(failures)
    if first.exitcode == MISTAKE and isinstance(first.message, dict):
        kind, _, sentence = first.message["message"].partition(": ")
        raise UserError(f"{sentence}{how_to_go_on if kind == RunError.__name__ else ''}")
    if first.exitcode > 0:
        how = f" with exit code {first.exitcode}, that of rank {rank}; see its message above."
    else:
        memory = ", as a system does that is short of memory" if first.exitcode == -signal.SIGKILL else ""
        how = f": rank {rank} was ended by {first.signal_name()}{memory}."
    raise RunError(f"Training in {count} processes failed{how}{how_to_go_on}")


def _first(failures: dict[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """Return the rank that failed first: one that a signal ended, or else one that wrote its error."""
    until = min(f.timestamp for f in failures.values()) + TOGETHER

    def order(rank: int) -> tuple[bool, bool, bool, int]:
        f = failures[rank]
        by_signal = f.exitcode < 0 and f.exitcode != -signal.SIGTERM  # the agent sends that to all that are left
        return f.timestamp > until, not by_signal, not isinstance(f.message, dict), rank

    rank = min(failures, key=order)
    return rank, failures[rank]


# A rank ---------------------------------------------------------------------------------------------------------------


@record  # errors are written down for the agent
def _train(job: Path) -> None:
    spec, weights = json.loads(job.read_text(encoding="utf-8")), job.with_name("model.pt")
    args = spec["args"]
    trainer = load(spec["trainer"])(cfg={"save_dir": args["save_dir"]}, overrides=args)
    if weights.exists():
        model, ckpt = attempt_load_one_weight(weights)
        trainer.model = trainer.get_model(cfg=ckpt["yaml"], weights=model, verbose=False)
    trainer.train()


@guarded()
def main(job: str, parent: str = "") -> int:
    """Train in one of the launched processes, which ends with its parent if one is named; return the exit code."""
    if parent:
        end_with_parent(int(parent))
    try:
        _train(Path(job))
    except UserError:  # which the launcher says
        return MISTAKE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
