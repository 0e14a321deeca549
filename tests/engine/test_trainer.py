"""Training of a tiny detector: what a run leaves behind, how it is cut short, and how it goes on."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import signal
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import yaml
from tiny import FAST, tiny_model
from torch import nn

from ultralytics import YOLO
from ultralytics.engine.callbacks import EVENTS
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.training.learner import Learner
from ultralytics.engine.training.optimizer import Schedule
from ultralytics.engine.training.progress import Progress
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import yaml_load
from ultralytics.utils.errors import CheckpointError, ConfigError, DataError, MissingFileError
from ultralytics.utils.loss import v8DetectionLoss

Run = Callable[..., DetectionTrainer]


class Quick(DetectionTrainer):
    """Leaves out the last validation, which takes longer than all epochs of a tiny run."""

    def final_eval(self) -> None:
        pass


@pytest.fixture
def run(work_dir: Path, tiny_data: Path) -> Run:
    """Train in the working directory, with settings, functions by event, and a trainer class."""

    def train(callbacks: dict | None = None, cls: type[BaseTrainer] = Quick, **settings) -> DetectionTrainer:
        args = {
            **FAST,
            "model": tiny_model(work_dir),
            "data": str(tiny_data),
            "epochs": 1,
            "project": "runs",
            "name": "a",
        }
        trainer = cls(overrides=settings if "resume" in settings else {**args, **settings})
        for event, function in (callbacks or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return train


def rows(trainer: BaseTrainer) -> list[dict[str, float]]:
    """Return results.csv, a dict for each epoch."""
    with open(trainer.csv, encoding="utf-8") as f:
        return [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]


def weights(trainer: BaseTrainer) -> dict[str, torch.Tensor]:
    """Return a copy of all that the trained model holds."""
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupt(trainer: BaseTrainer) -> None:
    raise Interrupted


# What a run leaves behind ---------------------------------------------------------------------------------------------


def test_run_folder(run: Run):
    trainer = run(cls=DetectionTrainer, epochs=3, plots=True, close_mosaic=1, box=5.0)
    folder = trainer.save_dir
    files = {str(f.relative_to(folder).as_posix()) for f in folder.rglob("*") if f.is_file()}
    assert files >= {
        "args.yaml", "results.csv", "results.png", "labels.jpg", "weights/best.pt", "weights/last.pt",
        "confusion_matrix.png", "confusion_matrix_normalized.png", "F1_curve.png", "P_curve.png", "R_curve.png",
        "PR_curve.png", "val_batch0_labels.jpg", "val_batch0_pred.jpg", "train_batch0.jpg", "train_batch1.jpg",
        "train_batch2.jpg", "train_batch4.jpg", "train_batch5.jpg",
    }  # fmt: skip
    assert "train_batch3.jpg" not in files  # drawn: the first three, and those after the mosaic is closed
    args = yaml.safe_load((folder / "args.yaml").read_text())
    assert (args["epochs"], args["box"], args["save_dir"], args["mode"]) == (3, 5.0, str(folder), "train")
    table = rows(trainer)
    assert list(table[0]) == [
        "epoch", "train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)",
        "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "val/cls_loss", "val/dfl_loss",
        "lr/pg0", "lr/pg1", "lr/pg2",
    ]  # fmt: skip
    assert [row["epoch"] for row in table] == [1, 2, 3]
    assert np.isfinite([list(row.values()) for row in table]).all()
    assert all(row["train/cls_loss"] > 0 and row["val/cls_loss"] > 0 for row in table)
    for name in ("best.pt", "last.pt"):
        ckpt = torch.load(trainer.wdir / name, weights_only=True)
        assert ckpt["epoch"] == -1 and "optimizer" not in ckpt and ckpt["names"] == {0: "red", 1: "green"}


def test_events(run: Run):
    """Two epochs of two batches: each event of training and validation fires as often as its name says."""
    seen: Counter[str] = Counter()
    count = {event: lambda _, event=event: seen.update([event]) for event in EVENTS}
    run(count, DetectionTrainer, epochs=2, batch=4, warmup_epochs=0.0, nbs=4)
    once = ("on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_end", "teardown")
    assert seen == {
        **dict.fromkeys(once, 1),
        **dict.fromkeys(("on_train_epoch_start", "on_train_epoch_end", "on_model_save"), 2),
        **dict.fromkeys(("on_train_batch_start", "on_train_batch_end"), 4),
        **dict.fromkeys(("optimizer_step", "on_before_zero_grad", "on_params_update"), 4),
        "on_fit_epoch_end": 3,  # and once for the best weights
        **dict.fromkeys(("on_val_start", "on_val_batch_start", "on_val_batch_end", "on_val_end"), 3),
    }


def test_loader_processes_end_with_the_run(run: Run):
    trainer = run(workers=1)
    assert trainer.train_loader._stream is None and trainer.test_loader._stream is None
    kept = []
    with pytest.raises(Interrupted):
        run({"on_train_start": kept.append, "on_train_batch_end": interrupt}, workers=1)
    assert kept[0].train_loader._stream is None


def test_cpu_computes_channels_last(run: Run):
    seen = []

    def look(trainer: BaseTrainer) -> None:
        own, averaged = (m.state_dict()["model.0.conv.weight"] for m in (trainer.model, trainer.ema.ema))
        seen.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (trainer.batch["img"], own, averaged))

    run({"on_train_batch_end": look})
    assert seen and all(seen)


# Going on with an interrupted run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["on_fit_epoch_end", "on_train_epoch_end"])
def test_resumed_run_equals_one_without_a_break(run: Run, work_dir: Path, event: str):
    """Broken off before or after the second epoch was saved: the end is the same bit by bit, and so is every row."""
    settings = {"epochs": 3, "close_mosaic": 1, "nbs": 12, "batch": 3}  # steps fall across the seams of epochs
    final = {}
    whole = run({"on_train_epoch_end": lambda t: final.update(whole=weights(t))}, **settings)
    stop = lambda t: interrupt(t) if t.epoch == 1 else None  # noqa: E731
    with pytest.raises(Interrupted):
        run({event: stop}, name="b", **settings)
    last = work_dir / "runs" / "b" / "weights" / "last.pt"
    resumed = run({"on_train_epoch_end": lambda t: final.update(resumed=weights(t))}, resume=str(last))
    assert resumed.save_dir == work_dir / "runs" / "b"
    assert resumed.start_epoch == (2 if event == "on_fit_epoch_end" else 1)
    assert resumed.args.nbs == 12
    assert yaml_load(resumed.save_dir / "args.yaml")["model"] == whole.args.model
    for name, tensor in final["whole"].items():
        assert torch.equal(tensor, final["resumed"][name]), name
    assert rows(resumed) == rows(whole)
    assert [row["epoch"] for row in rows(resumed)] == [1, 2, 3]


def test_a_row_without_its_checkpoint_is_not_doubled(run: Run, work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self) -> None:
        if self.epoch == 1:
            raise Interrupted
        BaseTrainer.save_model(self)

    class Fails(Quick):
        save_model = fail

    with pytest.raises(Interrupted):
        run(cls=Fails, epochs=2)
    assert (work_dir / "runs/a/results.csv").read_text().count("\n") == 3
    resumed = run(resume=str(work_dir / "runs/a/weights/last.pt"))
    assert [row["epoch"] for row in rows(resumed)] == [1, 2]


def test_resume_takes_the_latest_run_here(run: Run, work_dir: Path):
    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, epochs=2, name="b")
    assert run(resume=True).start_epoch == 1


def test_what_cannot_be_resumed(run: Run, work_dir: Path):
    with pytest.raises(MissingFileError, match=r"no interrupted run here.*resume=PATH/last\.pt"):
        run(resume=True)
    trainer = run(cls=DetectionTrainer)
    for file in (trainer.last, trainer.best):  # the run has finished
        with pytest.raises(
            CheckpointError,
            match=rf"'{file}' holds weights.*has finished after 1 epochs, and nothing is left.*model={file}",
        ):
            run(resume=str(file))
    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, epochs=2, name="b")
    last = work_dir / "runs" / "b" / "weights" / "last.pt"
    with pytest.raises(ConfigError, match=r"lr0=0\.5 cannot be given.*began with lr0=0\.01"):
        run(resume=str(last), lr0=0.5)


def test_more_epochs_on_resume_keep_the_optimizer(run: Run, work_dir: Path):
    """`optimizer=auto` takes SGD for runs of so many epochs, but Adam's state is what there is."""
    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, epochs=2)
    last, kinds = str(work_dir / "runs/a/weights/last.pt"), []
    for epochs in (30_000, 40_000):
        with pytest.raises(Interrupted):
            run({"on_fit_epoch_end": lambda t: interrupt(kinds.append(type(t.optimizer)))}, resume=last, epochs=epochs)
    assert kinds == [torch.optim.AdamW] * 2


