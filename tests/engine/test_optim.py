"""The optimizer and its schedule, against figures measured on 8.3.0."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.engine.training.optimizer import (
    OPTIMIZERS,
    Schedule,
    advice_on_steps,
    bias_lr,
    build_optimizer,
    choose_optimizer,
    freeze_layers,
    lr_law,
    param_groups,
    steps_in_run,
)
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import ModelEMA

CASES = json.loads((Path(__file__).parents[1] / "reference" / "schedule.json").read_text())


@pytest.fixture(scope="module")
def yolo11n() -> DetectionModel:
    return DetectionModel("yolo11n.yaml", nc=80, verbose=False)


def simulate(model: nn.Module, nc: int, images: int, **settings) -> list[dict]:
    """Return the state at each iteration of a run, as the trainer would go through it."""
    args = get_cfg(overrides=settings)
    batches, ema = images // args.batch, ModelEMA(nn.Linear(1, 1))
    accumulate = max(round(args.nbs / args.batch), 1)
    steps = steps_in_run(images, args.batch, args.nbs, args.epochs)
    choice = choose_optimizer(args.optimizer, args.lr0, args.momentum, nc, steps)
    optimizer = build_optimizer(model, choice, args.weight_decay * args.batch * accumulate / args.nbs)
    warmup = Schedule.warmup_iterations(args.warmup_epochs, batches)
    start = bias_lr(args, model, optimizer)
    schedule = Schedule(optimizer, warmup, args.batch, args.nbs, args.momentum, args.warmup_momentum, start)
    schedule.follow(lr_law(args.epochs, args.lrf, args.cos_lr))
    rows, last_step = [], -1
    for iteration in range(args.epochs * batches):
        epoch = iteration // batches
        if iteration % batches == 0:
            schedule.start_epoch(epoch)
        accumulate = schedule.start_iteration(iteration)
        if iteration - last_step >= accumulate:
            ema.updates, last_step = ema.updates + 1, iteration
        groups = optimizer.param_groups
        rows.append(
            {
                "epoch": epoch,
                "acc": accumulate,
                "lr": [g["lr"] for g in groups],
                "mom": [g["momentum"] if "momentum" in g else g["betas"][0] for g in groups],
                "wd": [g["weight_decay"] for g in groups],
                "n": [len(g["params"]) for g in groups],
                "ema": ema.updates,
                "decay": ema.decay(ema.updates),
            }
        )
    return rows


@pytest.mark.parametrize("name", CASES)
def test_schedule_equals_the_reference(name: str, yolo11n: DetectionModel):
    """Each figure of each iteration is the same."""
    case = CASES[name]
    rows = simulate(yolo11n, **case["settings"])
    assert len(rows) == len(case["steps"])
    for i, (row, wanted) in enumerate(zip(rows, case["steps"])):
        assert set(wanted) == set(row)
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, rel=0, abs=1e-9), f"{key} of iteration {i}"


def test_groups_take_each_parameter_once():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Linear(4, 2, bias=False))
    biases, weights, norms = param_groups(model, 0.1)
    assert [len(g["params"]) for g in (biases, weights, norms)] == [3, 2, 2]
    assert [g["weight_decay"] for g in (biases, weights, norms)] == [0.0, 0.1, 0.0]
    assert {id(p) for g in (biases, weights, norms) for p in g["params"]} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(("iterations", "nc", "expected"), [(10001, 80, ("SGD", 0.01)), (10000, 1, ("AdamW", 0.002))])
def test_auto_chooses_by_the_length_of_the_run(iterations: int, nc: int, expected: tuple):
    choice = choose_optimizer("auto", 0.01, 0.937, nc, iterations)
    assert (choice.name, choice.lr, choice.momentum) == (*expected, 0.9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_lowers_a_loss(name: str):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), torch.ones(8, 4)
    choice = choose_optimizer(name.lower(), 0.01, 0.937, 1, 10)
    assert (choice.name, choice.lr, choice.momentum) == (name, 0.01, 0.937)
    optimizer = build_optimizer(model, choice, 0.0)
    start = (model(x) - 3).square().mean().item()
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) - 3).square().mean().backward()
        optimizer.step()
    assert (model(x) - 3).square().mean().item() < start


def test_an_unknown_optimizer_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'AdamWW' is not known\. Choose .*Did you mean 'AdamW'"):
        choose_optimizer("AdamWW", 0.01, 0.9, 1, 10)


def test_warm_up_may_be_left_out():
    assert Schedule.warmup_iterations(0, 50) == -1
    assert Schedule.warmup_iterations(1, 50) == 100
    assert Schedule.warmup_iterations(3, 50) == 150
    rows = simulate(
        nn.Sequential(nn.Conv2d(1, 1, 1)), nc=1, images=8, epochs=4, batch=4, optimizer="SGD", warmup_epochs=0.0
    )
    assert [row["acc"] for row in rows] == [16] * 8
    assert [row["lr"][0] for row in rows[::2]] == pytest.approx([0.01, 0.007525, 0.00505, 0.002575])


@pytest.mark.parametrize("cosine", [False, True])
def test_learning_rate_falls_to_its_last_share(cosine: bool):
    values = [lr_law(10, 0.01, cosine)(e) for e in range(11)]
    assert values[0] == 1 and values[-1] == pytest.approx(0.01)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ((80, 16, 64, 30), "only 60 optimizer steps.*\nbatch=8 nbs=8 epochs=50 makes 500, or epochs=250 makes 500"),
        ((1000, 16, 64, 30), "only 480 optimizer steps.*\nbatch=8 nbs=8 makes 3750, or epochs=32 makes 512"),
        ((80, 8, 8, 30), "only 300 optimizer steps.*\nepochs=50 makes 500\\.$"),
        ((3, 2, 64, 1), "only 1 optimizer step;.*\nbatch=2 nbs=2 epochs=250 makes 500, or epochs=500 makes 500"),
    ],
)
def test_a_run_of_few_steps_says_what_makes_more(run: tuple, said: str):
    advice = advice_on_steps(*run)
    assert re.search(said, advice) and advice.count("\n") == 1
    images, batch, nbs, epochs = run
    for way in advice.splitlines()[1].rstrip(".").split(", or "):  # as it says
        given = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", way)}
        made = steps_in_run(images, given.get("batch", batch), given.get("nbs", nbs), given.get("epochs", epochs))
        assert made == int(way.split()[-1]) >= 500
        assert not advice_on_steps(
            images, given.get("batch", batch), given.get("nbs", nbs), given.get("epochs", epochs)
        )


def test_a_run_of_enough_steps_says_nothing():
    assert advice_on_steps(80, 8, 8, 50) == advice_on_steps(118000, 16, 64, 1) == ""


def test_layers_that_are_not_there_cannot_be_frozen(yolo11n):
    for freeze, layer in (([99], 99), ([0, 24], 24)):
        with pytest.raises(ConfigError, match=rf"names layer {layer}, .*Its layers are 0 to 23"):
            freeze_layers(yolo11n, freeze)
    with pytest.raises(ConfigError, match="freeze=30 freezes all 24 layers"):
        freeze_layers(yolo11n, 30)


def test_freezing_a_layer_without_weights_is_said(yolo11n, log: list[str]):
    assert len(freeze_layers(yolo11n, [11])) == 1
    assert log == ["Frozen: 1 layers with no parameter tensors."]
