"""A network recorded once as CUDA graphs and replayed, so that Python and some hundred launches are left out.

A graph replays the same kernels on the same memory: the input is copied into it, and its shape, the weights' places and
what layers do in training must stay as they were. Where they do not, the network runs as it is.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ultralytics.nn.features import Output
from ultralytics.utils import LOGGER

T = TypeVar("T")
Key = tuple[object, ...]
TOLERANCE = 0.05  # relative, of outputs and gradients in half precision; those of a wrong graph differ altogether
SAME = 3  # times that a shape must come in a row before a graph is made for it
MOST_SHAPES = 4  # graphs of one model in prediction
MOST_PIXELS = 4 * 640 * 640  # of a batch in prediction; a larger one keeps the GPU busy without a graph


class NoGraph(RuntimeError):
    """Raised where a network cannot be recorded, or its graph gives something else than the network."""


def capture(function: Callable[[], T], before: torch.cuda.CUDAGraph | None = None) -> tuple[T, torch.cuda.CUDAGraph]:
    """Record what a function does on the GPU; return its result and the graph, of which each replay overwrites it.

    Args:
        function: must neither wait for the GPU nor depend on values there.
        before: a graph that is always replayed before this one, to share its memory.
    """
    graph = torch.cuda.CUDAGraph()
    pool = before.pool() if before else None
    # other threads, such as the loader's that pins memory, may go on meanwhile
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        result = function()
    return result, graph


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """Run the block on a stream of its own, as PyTorch asks for passes before a capture."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def has_hooks(modules: Iterable[nn.Module]) -> bool:
    """Check whether functions are registered on modules, which a graph would not call."""
    return any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in modules)


