"""A teacher's lessons: what they measure, whom they move, and a run with a teacher from its start to its end."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tiny import FAST, LAYERS, tiny_model

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.cfg.tasks import DISTIL, TASKS, load
from ultralytics.cli import main
from ultralytics.lab import distill
from ultralytics.lab.distill import Distiller
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError
from ultralytics.utils.plotting import plot_results
from ultralytics.utils.torch_utils import unwrap

TASK_LAYERS = """nc: 2
kpt_shape: [3, 3]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [{width}, 3, 2]]
  - [-1, 1, Conv, [{width}, 3, 2]]
  - [-1, 1, Conv, [{width}, 3, 2]]
head:
  - [[2, 3, 4], 1, {head}]
"""
HEADS = {
    "detect": "Detect, [nc]",
    "segment": "Segment, [nc, 8, 32]",
    "pose": "Pose, [nc, [3, 3]]",
    "obb": "OBB, [nc, 1]",
}
CLASSIFIER = """nc: 3
backbone:
  - [-1, 1, Conv, [{width}, 3, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""
EVERY = {"box": 1.0, "cls": 1.0, "feat": 1.0}


def liven(model: torch.nn.Module) -> None:
    """Let a new detector say something: its class scores start near 0 else, and its boxes alike."""
    for branch in (*getattr(model.model[-1], "cv2", ()), *getattr(model.model[-1], "cv3", ())):
        branch[-1].bias.data.normal_(0, 1)
        branch[-1].weight.data.normal_(0, 1)


def build(task: str = "detect", width: int = 16, seed: int = 0) -> torch.nn.Module:
    """Return a tiny model of a task with random weights, ready to train."""
    text = (CLASSIFIER if task == "classify" else TASK_LAYERS).format(width=width, head=HEADS.get(task))
    torch.manual_seed(seed)
    model = load(TASKS[task].model)(yaml.safe_load(text), verbose=False)
    liven(model)
    model.args = get_cfg()
    return model.train()


def batch(task: str = "detect", n: int = 2, side: int = 64) -> dict[str, torch.Tensor]:
    """Return images of noise with a box each, and what else the task's loss reads."""
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))
    if task == "classify":
        return {"img": images, "cls": torch.arange(n)}
    box = torch.tensor([[0.5, 0.4, 0.5, 0.6]]).repeat(n, 1)
    masks = torch.zeros(n, side // 4, side // 4)
    masks[:, 4:12, 4:12] = 1
    return {
        "img": images,
        "batch_idx": torch.arange(n).float(),
        "cls": torch.zeros(n, 1),
        "bboxes": torch.cat((box, torch.full((n, 1), 0.3)), 1) if task == "obb" else box,
        "masks": masks,
        "keypoints": torch.full((n, 3, 3), 0.5),
    }


# What the lessons measure ---------------------------------------------------------------------------------------------


@pytest.fixture
def logits() -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator) * 3


def softmax(x: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in x)
    return [math.exp(v) / total for v in x]


def divergence(true: list[float], mine: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(true, mine))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_lessons_equal_a_plain_calculation(logits, temperature: float):
    t2 = temperature**2
    s, t = logits(2, 3, 4, 5), logits(2, 3, 4, 5)
    soft = lambda x: softmax([v / temperature for v in x.tolist()])  # noqa: E731
    sides = [[[divergence(soft(t[i, a, k]), soft(s[i, a, k])) for k in range(4)] for a in range(3)] for i in range(2)]
    wanted = torch.tensor(sides).mean(2) * t2
    torch.testing.assert_close(distill.box_lesson(s, t, temperature), wanted, rtol=1e-4, atol=1e-5)

    s, t = logits(2, 3, 4), logits(2, 3, 4)
    sure = lambda x: [p := 1 / (1 + math.exp(-float(x) / temperature)), 1 - p]  # noqa: E731
    wanted = torch.tensor(
        [[sum(divergence(sure(t[i, a, c]), sure(s[i, a, c])) for c in range(4)) for a in range(3)] for i in range(2)]
    )
    torch.testing.assert_close(distill.class_lesson(s, t, temperature), wanted * t2, rtol=1e-4, atol=1e-5)
    best = torch.tensor(
        [[max(1 / (1 + math.exp(-float(v))) for v in t[i, a]) ** 2 for a in range(3)] for i in range(2)]
    )
    torch.testing.assert_close(distill.teachers_weight(t), best)

    s, t = logits(2, 3, 4, 5), logits(2, 3, 4, 5)
    places = [divergence(soft(t[i, c].flatten()), soft(s[i, c].flatten())) for i in range(2) for c in range(3)]
    assert float(distill.feature_lesson(s, t, temperature)) == pytest.approx(sum(places) / 6 * t2, rel=1e-4)

    s, t = logits(4, 5), logits(4, 5)
    images = [divergence(soft(t[i]), soft(s[i])) for i in range(4)]
    assert float(distill.image_lesson(s, t, temperature)) == pytest.approx(sum(images) / 4 * t2, rel=1e-4)