# Ending early, and what is saved --------------------------------------------------------------------------------------


def test_early_stopping(run: Run):
    """The fitness never rises after the first epoch, so the second is the last with patience=1."""

    class Stuck(Quick):
        def validate(self) -> tuple[dict, float]:
            metrics, _ = super().validate()
            self.fitness = 1.0 / (self.epoch + 1)
            self.best_fitness = max(self.fitness, self.best_fitness or 0.0, 1.0)
            return metrics, self.fitness

    trainer = run(cls=Stuck, epochs=5, patience=1)
    assert [row["epoch"] for row in rows(trainer)] == [1, 2]


def test_a_callback_may_stop_the_run(run: Run):
    trainer = run({"on_train_epoch_end": lambda t: setattr(t, "stop", True)}, epochs=5)
    assert len(rows(trainer)) == 1 and trainer.best.exists()


def test_time_limit(run: Run):
    """A time that is over within the first epoch ends it, validated and saved."""
    batches = []
    trainer = run({"on_train_batch_end": lambda t: batches.append(t.iteration)}, epochs=50, time=1e-6, save=False)
    assert len(rows(trainer)) == 1 and batches == [0]
    assert trainer.last.exists() and trainer.metrics


def test_time_sets_the_number_of_epochs(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ultralytics.engine.trainer.time.time", lambda: 1000.0)
    trainer = DetectionTrainer.__new__(DetectionTrainer)
    trainer.args = type("Args", (), {"time": 0.5, "lrf": 0.01, "cos_lr": False, "epochs": 100})()
    schedule = Schedule(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    trainer.learner = Learner(nn.Identity(), optimizer=schedule.optimizer, schedule=schedule)
    trainer.progress = Progress(100, epoch=1, train_time_start=800.0)  # two epochs: 18 fit into 1800 s
    trainer._setup_scheduler()
    schedule.start_epoch(1)
    trainer._keep_to_time_limit()
    assert trainer.epochs == 18 and not trainer.stop
    assert trainer.lf(18) == pytest.approx(0.01)
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (0.99 * 0.99 + 0.01))  # until the next epoch
    schedule.start_epoch(2)
    assert trainer.scheduler.get_last_lr() == pytest.approx([0.1 * (16 / 18 * 0.99 + 0.01)])


def test_save_period_and_no_validation(run: Run):
    validated = Counter()
    count = {"on_val_start": lambda v: validated.update([v.training])}
    trainer = run(count, DetectionTrainer, epochs=3, save_period=2, val=False)
    assert {f.name for f in trainer.wdir.iterdir()} == {"best.pt", "last.pt", "epoch2.pt"}
    assert "optimizer" in torch.load(trainer.wdir / "epoch2.pt", weights_only=True)
    assert validated == {True: 1, False: 1}  # after the last epoch, and of the best weights
    assert len(rows(trainer)) == 3


def test_save_off_keeps_the_last_weights(run: Run):
    saved = []
    trainer = run({"on_model_save": lambda t: saved.append(t.epoch)}, epochs=2, save=False)
    assert saved == [1] and trainer.last.exists()


# Settings of the training ---------------------------------------------------------------------------------------------


def test_frozen_layers_stay_as_they_are(run: Run):
    before, after = {}, {}
    events = {"on_train_start": before, "on_train_epoch_end": after}
    look = {event: lambda t, kept=kept: kept.update(weights(t)) for event, kept in events.items()}
    run(look, freeze=2, warmup_epochs=0.0, nbs=4)
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("model.0.", "model.1."))}
    assert any("running_mean" in name for name in frozen)
    assert frozen <= same
    moved = {name for name in before if name.endswith(("conv.weight", "running_mean"))} - frozen
    assert not {name for name in moved if ".dfl." not in name} & same


