"""The cost of a forward pass by PyTorch's own counter, and the operators that the counter does not know.

`torch.utils.flop_counter` has formulas for convolutions, matrix products and attention: two FLOPs for each
multiply-accumulate. Operators without multiply-accumulates (views, activations, norms, pooling, ...) count as 0 by
convention. All others are listed by name, since their cost is unknown and not 0.
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from ultralytics.utils.wrappers import unwrap

# Operators of ATen without multiply-accumulates, by the beginnings of their names; views and those that PyTorch itself
# tags as pointwise need no entry.
_FREE = (
    *(
        "batch_norm",
        "native_batch_norm",
        "native_layer_norm",
        "native_group_norm",
        "cudnn_batch_norm",
        "fused_rms_norm",
    ),
    *("miopen_batch_norm", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "fractional_max_pool"),
    *("upsample_", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "im2col", "col2im"),
    *("sum", "mean", "amax", "amin", "aminmax", "max", "min", "argmax", "argmin", "prod", "var", "std", "any", "all"),
    *("softmax", "log_softmax", "safe_softmax", "logsumexp", "cumsum", "norm", "linalg_vector_norm", "count_nonzero"),
    *("cat", "stack", "copy", "clone", "to_copy", "lift", "fill", "zero", "constant_pad", "reflection_pad", "roll"),
    *("replication_pad", "flip", "repeat", "tril", "triu", "unsafe_view", "reshape_alias", "resize", "set", "split"),
    *(
        "index",
        "unsafe_index",
        "gather",
        "scatter",
        "masked_",
        "take",
        "embedding",
        "select",
        "sort",
        "topk",
        "nonzero",
    ),
    *("empty", "new_", "zeros", "ones", "full", "arange", "linspace", "scalar_tensor", "rand", "normal", "bernoulli"),
    *("local_scalar_dense", "item", "native_dropout", "feature_dropout", "one_hot", "bucketize", "searchsorted"),
    *("is_", "equal", "assert", "sym_", "device", "unique", "meshgrid"),
)


@dataclass
class Tally:
    """The cost of the operators of a forward pass, or of a part of it."""

    flops: int = 0
    memory: int = 0  # bytes of all results that are allocated; views and in-place changes need none
    peak: int = 0  # most bytes of input and results that are held at once
    shapes: list[tuple[int, ...]] = field(default_factory=list)  # of a part's outputs
    unknown: Counter[str] = field(default_factory=Counter)  # calls of operators whose cost is unknown


@dataclass
class Forward(Tally):
    """The cost of a whole forward pass, and of each requested part."""

    parts: dict[str, Tally] = field(default_factory=dict)


def has_no_products(op: OpOverload) -> bool:
    """Check whether an operator (of torch.ops) is known to have no multiply-accumulates."""
    if getattr(op, "is_view", False) or torch.Tag.pointwise in op.tags:
        return True
    space, _, name = op._schema.name.partition("::")
    return space in {"aten", "prim", "prims"} and name.lstrip("_").startswith(_FREE)


class _Watch(TorchDispatchMode):
    """Records the memory of each operator's results, until they are freed, and whether its cost is known."""

    def __init__(self, whole: Tally, known: Callable[[OpOverload], bool], inputs: Iterable[torch.Tensor]):
        super().__init__()
        self.running = [whole]  # the tallies of what runs now
        self.known = known
        self.alive = 0
        self.storages: dict[int, object] = {}
        for t in inputs:
            self._follow(t)

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (list, tuple)) else [out]:
            made = self._follow(t) if isinstance(t, torch.Tensor) else 0
            for tally in self.running:
                tally.memory += made
        for tally in self.running:
            tally.peak = max(tally.peak, self.alive)
            if not self.known(func):
                tally.unknown[func._schema.name] += 1
        return out

    def _follow(self, t: torch.Tensor, keep: bool = False) -> int:
        """Count the bytes of a tensor's storage until it is freed; return them if the storage is new, else 0."""
        storage = t.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.storages:
            return 0

        def freed(_: object, key: int = key, size: int = size) -> None:
            del self.storages[key]
            self.alive -= size

        self.storages[key] = storage if keep else weakref.ref(storage, freed)
        self.alive += 0 if keep else size
        return 0 if keep else size

    def keep(self, tensors: Iterable[torch.Tensor]) -> None:
        """Exclude tensors that exist anyway: parameters and buffers."""
        for t in tensors:
            self._follow(t, keep=True)


