"""Training in several processes by `torchrun`, under the names of 8.3.0.

`device=0,1` launches the processes by itself (`engine.training.launch`); these functions are for those who run the
command themselves.
"""

from __future__ import annotations

import importlib
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

_LAUNCH = "ultralytics.engine.training.launch"


def find_free_network_port() -> int:
    """Return a port of this machine that no program listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def generate_ddp_file(trainer: BaseTrainer) -> str:
    """Write a script that trains as one process of several, into a new folder, and return its path."""
    return str(importlib.import_module(_LAUNCH).write_script(trainer))


def generate_ddp_command(world_size: int, trainer: BaseTrainer) -> tuple[list[str], str]:
    """Return the command that trains in `world_size` processes of this machine, and the script that it runs.

    The trainer has to name as many devices: device=0,1 or, on a CPU, device=cpu,cpu.
    """
    file, port = generate_ddp_file(trainer), find_free_network_port()
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    return [*launcher, "--nproc_per_node", f"{world_size}", "--master_port", f"{port}", file], file


def ddp_cleanup(trainer: BaseTrainer, file: str) -> None:
    """Remove the script that `generate_ddp_file` wrote, with its folder."""
    folder = Path(file).parent
    if folder.name.startswith(importlib.import_module(_LAUNCH).SCRIPTS):
        shutil.rmtree(folder, ignore_errors=True)