def test_freeze_by_index_and_of_everything(run: Run):
    trainer = run(freeze=[0, 3])
    assert [layer.i for layer in trainer.learner.frozen.values()] == [0, 3]
    with pytest.raises(ConfigError, match="freeze=6 freezes all 6 layers"):
        run(freeze=6, name="b")
    assert not Path("runs/b").exists()


def test_a_layer_that_is_not_there_cannot_be_frozen(run: Run):
    with pytest.raises(ConfigError, match=r"freeze=\[99\] names layer 99.*Its layers are 0 to 5"):
        run(freeze=[99])
    assert not Path("runs").exists()


def test_single_class(run: Run, log: list[str]):
    seen = []
    trainer = run({"on_train_batch_end": lambda t: seen.extend(t.batch["cls"].flatten().tolist())}, single_cls=True)
    assert {*seen} == {0.0}
    model = YOLO(trainer.best)
    assert model.names == {0: "item"} and len(trainer.validator.nt_per_class) == 1
    assert any("the 2 classes count as one, called 'item'" in line for line in log)
    log.clear()
    assert model.val(data=trainer.args.data, **FAST).names == {0: "item"}  # single_cls is kept with the weights
    assert not any("but the model" in line or "is 'item'" in line for line in log)


def test_fraction_takes_a_share_of_the_training_images_alone(run: Run):
    trainer = run(fraction=0.5)
    assert len(trainer.train_loader.dataset) == 4 and len(trainer.test_loader.dataset) == 4


