"""Two machines train together: here two launches of torchrun, each with an address of its own on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import killing
import pytest
from processes import await_end, children
from test_kills import assert_same_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there is all of 127.* loopback"),
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_nodes(settings: dict, log: Path) -> list[subprocess.Popen]:
    """Start the same command on both nodes."""
    words = [f"{k}={v}" for k, v in {**settings, "device": "cpu", "resume": "auto"}.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    port = free_port()
    with log.open("a") as file:
        return [
            subprocess.Popen(
                [
                    sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={node}",
                    "--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={port}",
                    f"--local_addr=127.0.0.{node + 1}", "-m", "ultralytics", "detect", "train", *words,
                ],
                env=environment, stdout=file, stderr=file, start_new_session=True,
            )
            for node in range(2)
        ]  # fmt: skip


def test_two_nodes_train_as_two_processes_and_resume(two_processes, log):
    """A whole node is killed; the other ends; the same commands go on, to the bits of an undisturbed run."""
    killing.finish({**two_processes, "name": "whole"}, log)
    runs = Path(two_processes["project"])
    whole = killing.final_state(runs / "whole"), (runs / "whole/results.csv").read_text(), 0.0

    nodes = start_nodes(two_processes, log)
    last = runs / "killed/weights/previous.pt"
    while not last.exists() and all(n.poll() is None for n in nodes):
        time.sleep(0.1)
    ranks = [rank for node in nodes for rank in children(node.pid)]
    assert len(ranks) == 2, log.read_text()
    os.kill(nodes[1].pid, signal.SIGKILL)
    await_end(ranks)
    assert nodes[0].wait() != 0 and nodes[1].wait() == killing.KILLED

    assert [n.wait() for n in start_nodes(two_processes, log)] == [0, 0], log.read_text()[-5000:]
    assert_same_end(runs / "killed", whole)
    assert {f.name for f in runs.iterdir()} == {"whole", "killed"}