def test_parts_are_means_over_places_by_the_teachers_weight():
    """Maps of all scales side by side, the gains, and the batch size, by a plain loop over maps."""
    student, teacher, data = build(seed=1), build(seed=2), batch()
    expect = unwrap(Distiller(student, build(seed=2), EVERY))
    own, items = student.loss(data)
    loss, all_items = Distiller(student, teacher, {"box": 2.0, "cls": 0.5}, temperature=1.5)(data)
    assert expect is student
    with torch.no_grad():
        mine, true = student.predict(data["img"]), teacher.predict(data["img"])  # the teacher's head gives raw maps
    sums = {"weight": 0.0, "box": 0.0, "cls": 0.0}
    for m, t in zip(mine, true):
        for i in range(len(m)):
            for y in range(m.shape[2]):
                for x in range(m.shape[3]):
                    (mb, mc), (tb, tc) = (
                        (v[i, :, y, x][:64].view(1, 1, 4, 16), v[i, :, y, x][64:].view(1, 1, 2)) for v in (m, t)
                    )
                    weight = float(tc.max().sigmoid()) ** 2
                    sums["weight"] += weight
                    sums["box"] += weight * float(distill.box_lesson(mb, tb, 1.5))
                    sums["cls"] += weight * float(distill.class_lesson(mc, tc, 1.5))
    total = max(sums["weight"], 1.0)
    wanted = [2.0 * sums["box"] / total, 0.5 * sums["cls"] / total]
    assert all_items.tolist() == pytest.approx([*items.tolist(), *wanted], rel=1e-3)
    assert float(loss.detach()) == pytest.approx(float(own.detach()) + 2 * sum(wanted), rel=1e-3)
    assert min(wanted) > 0.01


def test_a_background_of_thousands_weighs_less_than_one_object():
    logits = torch.full((1, 8400, 80), math.log(0.001))
    assert float(distill.teachers_weight(logits).sum()) < 0.01
    logits[0, 7, 3] = 0.0
    assert float(distill.teachers_weight(logits)[0, 7]) == pytest.approx(0.25)


# Whom they move -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_learnt_from_an_equal(task: str):
    """A student equal to its teacher has no distillation loss; its batch norms must use the same statistics."""
    data = batch(task)
    student, teacher = build(task), build(task)
    student.eval()
    student.model[-1].training = True  # raw maps
    together = Distiller(student, teacher, EVERY)
    items = together(data)[1]
    names = ("kd_cls",) if task == "classify" else ("kd_box", "kd_cls", "kd_feat")
    assert together.loss_names == names
    assert items[-len(names) :].abs().max() < 1e-5
    assert len(items) - len(names) == len(student.loss(data)[1])
    other = Distiller(build(task), build(task, width=24, seed=3), EVERY)(data)[1]
    assert (other[-len(names) :] > 1e-3).all()


@pytest.mark.parametrize("task", TASKS)
def test_gradients_reach_the_student_and_the_adapters_alone(task: str):
    student, teacher = build(task), build(task, width=24, seed=3)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    together = Distiller(student, teacher, EVERY)
    together.train()
    loss, items = together(batch(task))
    loss.backward()
    assert items.requires_grad is False and teacher.model[0].bn.training is False
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert not {*map(id, teacher.parameters())} & {*map(id, together.parameters())}
    silent = {n for n, p in together.named_parameters() if p.requires_grad and p.grad is None and ".dfl" not in n}
    assert not silent
    assert len([*together.adapters.parameters()]) == (0 if task == "classify" else 3)


