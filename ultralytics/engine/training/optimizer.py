"""Optimizer and schedule of the training recipe, as plain functions and one small class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ultralytics.cfg.schema import Settings
from ultralytics.engine.training.progress import NOT_YET
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.torch_utils import one_cycle

ENOUGH_STEPS = 500  # with fewer, models rarely learn to detect anything
SMALL_BATCH = 8  # of images, for as many steps as possible; smaller ones make batch statistics noisy
OptimizerMaker = Callable[..., torch.optim.Optimizer]  # of groups, learning rate, momentum, and how to compute
FUSED = {"SGD", "Adam", "AdamW"}  # those of which torch has one GPU kernel for a whole step
IMPLEMENTATION = ("foreach", "fused", "capturable")  # settings of groups that say how a step is computed


def _with_betas(cls: Callable[..., torch.optim.Optimizer]) -> OptimizerMaker:
    """Return the maker of an optimizer of the Adam family, in which `momentum` is the first beta."""
    return lambda params, lr, momentum, **how: cls(params, lr=lr, betas=(momentum, 0.999), **how)


OPTIMIZERS: dict[str, OptimizerMaker] = {
    "SGD": lambda params, lr, momentum, **how: torch.optim.SGD(params, lr, momentum, nesterov=True, **how),
    "RMSProp": lambda params, lr, momentum: torch.optim.RMSprop(params, lr=lr, momentum=momentum),
    "Adam": _with_betas(torch.optim.Adam),
    "Adamax": _with_betas(torch.optim.Adamax),
    "AdamW": _with_betas(torch.optim.AdamW),
    "NAdam": _with_betas(torch.optim.NAdam),
    "RAdam": _with_betas(torch.optim.RAdam),
}


def param_groups(model: nn.Module, decay: float) -> list[dict]:
    """Split trainable and frozen parameters into biases, decayed weights, and norm weights, in this order."""
    norms = tuple(v for k, v in vars(nn).items() if "Norm" in k and isinstance(v, type))
    biases: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    scales: list[nn.Parameter] = []
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            (biases if name == "bias" else scales if isinstance(module, norms) else weights).append(p)
    return [
        {"params": biases, "weight_decay": 0.0},
        {"params": weights, "weight_decay": decay},
        {"params": scales, "weight_decay": 0.0},
    ]


@dataclass(frozen=True)
class OptimizerChoice:
    """The optimizer of one run."""

    name: str
    lr: float
    momentum: float


def choose_optimizer(name: str, lr: float, momentum: float, nc: int, iterations: float) -> OptimizerChoice:
    """Return the optimizer of a name; `auto` takes SGD for long runs (over 10,000 steps), else AdamW.

    Args:
        name: one of `OPTIMIZERS`, in upper or lower case, or auto.
        lr, momentum: of the optimizer; auto has its own.
        nc: number of classes, on which the learning rate of auto depends.
        iterations: optimizer steps in the run.

    Raises:
        ConfigError: the name is not known.
    """
    if name == "auto":
        if iterations > 10000:
            choice = OptimizerChoice("SGD", 0.01, 0.9)
        else:
            choice = OptimizerChoice("AdamW", round(0.002 * 5 / (4 + nc), 6), 0.9)
        LOGGER.info(
            f"optimizer=auto takes {choice.name}(lr={choice.lr}, momentum={choice.momentum}) as for a run of about "
            f"{iterations:.0f} steps; lr0={lr} and momentum={momentum} are not used."
        )
        return choice
    by_lower = {known.lower(): known for known in OPTIMIZERS}
    if name.lower() not in by_lower:
        raise ConfigError(
            f"optimizer='{name}' is not known. Choose auto, {', '.join(OPTIMIZERS)}." + did_you_mean(name, OPTIMIZERS)
        )
    return OptimizerChoice(by_lower[name.lower()], lr, momentum)


def build_optimizer(model: nn.Module, choice: OptimizerChoice, decay: float) -> torch.optim.Optimizer:
    """Return the chosen optimizer over the three parameter groups of `model`."""
    groups = param_groups(model, decay)
    can_fuse = all(p.is_cuda and p.is_floating_point() for group in groups for p in group["params"])
    how = {"fused": True} if choice.name in FUSED and can_fuse else {}
    optimizer = OPTIMIZERS[choice.name](groups, choice.lr, choice.momentum, **how)
    sizes = [len(g["params"]) for g in groups]
    LOGGER.info(
        f"optimizer: {choice.name}(lr={choice.lr}, momentum={choice.momentum}) with {sizes[1]} weights "
        f"(decay={decay:.4g}), {sizes[2]} norm weights and {sizes[0]} biases (no decay)"
    )
    return optimizer


def adapted(saved: dict, optimizer: torch.optim.Optimizer) -> dict:
    """Return a saved optimizer's state to be computed as `optimizer` does, since it may be of another device."""
    groups, own = saved["param_groups"], optimizer.param_groups
    if len(groups) != len(own):
        return saved  # which loading will refuse
    how = [{k: g[k] for k in IMPLEMENTATION if k in g} for g in own]
    return {**saved, "param_groups": [{**group, **values} for group, values in zip(groups, how)]}


