"""Each method that subclasses override is really called, by a training, a validation, a prediction or an export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from shapes import FAST, write_data, write_model
from test_obb import make_data

from ultralytics import YOLO
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.engine import exporter
from ultralytics.engine.exporter import Exporter
from ultralytics.utils import metrics

HEADS = {
    "detect": "Detect, [nc]", "segment": "Segment, [nc, 4, 8]", "pose": "Pose, [nc, kpt_shape]", "obb": "OBB, [nc, 1]"
}  # fmt: skip
DRAWS = {
    "plot_training_samples", "plot_training_labels", "plot_metrics", "plot_val_samples", "plot_predictions", "show"
}  # fmt: skip
TRAINER = """check_resume _do_train _setup_train setup_model get_model set_model_attributes get_dataset get_dataloader
build_dataset get_validator build_optimizer _setup_scheduler resume_training preprocess_batch optimizer_step
label_loss_items progress_string validate save_metrics save_model read_results_csv final_eval run_callbacks
plot_training_samples plot_training_labels plot_metrics _close_dataloader_mosaic _model_train"""
VALIDATOR = """get_dataset build_dataset get_dataloader preprocess init_metrics postprocess update_metrics
_prepare_batch _prepare_pred _process_batch match_predictions pred_to_json save_one_txt get_stats check_stats
finalize_metrics print_results eval_json get_desc run_callbacks plot_val_samples plot_predictions on_plot"""
PREDICTOR = """setup_model setup_source stream_inference preprocess pre_transform inference postprocess write_results
save_predicted_images show run_callbacks"""
KINDS = {"trainer": TRAINER, "validator": VALIDATOR, "predictor": PREDICTOR}
HOOKS = [(task, kind, hook) for task in HEADS for kind, names in KINDS.items() for hook in names.split()]
SEEN = {**FAST, "imgsz": 64, "conf": 0.0, "max_det": 5}


def counted(cls: type, names: str, calls: Counter) -> type:
    """Return a subclass whose methods count their calls; those that draw do nothing else, as it takes its time."""

    def method(name: str):
        def count(self, *args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return None if name in DRAWS else getattr(cls, name)(self, *args, **kwargs)

        return count

    return type(f"Counted{cls.__name__}", (cls,), {name: method(name) for name in names.split()})


def data_of(task: str, folder: Path) -> str:
    return str(make_data(folder) if task == "obb" else write_data(folder, task == "pose", train=4, val=2))


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Counter]]:
    """Return a function that gives the calls of each kind in a training, a validation and a prediction of a task."""

    @cache
    def run(task: str) -> dict[str, Counter]:
        folder = tmp_path_factory.mktemp(task)
        calls = {kind: Counter() for kind in KINDS}
        part = {kind: counted(load(getattr(TASKS[task], kind)), names, calls[kind]) for kind, names in KINDS.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            torch.manual_seed(0)
            more = "kpt_shape: [3, 3]" if task == "pose" else ""
            model, data = YOLO(write_model(folder, HEADS[task], more)), data_of(task, folder / "data")
            patch.setattr(metrics, "_plot_curves", lambda *args: args[3]("curve.png"))  # which is `on_plot`
            patch.setattr(metrics.ConfusionMatrix, "plot", lambda *args, **kwargs: None)
            given = {**SEEN, "data": data, "plots": True}
            model.train(part["trainer"], epochs=1, close_mosaic=1, nbs=4, **given)
            model.val(part["validator"], save_json=True, save_txt=True, **given)
            image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            model.predict(image, predictor=part["predictor"], save=True, show=True, **SEEN)
        return calls

    return run


@pytest.mark.parametrize(("task", "kind", "hook"), HOOKS)
def test_an_override_is_called(calls: Callable[[str], dict[str, Counter]], task: str, kind: str, hook: str):
    assert calls(task)[kind][hook] > 0


# What an override returns is used -------------------------------------------------------------------------------------


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[YOLO, str]:
    """A model and its data, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return YOLO(write_model(tmp_path, HEADS["detect"])), data_of("detect", tmp_path / "data")


def test_a_validator_counts_what_its_overrides_say(detector: tuple[YOLO, str]):
    class Own(load(TASKS["detect"].validator)):
        def _process_batch(self, detections, gt_bboxes, gt_cls):
            right = torch.zeros(len(detections), len(self.iouv), dtype=torch.bool)
            right[: len(gt_cls)] = True  # the first ones, whatever they are
            return right

        def match_predictions(self, pred_classes, true_classes, iou, use_scipy=False):
            raise AssertionError("not called, as _process_batch does not")

        def check_stats(self, stats):
            stats["seen"] = self.seen

        def eval_json(self, stats):
            assert Path(self.save_dir / "predictions.json").is_file()
            return {**stats, "own": 0.5}

        def pred_to_json(self, predn, filename):
            self.jdict.append({"file": Path(filename).name, "n": len(predn)})

    model, data = detector
    validator = Own(args={**SEEN, "data": data, "save_json": True})
    stats = validator(model=model.model)
    assert stats["metrics/mAP50(B)"] == pytest.approx(0.995) and stats["own"] == 0.5 and stats["seen"] == 2
    assert validator.dataloader.batch_size == 2  # by which the callback of Weights & Biases divides
    assert validator.metric_keys == list(validator.metrics.keys) and set(validator.metric_keys) <= set(stats)
    rows = json.loads((validator.save_dir / "predictions.json").read_text())
    assert rows == [{"file": f"{i}.png", "n": 5} for i in range(2)]


