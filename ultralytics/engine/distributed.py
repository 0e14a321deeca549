"""Training in several processes: launch them with torchrun, join them, and the few things they tell each other.

Either name several devices (`device=0,1`) and the processes are launched, or launch by hand:

    torchrun --nproc_per_node 2 -m ultralytics detect train model=yolo11n.yaml data=coco8.yaml device=cpu
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from ultralytics.cfg.tasks import load
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import select_device


def parse_ranks(device: Any) -> list[str]:
    """Return the devices that need a process each, or [] for a run in this process (one device, or under torchrun)."""
    if RANK != -1:
        return []
    parts = device if isinstance(device, (list, tuple)) else str(device or "").replace("cuda:", "").split(",")
    parts = [str(p).strip() for p in parts if str(p).strip()]
    return parts if len(parts) > 1 else []


def local_device(device: Any) -> torch.device | None:
    """Return the device of this process under torchrun: its own GPU, or the CPU; None outside torchrun."""
    if RANK == -1:
        return None
    if str(device) == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(max(1, torch.get_num_threads() // WORLD_SIZE) if WORLD_SIZE > 1 else torch.get_num_threads())
        return torch.device("cpu")
    torch.cuda.set_device(LOCAL_RANK)
    return torch.device("cuda", LOCAL_RANK)


def join(device: torch.device) -> None:
    """Under torchrun, meet the other processes: NCCL between GPUs, Gloo between CPUs."""
    if RANK == -1 or dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    LOGGER.info(f"Training in {WORLD_SIZE} processes ({backend}).")


def leave() -> None:
    """End the meeting."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def mean(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of `x` over all processes."""
    if WORLD_SIZE > 1:
        x = x.clone()
        dist.all_reduce(x)
        x = x / WORLD_SIZE
    return x


def broadcast(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    if WORLD_SIZE > 1:
        box = [value if RANK == 0 else None]
        dist.broadcast_object_list(box, 0)
        value = box[0]
    return value


def launch(trainer: Any) -> None:
    """Run a trainer with one process for each of its devices, through PyTorch's launcher; wait until all end.

    The trainer's class is found again by module and name, so it must stand in an importable file.

    Raises:
        ConfigError: the class stands in a script, or the devices are not there.
        RuntimeError: a process failed; its own message stands above.
    """
    cls = type(trainer)
    if cls.__module__ == "__main__":
        raise ConfigError(
            f"{cls.__name__} is defined in the script itself, where other processes cannot find it. Put it into a file of its "
            f"own and import it, or launch the script: torchrun --nproc_per_node {len(trainer.ranks)} SCRIPT.py"
        )
    if any(r != "cpu" for r in trainer.ranks):
        select_device(",".join(trainer.ranks), verbose=False)
    if trainer.args.batch % len(trainer.ranks):
        raise ConfigError(
            f"batch={trainer.args.batch} cannot be shared by {len(trainer.ranks)} devices. Give a multiple of {len(trainer.ranks)}."
        )
    args = {**vars(trainer.args), "device": "cpu" if "cpu" in trainer.ranks else ",".join(trainer.ranks)}
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"trainer": f"{cls.__module__}:{cls.__qualname__}", "overrides": args}, default=str))
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={len(trainer.ranks)}",
            "-m", "ultralytics.engine.distributed", str(job),
        ]  # fmt: skip
        LOGGER.info(f"Launching {len(trainer.ranks)} processes on devices {', '.join(trainer.ranks)}.")
        code = subprocess.run(command, check=False).returncode
    if code:
        raise RuntimeError(f"Training in {len(trainer.ranks)} processes failed with exit code {code}; see the message above.")


def main(job: str) -> None:
    """Train in one of the launched processes."""
    spec = json.loads(Path(job).read_text())
    load(spec["trainer"])(overrides=spec["overrides"]).train()


if __name__ == "__main__":
    main(sys.argv[1])
