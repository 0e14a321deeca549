"""What a model is wrapped in for several devices, compiling or distilling, and the model inside."""

from __future__ import annotations

import sys

from torch import nn


def is_parallel(model: nn.Module) -> bool:
    """Say whether the model is wrapped for several devices."""
    return isinstance(model, (nn.parallel.DataParallel, nn.parallel.DistributedDataParallel))


class StandIn(nn.Module):
    """A module that trains in the place of its `student`, and adds to it what is no part of the model."""

    student: nn.Module


def _is_compiled(model: object) -> bool:
    """Say whether torch.compile made this; its class is asked for only where something was compiled."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(model, compiler.OptimizedModule)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DistributedDataParallel, torch.compile and distillation wrappers.

    They are told by their class: a model of one's own may have a `student` or a `module`, too.
    """
    while True:
        if is_parallel(model):
            model = model.module
        elif isinstance(model, StandIn):
            model = model.student
        elif _is_compiled(model):
            model = model._orig_mod
        else:
            return model