def test_multi_scale_varies_the_size(run: Run):
    sizes = []
    look = {"on_train_batch_end": lambda t: sizes.append(t.batch["img"].shape[-1])}
    run(look, multi_scale=True, epochs=3, imgsz=96, val=False)
    assert len(set(sizes)) > 1 and {*sizes} <= {32, 64, 96, 128, 160}


def test_cosine_and_warm_up(run: Run):
    trainer = run(cos_lr=True, epochs=3, optimizer="SGD", warmup_epochs=1.0, val=False)
    biases = [row["lr/pg0"] for row in rows(trainer)]
    assert trainer.learner.schedule.warmup == 100 and max(biases) < 0.1
    assert biases == sorted(biases, reverse=True)
    weights_lr = [row["lr/pg1"] for row in rows(trainer)]  # the whole run is warm-up
    assert 0 < weights_lr[0] < weights_lr[1]


def test_mosaic_is_closed_in_the_middle(run: Run, log: list[str]):
    mosaic = []
    run({"on_train_epoch_start": lambda t: mosaic.append(t.epoch)}, epochs=3, close_mosaic=1, val=False)
    assert sum("Mosaic is off" in line for line in log) == 1
    run(epochs=1, close_mosaic=10, val=False)  # longer than the run: mosaic stays, as in 8.3.0
    assert sum("Mosaic is off" in line for line in log) == 1


def test_pretrained_path_gives_what_fits(run: Run, log: list[str]):
    given = run()
    log.clear()
    start = {}
    run({"on_train_start": lambda t: start.update(weights(t))}, pretrained=str(given.best))
    count = len(start)
    assert any(f"Transferred {count}/{count} entries" in line for line in log)
    trained = torch.load(given.best, weights_only=True)["model"]  # the EMA's
    assert all(torch.equal(start[name], tensor) for name, tensor in trained.items())


def test_pretrained_comes_before_the_models_own_weights(run: Run):
    a, b = run(name="a"), run(name="b", seed=7)
    start = {}
    run({"on_train_start": lambda t: start.update(weights(t))}, model=str(a.best), pretrained=str(b.best))
    wanted = torch.load(b.best, weights_only=True)["model"]["model.0.conv.weight"]
    assert torch.equal(start["model.0.conv.weight"].half(), wanted.half())


# Data at the edges ----------------------------------------------------------------------------------------------------


def test_only_backgrounds(run: Run, tiny_data_copy: Path, log: list[str]):
    """There is nothing to learn from: it is said, and the run ends with finite numbers."""
    for file in (tiny_data_copy.parent / "labels").rglob("*.txt"):
        file.write_text("")
    trainer = run(data=str(tiny_data_copy), plots=True)
    assert any("no labels found" in line for line in log)
    assert np.isfinite([list(row.values()) for row in rows(trainer)]).all()


