"""How the network runs in training: as it is, as CUDA graphs, or compiled (setting `compile`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from ultralytics.cfg.schema import Settings
from ultralytics.nn.cuda_graphs import SAME, Key, TrainingGraph, compiled, has_hooks
from ultralytics.nn.features import Output
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER, WORLD_SIZE
from ultralytics.utils.torch_utils import StandIn, unwrap

GRAPHS = ("auto", "graphs")  # values of `compile` that do not compile
MOST_TRIES = 5  # times that graphs are made in a run
KNOWN = {"torch", "torchvision", "ultralytics"}  # packages whose layers decide nothing in Python
OURS = BaseModel.__module__  # where the passes of a model are defined that this file knows how to divide

Losses = tuple[torch.Tensor, torch.Tensor]  # of a batch: the sum, and the parts


class Runner:
    """Gives the loss of a batch; batches of the usual shape go through a faster network of the same results.

    Smaller batches, such as the last one of an epoch, take the network as it is, and so do all once a hook is
    registered on a layer. Where layers are frozen or thawed meanwhile, or put into another mode, the graphs are made
    again.

    Args:
        how: the setting `compile`; False runs the network as it is.
        half: in mixed precision.
    """

    def __init__(self, how: bool | str = False, half: bool = False):
        self.how, self.half = how, half
        self.network: nn.Module | None = None
        self.modules: list[nn.Module] = []
        self.tensors: list[torch.Tensor] = []  # weights and buffers
        self.fast: Callable[[torch.Tensor], Output] | None = None
        self.fast_key: Key = ()  # what `fast` was made for
        self.last: Key = ()
        self.times = self.tries = 0  # that the last key came in a row, but for smaller batches; that `fast` was made
        self.size = self.idle = 0  # bytes that the graphs hold, and of these what they need only for a while
        self.images = 1  # in the batch of the graphs
        self.most = 0  # images in a batch so far

    def __call__(self, model: nn.Module, batch: dict) -> Losses:
        """Return the loss of a batch and its parts."""
        image = batch["img"]
        self.most = max(self.most, len(image))
        if not self.how or len(image) < self.most or has_hooks(self.modules):
            self.make_room(len(image) / self.images)
            return model(batch)
        key = (*image.shape, image.dtype, *self._state())
        if key != self.fast_key and not self._make_fast(key, model, image):
            return model(batch)
        assert self.fast is not None
        network = cast(BaseModel, self.network)
        try:
            return network.loss(batch, self.fast(image))
        except Exception as e:
            if self.how in GRAPHS or self.tries > 1:
                raise
            self._give_up(e)  # torch.compile works at the first call
            return model(batch)

    def look(self, model: nn.Module) -> None:
        """Note the layers of the model, which may have become others, at the start of an epoch."""
        if self.how:
            self.network = unwrap(model)
            self.modules = [*self.network.modules()]
            self.tensors = [*self.network.parameters(), *self.network.buffers()]

    def _state(self) -> Key:
        """Return what graphs take for granted about the layers."""
        modes = tuple(m.training for m in self.modules)
        return modes, tuple((x.data_ptr(), x.requires_grad) for x in self.tensors)

    def _make_fast(self, key: Key, model: nn.Module, image: torch.Tensor) -> bool:
        """Make the faster network once a key has come several times in a row; return whether it is there."""
        self.times, self.last = self.times + 1 if key == self.last else 1, key
        if self.times <= SAME:
            self.make_room(len(image) / self.images)
            return False
        self.free()
        self.tries += 1
        if self.tries > MOST_TRIES:
            self._give_up(RuntimeError(f"made {MOST_TRIES} times, as layers or memory changed"))
            return False
        network = cast(BaseModel, self.network)
        if self.how not in GRAPHS:
            self.fast, self.fast_key = compiled(network.predict, self.how), key
            return True
        before = reserved(image.device)
        try:
            self.fast = TrainingGraph(network, image, self.half)
        except RuntimeError as e:
            self._give_up(e)
            return False
        self.fast_key, self.size, self.images = key, reserved(image.device) - before, len(image)
        self.idle = unused(image.device)
        return True

    def make_room(self, share: float) -> None:
        """Free the graphs if too little memory is left for what needs this share of theirs; they are made again."""
        if self.size and free_memory(device := self.tensors[0].device) + unused(device) - self.idle < share * self.size:
            self.free()

    def free(self) -> None:
        """Let go of the faster network and its memory."""
        had, self.fast, self.fast_key, self.size, self.most = self.size, None, (), 0, 0
        if had:
            torch.cuda.empty_cache()

    def _give_up(self, error: Exception) -> None:
        self.free()
        what = "CUDA graphs" if self.how in GRAPHS else "torch.compile"
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        LOGGER.warning(f"{what} cannot be used for this model ({cause}); training goes on without (compile=False).")
        self.how = False


def reserved(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that PyTorch holds."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def unused(device: torch.device) -> int:
    """Return the bytes of these that no tensor has at the moment."""
    return reserved(device) - torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def free_memory(device: torch.device) -> int:
    """Return the bytes that nobody holds."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def make_runner(model: nn.Module, args: Settings, device: torch.device, half: bool) -> Runner:
    """Return how to run a model with these settings; say why in one line if not as `compile` asks.

    Args:
        model: with its wrappers.
        args: settings of the training.
        device: of the model.
        half: in mixed precision.
    """
    how: bool | str = args.compile
    if not how or (how in GRAPHS and device.type != "cuda"):
        return Runner()
    reason = _reason_against(model, args)
    if reason:
        LOGGER.info(f"The network runs without {'CUDA graphs' if how in GRAPHS else 'torch.compile'}: {reason}.")
        return Runner()
    return Runner(how, half)


def _reason_against(model: nn.Module, args: Settings) -> str:
    """Return why only the network as it is can be trained, or ""."""
    if WORLD_SIZE > 1:
        return "several processes train together"
    if isinstance(model, StandIn):
        return "a teacher looks into it"
    if args.multi_scale or args.rect:
        return f"{'multi_scale' if args.multi_scale else 'rect'}=True gives batches of many shapes"
    network = unwrap(model)
    for name in ("forward", "predict", "loss"):
        if getattr(getattr(type(network), name, None), "__module__", "") != OURS or name in vars(network):
            return f"{type(network).__name__} has a {name}() of its own"
    foreign = next((m for m in network.modules() if type(m).__module__.partition(".")[0] not in KNOWN), None)
    if foreign is not None and args.compile == "auto":  # a choice that it makes in Python would be made once for all
        return f"the layer {type(foreign).__name__} is not built in (compile=graphs records it all the same)"
    return ""