@pytest.mark.parametrize("lesson", ["box", "cls", "feat"])
def test_each_lesson_is_learnt_by_itself(lesson: str):
    """With the student's own gains at 0, each part falls while one batch is repeated."""
    student, teacher, data = build(seed=1), build(width=24, seed=2), batch()
    for name in ("box", "cls", "dfl"):
        setattr(student.args, name, 0.0)
    together = Distiller(student, teacher, {lesson: 1.0})
    together.train()
    optimizer = torch.optim.Adam([p for p in together.parameters() if p.requires_grad], lr=2e-3)
    seen = []
    for _ in range(25):
        loss, items = together(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(items[-1]))
    assert together.loss_names == (f"kd_{lesson}",)
    assert seen[-1] < 0.5 * seen[0]


def test_adapters_only_where_channels_differ():
    same, other = (Distiller(build(), build(width=w, seed=1), EVERY).adapters for w in (16, 24))
    assert [type(m).__name__ for m in same] == ["Identity"] * 3
    assert [tuple(m.weight.shape) for m in other] == [(24, 16, 1, 1)] * 3


def test_the_student_draws_the_same_numbers_with_and_without_a_teacher():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    student, teacher = build(), build(width=24)
    torch.manual_seed(5)
    Distiller(student, teacher, EVERY)
    assert torch.equal(torch.rand(3), wanted)


def test_half_precision():
    """The teacher's numbers are halves, the lessons single precision and about the same."""
    data, student = batch(), build(seed=1)
    (exact, half) = (Distiller(student, build(width=24, seed=2), EVERY, half=h) for h in (False, True))
    assert {p.dtype for p in half.teacher.parameters()} == {torch.float16}
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    a, b = (d(data)[1] for d in (exact, half))
    assert b.dtype == torch.float32
    torch.testing.assert_close(a, b, rtol=0.02, atol=1e-3)


def test_what_is_no_batch_goes_through_the_student():
    student = build()
    together = Distiller(student, build(seed=1), EVERY)
    x = torch.rand(1, 3, 64, 64)
    together.eval()
    assert torch.equal(together(x)[0], student(x)[0])
    assert together.stride is student.stride and unwrap(together) is student
    with pytest.raises(AttributeError, match="nothing"):
        _ = together.nothing


# Runs -----------------------------------------------------------------------------------------------------------------


class Quick(DetectionTrainer):
    """Leaves out the last validation."""

    def final_eval(self) -> None:
        pass


