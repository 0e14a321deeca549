"""The models: layers from a YAML, the forward pass through them, fusing, loss, and loading of weight files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ultralytics.cfg.tasks import TASKS, load
from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file
from ultralytics.nn.features import Output, predict_augmented
from ultralytics.nn.features import embed as features_of
from ultralytics.nn.ghostnet import Ghostnetv1, Ghostnetv2, Ghostnetv3  # noqa: F401  registers the backbones
from ultralytics.nn.modules import *  # noqa: F403  registers the modules, and lets YAMLs and users find them here
from ultralytics.nn.modules import Detect
from ultralytics.nn.own_modules import loaded_entries, own_entries
from ultralytics.nn.parse import (
    build_layers,
    guess_model_scale,
    weight_files,
    without_weight_files,
    yaml_model_load,
)
from ultralytics.nn.probe import probe
from ultralytics.nn.registry import lookup
from ultralytics.nn.transfer import Report, known_names, transfer
from ultralytics.nn.trust import trust_modules
from ultralytics.nn.widths import resize, structure, widths_of
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError, ModelError, UserError
from ultralytics.utils.loss import (
    E2EDetectLoss,
    v8ClassificationLoss,
    v8DetectionLoss,
    v8OBBLoss,
    v8PoseLoss,
    v8SegmentationLoss,
)
from ultralytics.utils.torch_utils import fuse_conv_and_bn, initialize_weights, model_info

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer
    from ultralytics.nn.registry import StartsFromFile

__all__ = (
    "BaseModel",
    "ClassificationModel",
    "DetectionModel",
    "Ensemble",
    "OBBModel",
    "PoseModel",
    "SegmentationModel",
    "attempt_load_one_weight",
    "attempt_load_weights",
    "guess_model_scale",
    "guess_model_task",
    "parse_model",
    "torch_safe_load",
    "yaml_model_load",
)


Criterion = Callable[..., tuple[torch.Tensor, torch.Tensor]]  # (preds, batch) -> (loss, parts for the log)


def parse_model(d: dict, ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a model description (see `build_layers`); it may name classes put into this module."""
    return build_layers(d, ch, verbose, namespace=globals())


