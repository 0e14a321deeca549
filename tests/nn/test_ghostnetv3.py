"""GhostNet V3 against the figures of the official network, before and after its branches are merged."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from tiny import FAST

from fill import fill, image
from ultralytics import YOLO
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.ghostnet import GhostNetV3, Ghostnetv3, RepGhostBottleneck, RepGhostModule
from ultralytics.nn.tasks import DetectionModel

REFERENCE = Path(__file__).parents[1] / "reference"
ZOO = json.loads((REFERENCE / "ghostnetv3_zoo.json").read_text())
FORMS = ("", "deploy_")  # as the names of the figures begin


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Maps of a few pixels: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def figures() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "ghostnetv3_forward.npz") as file:
        return dict(file)


def deviation(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Largest difference, as a part of the largest value."""
    return np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max()


def with_statistics(model: nn.Module) -> nn.Module:
    """A model whose batch norms have statistics and weights of all kinds, in eval mode and double precision."""
    torch.manual_seed(0)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            for values in (m.weight.data, m.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (m.bias.data, m.running_mean):
                nn.init.normal_(values)
    return model.eval().double()


# The official network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_both_forms_are_the_official_ones_at_each_width(name, figures):
    model = fill(GhostNetV3(float(name.partition("@")[2]))).eval()
    for form in FORMS:
        entries = [[key, [*value.shape]] for key, value in model.state_dict().items()]
        assert sum(p.numel() for p in model.parameters()) == ZOO[name][f"{form}params"]
        assert len(entries) == ZOO[name][f"{form}entries"]
        assert zlib.crc32(json.dumps(entries).encode()) == ZOO[name][f"{form}state_dict_crc32"]
        with torch.no_grad():
            assert deviation(model(image(2, 96, 64))[:1], figures[f"{name}/{form}logits"]) < 1e-4
        model.deploy()


def test_each_block_gives_the_official_output_in_both_forms(figures):
    """Each block is fed what the official one was fed, so that rounding does not add up from block to block."""
    model = fill(GhostNetV3()).eval()
    for _ in FORMS:
        with torch.no_grad():
            x = model.act1(model.bn1(model.conv_stem(image(2, 96, 64))))[:1]
            for i, block in enumerate(model.blocks):
                theirs = figures[f"ghostnetv3@1.0/block{i}"]
                assert deviation(block(x), theirs) < 1e-4, f"block {i}"
                x = torch.from_numpy(theirs)
        model.deploy()


# Merging --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: RepGhostModule(6, 8),
        lambda: RepGhostModule(6, 8, act=False, attention=True),
        lambda: RepGhostBottleneck(6, 8, 6),
        lambda: RepGhostBottleneck(6, 8, 12, 5, 2, 0.25, True),
    ],
)
def test_merging_is_exact(make):
    module, x = with_statistics(make()), torch.rand(2, 6, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        before = module(x)
        for m in module.modules():
            if isinstance(m, (RepGhostModule, RepGhostBottleneck)):
                m.deploy()
        torch.testing.assert_close(module(x), before, rtol=1e-12, atol=1e-12)
    assert not any("_rpr_" in name for name in module.state_dict())


def test_weights_of_the_deployed_form_load_into_it():
    source, target = (with_statistics(GhostNetV3(0.25, 5)).deploy() for _ in range(2))
    nn.init.zeros_(target.classifier.weight)
    target.load_state_dict(source.state_dict(), strict=True)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(target.deploy()(x), source(x))  # a second call changes nothing


# As the backbone of a detector --------------------------------------------------------------------------------------


@pytest.fixture
def detector(tmp_path: Path) -> str:
    """The YAML of a detector on a narrow GhostNetV3."""
    file = tmp_path / "narrow.yaml"
    file.write_text("nc: 2\nbackbone: [[-1, 1, Ghostnetv3, [0.25]]]\nhead: [[[2, 3, 4], 1, Detect, [nc]]]\n")
    return str(file)


def branches(state: dict) -> int:
    """How many entries of a state dict belong to the training form alone."""
    return sum("_rpr_" in name for name in state)


def test_a_model_fuses_by_deploying_it(detector):
    model, x = with_statistics(DetectionModel(detector, verbose=False)), image(1, 64, 64).double()
    assert branches(model.state_dict()) > 0
    with torch.no_grad():
        before = model(x)[0]
        after = model.fuse(verbose=False)(x)[0]
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert branches(model.state_dict()) == 0 and model.is_fused(thresh=1)


def test_prediction_merges_the_branches_of_a_copy(detector, work_dir):
    YOLO(detector).save("a.pt")
    model = YOLO("a.pt")
    model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    assert branches(model.predictor.model.model.state_dict()) == 0
    assert branches(model.model.state_dict()) == branches(load_checkpoint("a.pt")["model"]) > 0


@pytest.mark.slow
def test_training_keeps_the_branches(detector, work_dir, tiny_data):
    model = YOLO(detector)
    wanted = branches(model.model.state_dict())
    model.train(data=str(tiny_data), epochs=2, project="runs", name="a", **FAST)
    for file in ("best.pt", "last.pt"):
        assert branches(load_checkpoint(f"runs/a/weights/{file}")["model"]) == wanted > 0
    assert branches(model.trainer.ema.ema.state_dict()) == wanted


def test_backbone_maps_are_the_last_of_each_stride(figures):
    with torch.no_grad():
        maps = fill(Ghostnetv3(3)).eval()(image(2, 96, 64))
    for m, block in zip(maps, (0, 2, 4, 6, 8)):
        assert deviation(m[:1], figures[f"ghostnetv3@1.0/block{block}"]) < 1e-4