def test_predictions_may_be_matched_by_the_greatest_sum_of_overlaps():
    """SciPy does that in 8.3.0: the first prediction is left with the object that it overlaps less."""
    validator = load(TASKS["detect"].validator)(args={"imgsz": 32})
    iou = torch.tensor([[0.9, 0.8], [0.7, 0.0]])
    cls = torch.zeros(2)
    assert validator.match_predictions(cls, cls, iou)[:, 0].tolist() == [True, False]
    assert torch.equal(
        validator.match_predictions(cls, cls, iou), metrics.match_predictions(cls, cls, iou, validator.iouv)
    )
    assert validator.match_predictions(cls, cls, iou, use_scipy=True)[:, 0].tolist() == [True, True]
    assert not validator.match_predictions(cls, cls + 1, iou, use_scipy=True).any()


def test_a_predictor_may_be_given_ready_made(detector: tuple[YOLO, str]):
    class Own(load(TASKS["detect"].predictor)):
        def postprocess(self, preds, img, orig_imgs):
            return super().postprocess(preds, img, orig_imgs)[:1]

    (model, _), images = detector, [np.zeros((48, 64, 3), np.uint8)] * 2
    own = Own(overrides=SEEN)
    for predictor in (own, Own, None, own):
        assert len(model.predict(images, predictor=predictor, **{**SEEN, "batch": 2})) == 1
    assert model.predictor is own


def test_functions_of_the_exporter(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    table = exporter.export_formats()
    assert [*table] == ["Format", "Argument", "Suffix", "CPU", "GPU"]
    rows = [*zip(*table.values())]
    assert rows[0] == ("PyTorch", "-", ".pt", True, True) and ("ONNX", "onnx", ".onnx", True, True) in rows

    @exporter.try_export
    def export_own(fails: bool, prefix: str = "Own:") -> tuple[Path, None]:
        if fails:
            raise RuntimeError("no way")
        (tmp_path / "m.own").write_bytes(bytes(2**20))
        return tmp_path / "m.own", None

    assert export_own(False) == (tmp_path / "m.own", None) and export_own.__name__ == "export_own"
    with pytest.raises(RuntimeError, match="no way"):
        export_own(True)
    said = [line for line in caplog.messages if line.startswith("Own:")]
    assert "m.own', 1.0 MB" in said[0] and "export failure" in said[1] and "no way" in said[1]
    nodes = [("x", []), ("conv", ["x"]), ("boxes", ["conv"]), ("NoOp", []), ("masks", ["conv"])]
    graph = SimpleNamespace(node=[SimpleNamespace(name=name, input=read) for name, read in nodes])
    assert exporter.gd_outputs(graph) == ["boxes:0", "masks:0"]


def test_an_exporter_writes_what_its_overrides_say(detector: tuple[YOLO, str], monkeypatch: pytest.MonkeyPatch):
    class Own(Exporter):
        def export_torchscript(self, prefix=""):
            file = self.file.with_suffix(".own")
            file.write_text(f"{tuple(self.im.shape)} {self.model.task}")
            return file, None

        def get_int8_calibration_dataloader(self, prefix=""):
            return [{"img": torch.full((2, 3, 32, 32), 51, dtype=torch.uint8)}]

    model, data = detector
    own = Own(overrides={"format": "torchscript", "imgsz": 32, "batch": 2, "model": "best.pt"})
    assert own(model.model) == "best.own" and Path("best.own").read_text() == "(2, 3, 32, 32) detect"
    given = {}
    monkeypatch.setattr(exporter, "export", lambda *args, **settings: given.update(settings) or (args[2], None))
    monkeypatch.setattr(exporter.Format, "require", lambda *args, **kwargs: None)
    for cls in (Exporter, Own):
        writer = cls(overrides={"format": "openvino", "int8": True, "data": data, "imgsz": 32, "model": "m.pt"})
        Path("m_openvino_model").mkdir(exist_ok=True)
        writer(model.model)
        images = [*given["images"]()]
        assert [x.shape for x in images] == [(1, 3, 32, 32)] * 2 and images[0].dtype == np.float32
    assert images[0].max() == images[0].min() == np.float32(51) / 255
    with pytest.raises(AttributeError, match="'export_coreml': this package does not write that format"):
        _ = own.export_coreml