def test_an_empty_train_is_refused_in_training_alone(run: Run, tiny_data_copy: Path):
    data = yaml.safe_load(tiny_data_copy.read_text()) | {"train": None}
    tiny_data_copy.write_text(yaml.safe_dump(data))
    with pytest.raises(DataError, match="has no `train:` line, or an empty one"):
        run(data=str(tiny_data_copy))
    assert not Path("runs").exists()
    YOLO(tiny_model(Path.cwd())).val(data=str(tiny_data_copy), **FAST)


def test_one_class_and_a_batch_without_objects(run: Run, tiny_data_copy: Path):
    data = yaml.safe_load(tiny_data_copy.read_text()) | {"names": ["thing"]}
    tiny_data_copy.write_text(yaml.safe_dump(data))
    for file in (tiny_data_copy.parent / "labels").rglob("*.txt"):
        file.write_text("0 0.5 0.5 0.4 0.4\n" if file.stem.endswith(("_0", "_1")) else "")
    counts = []
    count = {"on_train_batch_end": lambda t: counts.append(len(t.batch["cls"]))}
    trainer = run(count, data=str(tiny_data_copy), batch=2, mosaic=0.0)
    assert 0 in counts and max(counts) > 0
    assert np.isfinite([list(row.values()) for row in rows(trainer)]).all()
    assert torch.load(trainer.best, weights_only=True)["nc"] == 1


# Subclasses -----------------------------------------------------------------------------------------------------------


def test_a_trainer_of_ones_own(run: Run, work_dir: Path):
    """Overridden hooks are used, when a run is resumed, too."""
    used: Counter[str] = Counter()

    class Own(Quick):
        def get_model(self, cfg=None, weights=None, verbose=True):
            used["get_model"] += 1
            return super().get_model(cfg, weights, verbose)

        def preprocess_batch(self, batch):
            used["preprocess_batch"] += 1
            return super().preprocess_batch(batch)

        def plot_training_samples(self, batch, ni):
            used["plot_training_samples"] += 1

    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, cls=Own, epochs=2, plots=True)
    assert used == {"get_model": 1, "preprocess_batch": 2, "plot_training_samples": 2}
    run(cls=Own, resume=str(work_dir / "runs/a/weights/last.pt"))
    assert used["get_model"] == 2


def test_train_takes_a_trainer_class(work_dir: Path, tiny_data: Path):
    class Own(Quick):
        pass

    model = YOLO(tiny_model(work_dir))
    model.train(trainer=Own, data=str(tiny_data), epochs=1, project="runs", **FAST)
    assert isinstance(model.trainer, Own)


# What belongs to the process, or to the model, and not to the run -----------------------------------------------------


def process() -> dict:
    """Return what a run may change of the process."""
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "threads": torch.get_num_threads(),
        "environment": {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
        "warnings": (warnings.showwarning, [*warnings.filters]),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "type": torch.get_default_dtype(),
        "backend": matplotlib.get_backend(),
    }


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("end", ["", "on_pretrain_routine_start", "on_train_batch_end"])
def test_a_run_leaves_the_process_as_it_was(run: Run, deterministic: bool, end: str, monkeypatch):
    monkeypatch.setattr("ultralytics.models.yolo.detect.train.loader_processes", lambda wanted, device: wanted)
    seen = []
    torch.use_deterministic_algorithms(not deterministic)  # as the user has it
    try:
        before = process()
        look = {"on_train_start": lambda t: seen.append(torch.are_deterministic_algorithms_enabled())}
        with pytest.raises(Interrupted) if end else contextlib.nullcontext():
            events = {**look, end: interrupt} if end else look
            run(events, cls=DetectionTrainer, deterministic=deterministic, workers=1)
        assert process() == before
        assert seen == [deterministic] * (end != "on_pretrain_routine_start")
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_a_model_does_leaves_the_process_as_it_was(work_dir: Path, tiny_data: Path):
    model = YOLO(tiny_model(work_dir))
    jobs = {
        "train": lambda: model.train(data=str(tiny_data), epochs=1, project="runs", **FAST),
        "no data": lambda: model.train(data="none.yaml", epochs=1, project="runs", **FAST),
        "val": lambda: model.val(data=str(tiny_data), project="runs", **FAST),
        "predict": lambda: model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, device="cpu", verbose=False),
        "export": lambda: model.export(format="torchscript", imgsz=64),
    }
    leaves_the_process(jobs)


