"""The YOLO object: round trips, and what each call leaves behind for the next."""

from __future__ import annotations

from pathlib import Path
from types import GeneratorType

import numpy as np
import pytest
import torch
import yaml
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.cli import choose_model
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError

ALL = {"conf": 0.0, "imgsz": 64, "max_det": 20, "verbose": False}


@pytest.fixture
def model(work_dir: Path) -> YOLO:
    """An untrained detector whose predictions differ from place to place."""
    torch.manual_seed(0)
    return YOLO(tiny_model(work_dir))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def boxes(model: YOLO, image: np.ndarray) -> torch.Tensor:
    return model.predict(image, **ALL)[0].boxes.data


def test_new_model(model: YOLO):
    assert (model.task, model.names, model.device.type, model.ckpt_path) == ("detect", {0: "0", 1: "1"}, "cpu", None)
    parts = {"model": DetectionModel, "trainer": DetectionTrainer, "validator": DetectionValidator}
    assert model.task_map["detect"] == {**parts, "predictor": DetectionPredictor}
    layers, parameters, gradients, gflops = model.info()
    assert parameters == sum(p.numel() for p in model.model.parameters()) and layers > 50 and gflops > 0
    assert gradients == parameters - 16  # the bins of the distribution are fixed


def test_saved_model_predicts_the_same(model: YOLO, image: np.ndarray):
    wanted = boxes(model, image)
    model.save("m.pt")
    loaded = YOLO("m.pt")
    assert torch.equal(boxes(loaded, image), wanted)
    assert (loaded.ckpt_path, loaded.names, loaded.task) == ("m.pt", model.names, "detect")
    assert torch.load("m.pt", weights_only=True)["epoch"] == -1


def test_weight_file_in_the_folder_of_the_settings(model: YOLO, image: np.ndarray, monkeypatch, tmp_path: Path):
    monkeypatch.setattr("ultralytics.utils.settings.SETTINGS", {"weights_dir": str(tmp_path / "kept")})
    wanted = boxes(model, image)
    model.save("kept/m.pt")
    loaded = YOLO("m.pt")
    assert torch.equal(boxes(loaded, image), wanted)
    assert loaded.ckpt_path == loaded.overrides["model"] == choose_model("m.pt", None, "val")
    assert YOLO(tiny_model(tmp_path)).load("m.pt").model is not None
    Path("m.pt").touch()  # one in the working folder comes first
    with pytest.raises(CheckpointError, match=r"'m\.pt' has 0 bytes"):
        YOLO("m.pt")


def test_fused_model_predicts_the_same(model: YOLO, image: np.ndarray):
    wanted = boxes(model, image)
    assert model.fuse() is model and model.model.is_fused()
    torch.testing.assert_close(boxes(model, image), wanted, rtol=1e-3, atol=1e-3)


def test_load_takes_over_and_reset_forgets(model: YOLO, work_dir: Path):
    torch.manual_seed(1)
    other = YOLO(tiny_model(work_dir))
    key = "model.0.conv.weight"
    assert not torch.equal(model.model.state_dict()[key], other.model.state_dict()[key])
    other.save("other.pt")
    assert model.load("other.pt") is model
    assert torch.equal(model.model.state_dict()[key], other.model.state_dict()[key])
    model.reset_weights()
    assert not torch.equal(model.model.state_dict()[key], other.model.state_dict()[key])
    assert all(p.requires_grad for p in model.model.parameters())


def test_call_and_stream(model: YOLO, image: np.ndarray):
    results = model([image, image], **ALL)
    assert isinstance(results, list) and len(results) == 2
    stream = model(image, stream=True, **ALL)
    assert isinstance(stream, GeneratorType)
    assert torch.equal(next(stream).boxes.data, results[0].boxes.data)


def test_predicting_leaves_the_model_alone(model: YOLO, image: np.ndarray):
    """Same weights, unfused, with gradients, and none of them made in inference mode."""
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    model.predict(image, **ALL)
    after = model.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.is_inference() for p in model.model.parameters())
    assert not model.model.is_fused()


def test_validating_twice_and_training_on(model: YOLO, tiny_data: Path, image: np.ndarray):
    """val, val, train, val, train, each after the other, on one object."""
    args = {"data": str(tiny_data), **FAST}
    first, second = model.val(**args), model.val(**args)
    assert first is not second and first.results_dict == second.results_dict
    model.predict(image, **ALL)
    train = {**args, "epochs": 1, "project": "runs", "name": "a"}
    metrics = model.train(**train)
    assert metrics.results_dict.keys() == first.results_dict.keys()
    assert Path(model.ckpt_path) == Path("runs/a/weights/best.pt")
    assert model.names == {0: "red", 1: "green"} and model.overrides["data"] == str(tiny_data)
    trained = model.val(**{k: v for k, v in args.items() if k not in {"data", "imgsz"}})  # remembered from training
    assert trained.results_dict == pytest.approx(metrics.results_dict, abs=1e-3)
    start = {}
    kept = model.model.state_dict()["model.0.conv.weight"].clone()
    model.add_callback(
        "on_train_start", lambda t: start.update(first=t.model.state_dict()["model.0.conv.weight"].clone())
    )
    model.train(**train)
    assert torch.equal(start["first"], kept)  # goes on from the weights of the first training
    assert Path(model.ckpt_path) == Path("runs/a2/weights/best.pt")


