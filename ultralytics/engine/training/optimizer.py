"""Optimizer and schedule of the training recipe, as plain functions and one small class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ultralytics.cfg.schema import Settings
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.torch_utils import one_cycle

ENOUGH_STEPS = 500  # with fewer, models rarely learn to detect anything
SMALL_BATCH = 8  # of images, for as many steps as possible; smaller ones make batch statistics noisy
OptimizerMaker = Callable[[list[dict], float, float], torch.optim.Optimizer]  # of groups, learning rate, momentum


def _with_betas(cls: Callable[..., torch.optim.Optimizer]) -> OptimizerMaker:
    """Return the maker of an optimizer of the Adam family, in which `momentum` is the first beta."""
    return lambda params, lr, momentum: cls(params, lr=lr, betas=(momentum, 0.999))


OPTIMIZERS: dict[str, OptimizerMaker] = {
    "SGD": lambda params, lr, momentum: torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=True),
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


@dataclass
class OptimizerChoice:
    """The optimizer of one run, as chosen by the settings."""

    name: str
    lr: float
    momentum: float
    warmup_bias_lr: float


def choose_optimizer(args: Settings, nc: int, iterations: float) -> OptimizerChoice:
    """Return the optimizer that the settings name; `auto` takes SGD for long runs (over 10,000 steps), else AdamW.

    Raises:
        ConfigError: the name is not known.
    """
    if args.optimizer == "auto":
        if iterations > 10000:
            choice = OptimizerChoice("SGD", 0.01, 0.9, 0.0)
        else:
            choice = OptimizerChoice("AdamW", round(0.002 * 5 / (4 + nc), 6), 0.9, 0.0)
        LOGGER.info(
            f"optimizer=auto takes {choice.name}(lr={choice.lr}, momentum={choice.momentum}) as for a run of about "
            f"{iterations:.0f} steps; lr0={args.lr0} and momentum={args.momentum} are not used."
        )
        return choice
    by_lower = {name.lower(): name for name in OPTIMIZERS}
    if args.optimizer.lower() not in by_lower:
        raise ConfigError(
            f"optimizer='{args.optimizer}' is not known. Choose auto, {', '.join(OPTIMIZERS)}."
            + did_you_mean(args.optimizer, OPTIMIZERS)
        )
    return OptimizerChoice(by_lower[args.optimizer.lower()], args.lr0, args.momentum, args.warmup_bias_lr)


def build_optimizer(model: nn.Module, choice: OptimizerChoice, decay: float) -> torch.optim.Optimizer:
    """Return the chosen optimizer over the three parameter groups of `model`."""
    groups = param_groups(model, decay)
    optimizer = OPTIMIZERS[choice.name](groups, choice.lr, choice.momentum)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    sizes = [len(g["params"]) for g in groups]
    LOGGER.info(
        f"optimizer: {choice.name}(lr={choice.lr}, momentum={choice.momentum}) with {sizes[1]} weights "
        f"(decay={decay:.4g}), {sizes[2]} norm weights and {sizes[0]} biases (no decay)"
    )
    return optimizer


def lr_law(epochs: int, lrf: float, cosine: bool) -> Callable[[float], float]:
    """Return the factor on the initial learning rate by epoch: from 1 down to `lrf`, along a cosine or a line."""
    return one_cycle(1, lrf, epochs) if cosine else lambda e: max(1 - e / epochs, 0) * (1.0 - lrf) + lrf


@dataclass
class Schedule:
    """Learning rate, momentum and accumulation at each iteration.

    For the first `warmup` iterations the learning rate climbs to its law (that of biases falls from
    `warmup_bias_lr`), momentum climbs from `warmup_momentum`, and accumulation from 1 to nbs / batch.
    """

    optimizer: torch.optim.Optimizer
    law: Callable[[float], float]
    warmup: int  # iterations
    batch: int
    nbs: int
    momentum: float
    warmup_momentum: float
    warmup_bias_lr: float

    @staticmethod
    def warmup_iterations(warmup_epochs: float, batches: int) -> int:
        """Return the length of the warm-up: at least 100 iterations, or none at all."""
        return max(round(warmup_epochs * batches), 100) if warmup_epochs > 0 else -1

    def start_epoch(self, epoch: int) -> None:
        """Set each group's learning rate to the law's value for `epoch`."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.law(epoch)

    def start_iteration(self, iteration: int, epoch: int) -> int:
        """Set the warm-up's values for `iteration` (counted from the start of the run); return the accumulation."""
        if iteration > self.warmup:
            return max(round(self.nbs / self.batch), 1)
        span = [0, self.warmup]
        for k, group in enumerate(self.optimizer.param_groups):
            start = self.warmup_bias_lr if k == 0 else 0.0
            group["lr"] = float(np.interp(iteration, span, [start, group["initial_lr"] * self.law(epoch)]))
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
