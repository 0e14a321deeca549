"""Wrappers of models for several devices, compiling and distillation; attributes that a part of an object holds."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard, cast

from torch import nn


def is_parallel(model: nn.Module) -> TypeGuard[nn.parallel.DataParallel | nn.parallel.DistributedDataParallel]:
    """Check whether a model is wrapped for several devices."""
    return isinstance(model, (nn.parallel.DataParallel, nn.parallel.DistributedDataParallel))


class StandIn(nn.Module):
    """A module that trains in place of its `student`, with parts that do not belong to the model."""

    student: nn.Module
    loss_names: tuple[str, ...]  # of the parts that it adds to the student's loss

    def state(self, with_grads: bool) -> dict:
        """Return what a checkpoint holds of it besides the student."""
        raise NotImplementedError

    def restore(self, ckpt: dict) -> None:
        """Go on from the checkpoint that holds its `state`."""
        raise NotImplementedError


def _is_compiled(model: object) -> bool:
    """Check whether torch.compile made a module, without importing the compiler."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(model, compiler.OptimizedModule)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DistributedDataParallel, torch.compile and distillation wrappers.

    They are recognised by their class: a user's own model may have a `student` or a `module` too.
    """
    while True:
        if is_parallel(model):
            model = model.module
        elif isinstance(model, StandIn):
            model = model.student
        elif _is_compiled(model):
            model = cast("nn.Module", model._orig_mod)
        else:
            return model


class HeldBy:
    """An attribute that a part of its object holds: read and written there, under the same or another name."""

    def __init__(self, part: str, name: str = ""):
        self.part, self.name = part, name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __get__(self, whole: object | None, owner: type | None = None) -> object:
        return self if whole is None else getattr(getattr(whole, self.part), self.name)

    def __set__(self, whole: object, value: object) -> None:
        setattr(getattr(whole, self.part), self.name, value)


def held_by(part: str, name: str = "") -> Any:
    """Declare an attribute that the part `part` of an object holds; the annotation beside it is the type."""
    return HeldBy(part, name)