class Interrupted(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def dense(tmp_path_factory, tiny_data: Path) -> str:
    """The weights of a teacher with other channels, saved without training, and named as the data name the classes."""
    folder = tmp_path_factory.mktemp("dense")
    return save_teacher(folder / "dense.pt", LAYERS.replace("GhostConv", "Conv").replace("[16, 3, 2]", "[24, 3, 2]"))


def save_teacher(file: Path, content: str, names: tuple[str, ...] = ("red", "green")) -> str:
    source = file.with_suffix(".yaml")
    source.write_text(content, encoding="utf-8")
    model = YOLO(source)
    liven(model.model)
    model.model.names = dict(enumerate(names))
    model.save(file)
    return str(file)


@pytest.fixture
def run(work_dir: Path, tiny_data: Path, dense: str) -> Callable[..., DetectionTrainer]:
    def train(callbacks: dict | None = None, cls: type = Quick, **settings) -> DetectionTrainer:
        args = {
            **FAST,
            "model": tiny_model(work_dir),
            "data": str(tiny_data),
            "epochs": 1,
            "project": "runs",
            "name": "a",
        }
        args |= {"teacher": dense}
        trainer = cls(overrides=settings if "resume" in settings else {**args, **settings})
        for event, function in (callbacks or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return train


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "results.csv", encoding="utf-8") as f:
        return [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]


def weights(trainer: DetectionTrainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.distiller.state_dict().items()}


def test_a_run_with_a_teacher(work_dir: Path, tiny_data: Path, dense: str):
    """By the command line: columns in results.csv and its image; the weights are those of the student alone."""
    words = [f"{k}={v}" for k, v in {**FAST, "data": tiny_data, "epochs": 2, "project": "runs"}.items()]
    assert main(["detect", "train", f"model={tiny_model(work_dir)}", f"teacher={dense}", "name=a", *words]) == 0
    table = rows(work_dir / "runs/a")
    own = [f"{part}/{name}_loss" for part in ("train", "val") for name in ("box", "cls", "dfl")]
    added = ["train/kd_box", "train/kd_cls", "train/kd_feat"]
    assert [c for c in table[0] if c.startswith(("train/", "val/"))] == [*own[:3], *added, *own[3:]]
    assert all(row["train/kd_feat"] > 0 for row in table)
    plot_results(work_dir / "runs/a/results.csv")
    assert (work_dir / "runs/a/results.png").is_file()
    ckpt = torch.load(work_dir / "runs/a/weights/best.pt", weights_only=True)
    assert {*ckpt["model"]} == {*YOLO("tiny.yaml").model.state_dict()} and "distill" not in ckpt
    assert ckpt["args"]["teacher"] == dense


def test_without_a_teacher_nothing_changes(run):
    trainer = run(teacher=None)
    assert not any("kd_" in column for row in rows(trainer.save_dir) for column in row)
    assert trainer.distiller is None


def test_lessons_left_out_have_no_column_and_a_path_is_taken(run, dense: str):
    trainer = run(distill_feat=0, distill_box=0.0, teacher=Path(dense))
    assert [c for c in rows(trainer.save_dir)[0] if "kd_" in c] == ["train/kd_cls"]
    assert not [*trainer.distiller.adapters.parameters()]


def test_the_student_starts_as_without_a_teacher_and_adapters_are_trained(run):
    start, own = {}, {}
    keep = lambda kept: lambda t: kept.update({k: v.clone() for k, v in unwrap(t.model).state_dict().items()})  # noqa: E731
    run({"on_train_start": keep(own)}, teacher=None)
    first = {}
    trainer = run(
        {"on_train_start": lambda t: (keep(start)(t), first.update(weights(t)))}, warmup_epochs=0.0, nbs=4, name="b"
    )
    assert all(torch.equal(start[k], v) for k, v in own.items())
    last = weights(trainer)
    adapters = [k for k in first if k.startswith("adapters.")]
    assert len(adapters) == 3 and not any(torch.equal(first[k], last[k]) for k in adapters)
    assert trainer.ema.ema.state_dict().keys() == own.keys()


def test_a_classifier_with_a_teacher(work_dir: Path):
    names, rng = ("circle", "cross", "square"), np.random.default_rng(0)
    for folder in (Path("data") / part / name for part in ("train", "val") for name in names):
        folder.mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (40, 40, 3), np.uint8))
    file = save_teacher(work_dir / "dense-cls.pt", CLASSIFIER.format(width=24), names)
    Path("small-cls.yaml").write_text(CLASSIFIER.format(width=8), encoding="utf-8")
    settings = {**FAST, "imgsz": 32, "data": str(work_dir / "data"), "epochs": 1, "project": "runs", "name": "a"}
    YOLO("small-cls.yaml").train(teacher=file, **settings)
    (row,) = rows(work_dir / "runs/a")
    assert [c for c in row if c.startswith("train/")] == ["train/loss", "train/kd_cls"] and row["train/kd_cls"] > 0
    with pytest.raises(ConfigError, match=r"is for classify, but the model to train is for detect"):
        distill.check_pair(build(), YOLO(file).model)


@pytest.mark.gpu
def test_on_a_gpu_the_teacher_computes_in_half_precision(run):
    trainer = run(device=0, batch=4)
    assert trainer.amp and {p.dtype for p in trainer.distiller.teacher.parameters()} == {torch.float16}
    assert all(math.isfinite(v) for v in rows(trainer.save_dir)[0].values())


def test_frozen_layers_stay_as_they_are(run):
    before, after = {}, {}
    events = {"on_train_start": before, "on_train_epoch_end": after}
    look = {event: lambda t, kept=kept: kept.update(weights(t)) for event, kept in events.items()}
    run(look, freeze=2, warmup_epochs=0.0, nbs=4)
    frozen = {k for k in before if k.startswith(("student.model.0.", "student.model.1."))}
    assert any("running_mean" in k for k in frozen)
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(before["student.model.3.conv.weight"], after["student.model.3.conv.weight"])


