"""Devices, seeds, mixed precision, averaging of weights, early stopping, fusing, counting and timing."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from ultralytics import utils
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.flops import count_forward, describe_unknown, input_channels, sides
from ultralytics.utils.system.determinism import name_operators
from ultralytics.utils.system.threads import THREADS, get_cpu_info
from ultralytics.utils.wrappers import StandIn, is_parallel, unwrap  # noqa: F401  public names of this module

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


# The package asks for torch 2.3 and torchvision 0.18, so of the versions that 8.3.0 tells apart only one is open
TORCH_1_9 = TORCH_1_13 = TORCH_2_0 = True
TORCHVISION_0_10 = TORCHVISION_0_11 = TORCHVISION_0_13 = TORCHVISION_0_18 = True
TORCH_2_4 = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 4)


def __getattr__(name: str) -> Callable:
    """Provide `strip_optimizer` here, where 8.3.0 has it; checkpoints are read and written a floor above."""
    if name == "strip_optimizer":
        return utils.strip_optimizer
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


# ---------------------------------------------------------------------------------------------- devices and threads


def _available_devices() -> str:
    """List the values that `device` can take on this machine."""
    gpus = [f"{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *(["mps"] if torch.backends.mps.is_available() else []), *gpus])


def _no_device(device: object, why: str) -> ConfigError:
    hint = "" if torch.version.cuda or torch.cuda.is_available() else " This torch was built without CUDA."
    here = f"Available here: {_available_devices()}.{hint}"
    return ConfigError(f"device={device!r} {why}. {here} Set device=cpu or leave it empty.")


def parse_device(device: object = "") -> str | list[int]:
    """Parse a `device` setting into 'cpu', 'mps' or GPU indices; empty means GPU 0, or the CPU without one.

    Raises:
        ConfigError: the setting cannot be parsed, or it names a device that this machine does not have.
    """
    given = device
    if isinstance(device, (list, tuple)):
        device = ",".join(str(d) for d in device)
    text = "" if device is None else str(device).lower().replace("cuda:", "").strip("()[]")
    text = text.replace(" ", "").replace("'", "")
    if text in {"cpu", "mps"} or text.startswith(("cpu:", "mps:")):
        text = text.split(":")[0]
        if text == "mps" and not torch.backends.mps.is_available():
            raise _no_device(given, "asks for Apple's MPS, which is not available")
        return text
    if text in {"", "none", "cuda"}:
        if torch.cuda.is_available():
            return [0]
        if text == "cuda":
            raise _no_device(given, "asks for a GPU, but torch sees none")
        return "cpu"
    parts = text.rstrip(",").split(",")
    if not all(p.isdecimal() for p in parts):
        raise _no_device(given, "is not understood; allowed are 'cpu', 'mps', a GPU's number or several such as '0,1'")
    numbers = [int(p) for p in parts]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if max(numbers) >= count:
        raise _no_device(given, f"names GPU {max(numbers)}, but torch sees {count or 'no'} GPU{'s' * (count != 1)}")
    if len(set(numbers)) < len(numbers):
        raise _no_device(given, "names a GPU twice")
    return numbers


def select_device(device: object = "", batch: float = 0, newline: bool = False, verbose: bool = True) -> torch.device:
    """Return the torch device for a `device` setting and say in one line what it is; of several GPUs, the first.

    Args:
        device: '', None, 'cpu', 'mps', 0, '0,1', [0, 1], 'cuda:0' or a torch.device.
        batch: batch size that several GPUs must share evenly; not checked below 1.
        newline: end the log line with an empty line.
        verbose: write the log line.

    Raises:
        ConfigError: the setting cannot be parsed, the device does not exist, or the batch does not divide.
    """
    if isinstance(device, torch.device) and device.type not in {"cuda", "mps"}:
        return device
    chosen = parse_device(device)
    line = f"Python-{platform.python_version()} torch-{torch.__version__} "
    if isinstance(chosen, str):
        if chosen == "cpu":
            threads = THREADS.choose()
            line += f"CPU ({get_cpu_info()}), {threads} thread{'s' * (threads != 1)}{THREADS.why}"
        else:
            line += "MPS (Apple)"
        arg = chosen
    else:
        if batch >= 1 and batch % len(chosen):
            fits = max(int(batch) // len(chosen), 1) * len(chosen)
            raise ConfigError(f"batch={batch} cannot be shared evenly by GPUs {chosen}. Try batch={fits}.")
        props = [(i, torch.cuda.get_device_properties(i)) for i in chosen]
        line += ", ".join(f"CUDA:{i} ({p.name}, {p.total_memory / 2**20:.0f}MiB)" for i, p in props)
        arg = f"cuda:{chosen[0]}"
    if verbose:
        LOGGER.info(line + "\n" * newline)
    return torch.device(arg)


def init_seeds(seed: int = 0, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; `deterministic` asks torch for such kernels, and names operators without one."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # also of every GPU
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ["PYTHONHASHSEED"] = str(seed)  # reaches worker processes
        # It costs time and makes nothing here more deterministic; it is a property of the module's class
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        name_operators()
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


@contextlib.contextmanager
def torch_distributed_zero_first(local_rank: int) -> Iterator[None]:
    """Run the block on local rank 0 first (to make a cache, say) while the other ranks wait for it."""
    together = dist.is_available() and dist.is_initialized()
    if together and local_rank not in {-1, 0}:
        dist.barrier()
    yield
    if together and local_rank == 0:
        dist.barrier()


def autocast(enabled: bool, device: str = "cuda") -> torch.autocast:
    """Return the context that runs operations on `device` in mixed precision, if `enabled`."""
    return torch.autocast(device, enabled=enabled)


@torch.no_grad()
def check_amp(model: nn.Module) -> bool:
    """Check whether mixed precision can be trusted: a small convolution and product must match float32 (CUDA only)."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    agrees = _amp_agrees(device)
    if not agrees:
        name = torch.cuda.get_device_name(device)
        LOGGER.warning(f"Mixed precision gives wrong numbers on {name}, so training uses float32 (amp=False).")
    return agrees


