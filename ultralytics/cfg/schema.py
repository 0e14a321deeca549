"""Every setting once: default, type, bounds, help, modes. `default.yaml`, `get_cfg`, the help and the docs follow.

The keys and defaults are those of ultralytics 8.3.0. A field's annotation is read as a list of alternatives, so it is
kept to the words bool, int, float, str, list, list[int], None and Any, joined by ` | `.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

from ultralytics.cfg.tasks import MODES, TASKS
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.errors import ConfigError, did_you_mean

_TRAIN, _VAL, _PREDICT, _EXPORT, _TRACK = (("train",), ("val",), ("predict", "track"), ("export",), ("track",))
_ALL = MODES
_MOST = 2**63  # no whole number is as great: PyTorch could not hold it
NUMBERS = re.compile(r"\s*[\[(]?\s*-?\d{1,9}(\s*,\s*-?\d{1,9})*\s*,?\s*[\])]?\s*", re.ASCII)  # 3, or 0,2, or [0, 2]
_OPTIMIZERS = ("auto", "SGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")


def setting(
    default: object,
    help: str,
    modes: tuple[str, ...],
    *,
    lo: float | None = None,
    hi: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    rule: Callable[[float], bool] | None = None,
    allowed: str = "",
    section: str = "",
) -> Any:
    """Declare one setting.

    Args:
        default: value when nothing is given.
        help: one sentence for `yolo help`, `default.yaml` and the docs.
        modes: the modes that read it.
        lo: least number allowed, itself included.
        hi: greatest number allowed, itself included.
        above: number that the value must exceed.
        choices: texts allowed where the value is a text; letter case does not matter.
        rule: further condition that a value of the right type must meet.
        allowed: how to say in words what `rule` allows.
        section: heading that starts here in `default.yaml`.
    """
    bounds = {"lo": lo, "hi": hi, "above": above}
    words = {"help": help, "allowed": allowed, "section": section}
    return field(default=default, metadata={**bounds, **words, "modes": modes, "choices": choices, "rule": rule})


def _batch_is_possible(value: float) -> bool:
    """Check whether a batch size is a count, -1, or a fraction of the GPU's memory."""
    return value == -1 or (value >= 1 if isinstance(value, int) else 0 < value < 1)


