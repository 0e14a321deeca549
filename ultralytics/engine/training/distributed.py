"""Training in several processes: joining the others, waiting for them, and exchanging values with them.

Either name several devices (`device=0,1`) and the processes are launched, or launch by hand:

    torchrun --nproc_per_node 2 -m ultralytics detect train model=yolo11n.yaml data=coco8.yaml device=cpu
"""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import TypeVar, cast

import torch
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from ultralytics.utils import LOCAL_RANK, LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import ConfigError, RunError
from ultralytics.utils.system.processes import end_with_parent
from ultralytics.utils.system.threads import physical_cores, set_cpu_threads
from ultralytics.utils.torch_utils import parse_device, select_device

T = TypeVar("T")
HEARTBEAT = 1.0  # seconds between two heartbeats
POLL = 0.02  # seconds between two looks at the others
GLOO_TIMEOUT = ("Timed out waiting", "Application timeout caused pair closure")  # in its errors
FOLLOWING = 1.0  # seconds that a rank which failed after another waits to be ended, so that the first ends first


def parse_ranks(device: object) -> list[str]:
    """Return the devices that need a process each, or [] for a run in this process (one device, or under torchrun)."""
    if RANK != -1:
        return []
    text = "" if device is None else str(device).lower()
    parts = re.sub(r"cuda:|[\[\]()'\" ]", "", text).split(",")
    parts = [p for p in parts if p]
    return parts if len(parts) > 1 else []


def check_ranks(ranks: list[str]) -> torch.device:
    """Return the first of several devices; 'cpu', once for each process, is one way to name them.

    Raises:
        ConfigError: one of them is not there.
    """
    return select_device("cpu" if {*ranks} == {"cpu"} else ",".join(ranks), verbose=False)


def check_batch(batch: float, world: int) -> None:
    """Raise ConfigError unless a batch can be shared equally by several processes."""
    if world > 1 and (batch < 1 or batch % world):
        fits = max(int(batch) // world, 1) * world if batch >= 1 else 16 // world * world or world
        raise ConfigError(
            f"batch={batch} cannot be shared by {world} processes. Give a multiple of {world}, such as batch={fits}."
        )


def local_device(device: object) -> torch.device | None:
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
    own: Sequence[int] = gpus if len(gpus) > 1 else range(torch.cuda.device_count())
    if len(own) <= LOCAL_RANK:
        raise ConfigError(
            f"Process {LOCAL_RANK} has no GPU: there are {len(own)} for device={device!r}. Launch as many processes "
            "as GPUs, or set device=cpu."
        )
    torch.cuda.set_device(own[LOCAL_RANK])
    return torch.device("cuda", own[LOCAL_RANK])


class Peers:
    """Messages between ranks besides their collectives, through the store of their rendezvous.

    Each sends a heartbeat every second, from a thread of its own. So the others can wait for one that works alone, such
    as rank 0 that validates, however long that takes, and notice where it is stopped or lost.

    Args:
        store: that all ranks share.
        rank: of this process.
        world: number of ranks.
        limit: seconds without a heartbeat after which a rank is lost.
        group: in which small values are compared; None for that of all ranks.
    """

    def __init__(self, store: dist.Store, rank: int, world: int, limit: float, group: dist.ProcessGroup | None = None):
        self.store, self.rank, self.world, self.limit, self.group = store, rank, world, limit, group
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, daemon=True)

    def __enter__(self) -> Peers:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left.set()
        self._thread.join(5)

    def _send_heartbeats(self) -> None:
        with suppress(RuntimeError):  # the store is gone, and with it the run
            while not self._left.wait(HEARTBEAT):
                self.store.add(f"heartbeats of {self.rank}", 1)

    def barrier(self) -> None:
        """Wait until all ranks are here, as long as the late ones send heartbeats.

        Raises:
            RunError: one of them has sent none for too long.
        """
        reached = self.store.add(f"barriers of {self.rank}", 1)
        for rank in range(self.world):
            heartbeats, silent = 0, 0.0
            while self.store.add(f"barriers of {rank}", 0) < reached:
                before, heartbeats = heartbeats, self.store.add(f"heartbeats of {rank}", 0)
                silent = 0.0 if heartbeats > before else silent + POLL
                if silent > self.limit:
                    raise RunError(
                        f"Rank {rank} has sent no heartbeat for {self.limit:g} s (ddp_timeout): it is stopped or "
                        "lost, so training ends."
                    )
                time.sleep(POLL)

    def first_failed(self) -> int:
        """Report that this rank has failed; return the rank that reported first."""
        with suppress(RuntimeError):  # the store was lost with another rank
            return int(self.store.compare_set("failed", "", str(self.rank)))
        return self.rank