def test_training_writes_what_was_loaded(model: YOLO, work_dir: Path, tiny_data: Path):
    """`load` before `train`: training starts there; with pretrained=False it does not."""
    torch.manual_seed(5)
    YOLO(tiny_model(work_dir)).save("other.pt")
    wanted = torch.load("other.pt", weights_only=True)["model"]["model.0.conv.weight"]
    start = []
    model.add_callback("on_train_start", lambda t: start.append(t.model.state_dict()["model.0.conv.weight"].clone()))
    args = {"data": str(tiny_data), "epochs": 1, "project": "runs", "val": False, **FAST}
    model.load("other.pt").train(**args)
    other = YOLO("other.pt")
    other.callbacks = model.callbacks
    other.train(pretrained=False, **args)
    assert torch.equal(start[0], wanted) and not torch.equal(start[1], wanted)


def test_callbacks_belong_to_one_model(model: YOLO, work_dir: Path, image: np.ndarray):
    other, seen = YOLO(tiny_model(work_dir)), []
    model.add_callback("on_predict_start", lambda p: seen.append(1))
    other.predict(image, **ALL)
    assert not seen
    model.predict(image, **ALL)
    assert seen == [1]
    model.clear_callback("on_predict_start")
    model.predict(image, **ALL)
    assert seen == [1]
    model.add_callback("on_predict_start", lambda p: seen.append(2))
    model.predict(image, **ALL)
    assert seen == [1, 2], "the predictor that is ready is told"
    model.reset_callbacks()
    model.predict(image, **ALL)
    assert seen == [1, 2] and not any(model.callbacks.values())
    model.add_callback("on_predict_start", lambda p: seen.append(3))
    model.predict(image, **ALL)
    assert seen == [1, 2, 3]


def test_more_classes_in_the_data_than_in_the_model(work_dir: Path, tiny_data_copy: Path):
    model = YOLO(tiny_model(work_dir))
    tiny_data_copy.write_text(tiny_data_copy.read_text().replace("names:", "names:\n  2: blue"))
    with pytest.raises(ValueError, match=r"data\.yaml' has 3 classes, but the model knows 2"):
        model.val(data=str(tiny_data_copy), **FAST)


def test_classes_that_are_called_otherwise_are_named(work_dir: Path, tiny_data_copy: Path, log: list[str]):
    model = YOLO(tiny_model(work_dir))
    own, text = ["red", "green"], tiny_data_copy.read_text()
    model.model.names = dict(enumerate(own))
    cases = {tuple(own): False, (own[1], own[0]): True, (own[0].upper(), own[1]): False, ("class_0", "class_1"): False}
    for names, said in cases.items():
        data = yaml.safe_load(text) | {"names": list(names)}
        tiny_data_copy.write_text(yaml.safe_dump(data))
        log.clear()
        model.val(data=str(tiny_data_copy), **FAST)
        lines = [line for line in log if "Classes are compared by number" in line]
        assert len(lines) == said, names
        assert not said or f"Class 0 is '{own[1]}' in '{tiny_data_copy}', but '{own[0]}' in the model" in lines[0]


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("missing.pt", MissingFileError, r"'missing\.pt' does not exist.*untrained model such as missing\.yaml"),
        ("model.txt", ConfigError, r"'model\.txt' cannot be loaded.*\.yaml.*\.pt.*\.onnx"),
        ("model.onnx", MissingFileError, r"ONNX model 'model\.onnx' does not exist.*format=onnx"),
        ("yolo99.yaml", MissingFileError, r"no model YAML 'yolo99\.yaml'"),
        ("text.pt", CheckpointError, r"text\.pt"),
    ],
)
def test_what_is_no_model(work_dir: Path, name: str, error: type, match: str):
    (work_dir / "text.pt").write_text("no weights")
    with pytest.raises(error, match=match):
        YOLO(name)


def test_unknown_task_and_source(model: YOLO, work_dir: Path):
    with pytest.raises(ConfigError, match=r"task='detct' is not known.*Did you mean 'detect'"):
        YOLO(tiny_model(work_dir), task="detct")
    with pytest.raises(ConfigError, match="prompts="):
        model.predict("x.jpg", prompts=["a"])


# As in 8.3.0 ----------------------------------------------------------------------------------------------------------


def test_it_is_a_module_and_gives_what_the_network_has(model: YOLO):
    network = model.model
    assert isinstance(model, torch.nn.Module)
    assert model.stride is network.stride and model.yaml is network.yaml
    assert [*model.parameters()] == [*network.parameters()]
    with pytest.raises(AttributeError, match=r"'YOLO' object has no attribute 'nmaes'.*Did you mean.*'names'"):
        _ = model.nmaes
    assert not hasattr(model, "transform") and model.transforms is None


def test_modes_of_the_layers_start_no_training(model: YOLO):
    assert model.eval() is model and not model.model.training
    assert model.train(True) is model and model.model.training and model.trainer is None
    model.train(False)
    assert not any(m.training for m in model.modules())