@dataclass(eq=False, repr=False)
class Settings(IterableSimpleNamespace):
    """All settings with their defaults; users may put attributes of their own beside them.

    The package reads a setting where it is used, so that a value that a callback sets acts, but never sets one itself:
    what a run finds out is kept by the run.
    """

    save_dir: ClassVar[str | None] = None  # no setting, but a run's folder: its `args.yaml` names it

    task: str = setting("detect", "What the model is for.", _ALL, choices=tuple(TASKS), section="What to do")
    mode: str = setting("train", "What to do with the model.", _ALL, choices=MODES)

    model: str | None = setting(None, "Model: a YAML to build from, or a weight file (.pt).", _ALL, section="Training")
    data: str | None = setting(
        None, "Data YAML that says where images and names are.", ("train", "val", "export", "benchmark")
    )
    epochs: int = setting(100, "Times the training goes through the data.", _TRAIN, lo=1)
    time: float | None = setting(None, "Hours to train for; overrides epochs when given.", _TRAIN, above=0)
    patience: int = setting(100, "Epochs without progress after which training stops; 0 never stops.", _TRAIN, lo=0)
    batch: int | float = setting(
        16,
        "Images in a batch; -1 or a fraction fits the batch to the GPU's memory.",
        ("train", "val", "predict", "export", "benchmark"),
        rule=_batch_is_possible,
        allowed="a whole number of at least 1, -1 to choose it by the GPU's memory, or a fraction of that memory "
        "between 0 and 1",
    )
    imgsz: int | list[int] = setting(
        640, "Side in pixels to which images are brought; predict and export also take [height, width].", _ALL, lo=1
    )
    save: bool = setting(True, "Save checkpoints when training, and images with results when predicting.", _ALL)
    save_period: int = setting(-1, "Keep a checkpoint every so many epochs; below 1 keeps none.", _TRAIN, lo=-1)
    autosave: float = setting(
        10.0, "Minutes after which last.pt is written within an epoch, too; 0: never.", _TRAIN, lo=0
    )
    cache: bool | str = setting(
        False, "Keep decoded images: True or ram in memory, disk in files.", ("train", "val"), choices=("ram", "disk")
    )
    device: int | str | list | None = setting(
        None, "Where to run: cpu, mps, 0 for one GPU, 0,1 for two; chosen by itself when not given.", _ALL
    )
    ddp_timeout: float = setting(
        600.0, "Seconds that processes which train together wait for one that is stopped or hangs.", _TRAIN, above=0
    )
    workers: int = setting(
        8,
        "Most processes that load data; 0 loads in the main process, and so does a CPU with fewer than eight cores.",
        ("train", "val"),
        lo=0,
    )
    project: str | None = setting(None, "Folder in which run folders are made; runs/TASK when not given.", _ALL)
    name: str | None = setting(None, "Name of the run folder; the mode's name when not given.", _ALL)
    exist_ok: bool = setting(False, "Write into an existing run folder instead of numbering a new one.", _ALL)
    pretrained: bool | str = setting(True, "Start from pretrained weights; a path names the file.", _TRAIN)
    optimizer: str = setting(
        "auto", "Optimizer; auto chooses by the number of iterations.", _TRAIN, choices=_OPTIMIZERS
    )
    verbose: bool = setting(True, "Print more, such as the results of each class.", _ALL)
    seed: int = setting(0, "Seed of all random numbers.", _TRAIN, lo=0)
    deterministic: bool = setting(True, "Use only operations that give the same result again.", _TRAIN)
    single_cls: bool = setting(False, "Treat all classes as one.", ("train", "val"))
    rect: bool = setting(False, "Batch images of like shape with the least padding.", ("train", "val", "predict"))
    cos_lr: bool = setting(False, "Lower the learning rate along a cosine instead of a line.", _TRAIN)
    close_mosaic: int = setting(10, "Last epochs that are trained without mosaic.", _TRAIN, lo=0)
    resume: bool | str = setting(
        False, "Continue an interrupted training from its last.pt; auto: this command's own, if there is one.", _TRAIN
    )
    compile: bool | str = setting(
        False,
        "How a network runs: auto or graphs records CUDA graphs, True or a mode of torch.compile compiles it.",
        ("train", *_PREDICT),
        choices=("auto", "graphs", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    )
    amp: bool = setting(True, "Train in mixed precision on a GPU.", _TRAIN)
    fraction: float = setting(1.0, "Share of the training images to use.", _TRAIN, above=0, hi=1)
    profile: bool = setting(False, "Measure the speed of exported formats while training.", _TRAIN)
    freeze: int | list[int] | None = setting(
        None, "Layers that are not trained: the first N, or a list of indices.", _TRAIN, lo=0
    )
    multi_scale: bool = setting(False, "Vary the image size from half to one and a half of imgsz.", _TRAIN)

    overlap_mask: bool = setting(True, "Merge the masks of an image into one map.", ("train", "val"), section="Segment")
    mask_ratio: int = setting(4, "How many times smaller than the image masks are.", ("train", "val"), lo=1)

    dropout: float = setting(
        0.0, "Share of features dropped before the classifier.", _TRAIN, lo=0, hi=1, section="Classify"
    )

    val: bool = setting(True, "Validate during training.", _TRAIN, section="Validation")
    split: str = setting("val", "Part of the data to validate on.", _VAL, choices=("train", "val", "test"))
    save_json: bool = setting(False, "Save the predictions as a COCO JSON file.", _VAL)
    save_hybrid: bool = setting(
        False, "Add the labels to the predictions, with the highest score; metrics mean little then.", _VAL
    )
    conf: float | None = setting(
        None,
        "Least confidence of a detection; 0.25 when predicting and 0.001 when validating if not given.",
        ("val", "predict", "track"),
        lo=0,
        hi=1,
    )
    iou: float = setting(0.7, "Overlap above which NMS drops the weaker box.", ("val", "predict", "track"), lo=0, hi=1)
    max_det: int = setting(300, "Most detections of an image.", ("val", "predict", "track"), lo=1)
    half: bool = setting(False, "Compute in half precision.", ("val", "predict", "track", "export", "benchmark"))
    dnn: bool = setting(False, "Run ONNX files with OpenCV.", ("val", "predict", "track"))
    plots: bool = setting(True, "Draw curves and example images into the run folder.", ("train", "val"))

    source: Any = setting(
        None,
        "What to predict on: file, folder, glob, list, video, stream or camera number.",
        _PREDICT,
        section="Prediction",
    )
    vid_stride: int = setting(1, "Take every Nth frame of a video.", _PREDICT, lo=1)
    stream_buffer: bool = setting(False, "Keep all frames of a live stream instead of the newest.", _PREDICT)
    visualize: bool = setting(False, "Save images of the feature maps.", _PREDICT)
    augment: bool = setting(False, "Predict on flipped and scaled copies as well, and merge.", (*_PREDICT, "val"))
    agnostic_nms: bool = setting(False, "Let NMS compare boxes of different classes.", ("val", "predict", "track"))
    classes: int | list[int] | None = setting(
        None, "Keep only the classes with these indices.", ("train", "val", "predict", "track"), lo=0
    )
    retina_masks: bool = setting(False, "Give masks at the size of the image.", _PREDICT)
    embed: int | list[int] | None = setting(
        None, "Return the features of these layers instead of results.", _PREDICT, lo=0
    )

    show: bool = setting(False, "Show results in a window.", _PREDICT, section="Showing and saving predictions")
    save_frames: bool = setting(False, "Save each frame of a video as an image.", _PREDICT)
    save_txt: bool = setting(False, "Save detections as text files.", ("val", "predict", "track"))
    save_conf: bool = setting(False, "Write the confidence into those text files.", ("val", "predict", "track"))
    save_crop: bool = setting(False, "Save a cut-out of each detection.", _PREDICT)
    show_labels: bool = setting(True, "Draw class names.", _PREDICT)
    show_conf: bool = setting(True, "Draw confidences.", _PREDICT)
    show_boxes: bool = setting(True, "Draw boxes.", _PREDICT)
    line_width: int | None = setting(
        None, "Width of drawn lines in pixels; by the image's size when not given.", _PREDICT, lo=1
    )

    format: str = setting(
        "torchscript",
        "Format to export to; `benchmark` measures all that are installed when not given.",
        ("export", "benchmark"),
        section="Export",
    )
    keras: bool = setting(False, "Export as Keras.", _EXPORT)
    optimize: bool = setting(True, "Rewrite the graph so that runtimes are faster at the same outputs.", _EXPORT)
    int8: bool = setting(False, "Quantise to 8 bits, calibrated on `data`.", ("export", "benchmark"))
    dynamic: bool = setting(False, "Leave image and batch size open.", _EXPORT)
    simplify: bool = setting(True, "Simplify the ONNX graph.", _EXPORT)
    opset: int | None = setting(None, "ONNX opset; the newest that fits when not given.", _EXPORT, lo=1)
    workspace: int | float | None = setting(4, "Gigabytes that TensorRT may work with.", _EXPORT, lo=0)
    nms: bool = setting(False, "Put NMS into the exported model.", _EXPORT)
    threads: int | None = setting(
        None,
        "CPU threads of an exported model; 0 leaves it to the runtime, and a trial finds the fastest when not given.",
        ("val", "predict", "track", "benchmark"),
        lo=0,
    )
    providers: str | None = setting(
        None,
        "What computes an exported model: ONNX Runtime's providers, separated by commas, or OpenVINO's device.",
        ("val", "predict", "track"),
    )

    lr0: float = setting(0.01, "Learning rate at the start.", _TRAIN, lo=0, hi=1, section="Recipe")
    lrf: float = setting(0.01, "Learning rate at the end, as a share of lr0.", _TRAIN, lo=0, hi=1)
    momentum: float = setting(0.937, "Momentum of SGD, beta1 of Adam.", _TRAIN, lo=0, hi=1)
    weight_decay: float = setting(0.0005, "Weight decay for a batch of nbs.", _TRAIN, lo=0, hi=1)
    warmup_epochs: float = setting(3.0, "Epochs of warm-up; fractions are fine.", _TRAIN, lo=0)
    warmup_momentum: float = setting(0.8, "Momentum at the start of the warm-up.", _TRAIN, lo=0, hi=1)
    warmup_bias_lr: float = setting(0.1, "Learning rate of biases at the start of the warm-up.", _TRAIN, lo=0, hi=1)
    box: float = setting(7.5, "Gain of the box loss.", _TRAIN, lo=0)
    cls: float = setting(0.5, "Gain of the class loss.", _TRAIN, lo=0)
    dfl: float = setting(1.5, "Gain of the distribution focal loss.", _TRAIN, lo=0)
    box_loss: str = setting(
        "ciou",
        "Loss of boxes: ciou, diou, giou, siou, wiou, mpdiou, inner-ciou, nwd, or one of your own.",
        _TRAIN,
    )
    pose: float = setting(12.0, "Gain of the keypoint loss.", _TRAIN, lo=0)
    kobj: float = setting(1.0, "Gain of the keypoint visibility loss.", _TRAIN, lo=0)
    label_smoothing: float = setting(0.0, "Share taken from the true class and spread over all.", _TRAIN, lo=0, hi=1)
    nbs: int = setting(64, "Nominal batch size towards which gradients are accumulated.", _TRAIN, lo=1)

    hsv_h: float = setting(0.015, "Range of random hue.", _TRAIN, lo=0, hi=1, section="Augmentation")
    hsv_s: float = setting(0.7, "Range of random saturation.", _TRAIN, lo=0, hi=1)
    hsv_v: float = setting(0.4, "Range of random brightness.", _TRAIN, lo=0, hi=1)
    degrees: float = setting(0.0, "Greatest random rotation in degrees, to either side.", _TRAIN, lo=0, hi=180)
    translate: float = setting(0.1, "Greatest random shift as a share of the image.", _TRAIN, lo=0, hi=1)
    scale: float = setting(0.5, "Greatest random change of size, up and down.", _TRAIN, lo=0, hi=1)
    shear: float = setting(0.0, "Greatest random shear in degrees, to either side.", _TRAIN, lo=0, hi=180)
    perspective: float = setting(0.0, "Greatest random perspective; useful up to 0.001.", _TRAIN, lo=0, hi=1)
    flipud: float = setting(0.0, "Probability of turning upside down.", _TRAIN, lo=0, hi=1)
    fliplr: float = setting(0.5, "Probability of mirroring left and right.", _TRAIN, lo=0, hi=1)
    bgr: float = setting(0.0, "Probability of swapping red and blue.", _TRAIN, lo=0, hi=1)
    mosaic: float = setting(1.0, "Probability of joining four images.", _TRAIN, lo=0, hi=1)
    mixup: float = setting(0.0, "Probability of blending two images.", _TRAIN, lo=0, hi=1)
    copy_paste: float = setting(0.0, "Probability of pasting objects into an image.", _TRAIN, lo=0, hi=1)
    copy_paste_mode: str = setting("flip", "Where pasted objects come from.", _TRAIN, choices=("flip", "mixup"))
    auto_augment: str | None = setting(
        "randaugment",
        "Automatic augmentation for classification.",
        _TRAIN,
        choices=("randaugment", "autoaugment", "augmix"),
    )
    erasing: float = setting(0.4, "Probability of erasing a part for classification.", _TRAIN, lo=0, hi=0.9)
    crop_fraction: float = setting(1.0, "Share of the image cropped for classification.", _TRAIN, lo=0.1, hi=1)

    teacher: str | None = setting(
        None, "Weight file of a trained model that teaches this one while it trains.", _TRAIN, section="Distillation"
    )
    distill_box: float = setting(1.0, "Gain of what a teacher says about boxes.", _TRAIN, lo=0)
    distill_cls: float = setting(0.25, "Gain of what a teacher says about classes.", _TRAIN, lo=0)
    distill_feat: float = setting(0.25, "Gain of where a teacher's feature maps are active.", _TRAIN, lo=0)
    distill_temp: float = setting(
        1.0, "Temperature of distillation; above 1 a teacher's less likely answers count more.", _TRAIN, above=0
    )

    trust_modules: bool | str = setting(
        False,
        "Run the module files that a model names; a text is the folder where they lie.",
        _ALL,
        section="Modules of one's own",
    )

    cfg: str | None = setting(None, "YAML file of settings to start from.", _ALL, section="Files of settings")
    tracker: str = setting("botsort.yaml", "YAML file of the tracker's settings.", _TRACK)

    def replaced(self, **values: object) -> Settings:
        """Return a copy with these values, or the settings themselves where they have them already."""
        if all(getattr(self, key) == value for key, value in values.items()):
            return self
        other = copy(self)
        vars(other).update(values)
        return other


@dataclass(frozen=True)
class Spec:
    """Type, bounds and help of one setting, read from its field."""

    name: str
    kinds: tuple[str, ...]
    default: object
    help: str
    modes: tuple[str, ...]
    choices: tuple[str, ...]
    lo: float | None
    hi: float | None
    above: float | None
    rule: Callable[[float], bool] | None
    allowed: str
    section: str

    def describe(self) -> str:
        """Describe the allowed values in words."""
        if self.allowed:
            return self.allowed
        number = "" if self.lo is None else f" of at least {self.lo:g}" if self.hi is None else f" from {self.lo:g}"
        number += "" if self.above is None else f" above {self.above:g}"
        number += "" if self.hi is None else f" to {self.hi:g}" if self.lo is not None else f" up to {self.hi:g}"
        said = {
            "bool": "True or False",
            "int": f"a whole number{number}",
            "float": f"a number{number}",
            "str": " or ".join(self.choices) if len(self.choices) < 3 else "one of " + ", ".join(self.choices),
            "list": "a list",
            "list[int]": "a list of whole numbers",
            "None": "none",
            "Any": "anything",
        }
        return " or ".join(said[kind] or "a text" for kind in self.kinds)

    def check(self, value: object) -> object:
        """Return `value` in its type; raise ConfigError with what is allowed."""
        given, value = value, self._convert(value)
        if isinstance(value, str) and self.choices:
            return self._choose(value)
        for number in value if isinstance(value, list) and "list[int]" in self.kinds else [value]:
            if isinstance(number, (int, float)) and not isinstance(number, bool) and not self._in_bounds(number):
                raise self._error(given)
        return value

    def _convert(self, value: object) -> object:
        """Convert `value` to the first fitting type, without loss."""
        kinds = self.kinds
        if hasattr(value, "tolist") and "Any" not in kinds:  # arrays and tensors
            value = value.tolist()
        elif isinstance(value, (range, set, frozenset)):
            value = sorted(value)
        if isinstance(value, str) and "list[int]" in kinds and "str" not in kinds and NUMBERS.fullmatch(value):
            numbers = [int(n) for n in re.findall(r"-?\d+", value)]
            value = numbers[0] if len(numbers) == 1 and value.strip()[0] not in "[(" else numbers
        if "Any" in kinds or (value is None and "None" in kinds) or (isinstance(value, bool) and "bool" in kinds):
            return value
        if value is None or isinstance(value, bool):
            raise self._error(value)
        if isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer() and "int" in kinds):
            convert = self._first_kind(("int", int), ("float", float), ("str", str))
        elif isinstance(value, Real):
            convert = self._first_kind(("float", float), ("str", str))
        elif isinstance(value, (str, os.PathLike)):
            convert = os.fspath if "str" in kinds else None
        elif isinstance(value, (list, tuple)):
            convert = self._list_maker(value)
        else:  # torch.device and the like name themselves
            convert = str if type(value).__name__ == self.name else None
        if convert is None:
            raise self._error(value)
        try:
            return convert(value)
        except OverflowError:  # a whole number too large for a float
            raise self._error(value) from None

    def _first_kind(self, *candidates: tuple[str, Callable]) -> Callable | None:
        return next((make for kind, make in candidates if kind in self.kinds), None)

    def _list_maker(self, value: list | tuple) -> Callable | None:
        value = [v.item() if hasattr(v, "item") else v for v in value]  # of arrays and tensors
        whole = len(value) > 0 and all(isinstance(v, Real) and not isinstance(v, bool) and v % 1 == 0 for v in value)
        if "list[int]" in self.kinds and whole:
            return lambda _: [int(v) for v in value]
        return list if "list" in self.kinds else None

    def _in_bounds(self, number: float) -> bool:
        if not abs(number) < (math.inf if isinstance(number, float) else _MOST):  # also where it is no number
            return False
        if self.rule is not None and not self.rule(number):
            return False
        if self.above is not None and not number > self.above:
            return False
        return (self.lo is None or number >= self.lo) and (self.hi is None or number <= self.hi)

    def _choose(self, value: str) -> str:
        by_lower = {choice.lower(): choice for choice in self.choices}
        if value.lower() not in by_lower:
            raise self._error(value, did_you_mean(value, self.choices, n=1))
        return by_lower[value.lower()]

    def _error(self, value: object, hint: str = "") -> ConfigError:
        default = "none" if self.default is None else self.default
        return ConfigError(
            f"'{self.name}={value}' is not possible: '{self.name}' takes {self.describe()} (default {default}).{hint}"
        )