class BaseModel(nn.Module):
    """Layers `model` with the indices `save` whose outputs later layers read; a batch (dict) gives the loss.

    A subclass sets its `task`, finds its strides (`prepare`) and makes its loss (`init_criterion`). A new model starts
    from the weight files that its YAML names, or else from random weights.

    Args:
        cfg: name of a model YAML, or its content.
        ch: channels of the input image.
        nc: number of classes, instead of the YAML's.
        verbose: log the table of layers and the size of the model.

    Raises:
        ModelError: a line of the YAML cannot be built, or shapes do not fit; the message names the line.
        MissingFileError: a weight file that the YAML names does not exist.
        CheckpointError: it does not fit.
    """

    task = ""
    yaml_file = ""  # the default model YAML
    args: dict | SimpleNamespace  # settings of its training
    pt_path: str  # of the weight file that it was read from
    transforms: Callable[..., torch.Tensor]  # of the images, in a trained classifier

    def __init__(self, cfg: str | Path | dict = "", ch: int = 3, nc: int | None = None, verbose: bool = True):
        super().__init__()
        self._made_criterion: tuple[Criterion | None, object] = None, None  # by `loss`, and its settings
        cfg = cfg or self.yaml_file
        self.yaml = deepcopy(cfg) if isinstance(cfg, dict) else yaml_model_load(cfg)
        self.yaml["ch"] = ch = self.yaml.get("ch", ch)
        if nc and nc != self.yaml.get("nc"):
            if verbose:
                LOGGER.info(f"The model is built for nc={nc} classes instead of the {self.yaml.get('nc')} of its YAML.")
            self.yaml["nc"] = nc
        self.model, self.save = parse_model(self.yaml, ch=ch, verbose=verbose)
        resize(self.model, self.yaml.get("widths") or {})
        self._as_built = structure(self.model)  # what `describe` compares a pruned model with
        self.nc: int = self.yaml.get("nc", 0)
        self.names = {i: str(i) for i in range(self.nc)}
        self.prepare(ch)
        for number, file in weight_files(self.yaml).items():
            cast("StartsFromFile", self.model[number]).load_weights(file)
        if verbose:
            self.info()
            LOGGER.info("")

    @property
    def end2end(self) -> bool:
        """Whether the predictions need no non-maximum suppression."""
        return bool(getattr(self.model[-1], "end2end", False))

    def prepare(self, ch: int) -> None:
        """Finish a model whose layers are built; the sides of an image must be multiples of `stride`."""
        self.stride = torch.tensor([1.0])

    def forward(self, x: torch.Tensor | dict, *args, **kwargs) -> Output:
        return self.loss(x, *args, **kwargs) if isinstance(x, dict) else self.predict(x, *args, **kwargs)

    def predict(
        self,
        x: torch.Tensor,
        profile: bool = False,
        visualize: bool = False,
        augment: bool = False,
        embed: Sequence[int] | None = None,
    ) -> Output:
        """Return the outputs of the last layer for a batch (b, ch, h, w).

        With `augment`, a detector also predicts on scaled and mirrored copies (see `predict_augmented`). With `embed`,
        the features of these layers are returned instead: a tensor (channels,) for each image.
        """
        if embed:
            return features_of(self, x, embed).unbind()
        if augment:
            return predict_augmented(self, x)
        kept: list = []
        y: Output = x
        for m in cast("Iterable[Layer]", self.model):
            if m.f != -1:
                y = kept[m.f] if isinstance(m.f, int) else [y if j == -1 else kept[j] for j in m.f]
            y = m(y)
            outputs = y if getattr(m, "span", 1) > 1 else [y]  # layers of a file unpickled by torch.load have none
            kept += [out if m.i + k in self.save else None for k, out in enumerate(outputs)]
            y = outputs[-1]
        return y

    def loss(self, batch: dict, preds: Output | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a batch, and its parts for the log."""
        return self._criterion()(self.predict(batch["img"]) if preds is None else preds, batch)

    def _criterion(self) -> Criterion:
        """Return `criterion`: the one set from outside, or else the task's own, made once for the settings `args`."""
        given, args = getattr(self, "criterion", None), getattr(self, "args", None)
        made, made_for = self._made_criterion
        if given is None or (given is made and args is not made_for):
            self.criterion = self.init_criterion()
            self._made_criterion = self.criterion, args
        return self.criterion

    def forget_criterion(self) -> None:
        """Delete the criterion made for a training that has ended; one that was set from outside stays."""
        made, self._made_criterion = self._made_criterion[0], (None, None)
        if made is not None and getattr(self, "criterion", None) is made:
            del self.criterion

    def fuse(self, verbose: bool = True) -> BaseModel:
        """Fold each batch norm into the convolution before it, for inference."""
        if not self.is_fused(thresh=1):
            for m in [*self.modules()]:
                if m is not self and callable(fuse := getattr(m, "fuse", None)):
                    fuse()
                elif isinstance(m, nn.Sequential):
                    _fuse_pairs(m)
                elif isinstance(m, (nn.SiLU, nn.Hardswish)):
                    m.inplace = True
            self.info(verbose=verbose)
        return self

    def is_fused(self, thresh: int = 10) -> bool:
        """Return whether fewer than `thresh` normalization layers are left."""
        norms = tuple(v for k, v in nn.__dict__.items() if "Norm" in k and isinstance(v, type))
        return sum(isinstance(m, norms) for m in self.modules()) < thresh

    def info(
        self, detailed: bool = False, verbose: bool = True, imgsz: int = 640
    ) -> tuple[int, int, int, float] | None:
        """Log and return layers, parameters, gradients and GFLOPs."""
        return model_info(self, detailed=detailed, verbose=verbose, imgsz=imgsz)

    def load(self, weights: dict | nn.Module | str | Path, verbose: bool = True) -> Report:
        """Transfer what fits from a model, checkpoint, state dict or weight file; log and return a report."""
        if isinstance(weights, (str, Path)):
            weights, _ = read_weights(weights)
        report = transfer(_model_or_weights(weights), self)
        names = weights.get("names") if isinstance(weights, dict) else getattr(weights, "names", None)
        if names and len(names) == len(self.names) and report.taken and not known_names(self.names):
            self.names = dict(names)  # no others were set yet
        if not report.taken:
            LOGGER.warning(f"WARNING ⚠️ {report.summary()} None fits this model, which stays as it was.")
        elif verbose:
            LOGGER.info(report.summary())
        return report

    def init_criterion(self) -> Criterion:
        """Return the loss function `(preds, batch) -> (loss, items)` of the task."""
        raise NotImplementedError(f"{type(self).__name__} has no loss.")


def _model_or_weights(source: nn.Module | dict) -> nn.Module | dict[str, torch.Tensor]:
    """Return the model that a source of weights is or describes, else the weights that it holds."""
    if not isinstance(source, dict) or "model" not in source:
        return source
    if isinstance(source["model"], dict) and {"yaml", "task", "nc", "names", "args"} <= source.keys():
        try:
            return build_from_checkpoint(source)
        except UserError as e:
            LOGGER.warning(f"WARNING: the layers are matched by name only, as their model cannot be built: {e}")
    return source["model"]


def _fuse_pairs(layers: nn.Sequential) -> None:
    """Fold each BatchNorm2d that directly follows a Conv2d into it, in place; later layers move up."""
    for k in range(len(layers) - 1, 0, -1):
        conv, bn = layers[k - 1], layers[k]
        if type(conv) is nn.Conv2d and isinstance(bn, nn.BatchNorm2d):
            layers[k - 1] = fuse_conv_and_bn(conv, bn)
            del layers[k]


class DetectionModel(BaseModel):
    """A detector: layers from a YAML with a head that gives boxes and classes; for arguments see `BaseModel`."""

    task = "detect"
    yaml_file = "yolo11n.yaml"

    def prepare(self, ch: int, size: int = 256) -> None:
        """Find the head's strides by a pass of zeros, and start its biases; raise ModelError if shapes do not fit."""
        head, maps = self.model[-1], cast("Output | dict", probe(self, torch.zeros(1, ch, size, size)))
        initialize_weights(self)
        if not isinstance(head, Detect):
            self.stride = torch.tensor([32.0])
            return
        maps = maps["one2many"] if isinstance(maps, dict) else maps  # where no NMS is needed, another pair of branches
        maps = maps[0] if isinstance(maps, tuple) else maps  # heads derived from Detect give more
        head.stride.copy_(torch.tensor([size / m.shape[-2] for m in maps]))
        self.stride = head.stride.clone()
        head.bias_init()

    def init_criterion(self) -> Criterion:
        return E2EDetectLoss(self) if self.end2end else v8DetectionLoss(self)


class SegmentationModel(DetectionModel):
    """A detector with a mask for each object."""

    task = "segment"
    yaml_file = "yolo11n-seg.yaml"

    def init_criterion(self) -> v8SegmentationLoss:
        return v8SegmentationLoss(self)


class PoseModel(DetectionModel):
    """A detector with keypoints for each object.

    Args:
        data_kpt_shape: number of keypoints and their dimensions (2 or 3), instead of the YAML's `kpt_shape`.
    """

    task = "pose"
    yaml_file = "yolo11n-pose.yaml"

    def __init__(
        self,
        cfg: str | Path | dict = "",
        ch: int = 3,
        nc: int | None = None,
        data_kpt_shape: tuple[int | None, int | None] = (None, None),
        verbose: bool = True,
    ):
        cfg = deepcopy(cfg) if isinstance(cfg, dict) else yaml_model_load(cfg or self.yaml_file)
        shape = [*data_kpt_shape]
        if any(shape) and shape != [*cfg.get("kpt_shape", ())]:
            if verbose:
                LOGGER.info(f"The model is built for kpt_shape={shape} instead of its YAML's {cfg.get('kpt_shape')}.")
            cfg["kpt_shape"] = shape
        super().__init__(cfg, ch, nc, verbose)
        self.kpt_shape = tuple(getattr(self.model[-1], "kpt_shape", ()))

    def init_criterion(self) -> v8PoseLoss:
        return v8PoseLoss(self)


class OBBModel(DetectionModel):
    """A detector of rotated boxes."""

    task = "obb"
    yaml_file = "yolo11n-obb.yaml"

    def init_criterion(self) -> v8OBBLoss:
        return v8OBBLoss(self)


class ClassificationModel(BaseModel):
    """A classifier of whole images: logits in training, probabilities in inference; for arguments see `BaseModel`.

    Its batch norms keep PyTorch's eps 1e-5 and momentum 0.1, as those of 8.3.0 and of the published GhostNets.
    """

    task = "classify"
    yaml_file = "yolo11n-cls.yaml"

    def loss(self, batch: dict, preds: Output | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        preds = self.predict(batch["img"]) if preds is None else preds
        if not self.training and isinstance(preds, torch.Tensor):  # probabilities, whose logarithms serve as logits
            preds = preds.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return super().loss(batch, preds)

    def init_criterion(self) -> v8ClassificationLoss:
        return v8ClassificationLoss()

    @staticmethod
    def reshape_outputs(model: nn.Module, nc: int) -> None:
        """Give a classifier, of this package or torchvision, `nc` outputs by a new last linear or 1x1 layer."""
        parent, name = next(
            (
                (model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2])
                for path, m in reversed([*model.named_modules()])
                if isinstance(m, (nn.Linear, nn.Conv2d))
            ),
            (None, ""),
        )
        if parent is None:
            raise ModelError(
                f"{type(model).__name__} has neither a linear layer nor a convolution that could give {nc} classes."
            )
        last = getattr(parent, name)
        if isinstance(last, nn.Linear) and last.out_features != nc:
            setattr(parent, name, nn.Linear(last.in_features, nc, bias=last.bias is not None))
        elif isinstance(last, nn.Conv2d) and last.out_channels != nc:
            (kh, kw), (sh, sw) = last.kernel_size, last.stride
            setattr(parent, name, nn.Conv2d(last.in_channels, nc, (kh, kw), (sh, sw), bias=last.bias is not None))


class Ensemble(nn.ModuleList):
    """Detectors whose predictions are put side by side, for one NMS: `Ensemble([model, model])`.

    Raises:
        ModelError: they have different classes.
    """

    def __init__(self, models: Iterable[BaseModel] = ()):
        super().__init__()
        self.names: dict[int, str] = {}
        self.nc = 0
        self.yaml: dict = {}
        self.stride, self.task = torch.tensor([1.0]), ""
        for model in models:
            self.append(model)

    def append(self, module: nn.Module) -> Ensemble:
        """Add a detector."""
        model = cast(BaseModel, module)
        if len(self) and dict(model.names) != dict(self.names):
            raise ModelError(f"An ensemble's models must know the same classes, but model {len(self)} knows others.")
        super().append(model)
        self.names, self.nc, self.yaml, self.task = model.names, model.nc, model.yaml, model.task
        self.stride = model.stride if model.stride.max() > self.stride.max() else self.stride
        return self

    def forward(
        self, x: torch.Tensor, augment: bool = False, profile: bool = False, visualize: bool = False
    ) -> tuple[torch.Tensor, None]:
        """Return the predictions of all models (b, 4 + nc, positions of all), and None instead of maps."""
        return torch.cat([model(x, profile, visualize, augment)[0] for model in self], 2), None


def guess_model_task(model: str | Path | dict | nn.Module) -> str:
    """Return the task of a model, by its YAML's content or its file name; 'detect' for an unknown head."""
    if isinstance(model, nn.Module):
        return getattr(model, "task", None) or guess_model_task(getattr(model, "yaml", {}))
    if isinstance(model, dict):
        last = model["head"][-1] if isinstance(model.get("head"), list) and model["head"] else ()
        found = _tasks_of_head(str(last[2]), model) if isinstance(last, (list, tuple)) and len(last) > 2 else []
    else:
        stem = f"-{Path(model).stem.lower()}-".replace("_", "-")
        suffixes = {t.name: Path(t.weights).stem.partition("-")[2] for t in TASKS.values()}  # yolo11n-seg.pt: seg
        found = [name for name, suffix in suffixes.items() if suffix and f"-{suffix}-" in stem]
    return found[0] if found else "detect"


def _tasks_of_head(name: str, d: dict) -> list[str]:
    """Return the tasks of the head that a model description names: those of its class, or else of its nearest base."""
    heads = {head: t.name for t in TASKS.values() for head in t.heads}
    try:
        bases = lookup(name, loaded_entries(d), globals()).cls.__mro__
    except UserError:  # its file was not run yet
        return [heads[name]] if name in heads else []
    return [heads[head] for base in bases for head in heads if base is globals().get(head)]


def build_from_checkpoint(ckpt: dict, verbose: bool = False) -> BaseModel:
    """Return the model that a checkpoint's YAML describes, with the checkpoint's weights, names and arguments.

    Raises:
        ModelError: the weights do not fit the YAML.
    """
    d = without_weight_files({**ckpt["yaml"], "nc": ckpt["nc"]})
    with torch.random.fork_rng(devices=[]):  # the random weights are replaced
        model = load(TASKS[ckpt["task"]].model)(d, verbose=verbose)
    try:
        missing, unexpected = model.load_state_dict(ckpt["model"], strict=False)
    except RuntimeError as e:
        reason = " ".join(str(e).split())[:300]
        raise ModelError(f"The weights do not fit the model that the same file describes: {reason}") from None
    if missing or unexpected:
        raise ModelError(
            f"The weights do not fit the model that the same file describes: {len(missing)} entries are missing "
            f"({', '.join(missing[:3])}...) and {len(unexpected)} are not known ({', '.join(unexpected[:3])}...)."
        )
    model.names, model.args = ckpt["names"], ckpt["args"]
    return model


def description(model: BaseModel) -> dict:
    """Return the YAML from which a network like this one is built, with its `widths` if it was pruned.

    Raises:
        ModelError: no YAML describes it.
    """
    now = structure(model.model)
    if (
        now == getattr(model, "_as_built", now) or model.is_fused()
    ):  # a file of a fused model cannot be loaded, whatever its widths
        return model.yaml
    d = {k: v for k, v in model.yaml.items() if k != "widths"}
    with torch.random.fork_rng(devices=[]):
        layers, _ = parse_model(d, ch=d["ch"], verbose=False)
    widths = widths_of(now, structure(layers))
    return {**d, "widths": widths} if widths else d


def describe(model: BaseModel) -> dict:
    """Return a checkpoint of a model, from which `build_from_checkpoint` makes the same model."""
    args = getattr(model, "args", {})
    args = args if isinstance(args, dict) else vars(args)
    return {
        "yaml": description(model),
        "task": model.task,
        "names": model.names,
        "nc": len(model.names),
        "stride": [float(s) for s in model.stride],
        "args": dict(args),
        "model": model.state_dict(),
        "epoch": -1,
    }


def attempt_load_one_weight(
    weight: str | Path,
    device: torch.device | str | None = None,
    inplace: bool = True,
    fuse: bool = False,
    trusted: bool | str = False,
) -> tuple[BaseModel, dict]:
    """Return the model in a weight file of this package or of ultralytics 8.x, in eval mode, and the file's content.

    Module files that it names are run if `trusted` (see `trust_modules`).
    """
    trust_modules(weight, trusted)
    ckpt = load_checkpoint(weight)
    own_entries(ckpt["yaml"], str(weight), globals())  # an error names this file
    ckpt["yaml"] = without_weight_files(ckpt["yaml"])
    model = build_from_checkpoint(ckpt)
    model.pt_path = str(weight)
    model = model.to(device or "cpu").eval()
    return (model.fuse(verbose=False) if fuse else model), ckpt


def torch_safe_load(weight: str | Path, safe_only: bool = False) -> tuple[dict, str]:
    """Return the content of a weight file with the module under `model`, as 8.3.0 does, and the file's name.

    No code in the file runs, whatever `safe_only` says.
    """
    model, ckpt = attempt_load_one_weight(weight)
    return {**ckpt, "model": model, "ema": None, "train_args": ckpt["args"]}, str(weight)


def read_weights(file: str | Path, trusted: bool | str = False) -> tuple[BaseModel | dict[str, torch.Tensor], dict]:
    """Return the model in a weight file and the file's content, as `attempt_load_one_weight` does.

    For a file that holds only weights, such as those of published GhostNets, the model is their names and tensors.
    """
    try:
        return attempt_load_one_weight(file, trusted=trusted)
    except CheckpointError:
        weights = load_state_dict_file(file)  # raises if there are none
        return weights, {"model": weights}


def attempt_load_weights(
    weights: str | Path | list,
    device: torch.device | str | None = None,
    inplace: bool = True,
    fuse: bool = False,
    trusted: bool | str = False,
) -> BaseModel | Ensemble:
    """Return the model of a weight file in eval mode (see `attempt_load_one_weight`); of several, their `Ensemble`."""
    models = [
        attempt_load_one_weight(file, device, inplace, fuse, trusted)[0]
        for file in (weights if isinstance(weights, list) else [weights])
    ]
    return models[0] if len(models) == 1 else Ensemble(models)
