"""Restoring a saved state, so that an interrupted run ends as if it had never been."""

from __future__ import annotations

import os
import random
from typing import cast

import numpy as np
import torch

from ultralytics.cfg.schema import Settings
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine.training import distributed
from ultralytics.engine.training.learner import Learner
from ultralytics.engine.training.progress import NOT_YET, Progress
from ultralytics.engine.training.run_files import RunFiles
from ultralytics.nn.tasks import describe
from ultralytics.utils import LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.system.threads import THREADS


def check_same(ckpt: dict | None) -> None:
    """Raise ConfigError unless all processes resume from the same state, or from none; all have to call this."""
    found = distributed.gather(None if ckpt is None else [ckpt["date"], ckpt["epoch"], ckpt["batches"]])
    other = next((rank for rank, state in enumerate(found) if state != found[0]), None)
    if other is not None:
        raise ConfigError(
            f"Rank {other} finds another state to go on from than rank 0. Machines that train together need a run "
            "folder that all of them see: give project=FOLDER on a file system that they share."
        )


def restore(
    ckpt: dict, args: Settings, learner: Learner, progress: Progress, files: RunFiles, loader: InfiniteDataLoader
) -> None:
    """Restore a training to the state of the interrupted one.

    Args:
        ckpt: the state, as `BaseTrainer.checkpoint` returned it.
        args: settings of the run from here on.
        learner, progress, files: of the training; they are changed.
        loader: of the training images.

    Raises:
        ConfigError: the data have another number of classes now.
        CheckpointError: the state lacks something, or does not fit the model.
    """
    path, nc = args.resume, describe(learner.network)["nc"]
    if nc != ckpt["nc"]:
        raise ConfigError(
            f"The data have {nc} classes, but the run of '{path}' began with {ckpt['nc']}. Resume it with data of the "
            f"same classes, or start a new run from its weights with model={path}."
        )
    try:
        learner.load_state_dict(ckpt)
        progress.load_state_dict(ckpt)
        _fit_to_changes(ckpt, args, progress, files, len(loader))
        _say_what_changed(ckpt, loader)
        _restore_process(ckpt["ranks"], args.deterministic, progress, learner.device)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as e:  # it may come from anywhere
        cause = " ".join(f"{type(e).__name__}: {e}".split())[:200]
        raise CheckpointError(
            f"The state in '{path}' cannot be gone on from, since it is damaged or of another model ({cause}). "
            f"Start a new run from its weights with model={path}."
        ) from e


def _fit_to_changes(ckpt: dict, args: Settings, progress: Progress, files: RunFiles, batches: int) -> None:
    """Adapt restored progress to the current settings, number of batches in an epoch, and files."""
    before = ckpt["args"]
    progress.stop = progress.stop and (args.patience, args.time) == (before["patience"], before["time"])
    if not files.best.exists():
        progress.best_fitness = None  # the best of the rest will be
    images = progress.batches * before["batch"]  # that are done; another batch size has other batches
    progress.batches = min(-(-images // progress.batch_size), batches)
    progress.iteration = progress.epoch * batches + progress.batches - 1
    files.rows = list(ckpt["rows"])


def _restore_process(states: list[dict], exact: bool, progress: Progress, device: torch.device) -> None:
    """Restore what differs between processes: mean losses, threads and random states."""
    rank = max(RANK, 0)
    own = states[rank if rank < len(states) else 0]
    progress.tloss = NOT_YET if own["tloss"] is None else own["tloss"].to(device)
    if exact and device.type == "cpu":
        _use_as_many_threads(own.get("threads"))
    if rank < len(states):  # a process more than before goes on with what it was seeded with
        set_random_states(own, device)


def _use_as_many_threads(before: object) -> None:
    """Use as many threads as before, since the last bits of sums depend on it; a user's choice is kept."""
    if THREADS.ours and isinstance(before, int) and 1 <= before <= (os.cpu_count() or 1):
        THREADS.use(before)
    elif before and before != (now := torch.get_num_threads()):
        LOGGER.warning(
            f"The run began with {before} threads and goes on with {now}{THREADS.why}: it will end much like, but not "
            "exactly like one that was never interrupted."
        )


def _say_what_changed(ckpt: dict, loader: InfiniteDataLoader) -> None:
    """Warn of changes, besides those of settings, that keep the run from ending like an uninterrupted one."""
    changes = []
    if len(ckpt["ranks"]) != WORLD_SIZE:
        changes.append(f"The run began with {len(ckpt['ranks'])} processes and goes on with {WORLD_SIZE}")
    before, now = ckpt.get("images"), getattr(loader.dataset, "signature", None)
    if before and now and before != now:
        others = f"{before[0]} then, {now[0]} now" if before[0] != now[0] else f"{now[0]}, of other names"
        changes.append(f"The training images are not those that the run began with ({others})")
    for change in changes if RANK in {-1, 0} else ():
        LOGGER.warning(f"{change}: it will end much like, but not exactly like one that was never interrupted.")


def random_states(device: torch.device) -> dict:
    """Return the states of the global generators; data has generators of its own (seed, epoch, image)."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = cast(tuple, np.random.get_state())
    states = {
        "cpu": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": [kind, keys.tolist(), position, has_gauss, cached],
    }
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_states(states: dict, device: torch.device) -> None:
    """Set the global generators to what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def process_states(device: torch.device, tloss: torch.Tensor | None) -> list[dict]:
    """Return what differs between the processes of a run, in the order of their ranks; all have to call this."""
    tloss = None if tloss is None else tloss.cpu()  # others shall not need this process's GPU for it
    return distributed.gather({**random_states(device), "tloss": tloss, "threads": torch.get_num_threads()})