_peers: Peers | None = None  # of this process, while it trains with others


@contextmanager
def together(device: torch.device, limit: float) -> Iterator[None]:
    """Under torchrun, train with the other processes in this block.

    Args:
        device: of this process: NCCL joins GPUs, Gloo CPUs.
        limit: seconds that a collective may take, and that a rank may send no heartbeat.
    """
    global _peers
    if RANK == -1:
        yield
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(os.getppid())
    with suppress(OSError, ValueError, AttributeError, RuntimeError):  # a stream that is no file
        faulthandler.enable()  # one that is ended by a fault or from outside says where it stood
    with join(device, limit) as _peers:
        try:
            yield
        except SystemExit:  # after a signal; the agent ends all others once one has left, so all leave together
            _peers.barrier()
            raise
        except Exception as e:
            if _peers.first_failed() != RANK:  # broken connections are no news
                time.sleep(FOLLOWING)
                raise SystemExit(1) from None
            if any(words in str(e) for words in GLOO_TIMEOUT):
                raise RunError(
                    f"Rank {RANK} has waited {limit:g} s (ddp_timeout) for the others, one of which is stopped or "
                    "hangs, so training ends."
                ) from e
            raise
        finally:
            _peers = None
    leave()  # not after an error: the others may be waiting for this process, which has to end


def join(device: torch.device, limit: float) -> Peers:
    """Join the other processes, unless this one has."""
    backend, timeout = "nccl" if device.type == "cuda" else "gloo", timedelta(seconds=limit)
    if not dist.is_initialized():
        store = _of_this_attempt(next(rendezvous("env://", timeout=timeout))[0])
        dist.init_process_group(backend, store=store, rank=RANK, world_size=WORLD_SIZE, timeout=timeout)
        LOGGER.info(f"Training in {WORLD_SIZE} processes ({backend}).")
    # a connection of its own: a call of the group may hold that one for long
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timeout)
    # a group without the GPUs, that neither waits for them nor holds them up
    made = dist.new_group(backend="gloo", timeout=timeout) if backend == "nccl" else None
    group = cast("dist.ProcessGroup | None", made)  # this process is in it
    return Peers(dist.PrefixStore("peers", _of_this_attempt(store)), RANK, WORLD_SIZE, limit, group)


def _of_this_attempt(store: dist.Store) -> dist.Store:
    """Return a part of a store that earlier attempts of the run (--max-restarts) have not written to."""
    return dist.PrefixStore(f"attempt {os.getenv('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def leave() -> None:
    """End the group, once no DistributedDataParallel is left."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # one that outlives the group ends it from its destructor, where Gloo's threads can wait for ever
        dist.destroy_process_group()


def barrier() -> None:
    """Wait for all ranks, however long one of them works alone (see `Peers`); each has to call it."""
    if _peers:
        _peers.barrier()


@contextmanager
def first_alone(local_rank: int) -> Iterator[None]:
    """Let the first rank of a machine do the block (make a cache, say) before the others; -1 does it for itself."""
    if local_rank > 0:
        barrier()
    yield
    if local_rank == 0:
        barrier()


# Values that all ranks have to ask for. Of `broadcast` and `gather`, which come between epochs or less often, one may
# be late for long; of the others, which come with each batch, for as long as the group's limit.


def mean(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of `x` over all processes."""
    if WORLD_SIZE > 1:
        x = x.clone()
        dist.all_reduce(x)
        x = x / WORLD_SIZE
    return x


def highest(value: int) -> int:
    """Return the highest of all ranks' values."""
    if WORLD_SIZE <= 1:
        return int(value)
    box = torch.tensor(int(value))
    dist.all_reduce(box, dist.ReduceOp.MAX, group=_peers.group if _peers else None)
    return int(box)


def broadcast(value: T) -> T:
    """Return rank 0's value on every rank."""
    if WORLD_SIZE > 1:
        barrier()
        box = [value if RANK == 0 else None]
        dist.broadcast_object_list(box, 0)
        value = cast(T, box[0])
    return value


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in their order."""
    if WORLD_SIZE <= 1:
        return [value]
    barrier()
    box = [value] * WORLD_SIZE
    dist.all_gather_object(box, value)
    return box
