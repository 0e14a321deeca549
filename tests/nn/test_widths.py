"""Pruned models are saved, loaded, trained on, validated and exported as they are, and no file can misuse that."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, attempt_load_weights, description, torch_safe_load
from ultralytics.nn.widths import structure
from ultralytics.utils.errors import ModelError

LINES = "  - [-1, 2, C2f, [16, True]]\n  - [-1, 1, C2PSA, [128]]\n  - [-1, 1, Conv, [16, 1]]\nhead:"


def cut(first: Conv, second: nn.Conv2d, n: int) -> None:
    """Take `n` channels out between a convolution with its norm and the one that alone reads it, as pruners do."""
    keep = first.conv.out_channels - n
    for name in ("weight", "bias", "running_mean", "running_var"):
        old = getattr(first.bn, name)
        new = old[:keep].detach().clone()
        setattr(first.bn, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
    first.conv.weight = nn.Parameter(first.conv.weight[:keep].detach().clone())
    second.weight = nn.Parameter(second.weight[:, :keep].detach().clone())
    first.bn.num_features = first.conv.out_channels = second.in_channels = keep


@pytest.fixture
def pruned(work_dir: Path) -> YOLO:
    """A tiny detector with fewer channels inside a C2f, an attention's feed-forward and the head."""
    yaml = Path(tiny_model(work_dir))
    yaml.write_text(yaml.read_text().replace("head:", LINES).replace("[2, 3, 4]", "[2, 3, 7]"))
    model = YOLO(yaml)
    layers = model.model.model
    cut(layers[5].m[0].cv1, layers[5].m[0].cv2.conv, 3)
    ffn = layers[6].m[0].ffn
    cut(ffn[0], ffn[1].conv, 6)
    cut(layers[8].cv3[1][1], layers[8].cv3[1][2], 5)
    model.model.eval()
    return model


def count(model: YOLO) -> int:
    return sum(p.numel() for p in model.model.parameters())


def test_saving_and_loading(pruned: YOLO, work_dir: Path):
    before, x = count(pruned), torch.rand(1, 3, 64, 64)
    assert before < count(YOLO("tiny.yaml"))
    pruned.save("pruned.pt")
    ckpt = torch.load("pruned.pt", weights_only=True)
    assert ckpt["yaml"]["widths"]["5.m.0.cv1.conv"] == {"out_channels": 5, "weight": [5, None, None, None]}
    assert not any(k.startswith("0") for k in ckpt["yaml"]["widths"])
    again = YOLO("pruned.pt")
    assert count(again) == before and again.model.model[6].np == sum(
        p.numel() for p in again.model.model[6].parameters()
    )
    assert structure(again.model.model) == structure(pruned.model.model)
    torch.testing.assert_close(again.model(x)[0], pruned.model(x)[0])
    again.save("twice.pt")
    assert torch.load("twice.pt", weights_only=True)["yaml"]["widths"] == ckpt["yaml"]["widths"]
    assert len(again.predict(torch.rand(1, 3, 64, 64), verbose=False)) == 1


def test_training_goes_on_with_it(pruned: YOLO, tiny_data: Path):
    before, weight = count(pruned), pruned.model.model[0].conv.weight.detach().clone()
    started = []
    pruned.add_callback("on_train_start", lambda t: started.append(t.model.model[0].conv.weight.detach().clone()))
    pruned.train(data=str(tiny_data), epochs=1, val=False, **FAST)
    assert torch.equal(started[0].contiguous(), weight), "its weights are those to go on from"
    assert count(pruned) == count(YOLO(pruned.trainer.last)) == before


@pytest.mark.slow
def test_trainings_after_that(pruned: YOLO, tiny_data: Path):
    """A resumed one, a validation, and one for other classes."""
    before = count(pruned)
    pruned.train(data=str(tiny_data), epochs=2, save_period=1, **FAST)
    resumed = YOLO(pruned.trainer.wdir / "epoch1.pt")
    resumed.train(resume=True)
    assert count(resumed) == before
    assert resumed.val(data=str(tiny_data), **FAST).box is not None
    resumed.train(data=str(tiny_data), epochs=1, single_cls=True, **FAST)
    assert resumed.model.model[-1].nc == 1 and resumed.model.model[-1].cv3[1][2].in_channels == 11


def test_exporting(pruned: YOLO):
    x = torch.rand(1, 3, 64, 64)
    traced = torch.jit.load(pruned.export(format="torchscript", imgsz=64))
    torch.testing.assert_close(traced(x), pruned.model(x)[0], rtol=1e-4, atol=1e-4)


