"""The state of a training: all that `last.pt` holds, so that a run that goes on ends as one that was never stopped."""

from __future__ import annotations

import os
import random
from datetime import datetime
from typing import Any

import numpy as np
import torch

from ultralytics import __build__
from ultralytics.engine.training import distributed
from ultralytics.nn.tasks import describe
from ultralytics.utils import LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.system.threads import THREADS
from ultralytics.utils.torch_utils import de_parallel


def state_of(trainer: Any, batches: int | None) -> dict:
    """Return the checkpoint of a training: the EMA's weights to use, and the state to resume from.

    Args:
        trainer: as it stands after an epoch, or between two batches of one.
        batches: batches of the epoch that are done; None where it is complete, validated and has its row.
    """
    model = de_parallel(trainer.model)
    since_step = trainer.iteration - trainer.last_step
    return {
        **describe(model),
        "args": dict(vars(trainer.args)),
        "model": trainer.ema.ema.state_dict(),
        "train_model": model.state_dict(),
        # gradients that the next step will use
        "grads": {n: p.grad for n, p in model.named_parameters() if since_step and p.grad is not None},
        **(trainer.distiller.state(bool(since_step)) if trainer.distiller else {}),
        "ranks": trainer.rank_states,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "updates": trainer.ema.updates,
        "epoch": trainer.epoch - (batches is not None),  # the last complete one, from 0
        "batches": batches or 0,  # those of the next epoch that are done
        "since_step": since_step,
        "steps": trainer.steps,
        "seconds": trainer.seconds,
        "stopper": [trainer.stopper.best_fitness, trainer.stopper.best_epoch, trainer.stopper.possible_stop],
        "stop": trainer.stop,
        "best_fitness": trainer.best_fitness,
        "metrics": {**trainer.metrics, "fitness": trainer.fitness},
        "rows": trainer.files.rows,
        "images": getattr(trainer.train_loader.dataset, "signature", None),
        "restored": trainer.guard.restored,
        "date": datetime.now().isoformat(timespec="seconds"),
        "version": __build__,
    }


def resume(trainer: Any, ckpt: dict | None) -> None:
    """Bring a training to where the interrupted one stood, if there is one; all processes have to call this.

    Raises:
        ConfigError: the processes would not go on from the same state, or not with as many classes.
        CheckpointError: the state cannot be gone on from.
    """
    check_same(ckpt)
    if ckpt is None:
        return
    restore(trainer, ckpt)
    within = f" and {trainer.start_batch} batches" if trainer.start_batch else ""
    LOGGER.info(f"Resuming {trainer.args.resume} after {trainer.start_epoch} of {trainer.epochs} epochs{within}.")


def check_same(ckpt: dict | None) -> None:
    """Raise ConfigError unless all processes go on from the same state, or from none; all have to call this."""
    found = distributed.gather(None if ckpt is None else [ckpt["date"], ckpt["epoch"], ckpt["batches"]])
    other = next((rank for rank, state in enumerate(found) if state != found[0]), None)
    if other is not None:
        raise ConfigError(
            f"Rank {other} finds another state to go on from than rank 0. Machines that train together need a run "
            "folder that all of them see: give project=FOLDER on a file system that they share."
        )


def restore(trainer: Any, ckpt: dict) -> None:
    """Bring a training to where the interrupted one stood.

    Raises:
        ConfigError: the data have another number of classes now.
        CheckpointError: the state lacks something, or does not fit the model.
    """
    path, nc = trainer.args.resume, describe(de_parallel(trainer.model))["nc"]
    if nc != ckpt["nc"]:
        raise ConfigError(
            f"The data have {nc} classes, but the run of '{path}' began with {ckpt['nc']}. Resume it with data of the "
            f"same classes, or start a new run from its weights with model={path}."
        )
    try:
        _restore(trainer, ckpt)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as e:  # it may come from anywhere
        cause = " ".join(f"{type(e).__name__}: {e}".split())[:200]
        raise CheckpointError(
            f"The state in '{path}' cannot be gone on from, since it is damaged or of another model ({cause}). "
            f"Start a new run from its weights with model={path}."
        ) from e


