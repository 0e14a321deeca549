"""Training in several processes: launch them with torchrun, join them, and the few things they tell each other.

Either name several devices (`device=0,1`) and the processes are launched, or launch by hand:

    torchrun --nproc_per_node 2 -m ultralytics detect train model=yolo11n.yaml data=coco8.yaml device=cpu
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from ultralytics.cfg.tasks import load
from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.ghostnet import without_weight_files
from ultralytics.nn.tasks import attempt_load_one_weight, describe
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.torch_utils import parse_device, physical_cores, select_device, set_cpu_threads


def parse_ranks(device: Any) -> list[str]:
    """Return the devices that need a process each, or [] for a run in this process (one device, or under torchrun)."""
    if RANK != -1:
        return []
    text = "" if device is None else str(device).lower()
    parts = re.sub(r"cuda:|[\[\]()'\" ]", "", text).split(",")
    parts = [p for p in parts if p]
    return parts if len(parts) > 1 else []


def check_ranks(ranks: list[str]) -> torch.device:
    """Return the first of several devices; 'cpu' as often as there are to be processes is one way to name them.

    Raises:
        ConfigError: one of them is not there.
    """
    return select_device("cpu" if {*ranks} == {"cpu"} else ",".join(ranks), verbose=False)


def check_batch(batch: float, world: int) -> None:
    """Raise ConfigError unless a batch is as many whole pictures for each of several processes."""
    if world > 1 and (batch < 1 or batch % world):
        fits = max(int(batch) // world, 1) * world if batch >= 1 else 16 // world * world or world
        raise ConfigError(
            f"batch={batch} cannot be shared by {world} processes. Give a multiple of {world}, such as batch={fits}."
        )


def local_device(device: Any) -> torch.device | None:
    """Return the device of this process under torchrun: its own GPU, or the CPU; None outside torchrun.

    Raises:
        ConfigError: there are not enough GPUs, or those named are not there.
    """
    if RANK == -1:
        return None
    gpus = parse_device(device)
    if isinstance(gpus, str):
        if int(os.getenv("OMP_NUM_THREADS") or 1) == 1:  # torchrun's own choice, which leaves most cores idle
            set_cpu_threads(max(1, physical_cores() // WORLD_SIZE))
        return torch.device("cpu")
    gpus = gpus if len(gpus) > 1 else range(torch.cuda.device_count())
    if len(gpus) <= LOCAL_RANK:
        raise ConfigError(
            f"Process {LOCAL_RANK} has no GPU: there are {len(gpus)} for device={device!r}. Launch as many processes "
            "as GPUs, or set device=cpu."
        )
    torch.cuda.set_device(gpus[LOCAL_RANK])
    return torch.device("cuda", gpus[LOCAL_RANK])


def join(device: torch.device) -> None:
    """Under torchrun, meet the other processes: NCCL between GPUs, Gloo between CPUs."""
    if RANK == -1 or dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=3))  # the others wait while rank 0 validates
    LOGGER.info(f"Training in {WORLD_SIZE} processes ({backend}).")


def leave() -> None:
    """End the meeting, once no DistributedDataParallel is left."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # one that outlives the group ends it from its destructor, where Gloo's threads can wait for ever
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


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order; each has to ask for it."""
    if WORLD_SIZE <= 1:
        return [value]
    box: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(box, value)
    return box


def highest(value: int) -> int:
    """Return the highest of all ranks' values; each has to ask for it."""
    if WORLD_SIZE <= 1:
        return int(value)
    box = torch.tensor(int(value))
    dist.all_reduce(box, dist.ReduceOp.MAX, group=_small_group())
    return int(box)


@lru_cache(maxsize=1)
def _small_group() -> Any:
    """Return a group that meets without the GPUs, and neither waits for them nor holds them up."""
    return dist.new_group(backend="gloo")


def launch(trainer: Any) -> None:
    """Run a trainer with one process for each of its devices, through PyTorch's launcher; wait until all end.

    The trainer's class is found again by module and name, so it must stand in an importable file.

    Raises:
        UserError: the class stands in a script, or what a process said of a mistake in settings, data or model.
        RuntimeError: a process failed; its own message stands above.
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
        job.write_text(json.dumps({"trainer": f"{cls.__module__}:{cls.__qualname__}", "args": args}, default=str))
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}",
            "-m", "ultralytics.engine.distributed", str(job),
        ]  # fmt: skip
        LOGGER.info(f"Launching {count} processes on devices {', '.join(trainer.ranks)}.")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # finds the same modules
        code = subprocess.run(command, check=False, env=environment).returncode
        mistakes = [f.read_text(encoding="utf-8") for f in Path(folder).glob("mistake-*")]
    if mistakes:
        raise UserError(mistakes[0])
    if code:
        raise RuntimeError(f"Training in {count} processes failed with exit code {code}; see the message above.")


def main(job: str) -> int:
    """Train in one of the launched processes; return the exit code."""
    spec, weights = json.loads(Path(job).read_text()), Path(job).with_name("model.pt")
    args = spec["args"]
    try:
        trainer = load(spec["trainer"])(cfg={"save_dir": args["save_dir"]}, overrides=args)
        if weights.exists():
            model, ckpt = attempt_load_one_weight(weights)
            with without_weight_files():
                trainer.model = trainer.get_model(cfg=ckpt["yaml"], weights=model, verbose=False)
        trainer.train()
    except UserError as e:
        Path(job).with_name(f"mistake-{RANK}").write_text(str(e), encoding="utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