def test_a_model_that_was_not_pruned_has_no_widths(work_dir: Path):
    model = DetectionModel(tiny_model(work_dir), verbose=False)
    assert description(model) is model.yaml and "widths" not in model.yaml
    model.model[0].conv.padding_mode = "reflect"
    assert "widths" not in description(model)


def test_what_widths_cannot_describe(pruned: YOLO):
    pruned.model.model[5].m[0].cv1 = nn.Sequential(pruned.model.model[5].m[0].cv1)
    with pytest.raises(ModelError, match=r"more than its widths: '5\.m\.0\.cv1\..*class of your own"):
        pruned.save("x.pt")
    assert not Path("x.pt").exists()


@pytest.mark.parametrize(
    ("widths", "match"),
    [
        (5, "widths"),
        ({"5.nobody": {"weight": [1, None, None, None]}}, "5.nobody"),
        ({"0.conv": 5}, "0.conv"),
        ({"0.conv": {"weight": [1, None]}}, "do not fit"),
        ({"0.conv": {"weight": [-1, None, None, None]}}, "do not fit"),
        ({"0.conv": {"weight": "wide"}}, "do not fit"),
        ({"0.conv": {"training": 5}}, "do not fit"),
        ({"0.conv": {"forward": 5}}, "do not fit"),
        ({"0.conv": {"weight": [1 << 20, 1 << 20, None, None]}}, "more than 1000000000 parameters"),
        ({"0.conv": {"weight": [5, None, None, None]}}, "layer 0"),
    ],
)
def test_widths_of_a_file_are_checked(work_dir: Path, widths: object, match: str):
    model = DetectionModel(tiny_model(work_dir), verbose=False)
    with pytest.raises(ModelError, match=match):
        DetectionModel({**deepcopy(model.yaml), "widths": widths}, verbose=False)


# Names of 8.3.0 around weight files -----------------------------------------------------------------------------------


def test_the_module_of_a_weight_file(work_dir: Path):
    model = YOLO(tiny_model(work_dir))
    model.save("w.pt")
    ckpt = torch.load("w.pt", weights_only=True)
    assert "YOLO(FILE).model" in ckpt["__doc__"] and all(isinstance(v, torch.Tensor) for v in ckpt["model"].values())
    found, file = torch_safe_load("w.pt")
    assert file == "w.pt" and isinstance(found["model"], DetectionModel) and found["train_args"] == found["args"]


def test_roboflow_finds_what_it_deploys(work_dir: Path):
    """`version.deploy` takes these from a file that holds the module, and writes all but the weights as JSON."""
    model = YOLO(tiny_model(work_dir))
    model.model.names = {0: "red", 1: "green"}
    model.save("w.pt")
    torch.save(torch_safe_load("w.pt")[0], "module.pt")
    content = torch.load("module.pt", weights_only=False)
    network = content["model"]
    assert type(network).__name__ == "DetectionModel" and network.names == {0: "red", 1: "green"}
    assert network.nc == network.yaml["nc"] == 2 and {"model", "imgsz", "batch"} <= content["train_args"].keys()
    assert json.loads(json.dumps([network.yaml, network.args, content["train_args"]]))
    assert network.state_dict().keys() == model.model.state_dict().keys()


def test_an_ensemble(work_dir: Path):
    for name in "ab":
        YOLO(tiny_model(work_dir)).save(f"{name}.pt")
    both = attempt_load_weights(["a.pt", "b.pt"])
    one = attempt_load_weights("a.pt")
    x = torch.rand(1, 3, 64, 64)
    y, none = both(x)
    assert none is None and len(both) == 2 and both.nc == one.nc == 2
    assert both.names == one.names and both.stride.tolist() == one.stride.tolist()
    assert y.shape[2] == 2 * one(x)[0].shape[2]
    torch.testing.assert_close(y[..., : y.shape[2] // 2], one(x)[0])
    other = DetectionModel(tiny_model(work_dir), nc=5, verbose=False)
    with pytest.raises(ModelError, match="same classes"):
        both.append(other)


def test_features_from_predict(work_dir: Path):
    model = YOLO(tiny_model(work_dir)).model.eval()
    x = torch.rand(2, 3, 64, 64)
    found = model.predict(x, embed=[1, 2])
    assert len(found) == 2 and found[0].shape == (24,)
    torch.testing.assert_close(found[1][:8], model.model[1](model.model[0](x))[1].mean((1, 2)))
