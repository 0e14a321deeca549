"""The step of a training: recorded networks, numbers that are checked late, and how optimizers compute.

Without a GPU, graphs are stood in for by functions that run again (`recorded.py`), and a training on the CPU is told to
check its numbers late; the tests marked `gpu` do the same on one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recorded import Recorded, recorded  # noqa: F401  a fixture
from test_guards import Quick, break_layer
from tiny import FAST, tiny_model, tiny_of
from torch import nn

from ultralytics.engine.training import runner as runners
from ultralytics.engine.training.optimizer import OptimizerChoice, adapted, build_optimizer, prime
from ultralytics.engine.training.runner import Runner, make_runner
from ultralytics.engine.training.step import on_device
from ultralytics.engine.training.watch import Watch, left_out
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.errors import ConfigError, NumbersError
from ultralytics.utils.torch_utils import TORCH_2_4, ModelEMA

State = dict[str, torch.Tensor]


@pytest.fixture
def train(work_dir: Path, tiny_data: Path) -> Callable[..., DetectionTrainer]:
    """Train the tiny detector for three epochs of 8 images; `events` are functions by event."""

    def run(events: dict | None = None, cls: type = Quick, **settings) -> DetectionTrainer:
        own = {"model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 3, "val": False, "imgsz": 32}
        trainer = cls(overrides={**FAST, **own, "optimizer": "SGD", "project": "runs", **settings})
        for event, function in (events or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return run


def state(trainer: DetectionTrainer) -> State:
    both = trainer.model.state_dict(), trainer.ema.ema.state_dict()
    return {f"{i}{k}": v.clone() for i, part in enumerate(both) for k, v in part.items()}


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def record(trainer: DetectionTrainer) -> None:
    """Let a training on a CPU record its network."""
    trainer.learner.runner = Runner("graphs")
    trainer.learner.runner.look(trainer.model)


# Recorded networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 3, "nbs": 9, "warmup_epochs": 0},  # three batches for a step; the last one of an epoch is smaller
        pytest.param({"nbs": 4}, marks=pytest.mark.slow),
        pytest.param({"freeze": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_recorded_training_ends_with_the_same_weights(train, recorded: type[Recorded], settings):  # noqa: F811
    settings = {"batch": 2, **settings}
    plain = state(train(**settings))
    assert Recorded.made == 0
    made = train({"on_train_start": record}, name="b", **settings)
    assert Recorded.made == 2 and same(plain, state(made))
    names = load_checkpoint(made.last)["train_model"].keys()
    assert names == made.model.state_dict().keys() and not any("_orig_mod" in n for n in names)
    assert made.learner.runner.fast is None  # its memory is given back


@pytest.mark.slow
def test_a_hook_on_a_layer_is_called_and_thawed_layers_are_recorded_anew(train, recorded):  # noqa: F811
    calls, fast = [], []

    def watch(trainer: DetectionTrainer) -> None:
        if trainer.epoch == 2:
            trainer.model.model[3].register_forward_hook(lambda m, x, y: calls.append(trainer.iteration))
        if trainer.epoch == 4:
            for layer in trainer.model.modules():
                layer._forward_hooks.clear()
            trainer.model.model[0].conv.weight.requires_grad_(False)

    look = {"on_train_start": record, "on_train_epoch_start": watch}
    look["on_train_batch_end"] = lambda t: fast.append(t.learner.runner.fast is not None)
    train(look, batch=2, epochs=6, save=False)
    assert Recorded.made == 4 and calls == list(range(8, 16))
    assert fast == [False] * 3 + [True] * 16 + [True] * 5


@pytest.mark.slow
def test_a_network_that_cannot_be_recorded_trains_as_it_is(train, recorded, monkeypatch, log):  # noqa: F811
    def fail(function, before=None):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain = state(train(batch=2, save=False))
    monkeypatch.setattr(runners.TrainingGraph.__init__.__globals__["capture"], "__code__", fail.__code__)
    made = train({"on_train_start": record}, name="b", batch=2, save=False)
    assert same(plain, state(made))
    assert len([line for line in log if "CUDA graphs cannot be used" in line and "capturing" in line]) == 1


def test_graphs_of_other_numbers_are_refused(recorded, tmp_path, monkeypatch):  # noqa: F811
    model, image = tiny_of("detect", tmp_path).train(), torch.rand(2, 3, 64, 64)
    graph = runners.TrainingGraph(model, image, half=False)
    assert torch.equal(graph(image)[0], model(image)[0])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    monkeypatch.setattr(Recorded, "replay", lambda self: self.result[0].detach().mul_(1.5))
    with pytest.raises(RuntimeError, match="other numbers"):
        runners.TrainingGraph(model, image, half=False)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_the_networks_of_all_tasks_can_be_recorded(recorded, tmp_path, task):  # noqa: F811
    model, image = tiny_of(task, tmp_path).train(), torch.rand(2, 3, 64, 64)
    graph = runners.TrainingGraph(model, image, half=False)
    preds, other = graph(image), torch.utils._pytree.tree_flatten(model(image))[0]
    mine = torch.utils._pytree.tree_flatten(preds)[0]
    assert all(torch.equal(a, b) for a, b in zip(mine, other))
    sum(x.square().sum() for x in mine).backward()
    found = [p.grad.clone() for p in graph.weights]
    model.zero_grad()
    sum(x.square().sum() for x in other).backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(found, graph.weights))


def test_who_trains_without_graphs_is_told_why(tmp_path, log, monkeypatch):
    class Own(nn.Module):
        def forward(self, x):
            return x

    gpu, model = torch.device("cuda", 0), tiny_of("detect", tmp_path)
    args = DEFAULT_CFG.replaced(compile="auto")
    assert make_runner(model, args, gpu, True).how == "auto" and not log
    assert not make_runner(model, args, torch.device("cpu"), False).how and not log
    assert not make_runner(model, args.replaced(compile=False), gpu, True).how and not log
    assert not make_runner(model, args.replaced(multi_scale=True), gpu, True).how
    model.model[0].act = Own()
    assert not make_runner(model, args, gpu, True).how
    assert make_runner(model, args.replaced(compile="graphs"), gpu, True).how == "graphs"
    monkeypatch.setattr(runners, "WORLD_SIZE", 2)
    assert not make_runner(model, args.replaced(compile=True), gpu, True).how
    for line, words in zip(log, ("multi_scale=True", "layer Own is not built in", "without torch.compile: several")):
        assert words in line
    assert len(log) == 3


def test_memory_that_is_short_frees_the_graphs(tmp_path, monkeypatch):
    model = tiny_of("detect", tmp_path)
    runner = Runner("graphs")
    runner.look(model)
    runner.fast, runner.fast_key, runner.size, runner.images = model, ("a",), 100, 4
    monkeypatch.setattr(runners, "free_memory", lambda device: 60)
    runner.make_room(0.5)
    assert runner.fast is model
    runner.make_room(0.75)
    assert runner.fast is None and runner.fast_key == () and runner.size == 0


def test_compile_leaves_no_trace_and_a_failure_is_one_line(train, monkeypatch, log):
    plain = state(train(batch=2))
    monkeypatch.setattr(runners, "compiled", lambda predict, how: lambda x: predict(x))
    made = train(name="b", batch=2, compile=True)
    assert same(plain, state(made)) and not any("_orig_mod" in k for k in load_checkpoint(made.last)["model"])

    def broken(predict, how):
        def fail(x):
            raise RuntimeError("no compiler")

        return fail

    monkeypatch.setattr(runners, "compiled", broken)
    assert same(plain, state(train(name="c", batch=2, compile="max-autotune", save=False)))
    assert len([line for line in log if "torch.compile cannot be used" in line and "no compiler" in line]) == 1
    with pytest.raises(ConfigError, match="compile=fast"):
        train(compile="fast")


# Numbers that are read late -------------------------------------------------------------------------------------------


class Fused(Quick):
    """Has an optimizer that can leave out a step."""

    def build_optimizer(self, model, *args, **kwargs):
        if not TORCH_2_4:
            pytest.skip("torch before 2.4 has fused optimizers on a GPU alone")
        return torch.optim.SGD(model.parameters(), 1e-3, 0.9, fused=True)


def late(trainer: DetectionTrainer) -> None:
    trainer.learner.watch.late = True


def end_with(*functions: Callable) -> Callable:
    return lambda trainer: [function(trainer) for function in functions] and None


@pytest.mark.parametrize("times", [[1], *(pytest.param([n], marks=pytest.mark.slow) for n in (0, 2, 3))])
def test_a_nan_that_is_read_late_ends_as_one_that_is_read_at_once(train, log, times):
    """The batch after it was learned in vain, and is learned again."""
    events = {"on_train_batch_start": break_layer(times)}
    at_once = train(events, Fused, batch=4)
    read_late = train({**events, "on_train_start": late}, Fused, batch=4, name="b")
    first, second = (line for line in log if "loss is nan" in line)  # the hook may be gone when the cause is looked for
    assert first.split(".")[0] == second.split(".")[0] and first.split("files:")[1] == second.split("files:")[1]
    assert same(state(at_once), state(read_late))
    assert all(torch.isfinite(v).all() for v in state(read_late).values())
    assert str(at_once.files.rows) == str(read_late.files.rows)  # as text, in which nan equals nan


@pytest.mark.slow
def test_infinite_gradients_that_are_read_late_do_not_reach_the_weights(train, log):
    def strike(t: DetectionTrainer) -> None:
        if t.iteration == 1:
            next(t.model.parameters()).grad.fill_(torch.inf)

    run = train({"optimizer_step": strike, "on_train_start": late}, Fused, batch=4, nbs=4, warmup_epochs=0)
    assert any("The gradients' norm is infinite in epoch 1, batch 2" in line for line in log)
    assert all(torch.isfinite(v).all() for v in state(run).values())


def test_a_second_nan_that_is_read_late_ends_the_run(train):
    with pytest.raises(NumbersError, match=r"The loss is nan in epoch 2, batch 1.*happened before"):
        train({"on_train_batch_start": break_layer([0, 2]), "on_train_start": late}, Fused, batch=4)


@pytest.mark.slow
def test_a_state_is_saved_only_after_the_numbers_of_its_batches_are_read(train):
    watched = []

    class Saves(Fused):
        def save_state(self) -> None:
            super().save_state()
            watched.append(len(self.learner.watch.noted))

    made = train({"on_train_start": late, "on_train_batch_end": lambda t: t.save_state()}, Saves, batch=4)
    assert set(watched) == {0} and len(watched) == 1 + 6
    assert torch.isfinite(made.tloss).all()


def test_a_watch_reads_a_batch_when_the_next_is_noted():
    watch, good, bad = Watch(late=True), torch.tensor(1.0), torch.tensor(torch.inf)
    watch.note({}, 0, bad, good)
    watch.settle(keep=1)
    watch.note({}, 1, good, good)
    with pytest.raises(NumbersError, match="loss is infinite"):
        watch.settle(keep=1)
    assert watch.noted[0].number == 0
    watch.late = False
    with pytest.raises(NumbersError, match="loss is infinite"):
        watch.note({}, 2, bad, good)
    assert watch.noted[0].number == 2


# Optimizers, averages, images -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not TORCH_2_4, reason="torch before 2.4 has fused optimizers on a GPU alone")
def test_a_fused_step_of_infinite_gradients_is_left_out():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    weight.grad = torch.ones(3)
    prime(optimizer)
    with left_out(optimizer, torch.tensor(torch.nan)):
        optimizer.step()
    assert torch.equal(weight, torch.ones(3)) and not hasattr(optimizer, "found_inf")
    with left_out(optimizer, torch.tensor(2.0)):
        optimizer.step()
    assert torch.allclose(weight, torch.full((3,), 0.9))


def test_optimizers_are_fused_on_a_gpu_only_and_a_state_takes_on_how_its_device_computes(tmp_path):
    model = tiny_of("detect", tmp_path)
    own = build_optimizer(model, OptimizerChoice("AdamW", 1e-3, 0.9), 0.0)
    assert not own.param_groups[0].get("fused")
    saved = own.state_dict()
    for group in saved["param_groups"]:
        group.update(fused=True, lr=0.5)
    own.load_state_dict(adapted(saved, own))
    assert {(g["lr"], g["fused"]) for g in own.param_groups} == {(0.5, None)}
    del saved["param_groups"][0]
    with pytest.raises(ValueError, match="group"):
        own.load_state_dict(adapted(saved, own))


def test_an_average_follows_tensors_that_take_the_place_of_others():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model.append(model[0])  # under two names
    ema = ModelEMA(model, decay=0.5, tau=1e-9)
    ema.update(model)
    model[1].running_mean = torch.ones(4)
    model[0].weight.data = torch.zeros(4, 3, 1, 1)
    before = ema.ema[0].weight.clone()
    ema.update(model)
    assert torch.equal(ema.ema[1].running_mean, torch.full((4,), 0.5))
    assert torch.allclose(ema.ema[0].weight, before / 4)  # once for each of its names, as a state dict has it


def test_batches_of_a_cpu_stay_as_the_loader_gives_them():
    batches = [{"img": torch.zeros(1)}]
    assert on_device(batches, torch.device("cpu")) is batches


# On a GPU -------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_is_waited_for_at_most_twice_a_step(train):
    """Torch warns of each wait; the first batches choose kernels and record graphs."""
    import warnings

    waits: dict[int, int] = {}
    caught = warnings.catch_warnings(record=True)

    def begin(t: DetectionTrainer) -> None:
        t.said = caught.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def end(t: DetectionTrainer) -> None:
        torch.cuda.set_sync_debug_mode("default")
        caught.__exit__(None, None, None)
        waits[t.iteration] = len([w for w in t.said if "synchronizing" in str(w.message)])

    train({"on_train_batch_start": begin, "on_train_batch_end": end}, device=0, batch=2, epochs=4, compile="auto")
    assert max(n for i, n in waits.items() if i >= 8) <= 2, waits


@pytest.mark.gpu
@pytest.mark.parametrize("amp", [False, True])
def test_graphs_on_a_gpu_train_as_the_network_does(train, log, amp):
    losses: dict[str, list] = {"a": [], "b": []}
    for name, how in (("a", False), ("b", "auto")):
        keep = {"on_train_batch_end": lambda t, name=name: losses[name].append(t.loss_items.cpu())}
        train(keep, name=name, device=0, batch=2, epochs=4, compile=how, amp=amp, imgsz=64)
    assert not [line for line in log if "cannot be used" in line]
    assert torch.allclose(torch.stack(losses["a"]), torch.stack(losses["b"]), rtol=1e-2, atol=1e-3)