@torch.no_grad()
def _amp_agrees(device: torch.device, tolerance: float = 0.02) -> bool:
    """Compare a convolution and a matrix product under autocast with float32; some GPUs return NaN for the first."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, 32, 32, generator=generator).to(device)
    w = (torch.randn(32, 16, 3, 3, generator=generator) / 12).to(device)

    def run() -> torch.Tensor:
        y = F.conv2d(x, w, padding=1).flatten(2)
        return (y @ y.transpose(1, 2) / y.shape[-1]).float()

    exact = run()
    with autocast(True, device.type):
        mixed = run()
    return bool(torch.isfinite(mixed).all()) and bool((mixed - exact).abs().max() <= tolerance * exact.abs().max())


def smart_inference_mode() -> Callable:
    """Return a decorator that runs a function under `torch.inference_mode`, unless that is on already."""

    def decorate(fn: Callable) -> Callable:
        return fn if torch.is_inference_mode_enabled() else torch.inference_mode()(fn)

    return decorate


def time_sync() -> float:
    """Return the time in seconds after all work queued on the GPU is done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


# ------------------------------------------------------------------------------------------- wrappers and attributes


def de_parallel(model: nn.Module) -> nn.Module:
    """Return the model inside its parallel wrapper."""
    return unwrap(model)