def read_specs(settings: type) -> dict[str, Spec]:
    """Return the specs of a dataclass of settings, by field."""
    return {
        f.name: Spec(f.name, tuple(kind.strip() for kind in str(f.type).split("|")), f.default, **f.metadata)
        for f in fields(settings)
    }


SPECS: dict[str, Spec] = read_specs(Settings)
DEFAULTS: dict[str, object] = {name: spec.default for name, spec in SPECS.items()}


def default_yaml() -> str:
    """Return the text of `default.yaml`: every setting with its default and a comment."""
    lines = ["# Every setting with its default. Written from ultralytics/cfg/schema.py: change that file, not this."]
    for spec in SPECS.values():
        if spec.section:
            lines += ["", f"# {spec.section}"]
        value = "null" if spec.default is None else str(spec.default)
        lines.append(f"{spec.name}: {value}  # ({' | '.join(spec.kinds).replace('None', 'null')}) {spec.help}")
    return "\n".join(lines) + "\n"


def help_text(mode: str | None = None, key: str | None = None) -> str:
    """Return the settings that a mode reads, or one setting, as lines for a terminal."""
    if key is not None:
        spec = SPECS[key]
        default = "none" if spec.default is None else spec.default
        return f"{key}: {spec.help}\n  takes {spec.describe()}\n  default {default}\n  used in {', '.join(spec.modes)}"
    specs = [spec for spec in SPECS.values() if mode is None or mode in spec.modes]
    rows = [(f"{s.name}={'none' if s.default is None else s.default}", s.help) for s in specs]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


if __name__ == "__main__":
    Path(__file__).with_name("default.yaml").write_text(default_yaml(), encoding="utf-8")