def _restore(trainer: Any, ckpt: dict) -> None:
    restore_weights(trainer, ckpt)
    stopper, args, before = trainer.stopper, trainer.args, ckpt["args"]
    stopper.best_fitness, stopper.best_epoch, stopper.possible_stop = ckpt["stopper"]
    trainer.stop = ckpt["stop"] and (args.patience, args.time) == (before["patience"], before["time"])
    trainer.best_fitness = ckpt["best_fitness"] if trainer.best.exists() else None  # else the best of the rest
    trainer.fitness = ckpt["metrics"]["fitness"]
    trainer.metrics |= {k: v for k, v in ckpt["metrics"].items() if k in trainer.metrics}
    trainer.start_epoch = trainer.epoch = ckpt["epoch"] + 1
    seen = ckpt["batches"] * before["batch"]  # images; another batch size has other batches
    trainer.start_batch = min(-(-seen // trainer.batch_size), len(trainer.train_loader))
    trainer.iteration = trainer.epoch * len(trainer.train_loader) + trainer.start_batch - 1
    trainer.last_step = trainer.iteration - ckpt["since_step"]
    trainer.seconds_before = ckpt["seconds"]
    trainer.files.rows = list(ckpt["rows"])
    trainer.guard.restored = ckpt["restored"]
    _say_what_changed(trainer, ckpt)
    rank = max(RANK, 0)
    own = ckpt["ranks"][rank if rank < len(ckpt["ranks"]) else 0]
    trainer.tloss = None if own["tloss"] is None else own["tloss"].to(trainer.device)
    if trainer.args.deterministic and trainer.device.type == "cpu":
        _use_as_many_threads(own.get("threads"))
    if rank < len(ckpt["ranks"]):  # a process more than before goes on with what it was seeded with
        set_random_states(own, trainer.device)


def _use_as_many_threads(before: object) -> None:
    """Compute on as many threads as before, since the last bits of sums hang on it; a user's choice stands."""
    if THREADS.ours and before in range(1, (os.cpu_count() or 1) + 1):
        THREADS.use(int(before))
    elif before and before != (now := torch.get_num_threads()):
        LOGGER.warning(
            f"The run began with {before} threads and goes on with {now}{THREADS.why}: it will end much like, but not "
            "exactly like one that was never interrupted."
        )


def _say_what_changed(trainer: Any, ckpt: dict) -> None:
    """Warn of what keeps the run from ending as one that was never interrupted; settings were changed on purpose."""
    changes = []
    if len(ckpt["ranks"]) != WORLD_SIZE:
        changes.append(f"The run began with {len(ckpt['ranks'])} processes and goes on with {WORLD_SIZE}")
    before, now = ckpt.get("images"), getattr(trainer.train_loader.dataset, "signature", None)
    if before and now and before != now:
        others = f"{before[0]} then, {now[0]} now" if before[0] != now[0] else f"{now[0]}, of other names"
        changes.append(f"The training images are not those that the run began with ({others})")
    for change in changes if RANK in {-1, 0} else ():
        LOGGER.warning(f"{change}: it will end much like, but not exactly like one that was never interrupted.")


def restore_weights(trainer: Any, ckpt: dict) -> None:
    """Bring back weights, their average, waiting gradients, and the states of optimizer and scaler."""
    model = de_parallel(trainer.model)
    model.load_state_dict(ckpt["train_model"])
    for name, p in model.named_parameters():
        p.grad = ckpt["grads"][name].to(p.device) if name in ckpt["grads"] else None
    if trainer.distiller:
        trainer.distiller.restore(ckpt)
    trainer.optimizer.load_state_dict(ckpt["optimizer"])
    if ckpt.get("scaler"):
        trainer.scaler.load_state_dict(ckpt["scaler"])
    if trainer.ema:
        trainer.ema.ema.load_state_dict(ckpt["model"])
        trainer.ema.updates = ckpt["updates"]


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators; data has generators of its own (seed, epoch, image)."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    states = {
        "cpu": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": [kind, keys.tolist(), position, has_gauss, cached],
    }
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Set the global generators to what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def rank_states(trainer: Any) -> list[dict[str, Any]]:
    """Return what differs between the processes of a run, in the order of their ranks; all have to call this."""
    tloss = None if trainer.tloss is None else trainer.tloss.cpu()  # others shall not need this process's GPU for it
    threads = torch.get_num_threads()
    return distributed.gather({**random_states(trainer.device), "tloss": tloss, "threads": threads})
