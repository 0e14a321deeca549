"""Threads: as many as cores are free, short spinning beside other programs, and choices that stand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ultralytics.utils.system import threads
from ultralytics.utils.system.threads import CpuThreads, Reading, read_cores


class Machine:
    """A machine of `cores` cores whose other programs use what `others` says, look by look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int):
        self.cores, self.others, self.at, self.idle, self.looks = cores, [0.0], 0.0, 0.0, 0
        self.threads = cores
        for name in (*threads.USERS, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(threads, "_allowed", lambda: frozenset(range(cores)))
        monkeypatch.setattr(threads, "_whole_cores", lambda allowed: cores)
        monkeypatch.setattr(threads, "_quota", lambda: float("inf"))
        monkeypatch.setattr(threads, "read_cores", self.read)
        monkeypatch.setattr(threads.time, "sleep", self.wait)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.at)
        monkeypatch.setattr(threads.torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(threads.torch, "set_num_threads", lambda n: setattr(self, "threads", n))
        self.crowds: list[bool] = []
        monkeypatch.setattr(threads.Crowd, "gather", lambda _, wanted: self.crowds.append(wanted))

    def wait(self, seconds: float) -> None:
        busy = self.others.pop(0) if len(self.others) > 1 else self.others[0]
        self.at += seconds
        self.idle += (self.cores - busy) * seconds
        self.looks += 1

    def read(self) -> Reading:
        return Reading(self.at, self.idle, 0.0)


@pytest.mark.parametrize(
    "cores, others, wanted", [(2, 0, 2), (2, 0.2, 2), (2, 1, 1), (2, 2, 1), (16, 3.1, 13), (16, 16, 1)]
)
def test_as_many_threads_as_cores_are_free(monkeypatch, cores, others, wanted):
    machine, chosen = Machine(monkeypatch, cores), CpuThreads()
    machine.others = [others]
    assert chosen.choose() == machine.threads == wanted
    assert chosen.why == ("" if wanted == cores else f", since other programs use {others:.1f} of {cores} cores")
    assert machine.crowds[-1] == (others > threads.CROWDED)


def test_a_moment_of_work_elsewhere_is_no_load(monkeypatch):
    machine, chosen = Machine(monkeypatch, 2), CpuThreads()
    machine.others = [2.0, 1.0, 0.0]
    assert chosen.choose() == 2
    assert machine.looks == 3


def test_an_idle_machine_is_looked_at_once(monkeypatch):
    machine, chosen = Machine(monkeypatch, 2), CpuThreads()
    assert chosen.choose() == 2
    assert machine.looks == 1
    machine.wait(threads.LOOK * 2)
    assert chosen.choose() == 2
    assert machine.looks == 2  # the wait of this test; what has passed since the last look tells enough


def test_following_the_load(monkeypatch):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    chosen.choose()
    machine.others = [3.0]
    machine.wait(threads.PAUSE / 2)
    chosen.follow()
    assert machine.threads == 4  # too early to look again
    machine.wait(threads.PAUSE)
    chosen.follow(count=False)
    assert machine.threads == 4
    assert machine.crowds[-1]  # the number stays, the spinning does not
    chosen.follow()
    assert machine.threads == 1
    machine.others = [0.0]
    machine.wait(threads.PAUSE * 2)
    chosen.follow()
    assert machine.threads == 4
    assert not machine.crowds[-1]


@pytest.mark.parametrize("name", threads.USERS)
def test_a_users_setting_stands(monkeypatch, name):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    monkeypatch.setenv(name, "4")
    machine.others = [3.0]
    assert chosen.choose() == 4
    assert chosen.why == f", by {name}"


def test_a_number_set_by_the_program_stands(monkeypatch):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    machine.threads = 3  # no default of such a machine
    assert chosen.choose() == 3
    machine.threads = 4
    assert chosen.choose() == 4
    machine.threads = 2  # set between two looks
    machine.others = [3.0]
    machine.wait(threads.PAUSE * 2)
    chosen.follow()
    assert machine.threads == 2


def test_users_spinning_stands(monkeypatch):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    machine.others = [2.0]
    chosen.choose()
    assert not any(machine.crowds)


def test_the_first_number_comes_back(monkeypatch):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    machine.others = [3.0]
    with chosen.kept():
        assert chosen.choose() == 1
    assert machine.threads == 4
    with chosen.kept():
        machine.threads = 3  # by a callback, say
    assert machine.threads == 3


def test_a_system_that_does_not_tell(monkeypatch):
    machine, chosen = Machine(monkeypatch, 4), CpuThreads()
    monkeypatch.setattr(threads, "read_cores", lambda: None)
    assert chosen.choose() == 4
    assert machine.looks == 0
    chosen.follow()


def test_what_the_kernel_tells(tmp_path, monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(threads, "_allowed", lambda: frozenset({0, 2}))
    stat = tmp_path / "stat"
    stat.write_text(
        f"cpu  9 9 9 {99 * tick} 9 9 9\ncpu0 1 2 3 {5 * tick} {tick} 0 0\ncpu1 1 2 3 {50 * tick} 7 0 0\n"
        f"cpu2 1 2 3 {2 * tick} 0 0 0\nintr 5 6\n"
    )
    assert read_cores(stat).idle == 8.0  # cores 0 and 2 alone, their waits for disks too
    assert Reading(10.0, 5.0, 1.0).others_since(Reading(8.0, 3.0, 0.0)) == 0.5
    monkeypatch.undo()
    assert read_cores().idle > 0


SPINNING = """
import sys, threading, time
{imports}
from ultralytics.utils.system.threads import Crowd
torch.set_num_threads(2)
x, crowd = torch.ones(1 << 18), Crowd()
def cost():
    start = time.process_time()
    for _ in range(10):
        x.add_(1)
        time.sleep(0.03)
    return time.process_time() - start
cost()
long = cost()
crowd.gather(True)
cost()
short = cost()
crowd.gather(False)
assert threading.active_count() == 1
again = cost()
print(long, short, again)
"""


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs libgomp and two cores")
@pytest.mark.parametrize(
    "imports", ["import torch, ultralytics", pytest.param("import ultralytics, torch", marks=pytest.mark.slow)]
)
def test_a_crowd_cuts_the_spinning_short(imports):
    """Whichever is imported first: libgomp has read its environment when the crowd gathers."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_"))}
    code = SPINNING.format(imports=imports)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    long, short, again = map(float, run.stdout.split())
    assert short < long / 2
    assert short < again / 2