def test_resumed_run_equals_one_without_a_break(run, work_dir: Path, dense: str):
    """Steps fall across the seams of epochs, so gradients of the adapters are carried over as well."""
    settings = {"epochs": 3, "close_mosaic": 1, "nbs": 12, "batch": 3}
    final = {}
    whole = run({"on_train_epoch_end": lambda t: final.update(whole=weights(t))}, **settings)

    def interrupt(trainer: DetectionTrainer) -> None:
        if trainer.epoch == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, name="b", **settings)
    last = work_dir / "runs/b/weights/last.pt"
    saved = torch.load(last, weights_only=True)
    assert {*saved["distill"]["adapters"]} == {"0.weight", "1.weight", "2.weight"}
    assert saved["args"]["teacher"] == dense
    resumed = run({"on_train_epoch_end": lambda t: final.update(resumed=weights(t))}, resume=str(last))
    for name, tensor in final["whole"].items():
        assert torch.equal(tensor, final["resumed"][name]), name
    assert rows(resumed.save_dir) == rows(whole.save_dir)


def test_resuming_with_a_teacher_that_has_moved(run, work_dir: Path, dense: str):
    def interrupt(trainer: DetectionTrainer) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, epochs=2)
    last = str(work_dir / "runs/a/weights/last.pt")
    wider = save_teacher(work_dir / "wider.pt", LAYERS.replace("[16, 3, 2]", "[32, 3, 2]"))
    with pytest.raises(CheckpointError, match=r"other feature maps.*same teacher"):
        run(resume=last, teacher=wider)
    moved = work_dir / "moved.pt"
    moved.write_bytes(Path(dense).read_bytes())
    assert run(resume=last, teacher=moved).args.teacher == str(moved)


@pytest.mark.slow
def test_two_processes_train_like_one(work_dir: Path, tiny_data: Path, dense: str):
    same = {"imgsz": 128, "mosaic": 0.0, "optimizer": "SGD", "epochs": 1, "val": False, "project": "runs"}
    args = {**FAST, **same, "model": tiny_model(work_dir), "data": tiny_data, "teacher": dense}
    words = lambda name: ["detect", "train", *(f"{k}={v}" for k, v in {**args, "name": name}.items())]  # noqa: E731
    assert main(words("one")) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ultralytics"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    process = subprocess.Popen(
        [*command, *words("two")], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        _, error = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, error[-3000:]
    (one,), (two,) = (rows(work_dir / "runs" / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in ("train/kd_box", "train/kd_cls", "train/kd_feat"):
        assert two[name] == pytest.approx(one[name], rel=0.15), name  # batch norms see halves of a batch
    ckpt = torch.load(work_dir / "runs/two/weights/last.pt", weights_only=True)
    assert not any(name.startswith(("module.", "student.")) for name in ckpt["model"])


@pytest.mark.parametrize(
    ("content", "names", "sentence"),
    [
        (LAYERS.replace("nc: 2", "nc: 3"), ("red", "green", "blue"), "knows 3 classes, but the data have 2"),
        (LAYERS, ("green", "red"), "calls class 0 'green', but the data call it 'red'"),
        (TASK_LAYERS.format(width=16, head=HEADS["segment"]), ("red", "green"), "is for segment.*is for detect"),
        (LAYERS.replace("[2, 3, 4]", "[1, 2, 3]"), ("red", "green"), r"strides \[4, 8, 16\].* at \[8, 16, 32\]"),
        (LAYERS.replace("nc: 2", "nc: 2\nch: 1"), ("red", "green"), "images of 1 channels.*takes 3"),
    ],
    ids=["count", "names", "task", "strides", "channels"],
)
def test_a_teacher_that_does_not_fit(run, work_dir: Path, content: str, names: tuple[str, ...], sentence: str):
    file = save_teacher(work_dir / "other.pt", content, names)
    with pytest.raises(ConfigError, match=rf"The teacher '.*other\.pt' .*{sentence}.*train without"):
        run(teacher=file)
    assert not Path("runs").exists()


def test_what_is_no_teacher(run, work_dir: Path):
    with pytest.raises(ConfigError, match=r"teacher=yolo11n\.yaml is not a weight file.*best\.pt"):
        run(teacher="yolo11n.yaml")
    with pytest.raises(MissingFileError, match=r"nowhere\.pt"):
        run(teacher="nowhere.pt")
    with pytest.raises(ConfigError, match=r"distill_box, distill_cls, distill_feat must not all be 0"):
        run(distill_box=0, distill_cls=0, distill_feat=0)
    with pytest.raises(ConfigError, match=r"'distill_temp=0' is not possible: .* a number above 0"):
        run(distill_temp=0)
    assert not Path("runs").exists()


def test_the_engine_finds_the_lab():
    assert load(DISTIL) is distill.distil
