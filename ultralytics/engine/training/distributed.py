"""Training in several processes: launch them with torchrun, join them, and the few things they tell each other.

Either name several devices (`device=0,1`) and the processes are launched, or launch by hand:

    torchrun --nproc_per_node 2 -m ultralytics detect train model=yolo11n.yaml data=coco8.yaml device=cpu
"""

from __future__ import annotations

import faulthandler
import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
from torch import distributed as dist

from ultralytics.engine.training import watchdog
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.system.console import ERR, say
from ultralytics.utils.system.processes import end_with_parent
from ultralytics.utils.system.threads import physical_cores, set_cpu_threads
from ultralytics.utils.torch_utils import parse_device, select_device

WAIT = timedelta(hours=3)  # for the others, while rank 0 validates; the watch knows earlier whether something is wrong


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
    """Raise ConfigError unless a batch is as many whole images for each of several processes."""
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
        here = int(os.getenv("LOCAL_WORLD_SIZE") or WORLD_SIZE)  # processes on this machine
        torchrun_chose = here > 1 and int(os.getenv("OMP_NUM_THREADS") or 1) == 1  # which leaves most cores idle
        set_cpu_threads(max(1, physical_cores() // here) if torchrun_chose else None)
        return torch.device("cpu")
    gpus = gpus if len(gpus) > 1 else range(torch.cuda.device_count())
    if len(gpus) <= LOCAL_RANK:
        raise ConfigError(
            f"Process {LOCAL_RANK} has no GPU: there are {len(gpus)} for device={device!r}. Launch as many processes "
            "as GPUs, or set device=cpu."
        )
    torch.cuda.set_device(gpus[LOCAL_RANK])
    return torch.device("cuda", gpus[LOCAL_RANK])


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Under torchrun, meet the other processes for this block, and see that none of them hangs or is lost."""
    if RANK == -1:
        yield
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(os.getppid())
    with suppress(OSError, ValueError, AttributeError, RuntimeError):  # a stream that is no file
        faulthandler.enable()  # one that is ended by a fault or from outside says where it stood
    join(device)
    watch = watchdog.start(RANK, WORLD_SIZE)
    try:
        yield
    except Exception as e:
        if (
            watch and (first := watch.claim()) != RANK and not isinstance(e, UserError)
        ):  # broken connections are no news
            say(f"Rank {RANK} ends, because rank {first} has failed: see its own words.", file=ERR)
            raise SystemExit(1) from None
        raise
    finally:
        watchdog.stop()
    leave()  # not after an error: the others may be waiting for this process, which has to end


def join(device: torch.device) -> None:
    """Meet the other processes: NCCL between GPUs, Gloo between CPUs."""
    if dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=WAIT)
    LOGGER.info(f"Training in {WORLD_SIZE} processes ({backend}).")


def leave() -> None:
    """End the meeting, once no DistributedDataParallel is left."""
    if dist.is_available() and dist.is_initialized():
        _small_group.cache_clear()
        gc.collect()  # one that outlives the group ends it from its destructor, where Gloo's threads can wait for ever
        dist.destroy_process_group()


def mean(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of `x` over all processes."""
    if WORLD_SIZE > 1:
        x = x.clone()
        with watchdog.meeting():
            dist.all_reduce(x)
        x = x / WORLD_SIZE
    return x


def broadcast(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    if WORLD_SIZE > 1:
        box = [value if RANK == 0 else None]
        with watchdog.meeting():
            dist.broadcast_object_list(box, 0)
        value = box[0]
    return value


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order; each has to ask for it."""
    if WORLD_SIZE <= 1:
        return [value]
    box: list[Any] = [None] * WORLD_SIZE
    with watchdog.meeting():
        dist.all_gather_object(box, value)
    return box


def highest(value: int) -> int:
    """Return the highest of all ranks' values; each has to ask for it."""
    if WORLD_SIZE <= 1:
        return int(value)
    box = torch.tensor(int(value))
    with watchdog.meeting():
        dist.all_reduce(box, dist.ReduceOp.MAX, group=_small_group())
    return int(box)


@lru_cache(maxsize=1)
def _small_group() -> Any:
    """Return a group that meets without the GPUs, and neither waits for them nor holds them up."""
    return dist.new_group(backend="gloo", timeout=WAIT)