def test_moving_is_remembered_and_drops_the_predictor(model: YOLO, image: np.ndarray):
    boxes(model, image)
    assert model.to("cpu") is model and model.predictor is None
    assert model.overrides["device"] == "cpu"
    assert model.half().model.model[0].conv.weight.dtype == torch.float16
    assert len(boxes(model.float(), image)) == 20


def test_features(model: YOLO, image: np.ndarray):
    """By default of the layer before the head; the mean over the letterboxed image."""
    feature = model.embed([image, image], imgsz=64, verbose=False)
    assert [f.shape for f in feature] == [(16,), (16,)] and torch.equal(feature[0], feature[1])
    assert not feature[0].is_inference()
    both = model.predict(image, embed=[1, 4], imgsz=64, verbose=False)[0]
    assert both.shape == (8 + 16,) and torch.allclose(both[8:], feature[0], atol=1e-6)
    assert len(next(model.embed(image, stream=True, embed=[0], imgsz=64))) == 8
    seen = []
    layer = model.predictor.model.model.model[4]  # fused, as the predictor runs it
    hook = layer.register_forward_hook(lambda m, inputs, out: seen.append(out))
    model.embed(image, imgsz=64, verbose=False)
    hook.remove()
    assert torch.allclose(seen[0].mean((2, 3))[0], feature[0], atol=1e-6)
    assert len(boxes(model, image)) == 20  # the setting is that call's alone
    with pytest.raises(ConfigError, match=r"embed=\[5\]: layer 5 gives no features\. Choose from 0 to 4"):
        model.embed(image, embed=[5])
    with pytest.raises(ConfigError, match=r"layer 99 gives no"):
        model.embed(image, embed=[0, 99])


def test_visualize_writes_an_image_for_each_layer(model: YOLO, image: np.ndarray, work_dir: Path):
    plain = boxes(model, image)
    shown = model.predict(image, visualize=True, project="runs", name="v", **ALL)[0]
    assert torch.equal(shown.boxes.data, plain)
    files = {f.name for f in (work_dir / "runs/v/image0").iterdir()}
    assert {"stage0_Conv_features.png", "stage1_GhostConv_features.png", "stage4_Conv_features.npy"} <= files
    assert np.load(work_dir / "runs/v/image0/stage1_GhostConv_features.npy").shape == (8, 16, 16)


def test_classes_of_ones_own(model: YOLO, image: np.ndarray, tiny_data: Path):
    class Validator(DetectionValidator):
        def get_desc(self) -> str:
            self.described = True
            return super().get_desc()

        def finalize_metrics(self) -> None:
            super().finalize_metrics()
            self.metrics.finalized_by = type(self)

    class Predictor(DetectionPredictor):
        def postprocess(self, preds, img, orig_imgs):
            return [r[:3] for r in super().postprocess(preds, img, orig_imgs)]

    class Trainer(DetectionTrainer):
        def get_validator(self):
            return Validator(self.test_loader, save_dir=self.save_dir, args=self.args, _callbacks=self.callbacks)

    assert model.val(validator=Validator, data=str(tiny_data), **FAST).finalized_by is Validator
    assert len(boxes(model, image)) == 20
    assert len(model.predict(image, predictor=Predictor, **ALL)[0]) == 3
    assert type(model.predictor) is Predictor and len(boxes(model, image)) == 3
    metrics = model.train(trainer=Trainer, data=str(tiny_data), epochs=1, project="runs", **FAST)
    assert metrics.finalized_by is Validator and model.trainer.validator.described


def test_a_task_map_of_ones_own(work_dir: Path, image: np.ndarray):
    class Network(DetectionModel):
        pass

    class Predictor(DetectionPredictor):
        pass

    class Own(YOLO):
        @property
        def task_map(self):
            return {"detect": {**super().task_map["detect"], "model": Network, "predictor": Predictor}}

    model = Own(tiny_model(work_dir))
    model.predict(image, **ALL)
    assert type(model.model) is Network and type(model.predictor) is Predictor


def test_hybrid_labels_are_found_with_certainty(model: YOLO, tiny_data: Path):
    """Labels go among the predictions, so each of them is found."""
    plain = model.val(data=str(tiny_data), **FAST)
    hybrid = model.val(data=str(tiny_data), save_hybrid=True, **FAST)
    assert plain.box.mr < 0.5 and hybrid.box.mr == pytest.approx(1.0)


def test_validating_with_augmentation(model: YOLO, tiny_data: Path):
    seen = []
    model.add_callback("on_val_start", lambda v: seen.append(v.args.augment))
    metrics = model.val(data=str(tiny_data), augment=True, **FAST)
    assert seen == [True] and 0 <= metrics.box.map <= 1


def test_settings_without_effect_say_so(model: YOLO, image: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    said = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *_: said.append(text))
    model.predict(image, dnn=True, **ALL)
    model.predict(image, dnn=False, **ALL)
    assert len(said) == 1 and "dnn=True is for OpenCV" in said[0] and "no effect" in said[0]