def prime(optimizer: torch.optim.Optimizer) -> None:
    """Give a fused SGD its momentum of 0, with which its first step is the same.

    Otherwise torch makes it at the first step, and leaves it as the memory was found if this step is left out, as the
    first ones in mixed precision often are.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        for p in group["params"] if group.get("fused") and group["momentum"] else ():
            if optimizer.state[p].get("momentum_buffer") is None:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


def bias_lr(args: Settings, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate with which the first group of parameters begins the warm-up.

    That is `warmup_bias_lr` if they are biases alone, as those of `build_optimizer` are. Another group, such as the
    only one of a custom optimizer, begins at 0 as all others do: 0.1 is far too much for weights. So do biases with
    `optimizer=auto`.
    """
    biases = {id(p) for module in model.modules() for n, p in module.named_parameters(recurse=False) if n == "bias"}
    are_biases = biases.issuperset(id(p) for p in optimizer.param_groups[0]["params"])
    return args.warmup_bias_lr if are_biases and args.optimizer != "auto" else 0.0


def lr_law(epochs: int, lrf: float, cosine: bool) -> Callable[[float], float]:
    """Return the factor on the initial learning rate by epoch: from 1 down to `lrf`, along a cosine or a line."""
    return one_cycle(1, lrf, epochs) if cosine else lambda e: max(1 - e / epochs, 0) * (1.0 - lrf) + lrf


@dataclass
class Schedule:
    """Learning rate, momentum and accumulation at each iteration.

    A scheduler of PyTorch sets the learning rates for each epoch. In the first `warmup` iterations they climb to what
    it has set (that of biases falls from `warmup_bias_lr`), momentum climbs from `warmup_momentum`, and accumulation
    from 1 to nbs / batch.

    Args:
        optimizer: whose groups are set.
        warmup: iterations of the warm-up; -1 for none.
        batch: images in a batch.
        nbs: images for an optimizer step.
        momentum, warmup_momentum: at the end of the warm-up and at its start.
        warmup_bias_lr: of the first group at the start of the warm-up; that of the others is 0.
        law: the factor on the initial learning rates by epoch (`trainer.lf`).
        scheduler: of the learning rates.
        steps: epochs that the scheduler has stepped to.
    """

    optimizer: torch.optim.Optimizer = NOT_YET
    warmup: int = -1
    batch: int = 1
    nbs: int = 1
    momentum: float = 0.0
    warmup_momentum: float = 0.0
    warmup_bias_lr: float = 0.0
    law: Callable[[float], float] = NOT_YET
    scheduler: LRScheduler = NOT_YET
    steps: int = 0

    @staticmethod
    def warmup_iterations(warmup_epochs: float, batches: int) -> int:
        """Return the length of the warm-up: at least 100 iterations, or none at all."""
        return max(round(warmup_epochs * batches), 100) if warmup_epochs > 0 else -1

    def follow(self, law: Callable[[float], float]) -> None:
        """Follow a law, or whichever `law` is set to later: the initial learning rates times `law(epoch)`."""
        self.law = law
        self.use(LambdaLR(self.optimizer, lambda epoch: self.law(epoch)))

    def use(self, scheduler: LRScheduler, epoch: int = 0) -> None:
        """Let another scheduler set the learning rates; it is at its start in `epoch`."""
        self.scheduler, self.steps = scheduler, epoch

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let what happens in the block change the scheduler, but not the values of the optimizer's groups."""
        before = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        yield
        for group, values in zip(self.optimizer.param_groups, before):
            group.update(values)

    def start_epoch(self, epoch: int, begun: bool = False) -> None:
        """Let the scheduler set the learning rates for `epoch`.

        In a resumed run it first steps through the epochs before, so that no state of it, whichever it is, is needed.

        Args:
            epoch: from 0.
            begun: a resumed run has trained batches of this epoch, so the optimizer's state has the learning rates.
        """
        for_law = isinstance(self.scheduler, LambdaLR) and self.steps == 0  # `law` may be another since it was made
        with self.undisturbed() if begun else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few batches may not have made an optimizer step yet
            for group, lr in zip(self.optimizer.param_groups, self.scheduler.get_last_lr()):
                group["lr"] = lr  # the warm-up has set others, from which a scheduler must not go on
            self.scheduler.last_epoch -= for_law
            for _ in range(epoch - self.steps + for_law):
                self.scheduler.step()
        self.steps = epoch

    def start_iteration(self, iteration: int) -> int:
        """Set the warm-up's values for `iteration` (counted from the start of the run); return the accumulation."""
        if iteration > self.warmup:
            return max(round(self.nbs / self.batch), 1)
        span = [0, self.warmup]
        for k, (group, lr) in enumerate(zip(self.optimizer.param_groups, self.scheduler.get_last_lr())):
            group["lr"] = float(np.interp(iteration, span, [self.warmup_bias_lr if k == 0 else 0.0, float(lr)]))
            if "momentum" in group:
                group["momentum"] = float(np.interp(iteration, span, [self.warmup_momentum, self.momentum]))
        return max(1, int(np.interp(iteration, span, [1, self.nbs / self.batch]).round()))