@contextmanager
def unchanged(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers, such as the statistics of batch norms, and the random state after the block."""
    buffers = [(b, b.clone()) for b in network.buffers()]
    random = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        if device.type == "cuda":
            torch.cuda.set_rng_state(random, device)
        else:
            torch.set_rng_state(random)


def agree(found: Iterable[torch.Tensor | None], wanted: Iterable[torch.Tensor | None]) -> bool:
    """Check whether tensors are those wanted, together, up to rounding in half precision."""
    pairs = [(a.float(), b.float()) for a, b in zip(found, wanted) if a is not None and b is not None]
    off = torch.stack([(a - b).square().sum() for a, b in pairs]).sum().sqrt()
    size = torch.stack([b.square().sum() for _, b in pairs]).sum().sqrt()
    return bool(off <= TOLERANCE * size)


# ------------------------------------------------------------------------------------------------------------- training


class TrainingGraph:
    """The forward and the backward pass of a network in training, for one shape of images.

    The call gives the network's outputs. Their backward pass adds to the gradients of the weights, as that of the
    network itself does. What happens between the two, the loss, is free.

    Args:
        network: in training mode.
        image: a batch on the GPU.
        half: run it in mixed precision.

    Raises:
        NoGraph: the network cannot be recorded, or the graphs do not give what it gives.
    """

    def __init__(self, network: nn.Module, image: torch.Tensor, half: bool):
        self.network, self.half, self.device = network, half, image.device
        self.image = image.detach().clone(memory_format=torch.preserve_format)
        self.weights = [p for p in network.parameters() if p.requires_grad]
        self.tie = torch.zeros((), device=image.device, requires_grad=True)  # makes outputs require a gradient
        self.live: list[torch.Tensor] = []  # the outputs with their history, while the graphs are recorded
        with unchanged(network, self.device), torch.enable_grad():
            with beside(self.device):
                wanted = [x.detach().clone() for x in self._forward()]
                self.slopes = [torch.full_like(x, 1e-3) for x in wanted]  # gradients of the outputs
                wanted_grads = self._backward()
            outputs, self.forward = capture(self._forward)
            self.outputs = [x.detach() for x in outputs]
            del outputs
            grads, self.backward = capture(self._backward, self.forward)
            self.live = []
            self.forward.replay()
            self.backward.replay()
            random = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p and m.training for m in network.modules())
            if not random and not (agree(self.outputs, wanted) and agree(grads, wanted_grads)):
                raise NoGraph("its graphs give other numbers")
        learned = [(w, g) for w, g in zip(self.weights, grads) if g is not None]
        self.weights, self.grads = [w for w, _ in learned], [g for _, g in learned]
        self.sums = [torch.empty_like(w) for w in self.weights]  # gradients that wait for a step

    def _forward(self) -> list[torch.Tensor]:
        # each replay has to cast the weights as they are then, so none is kept from before
        with torch.autocast(self.device.type, enabled=self.half, cache_enabled=False):
            self.live, self.tree = tree_flatten(self.network(self.image))
        if not all(isinstance(x, torch.Tensor) and x.requires_grad for x in self.live):
            raise NoGraph("not all of its outputs are learned")
        return self.live

    def _backward(self) -> list[torch.Tensor | None]:
        with torch.autocast(self.device.type, enabled=False):
            return list(torch.autograd.grad(self.live, self.weights, self.slopes, allow_unused=True))

    def __call__(self, image: torch.Tensor) -> Output:
        """Return the outputs for a batch; they are overwritten by the next call."""
        self.image.copy_(image)
        return tree_unflatten(list(_Replay.apply(self, self.tie)), self.tree)

    def add_gradients(self, slopes: tuple[torch.Tensor, ...]) -> None:
        """Run the backward pass for gradients of the outputs, and add to those of the weights."""
        torch._foreach_copy_(self.slopes, list(slopes))
        self.backward.replay()
        first = [(w, s, g) for w, s, g in zip(self.weights, self.sums, self.grads) if w.grad is None]
        more = [(w.grad, g) for w, g in zip(self.weights, self.grads) if w.grad is not None]
        if first:
            torch._foreach_copy_([s for _, s, _ in first], [g for _, _, g in first])
        if more:
            torch._foreach_add_([s for s, _ in more], [g for _, g in more])
        for w, s, _ in first:
            w.grad = s


class _Replay(torch.autograd.Function):
    """Replays the graphs of a `TrainingGraph` as a step of autograd."""

    @staticmethod
    def forward(ctx, graph: TrainingGraph, tie: torch.Tensor):
        ctx.graph = weakref.ref(graph)  # the last loss of a training lives on, but the graph's memory may be needed
        graph.forward.replay()
        return tuple(x.detach() for x in graph.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *slopes: torch.Tensor):
        ctx.graph().add_gradients(slopes)
        return None, None


# ----------------------------------------------------------------------------------------------------------- prediction


class PredictionGraphs:
    """A network for prediction, of which graphs are made for small batches of shapes that come again and again.

    Args:
        network: in eval mode; its weights do not change.
    """

    def __init__(self, network: nn.Module):
        self.network, self.modules = network, [*network.modules()]
        self.made: dict[Key, Callable[[torch.Tensor], Output]] = {}
        self.last: Key = ()
        self.times = 0  # that the last shape has come in a row
        self.off = False  # a graph could not be made

    def __call__(self, image: torch.Tensor) -> Output:
        b, _, h, w = image.shape
        if self.off or b * h * w > MOST_PIXELS or has_hooks(self.modules):
            return self.network(image)
        key = (*image.shape, image.dtype, image.stride())
        if key not in self.made:
            self.times, self.last = self.times + 1 if key == self.last else 1, key
            if self.times <= SAME or len(self.made) == MOST_SHAPES:
                return self.network(image)
            try:
                self.made[key] = record(self.network, image)
            except RuntimeError as e:
                LOGGER.debug(f"Prediction goes on without CUDA graphs: {e}")
                self.off = True
                return self.network(image)
        return self.made[key](image)


def record(network: nn.Module, image: torch.Tensor) -> Callable[[torch.Tensor], Output]:
    """Return a function that gives what a network gives for images like this one, by a CUDA graph.

    Raises:
        RuntimeError: the network cannot be recorded, or its graph does not give what it gives.
    """
    with torch.inference_mode(False), torch.no_grad():  # whatever the mode of later calls
        static = torch.empty_like(image).copy_(image)
        with beside(image.device):
            wanted, _ = tree_flatten(network(static))
        (outputs, tree), graph = capture(lambda: tree_flatten(network(static)))
        graph.replay()
        are_tensors = [isinstance(x, torch.Tensor) for x in outputs]
        if not agree(*([x for x in y if isinstance(x, torch.Tensor)] for y in (outputs, wanted))):
            raise NoGraph("its graph gives other numbers")

    def run(image: torch.Tensor) -> Output:
        static.copy_(image)
        graph.replay()
        return tree_unflatten([x.clone() if t else x for x, t in zip(outputs, are_tensors)], tree)

    return run


def quick(network: nn.Module, how: bool | str, device: torch.device) -> Callable[[torch.Tensor], Output]:
    """Return a network for prediction as the setting `compile` says."""
    if how in {"auto", "graphs"}:
        return PredictionGraphs(network) if device.type == "cuda" else network
    return compiled(network, how) if how else network


def compiled(network: Callable[..., T], how: bool | str) -> Callable[..., T]:
    """Return a network, or its method, compiled by torch.compile, which leaves the network itself as it is."""
    return torch.compile(network, mode=None if how is True else str(how), dynamic=False)
