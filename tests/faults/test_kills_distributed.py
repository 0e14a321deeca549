"""A training in two processes that is killed, or loses one of them, goes on later and ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import killing
import pytest
from killing import KILLED, fork, wait
from processes import await_end, children, is_alive
from test_kills import assert_same_end
from test_two_nodes import free_port

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked, and found in /proc")


@pytest.fixture
def whole(two_processes: dict, log: Path, work_dir: Path) -> tuple[dict, str, float]:
    """The run that nothing disturbs: its final weights and its results.csv."""
    killing.finish({**two_processes, "name": "whole"}, log)
    run = work_dir / "runs/whole"
    return killing.final_state(run), (run / "results.csv").read_text(), 0.0


def await_saves(run: Path, count: int, process: int) -> bool:
    """Wait until last.pt has been written so many times more; return False if the run ends before."""
    last, seen = run / "weights/last.pt", None
    while count and is_alive(process):
        now = last.stat().st_ino if last.exists() else None
        count -= now not in {None, seen}
        seen = now
        time.sleep(0.001)
    return is_alive(process)


def strike(settings: dict, saves: int, seconds: float, victim: str, log: Path) -> bool:
    """Start the command and kill the launcher or a rank some time after a save; return whether it was still running."""
    launcher_process = fork(lambda: killing.train(settings), log)
    struck = await_saves(Path(settings["project"]) / settings["name"], saves, launcher_process)
    ranks = children(launcher_process) if struck else []
    if len(ranks) == 2:
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # the run may have come to its end meanwhile
            os.kill({"launcher": launcher_process, "rank 0": ranks[0], "rank 1": ranks[1]}[victim], signal.SIGKILL)
    code = wait(launcher_process)
    await_end(ranks)
    assert code in {0, KILLED if victim == "launcher" else 1}, log.read_text()[-3000:]
    return code != 0


def killed_at_random(settings: dict, whole: tuple, times: int, seed: int, log: Path) -> int:
    """Kill a run at random moments and go on with it, again and again until its end; return how often that was."""
    draw, kills, run = random.Random(seed), 0, Path(settings["project"]) / settings["name"]
    while kills < times:
        for _ in range(3):
            if kills < times and not killing.is_finished(run):
                victim = draw.choice(["launcher", "rank 0", "rank 1"])
                kills += strike(settings, draw.randrange(1, 8), draw.uniform(0, 0.2), victim, log)
        killing.finish(settings, log)
        assert_same_end(run, whole)
        run.rename(run.with_name(f"done-{kills}"))
    return kills


@pytest.mark.slow
def test_killed_at_a_random_moment(two_processes, whole, log):
    assert killed_at_random(two_processes, whole, 1, 0, log) == 1


@pytest.mark.slow
def test_killed_at_five_random_moments(two_processes, whole, log):
    assert killed_at_random(two_processes, whole, 5, 1, log) == 5


@pytest.mark.slow
def test_a_restart_by_torchrun_is_exact(two_processes, whole, log):
    """A rank is killed in mid-training; the agent starts all anew, and `resume=auto` goes on from the last state."""
    words = [f"{k}={v}" for k, v in {**two_processes, "device": "cpu", "resume": "auto"}.items()]
    where = f"--master_port={free_port()}"  # PyTorch 2.3 starts nothing again with --standalone
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--max-restarts=1", where]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with log.open("a") as file:
        command = [*torchrun, "-m", "ultralytics", "detect", "train", *words]
        agent = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        run = Path(two_processes["project"]) / two_processes["name"]
        assert await_saves(run, 4, agent.pid), log.read_text()
        ranks = children(agent.pid)
        os.kill(ranks[1], signal.SIGKILL)
        assert agent.wait() == 0, log.read_text()[-5000:]
    assert "Resuming" in log.read_text()
    assert_same_end(run, whole)
    assert {f.name for f in run.parent.iterdir()} == {"whole", "killed"}