@pytest.mark.slow
def test_a_search_leaves_the_process_as_it_was(work_dir: Path, tiny_data: Path):
    model = YOLO(tiny_model(work_dir))
    search = {"iterations": 1, "data": str(tiny_data), "epochs": 1, "project": "runs"}
    leaves_the_process({"tune": lambda: model.tune(**search, **FAST)})


def leaves_the_process(jobs: dict[str, Callable[[], object]]) -> None:
    for name, job in jobs.items():
        before = process()
        with pytest.raises(MissingFileError) if name == "no data" else contextlib.nullcontext():
            job()
        after = process()
        assert {k for k in before if before[k] != after[k]} == set(), name


def test_a_seed_repeats_although_the_process_has_other_plans(run: Run):
    first = weights(run())
    torch.manual_seed(123)
    again = weights(run(name="b"))
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_a_module_in_memory_learns_with_the_gains_of_each_training(work_dir: Path, tiny_data: Path):
    model, parts, seen = YOLO(tiny_model(work_dir)).model, [], []
    for box in (7.5, 0.0, 15.0):
        own = {"model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 1, "project": "runs", "box": box}
        trainer = Quick(overrides={**FAST, **own})
        trainer.model = model
        trainer.callbacks["on_train_end"].append(lambda t: seen.append(t.model.criterion.hyp is t.args))
        trainer.train()
        assert seen.pop() and not hasattr(model, "criterion")  # it does not outlive its training
        parts.append(float(trainer.tloss[0]))
    assert parts[1] == 0 and parts[2] > 1.5 * parts[0] > 0


def test_a_criterion_of_ones_own_stays(work_dir: Path, tiny_data: Path):
    class Mine(v8DetectionLoss):
        pass

    model = YOLO(tiny_model(work_dir)).model
    own = {"model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 1, "project": "runs"}
    trainer = Quick(overrides={**FAST, **own})
    model.args = trainer.args
    trainer.model, model.criterion = model, Mine(model)
    trainer.train()
    assert type(model.criterion) is Mine


# Odd numbers of images, and fitness of any kind -----------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"batch": 7}, {"fraction": 0.1}, {"fraction": 0.1, "teacher": True}])
def test_a_batch_of_one_image_whose_maps_are_single_values(run: Run, settings: dict):
    if settings.get("teacher"):
        settings = {**settings, "teacher": str(run(cls=DetectionTrainer, name="teacher").best)}
    sizes = []
    trainer = run({"on_train_batch_end": lambda t: sizes.append(len(t.batch["img"]))}, imgsz=32, epochs=2, **settings)
    assert 1 in sizes and len(rows(trainer)) == 2
    assert all(torch.isfinite(v).all() for v in weights(trainer).values())


def test_a_negative_fitness_that_rises_stops_no_run(run: Run):
    class Negative(Quick):
        fitnesses = iter([float("nan"), -5.0, -4.0, -3.0, float("nan"), -2.0])

        def validate(self):
            self.validator = lambda _: {"fitness": next(self.fitnesses)}
            return super().validate()

    best = []
    trainer = run({"on_fit_epoch_end": lambda t: best.append(t.best_fitness)}, cls=Negative, epochs=6, patience=2)
    assert best == [None, -5.0, -4.0, -3.0, -3.0, -2.0] and trainer.epoch == 5
    assert load_checkpoint(trainer.best)["best_fitness"] == -2.0


def test_few_steps_are_said_at_the_start_of_a_run_alone(run: Run, log: list[str]):
    run()
    assert sum("optimizer step" in line and "batch=4 nbs=4 epochs=250" in line for line in log) == 1
    with pytest.raises(Interrupted):
        run({"on_fit_epoch_end": interrupt}, epochs=2, name="b")
    log.clear()
    run(resume="runs/b/weights/last.pt")
    run(time=1e-5, name="c")
    assert not any("seldom" in line for line in log)