def weightless(model: nn.Module) -> nn.Module:
    """Return a copy on the meta device, whose tensors have shapes but no values and take no memory.

    That includes large plain attributes (cached anchors); short ones and short unsaved buffers (strides) keep values.
    """
    memo: dict[int, object] = {}
    for m in model.modules():
        saved = m._buffers.keys() - m._non_persistent_buffers_set
        for name, t in {**vars(m), **m._buffers}.items():
            if isinstance(t, torch.Tensor):
                constant = name not in saved and t.numel() <= 16
                memo[id(t)] = t.detach().cpu() if constant else t.detach().to("meta")
        for p in m._parameters.values():
            if p is not None:
                memo[id(p)] = nn.Parameter(p.detach().to("meta"), requires_grad=False)
    return copy.deepcopy(model, memo)


def sides(imgsz: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of an image size: one number, [side] or [height, width]."""
    given = [imgsz] if isinstance(imgsz, int) else list(imgsz)
    height, width = given[-2:] if len(given) > 1 else given * 2
    return int(height), int(width)


def input_channels(model: nn.Module) -> int:
    """Return the number of input channels of a model; 3 if unknown."""
    described = getattr(model, "yaml", None) or {}
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return described.get("ch") or (first.in_channels if first else 3)


@torch.no_grad()
def count_forward(
    model: nn.Module, imgsz: int | Sequence[int] = 640, parts: Sequence[str] = (), channels: int | None = None
) -> Forward:
    """Count a forward pass of one image in eval mode, on a copy without weights.

    A module whose forward reads values of tensors, or has an operator that the meta device lacks, runs on zeros on the
    CPU instead. What leaves PyTorch (NumPy, say) is not counted.

    Args:
        model: any module that takes a (1, channels, height, width) batch; it is not touched.
        imgsz: pixels, one number or [height, width].
        parts: names of submodules that do not contain each other; each gets a tally of its own.
        channels: of the image; by default those of the model.
    """
    model = unwrap(model)
    shape = (1, channels or input_channels(model), *sides(imgsz))
    try:
        return _count(weightless(model), "meta", model, shape, parts)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # a true mistake is met again
        return _count(copy.deepcopy(model).cpu(), "cpu", model, shape, parts)


def _count(twin: nn.Module, device: str, model: nn.Module, shape: tuple[int, ...], parts: Sequence[str]) -> Forward:
    """Run the copy of a model under PyTorch's counter and the watch."""
    from torch.utils.flop_counter import FlopCounterMode

    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    x = torch.zeros(shape, device=device, dtype=dtype)
    counter, found = FlopCounterMode(display=False), Forward(parts={name: Tally() for name in parts})
    watch = _Watch(found, lambda op: op._overloadpacket in counter.flop_registry or has_no_products(op), [x])
    watch.keep([*twin.parameters(), *twin.buffers()])

    def enter(tally: Tally) -> None:
        tally.flops -= counter.get_total_flops()
        tally.peak = max(tally.peak, watch.alive)
        watch.running.append(tally)

    def leave(tally: Tally, output: object) -> None:
        watch.running.remove(tally)
        tally.flops += counter.get_total_flops()
        tally.shapes = [tuple(t.shape) for t in tensors_in(output)]

    for name, tally in found.parts.items():
        module = twin.get_submodule(name)
        module.register_forward_pre_hook(lambda m, args, t=tally: enter(t))
        module.register_forward_hook(lambda m, args, out, t=tally: leave(t, out))
    with watch, counter:
        found.shapes = [tuple(t.shape) for t in tensors_in(twin.eval()(x))]
    found.flops = counter.get_total_flops()
    return found


def describe_unknown(unknown: Counter[str]) -> str:
    """Word a sentence on the operators whose cost is unknown."""
    names = ", ".join(f"{name} ({calls} call{'s' * (calls > 1)})" for name, calls in unknown.most_common())
    return f"Not counted, for PyTorch's counter has no formula: {names}. The true FLOPs are higher."


def tensors_in(output: object) -> list[torch.Tensor]:
    """Return the tensors in a module's output, however they are nested."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = output.values()
    return [t for o in output for t in tensors_in(o)] if isinstance(output, Iterable) else []