def steps_in_run(images: int, batch: int, nbs: int, epochs: int) -> int:
    """Estimate the optimizer steps of a whole run."""
    return math.ceil(images / max(batch, nbs)) * epochs


def advice_on_steps(images: int, batch: int, nbs: int, epochs: int) -> str:
    """Recommend settings that give a run enough optimizer steps to learn something; "" if it has enough.

    With few images a `nbs` of 64 lets several batches wait for one step, so that most of the time no weight moves.
    """
    steps = steps_in_run(images, batch, nbs, epochs)
    if steps >= ENOUGH_STEPS:
        return ""
    small, ways = min(batch, SMALL_BATCH), []
    for size, accumulated in dict.fromkeys([(small, small), (batch, nbs)]):
        longer = max(math.ceil(ENOUGH_STEPS / steps_in_run(images, size, accumulated, 1)), epochs)
        settings = f"batch={size} nbs={accumulated} " * ((size, accumulated) != (batch, nbs))
        settings += f"epochs={longer} " * (longer > epochs)
        ways.append(f"{settings}makes {steps_in_run(images, size, accumulated, longer)}")
    return (
        f"WARNING ⚠️ {images} images, batch={batch}, nbs={nbs} and epochs={epochs} make only {steps} optimizer step"
        f"{'s' * (steps != 1)}; with fewer than about {ENOUGH_STEPS}, a model rarely learns to detect anything.\n"
        f"{', or '.join(ways)}."
    )


def freeze_layers(model: nn.Module, freeze: int | list[int] | None) -> dict[str, nn.Module]:
    """Freeze some layers, and the DFL; return these layers by the prefix of their parameters' names.

    Args:
        model: whose layers are in `model.model`.
        freeze: how many from the first one on, or which.

    Raises:
        ConfigError: nothing would be left to train, or a layer is named that there is not.
    """
    layers = freeze if isinstance(freeze, list) else range(freeze or 0)
    children = dict(model.get_submodule("model").named_children())
    numbers = [*children]
    if isinstance(freeze, list) and (absent := [i for i in layers if str(i) not in numbers]):
        whole = numbers == [str(i) for i in range(len(numbers))]
        raise ConfigError(
            f"freeze={freeze} names layer {absent[0]}, which this model does not have. Its layers are "
            f"{f'0 to {len(numbers) - 1}' if whole else ', '.join(numbers)}."
        )
    prefixes = [f"model.{i}." for i in layers]
    frozen = 0
    for name, p in model.named_parameters():
        fixed = name.startswith(tuple(prefixes)) or ".dfl" in name
        p.requires_grad = not fixed and p.dtype.is_floating_point
        frozen += fixed and ".dfl" not in name
    found = {f"model.{k}.": m for k, m in children.items() if f"model.{k}." in prefixes}
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(f"freeze={freeze} freezes all {len(found)} layers: nothing is left to train. Freeze fewer.")
    if prefixes:
        say = LOGGER.info if frozen else LOGGER.warning
        say(f"Frozen: {len(found)} layers with {frozen or 'no'} parameter tensors.")
    return found
