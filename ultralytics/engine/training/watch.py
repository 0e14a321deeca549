"""Non-finite losses and gradients: noticed at once on a CPU, on a GPU one batch later, so that it is never idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ultralytics.engine.training import distributed
from ultralytics.utils.errors import NumbersError


def check_loss(loss: torch.Tensor) -> None:
    """Raise NumbersError, on all processes alike, if the loss of one of them is not finite."""
    if distributed.highest(not bool(torch.isfinite(loss).all())):
        raise NumbersError(f"The loss is {_word(loss)}")


def check_gradients(norm: torch.Tensor) -> None:
    """Raise NumbersError if the gradients' norm, the same on all processes, is not finite."""
    if not bool(torch.isfinite(norm)):
        raise NumbersError(f"The gradients' norm is {_word(norm)}")


def is_bad(x: object) -> bool:
    """Check whether something is a tensor with a NaN or an infinity in it."""
    return isinstance(x, torch.Tensor) and x.is_floating_point() and not bool(torch.isfinite(x).all())


def _word(x: torch.Tensor) -> str:
    return "nan" if bool(torch.isnan(x).any()) else "infinite"


@dataclass
class Noted:
    """A batch whose loss and gradients are to be checked.

    Args:
        batch: on the device.
        number: of the batch in its epoch, from 0.
        loss: of the batch.
        tloss: mean losses of the epoch before this batch, or NOT_YET.
        norm: of the gradients, where the batch ended with an optimizer step.
    """

    batch: dict
    number: int
    loss: torch.Tensor
    tloss: torch.Tensor
    norm: torch.Tensor | None = None
    _sent: torch.Tensor | None = None  # loss and norm, on their way to the CPU
    _arrived: torch.cuda.Event | None = None

    def send(self) -> None:
        """Start copying loss and norm to the CPU."""
        loss = self.loss.detach().sum()
        both = torch.stack((loss, torch.zeros_like(loss) if self.norm is None else self.norm.to(loss)))
        if not both.is_cuda:
            self._sent = both
            return
        self._sent = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
        self._sent.copy_(both, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def check(self) -> None:
        """Raise NumbersError if one of them is not finite; wait for them if need be."""
        assert self._sent is not None
        if self._arrived:
            self._arrived.synchronize()
        loss, norm = self._sent
        check_loss(loss)
        check_gradients(norm)


@dataclass
class Watch:
    """Checks the loss of each batch and the gradients of each step.

    At once means waiting for the device: the GPU would be idle while the next batch is prepared. So on a GPU the
    numbers of a batch are read when the next one is under way. The weights are safe until then, since an optimizer
    step of gradients that are not finite is left out on the device (see `Steps.optimizer_step`).

    Args:
        late: read the numbers one batch later.
        noted: batches that are to be checked; the first of them is the bad one after a NumbersError.
    """

    late: bool = False
    noted: list[Noted] = field(default_factory=list)

    def note(self, batch: dict, number: int, loss: torch.Tensor, tloss: torch.Tensor) -> None:
        """Note a batch and its loss, see `Noted`; raise NumbersError if the loss is not finite, unless `late`."""
        if not self.late:
            self.noted.clear()
        self.noted.append(Noted(batch, number, loss, tloss))
        if not self.late:
            check_loss(loss)

    def note_gradients(self, norm: torch.Tensor) -> None:
        """Note the norm of the gradients of a step; raise NumbersError if it is not finite, unless `late`."""
        if self.late:
            self.noted[-1].norm = norm
        else:
            check_gradients(norm)

    def settle(self, keep: int = 0) -> None:
        """Check the noted batches, except the newest `keep` of them on a GPU; raise NumbersError for a bad one."""
        if self.late and self.noted and self.noted[-1]._sent is None:
            self.noted[-1].send()
        while len(self.noted) > (keep if self.late else 0):
            if self.late:
                self.noted[0].check()
            del self.noted[0]


def leaves_out_steps(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> bool:
    """Check whether a step of gradients that are not finite is left out on the device, without asking the CPU."""
    return scaler.is_enabled() or bool(getattr(optimizer, "_step_supports_amp_scaling", False))


@contextmanager
def left_out(optimizer: torch.optim.Optimizer, norm: torch.Tensor) -> Iterator[None]:
    """Let a fused optimizer leave out its step in this block if the norm of the gradients is not finite.

    `found_inf` is how `GradScaler` tells it so.
    """
    said = {"grad_scale": None, "found_inf": (~torch.isfinite(norm)).float()}
    vars(optimizer).update(said)
    try:
        yield
    finally:
        for name in said:
            del vars(optimizer)[name]
