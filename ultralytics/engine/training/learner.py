"""The model in training with its averaged weights, optimizer and schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn

from ultralytics.engine.training.optimizer import Schedule, adapted, prime
from ultralytics.engine.training.progress import NOT_YET
from ultralytics.engine.training.runner import Runner
from ultralytics.engine.training.watch import Watch
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.torch_utils import ModelEMA, StandIn, de_parallel


@dataclass
class Learner:
    """The model in training and all that a step changes; counters and decisions are in `Progress`.

    Args:
        model: inside its wrappers for a teacher and for several processes; before the set-up it may be a name.
        ema: the average, on rank 0 alone.
        optimizer: over the trainable parameters.
        schedule: of the optimizer's learning rates and momentum.
        scaler: of the loss in half precision.
        amp: whether to compute in mixed precision.
        frozen: layers that are not trained, by the prefix of their parameters' names.
        distiller: the model and what a teacher adds to it, if there is one.
        runner: gives the losses of the model.
        watch: over losses and gradients that are not finite.
    """

    model: nn.Module
    ema: ModelEMA = NOT_YET
    optimizer: torch.optim.Optimizer = NOT_YET
    schedule: Schedule = field(default_factory=Schedule)
    scaler: torch.amp.GradScaler = NOT_YET
    amp: bool = False
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    distiller: StandIn | None = None
    runner: Runner = field(default_factory=Runner)
    watch: Watch = field(default_factory=Watch)

    @property
    def network(self) -> BaseModel:
        """The model without its wrappers."""
        return cast(BaseModel, de_parallel(self.model))

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    def state_dict(self, waiting: bool) -> dict:
        """Return weights, their average, and the states of optimizer and scaler; on rank 0.

        Args:
            waiting: with the gradients, which wait for a step.
        """
        model = self.network
        grads = {n: p.grad for n, p in model.named_parameters() if waiting and p.grad is not None}
        return {
            "model": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "train_model": model.state_dict(),
            "grads": grads,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **(self.distiller.state(waiting) if self.distiller else {}),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; on all ranks."""
        model = self.network
        model.load_state_dict(state["train_model"])
        for name, p in model.named_parameters():
            p.grad = state["grads"][name].to(p.device) if name in state["grads"] else None
        if self.distiller:
            self.distiller.restore(state)
        self.optimizer.load_state_dict(adapted(state["optimizer"], self.optimizer))
        prime(self.optimizer)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.ema.load_state_dict(state["model"])
            self.ema.updates = state["updates"]