def copy_attr(a: object, b: object, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
    """Copy public attributes from `b` to `a`: those in `include` (all if empty) that are not in `exclude`."""
    include, exclude = set(include), set(exclude)
    for k, v in vars(b).items():
        if not k.startswith("_") and k not in exclude and (not include or k in include):
            setattr(a, k, v)


def intersect_dicts(da: dict, db: dict, exclude: Iterable[str] = ()) -> dict:
    """Return the entries of `da` that `db` has under the same name and shape; names with an `exclude` in them go."""
    exclude = tuple(exclude)
    return {k: v for k, v in da.items() if k in db and v.shape == db[k].shape and not any(x in k for x in exclude)}


# ---------------------------------------------------------------------------------------------------------- training


def one_cycle(y1: float = 0.0, y2: float = 1.0, steps: int = 100) -> Callable[[float], float]:
    """Return the cosine ramp from y1 at step 0 to y2 at `steps` (Loshchilov and Hutter, SGDR, arXiv 1608.03983)."""
    return lambda x: max((1 - math.cos(x * math.pi / steps)) / 2, 0) * (y2 - y1) + y1


@contextlib.contextmanager
def single_values(model: nn.Module, images: int) -> Iterator[None]:
    """Let norms of a model in training accept a map of one value per channel, which has no variance.

    That is the map of a single image reduced to 1x1, for which a norm uses its running statistics as in inference.

    Args:
        model: the model that is called in the block.
        images: images in the batch; of several, no norm sees a single value.
    """

    def before(norm: nn.Module, inputs: tuple) -> None:
        x = inputs[0]
        if norm.training and norm.track_running_stats and x.numel() == x.shape[1]:
            norm.training = False
            switched.append(norm)

    def after(norm: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if norm in switched:
            switched.remove(norm)
            norm.training = True

    switched: list[nn.Module] = []
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] if images == 1 else []
    hooks = [hook for m in norms for hook in (m.register_forward_pre_hook(before), m.register_forward_hook(after))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in switched:
            norm.training = True


@contextlib.contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode within this block, and restore the mode of each of its layers."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


def initialize_weights(model: nn.Module) -> None:
    """Set batch norm eps to 1e-3 and momentum to 0.03, as the recipe asks, and ReLUs to in-place.

    SiLU and Hardswish need their input for the gradient, so in place they would copy it first; they are left unchanged
    until a model is fused for inference.
    """
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.eps, m.momentum = 1e-3, 0.03
        elif isinstance(m, (nn.LeakyReLU, nn.ReLU, nn.ReLU6)):
            m.inplace = True


Place = tuple[dict, str]  # a dictionary of a layer's tensors, and a name in it


def _places(model: nn.Module) -> dict[str, Place]:
    """Return where the floating-point entries of a model's state are held, by their names."""
    places: dict[str, Place] = {}
    for path, m in model.named_modules(remove_duplicate=False):
        held = [(m._parameters, k) for k in m._parameters]
        held += [(m._buffers, k) for k in m._buffers if k not in m._non_persistent_buffers_set]
        for tensors, key in held:
            tensor = tensors[key]
            if tensor is not None and tensor.is_floating_point():
                places[f"{path}.{key}"] = tensors, key
    return places


class ModelEMA:
    """Exponential moving average of a model's floating-point state, kept in eval mode for validation and saving.

    The decay rises as `decay * (1 - exp(-updates / tau))`, so that early, fast-changing weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000, updates: int = 0):
        self.ema = copy.deepcopy(unwrap(model)).eval().requires_grad_(False)
        self.updates = updates
        self.base, self.tau = decay, tau
        self.enabled = True
        self._between: tuple[int, int] = (0, 0)  # ids of the two models whose tensors are noted
        self._pairs: list[tuple[Place, Place]] = []  # where their tensors are held, in the average and in the model

    def decay(self, updates: int) -> float:
        """Return the fraction of the old average that is kept at the given update."""
        return self.base * (1 - math.exp(-updates / self.tau))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average a step towards the model; entries that are not floating point stay as they are."""
        if not self.enabled:
            return
        self.updates += 1
        model = unwrap(model)
        if self._between != (id(self.ema), id(model)):  # found once in an epoch: it takes as long as the arithmetic
            new = _places(model)
            self._pairs = [(place, new[name]) for name, place in _places(self.ema).items()]
            self._between = id(self.ema), id(model)
        kept = [held[name] for (held, name), _ in self._pairs]
        fresh = [held[name].to(old) for (_, (held, name)), old in zip(self._pairs, kept)]
        torch._foreach_lerp_(kept, fresh, 1 - self.decay(self.updates))  # one call for some 400 tensors

    def update_attr(
        self, model: nn.Module, include: Iterable[str] = (), exclude: Iterable[str] = ("process_group", "reducer")
    ) -> None:
        """Copy attributes such as names and args from the model; called after each epoch."""
        self._between = 0, 0
        if self.enabled:
            copy_attr(self.ema, unwrap(model), include, exclude)


class EarlyStopping:
    """Stops a training when fitness has not risen for `patience` epochs; 0 never stops."""

    def __init__(self, patience: int = 50):
        self.best_fitness = -math.inf  # some are negative
        self.best_epoch = 0
        self.patience = patience or float("inf")
        self.possible_stop = False  # the next epoch may be the last

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Return True when training should stop after this epoch; None, for one that was not validated, never does."""
        if fitness is None:
            return False
        if fitness >= self.best_fitness:  # not '>': early epochs may all be at 0
            self.best_epoch, self.best_fitness = epoch, fitness
        waited = epoch - self.best_epoch
        self.possible_stop = waited >= self.patience - 1
        stop = waited >= self.patience
        if stop:
            LOGGER.info(
                f"Training stopped early: no improvement in the last {self.patience} epochs, the best was epoch "
                f"{self.best_epoch}. Set patience to another number of epochs, or to 0 to never stop early."
            )
        return stop


# ------------------------------------------------------------------------------------------------------------ fusing


Conv = TypeVar("Conv", nn.Conv2d, nn.ConvTranspose2d)


def _fold(
    conv: nn.Conv2d | nn.ConvTranspose2d, bn: nn.BatchNorm2d, axis: int, groups: int
) -> tuple[nn.Parameter, nn.Parameter]:
    """Fold a batch norm into the weight and bias of a convolution; `axis` of the weight: output channels."""
    assert bn.running_var is not None and bn.running_mean is not None
    scale = torch.rsqrt(bn.running_var + bn.eps)
    scale = scale if bn.weight is None else scale * bn.weight
    shift = torch.zeros_like(scale) if bn.bias is None else bn.bias
    bias = shift - bn.running_mean * scale if conv.bias is None else shift + (conv.bias - bn.running_mean) * scale
    if axis == 0:
        weight = conv.weight * scale.view(-1, 1, 1, 1)
    else:  # transposed: (in, out / groups, k, k), with inputs ordered by group
        weight = conv.weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, 1, 1)
        weight = weight.flatten(0, 1)
    return nn.Parameter(weight.detach(), requires_grad=False), nn.Parameter(bias.detach(), requires_grad=False)


def _fused_like(conv: nn.Module, kind: type[Conv], **extra) -> Conv:
    """Return an empty copy of a convolution with a bias, on the meta device, since its weights are replaced."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return kind(**{k: getattr(conv, k) for k in names}, **extra, bias=True, device="meta")


@torch.no_grad()
def fuse_conv_and_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution that computes `bn(conv(x))` in eval mode."""
    fused = _fused_like(conv, nn.Conv2d)
    fused.weight, fused.bias = _fold(conv, bn, axis=0, groups=conv.groups)
    return fused.train(conv.training)


@torch.no_grad()
def fuse_deconv_and_bn(deconv: nn.ConvTranspose2d, bn: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """Return one transposed convolution that computes `bn(deconv(x))` in eval mode."""
    fused = _fused_like(deconv, nn.ConvTranspose2d, output_padding=deconv.output_padding)
    fused.weight, fused.bias = _fold(deconv, bn, axis=1, groups=deconv.groups)
    return fused.train(deconv.training)


# ---------------------------------------------------------------------------------------------------------- counting


def get_num_params(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def get_num_gradients(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def get_flops(model: nn.Module, imgsz: int | list[int] = 640) -> float:
    """Return the GFLOPs (2 x multiply-accumulates) of one image by torch's own counter.

    Args:
        model: any module that takes a (1, channels, height, width) batch; it is not touched.
        imgsz: pixels, one number or [height, width].
    """
    return count_forward(model, imgsz).flops / 1e9


def get_flops_with_torch_profiler(model: nn.Module, imgsz: int | list[int] = 640) -> float:
    """Return the GFLOPs of one image by PyTorch's profiler, which knows convolutions and products only.

    Args:
        model: any module that takes a (1, channels, height, width) batch.
        imgsz: pixels, one number or [height, width].
    """
    model = unwrap(model)
    weight = next(model.parameters())
    image = torch.zeros((1, input_channels(model), *sides(imgsz)), device=weight.device, dtype=weight.dtype)
    with in_eval(model), torch.no_grad(), torch.profiler.profile(with_flops=True) as profiler:
        model(image)
    return sum(event.flops for event in profiler.key_averages()) / 1e9


def model_info_for_loggers(trainer: BaseTrainer) -> dict[str, float]:
    """Return what loggers note of a trainer's model: parameters, GFLOPs, and milliseconds an image in validation."""
    found: dict[str, float] = {
        "model/parameters": get_num_params(trainer.model),
        "model/GFLOPs": round(get_flops(trainer.model), 3),
    }
    speed = getattr(trainer.validator, "speed", None) or {}
    return found | {"model/speed_PyTorch(ms)": round(speed.get("inference", 0.0), 3)}


def convert_optimizer_state_dict_to_fp16(state_dict: dict) -> dict:
    """Halve the size of an optimizer's state: floating-point tensors become half, but not the counts of steps."""
    for state in state_dict["state"].values():
        for key, value in state.items():
            if key != "step" and isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                state[key] = value.half()
    return state_dict


def model_info(
    model: nn.Module, detailed: bool = False, verbose: bool = True, imgsz: int | list[int] = 640
) -> tuple[int, int, int, float] | None:
    """Return (layers, parameters, gradients, GFLOPs) and log them in one line; `detailed` adds a line per parameter.

    Operators whose cost is unknown are logged in a line of their own, since the GFLOPs lack them. As in 8.3.0, nothing
    is counted and None is returned when not `verbose`.
    """
    if not verbose:
        return None
    model = unwrap(model)
    n_l, n_p, n_g = sum(1 for _ in model.modules()), get_num_params(model), get_num_gradients(model)
    if detailed:
        LOGGER.info(
            f"{'layer':>5} {'name':>40} {'gradient':>9} {'parameters':>12} {'shape':>20} {'mu':>10} {'sigma':>10}"
        )
        for i, (name, p) in enumerate(model.named_parameters()):
            name = name.replace("module_list.", "")
            mean, std = p.float().mean(), p.float().std(correction=0)
            LOGGER.info(
                f"{i:5g} {name:>40} {p.requires_grad!s:>9} {p.numel():12g} {[*p.shape]!s:>20} {mean:10.3g} {std:10.3g}"
            )
    cost = count_forward(model, imgsz)
    flops = cost.flops / 1e9
    fused = " (fused)" if getattr(model, "is_fused", lambda: False)() else ""
    yaml_file = getattr(model, "yaml", {}).get("yaml_file", "")  # the attribute `yaml_file` is the class's default
    name = Path(yaml_file).stem.replace("yolo", "YOLO") or type(model).__name__
    LOGGER.info(f"{name} summary{fused}: {n_l:,} layers, {n_p:,} parameters, {n_g:,} gradients, {flops:.2f} GFLOPs")
    if cost.unknown:
        LOGGER.warning(describe_unknown(cost.unknown))
    return n_l, n_p, n_g, flops


# ------------------------------------------------------------------------------------------------------------ timing


def scale_img(img: torch.Tensor, ratio: float = 1.0, same_shape: bool = False, gs: int = 32) -> torch.Tensor:
    """Resize a (b, c, h, w) batch by `ratio` and pad it with grey to a multiple of `gs`, or to its old size."""
    if ratio == 1.0:
        return img
    h, w = img.shape[2:]
    new_h, new_w = int(h * ratio), int(w * ratio)
    img = F.interpolate(img, size=(new_h, new_w), mode="bilinear", align_corners=False)
    if not same_shape:
        h, w = (math.ceil(x * ratio / gs) * gs for x in (h, w))
    return F.pad(img, [0, w - new_w, 0, h - new_h], value=0.447)  # mean of ImageNet


def profile(
    input: torch.Tensor | list[torch.Tensor], ops: nn.Module | list[nn.Module], n: int = 10, device: object = None
) -> list:
    """Time modules, forward and backward, on given inputs and log a table.

    Returns:
        A row [parameters, GFLOPs, forward ms, backward ms, input shape, output shape] for each; None for a failure.
    """
    device = device if isinstance(device, torch.device) else select_device(device, verbose=False)
    rows: list[list | None] = []
    LOGGER.info(f"{'params':>12}{'GFLOPs':>12}{'forward (ms)':>14}{'backward (ms)':>14}{'input':>24}{'output':>24}")
    for x in input if isinstance(input, list) else [input]:
        x = x.to(device).requires_grad_(x.is_floating_point())
        for op in ops if isinstance(ops, list) else [ops]:
            try:
                row = _profile_one(op.to(device) if isinstance(op, nn.Module) else op, x, n)
                rows.append(row)
                params, flops, forward, backward, s_in, s_out = row
                LOGGER.info(f"{params:12}{flops:12.4g}{forward:14.4g}{backward:14.4g}{s_in!s:>24}{s_out!s:>24}")
            except Exception as e:  # a failure must not hide the other results
                LOGGER.warning(f"{type(op).__name__}: {e}")
                rows.append(None)
    return rows


def _profile_one(op: nn.Module | Callable, x: torch.Tensor, n: int) -> list:
    """Measure one row of `profile`: means over n runs, after a warm-up run."""
    forward = backward = 0.0
    y = op(x)
    for _ in range(n):
        t0 = time_sync()
        y = op(x)
        t1 = time_sync()
        loss = sum(o.sum() for o in (y if isinstance(y, (list, tuple)) else [y]))
        if loss.requires_grad:
            loss.backward()
        forward, backward = forward + (t1 - t0), backward + (time_sync() - t1)
    flops = float("nan")
    if isinstance(op, nn.Module) and x.ndim == 4:
        flops = count_forward(op, list(x.shape[-2:]), channels=x.shape[1]).flops / 1e9
    shape = tuple(y.shape) if isinstance(y, torch.Tensor) else "list"
    params = get_num_params(op) if isinstance(op, nn.Module) else 0
    return [params, flops, forward / n * 1e3, backward / n * 1e3, tuple(x.shape), shape]
