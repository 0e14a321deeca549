"""Distillation: a trained model teaches a lighter one while it trains (`teacher=best.pt`).

The teacher sees the same augmented batch and gives up to three lessons, each with a gain in the settings:

- boxes (`distill_box`): the distributions of the distances to a box's sides. Zheng et al., Localization Distillation,
  arXiv 2102.12252, section 3.2.
- classes (`distill_cls`): the class logits. Hinton et al., Distilling the Knowledge in a Neural Network,
  arXiv 1503.02531, section 2; each class of a detector by itself, since its scores are sigmoids.
- features (`distill_feat`): where in the image each channel of the maps that the head reads is active. Shu et al.,
  Channel-wise Knowledge Distillation, arXiv 2011.13256, section 3.2.

Classifiers learn the classes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.cfg.schema import Settings
from ultralytics.nn.features import Output
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import BaseModel, attempt_load_one_weight
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.losses.detect import head_of, per_process
from ultralytics.utils.torch_utils import StandIn, get_num_params, in_eval

LESSONS = {"box": "kd_box", "cls": "kd_cls", "feat": "kd_feat"}  # setting `distill_KEY`: name in log and results.csv

# ------------------------------------------------------------------------------------------------------------- lessons


def teachers_weight(logits: torch.Tensor) -> torch.Tensor:
    """Return the weight of each position (n, a), 0..1, for the teacher's class logits (n, a, nc).

    It is the square of the best score: thousands of background places at 0.001 then weigh less than one object, while
    all around an object, also where no label is assigned (the paper's valuable localization region), is learnt.
    """
    return logits.amax(2).sigmoid().square()


def box_lesson(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of the four distributions (n, a), for logits (n, a, 4, bins); mean over the sides."""
    mine, true = ((x / temperature).log_softmax(3) for x in (student, teacher))
    return (true.exp() * (true - mine)).sum(3).mean(2) * temperature**2


def class_lesson(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of the scores (n, a), for logits (n, a, nc); the sum over the classes.

    KL(p || q) of yes and no with logits t and s is softplus(s) - softplus(t) - p (s - t).
    """
    s, t = student / temperature, teacher / temperature
    return (F.softplus(s) - F.softplus(t) - t.sigmoid() * (s - t)).sum(2) * temperature**2


def feature_lesson(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of each channel's softmax over all places, mean over channels and images.

    Args:
        student, teacher: (n, c, h, w).
        temperature: the higher, the more of a channel's places count.
    """
    mine, true = ((x.flatten(2).float() / temperature).log_softmax(2) for x in (student, teacher))
    return (true.exp() * (true - mine)).sum(2).mean() * temperature**2


def image_lesson(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of class probabilities, mean over the images, for logits (n, nc)."""
    mine, true = ((x.float() / temperature).log_softmax(1) for x in (student, teacher))
    return (true.exp() * (true - mine)).sum(1).mean() * temperature**2


# ------------------------------------------------------------------------------------------------------------- wrapper


class Distiller(StandIn):
    """A student together with its teacher and adapters, which takes the student's place while it trains.

    In training a batch (dict) gives the student's own loss plus the lessons; all else gives what the student gives.
    The teacher is no part of it as a module: it is not trained, saved, sent to other processes or put into training
    mode.

    Args:
        student: the model to train, on its device.
        teacher: the trained model.
        gains: of the lessons `LESSONS`; those of 0 are left out.
        temperature: divides the logits of all lessons.
        half: let the teacher compute in half precision.
        seed: of the adapters' first weights.

    Raises:
        ConfigError: the two do not fit, or no lesson is left.
    """

    def __init__(
        self,
        student: BaseModel,
        teacher: BaseModel,
        gains: dict[str, float],
        temperature: float = 1.0,
        half: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        check_pair(student, teacher)
        self.student: BaseModel = student
        parameter = next(student.parameters())
        teacher = teacher.eval().requires_grad_(False).to(parameter.device).to(memory_format=torch.channels_last)
        self.detects = isinstance(student.model[-1], Detect)
        self.gains = {k: gains[k] for k in LESSONS if gains.get(k) and (self.detects or k == "cls")}
        self.loss_names = tuple(LESSONS[k] for k in self.gains)
        if not self.gains:
            own = ", ".join(f"distill_{k}" for k in (LESSONS if self.detects else ("cls",)))
            raise ConfigError(
                f"The teacher has nothing to teach: {own} must not all be 0. Raise one, or train without."
            )
        self.temperature = temperature
        self.adapters = self._make_adapters(teacher, seed) if "feat" in self.gains else nn.ModuleList()
        self.dtype = torch.float16 if half else parameter.dtype
        teacher.to(self.dtype)
        teacher.model[-1].training = True  # the head alone, without its layers: it gives raw maps, and decodes nothing
        self._teacher = (teacher,)  # a tuple, so that it is no module of this one

    def __getattr__(self, name: str) -> Any:
        """Look up attributes of the student, such as `names` or `stride`, for callbacks."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("student"), name)

    @property
    def teacher(self) -> BaseModel:
        return self._teacher[0]

    def _make_adapters(self, teacher: BaseModel, seed: int) -> nn.ModuleList:
        """Return for each map that the head reads a 1x1 convolution to the teacher's channels, or nothing if equal.

        They have no bias, which a softmax over places would not see.
        """
        parameter = next(self.student.parameters())
        side = 2 * max(int(s) for s in self.student.stride)
        x = torch.zeros(1, self.student.yaml.get("ch", 3), side, side, device=parameter.device, dtype=parameter.dtype)
        with torch.no_grad(), in_eval(self.student):  # the teacher is in it anyway
            mine, true = (_run(model, x)[1] for model in (self.student, teacher))
        with torch.random.fork_rng(devices=[]):  # the student's run draws the same numbers with and without a teacher
            adapters = nn.ModuleList(
                nn.Identity() if s.shape[1] == t.shape[1] else nn.Conv2d(s.shape[1], t.shape[1], 1, bias=False)
                for s, t in zip(mine, true)
            )
        generator = torch.Generator().manual_seed(seed)
        for weight in adapters.parameters():
            bound = weight.shape[1] ** -0.5  # as for a new convolution
            weight.data.uniform_(-bound, bound, generator=generator)
        return adapters.to(parameter.device).to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor | dict, *args, **kwargs) -> Output:
        if not (self.training and isinstance(x, dict)):
            return self.student(x, *args, **kwargs)
        preds, maps = _run(self.student, x["img"])
        with torch.no_grad():
            shown, shown_maps = _run(self.teacher, x["img"].to(self.dtype))
        loss, items = self.student.loss(x, preds)
        if self.detects:
            parts = self._head_lessons(preds, shown) | self._feature_lessons(maps, shown_maps)
        else:
            assert isinstance(preds, torch.Tensor) and isinstance(shown, torch.Tensor)
            parts = {"cls": image_lesson(preds, shown, self.temperature)}
        lessons = torch.stack([parts[k] * gain for k, gain in self.gains.items()])
        images = len(x["img"]) if self.detects else 1  # a detector's loss is a sum over images
        return loss + lessons.sum() * images, torch.cat((items, lessons.detach().to(items)))

    def _head_lessons(self, preds: Output, shown: Output) -> dict[str, torch.Tensor]:
        """Return the lessons on boxes and classes, means over all places by the teacher's weight."""
        head = head_of(self.student)
        parts: dict[str, torch.Tensor] = {}
        if not {"box", "cls"} & self.gains.keys():
            return parts
        (box, cls), (true_box, true_cls) = (_rows(_maps(y), head.reg_max, head.nc) for y in (preds, shown))
        weight = teachers_weight(true_cls)
        total = per_process(weight.sum())
        if "box" in self.gains:
            parts["box"] = (box_lesson(box, true_box, self.temperature) * weight).sum() / total
        if "cls" in self.gains:
            parts["cls"] = (class_lesson(cls, true_cls, self.temperature) * weight).sum() / total
        return parts

    def _feature_lessons(self, maps: Sequence[torch.Tensor], shown: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the lesson on the maps that the head reads, mean over these."""
        parts = [feature_lesson(f(s), t, self.temperature) for f, s, t in zip(self.adapters, maps, shown)]
        return {"feat": torch.stack(parts).mean()} if parts else {}

    # Going on with an interrupted run ---------------------------------------------------------------------------------

    def state(self, with_grads: bool) -> dict:
        """Return what the run's checkpoint holds besides the student: adapters, and gradients that wait for a step."""
        waiting = {n: p.grad for n, p in self.adapters.named_parameters() if with_grads and p.grad is not None}
        return {"distill": {"adapters": self.adapters.state_dict(), "grads": waiting}}

    def restore(self, ckpt: dict) -> None:
        """Take the adapters from a checkpoint.

        Raises:
            CheckpointError: they do not fit this teacher.
        """
        saved = ckpt.get("distill") or {"adapters": {}, "grads": {}}
        shapes = {n: tuple(p.shape) for n, p in self.adapters.state_dict().items()}
        if shapes != {n: tuple(p.shape) for n, p in saved["adapters"].items()}:
            raise CheckpointError(
                "The interrupted run learnt from a teacher with other feature maps than those of the one given now. "
                "Resume with the same teacher."
            )
        self.adapters.load_state_dict(saved["adapters"])
        for name, p in self.adapters.named_parameters():
            p.grad = saved["grads"][name].to(p.device) if name in saved["grads"] else None


def _run(model: BaseModel, x: torch.Tensor) -> tuple[Output, list[torch.Tensor]]:
    """Run a model on images; return its output and the input of its head."""
    read: list[list[torch.Tensor]] = []
    hook = model.model[-1].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        return model.predict(x), read[0]
    finally:
        hook.remove()


def _maps(preds: Output | dict) -> list[torch.Tensor]:
    """Return the maps in a head's training output, which has more besides for some tasks.

    Of a head that needs no NMS, they are those of the branches in which many positions learn an object.
    """
    preds = preds["one2many"] if isinstance(preds, dict) else preds
    return list(preds) if isinstance(preds[0], torch.Tensor) else list(preds[0])


def _rows(maps: list[torch.Tensor], reg_max: int, nc: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distance logits (n, a, 4, reg_max) and class logits (n, a, nc) of all places, in single precision."""
    rows = [m.permute(0, 2, 3, 1).flatten(1, 2).split((4 * reg_max, nc), 2) for m in maps]
    box, cls = (torch.cat(parts, 1).float() for parts in zip(*rows))
    return box.unflatten(2, (4, reg_max)), cls


# ------------------------------------------------------------------------------------------------------ from settings


def check_pair(student: BaseModel, teacher: BaseModel) -> None:
    """Raise ConfigError unless the teacher fits the student."""
    mine, true = student.model[-1], teacher.model[-1]
    names, known = ([*dict(m.names).values()] for m in (student, teacher))
    odd = next(((i, a, b) for i, (a, b) in enumerate(zip(names, known)) if a != b), None)
    heads = isinstance(mine, Detect), isinstance(true, Detect)
    strides = [[int(s) for s in m.stride] for m in (student, teacher)]
    channels = [m.yaml.get("ch", 3) for m in (student, teacher)]
    said = ""
    if student.task != teacher.task:
        said = f"is for {teacher.task}, but the model to train is for {student.task}"
    elif len(names) != len(known):
        said = f"knows {len(known)} classes, but the data have {len(names)}"
    elif odd:
        said = f"calls class {odd[0]} '{odd[2]}', but the data call it '{odd[1]}'"
    elif channels[0] != channels[1]:
        said = f"takes images of {channels[1]} channels, but the model to train takes {channels[0]}"
    elif heads[0] != heads[1] or (student.task != "classify" and not heads[0]):
        said = (
            f"has the head {type(true).__name__}, the model to train {type(mine).__name__}, but both must be a Detect"
        )
    elif heads[0] and strides[0] != strides[1]:
        said = f"predicts at the strides {strides[1]}, but the model to train at {strides[0]}"
    elif isinstance(mine, Detect) and isinstance(true, Detect) and mine.reg_max != true.reg_max:
        said = f"tells distances in {true.reg_max} bins, but the model to train in {mine.reg_max}"
    if said:
        where = getattr(teacher, "pt_path", None)
        raise ConfigError(
            f"The teacher{f' {where!r}' if where else ''} {said}. Choose a teacher that was trained for the same "
            "task and data, or train without."
        )


def distil(student: BaseModel, args: Settings, half: bool) -> Distiller:
    """Return a model to train as the student of the model that the setting `teacher` names.

    Args:
        student: the model to train, on its device.
        args: settings of the training.
        half: let the teacher compute in half precision.

    Raises:
        UserError: there is no such weight file, or its model does not fit.
    """
    path = Path(args.teacher or "")
    if path.suffix != ".pt":
        raise ConfigError(
            f"teacher={args.teacher} is not a weight file: give the .pt file of a trained model, such as "
            "teacher=runs/detect/train/weights/best.pt."
        )
    teacher, _ = attempt_load_one_weight(path, fuse=True, trusted=args.trust_modules)
    gains = {k: getattr(args, f"distill_{k}") for k in LESSONS}
    made = Distiller(student, teacher, gains, args.distill_temp, half, args.seed)
    lessons = ", ".join(f"distill_{k}={v:g}" for k, v in made.gains.items())
    LOGGER.info(
        f"Teacher: {path} with {get_num_params(teacher):,} parameters ({lessons}, distill_temp={args.distill_temp:g}), "
        f"{get_num_params(made.adapters):,} parameters in adapters that are not part of the model"
    )
    return made
