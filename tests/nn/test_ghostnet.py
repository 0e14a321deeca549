"""GhostNet V1 and V2 against the figures of the official networks, and all versions as networks and backbones."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from tiny import FAST, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from fill import fill, image
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.ghostnet import (
    DFCGhostModule,
    GhostModule,
    GhostNetBottleneck,
    GhostNetV1,
    Ghostnetv1,
    GhostNetV2,
    Ghostnetv2,
    GhostNetV3,
    Ghostnetv3,
    ReducedLinear,
    round_channels,
)
from ultralytics.nn.registry import REGISTRY
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import CheckpointError, MissingFileError, ModelError

REFERENCE = Path(__file__).parents[1] / "reference"
ZOO = json.loads((REFERENCE / "ghostnet_zoo.json").read_text())
CLASSIFIERS = {"ghostnetv1": GhostNetV1, "ghostnetv2": GhostNetV2}
PAIRS = [(GhostNetV1, Ghostnetv1), (GhostNetV2, Ghostnetv2), (GhostNetV3, Ghostnetv3)]
NETWORKS, BACKBONES = zip(*PAIRS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Maps of a few pixels: more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def figures() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "ghostnet_forward.npz") as file:
        return dict(file)


def deviation(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Largest difference, as a part of the largest value."""
    return np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max()


def small(cls: type, **kwargs) -> nn.Module:
    return cls(width=0.25, num_classes=5, **kwargs)


# The official networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_size_and_state_dict_at_each_width(name):
    family, width = name.split("@")
    with torch.device("meta"):
        model = CLASSIFIERS[family](width=float(width)).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    entries = [[key, [*value.shape]] for key, value in model.state_dict().items()]
    assert sum(p.numel() for p in model.parameters()) == ZOO[name]["params"]
    assert len(entries) == ZOO[name]["entries"]
    assert zlib.crc32(json.dumps(entries).encode()) == ZOO[name]["state_dict_crc32"]
    assert counter.get_total_flops() / 2e9 == pytest.approx(ZOO[name]["gmacs_224"], abs=1e-6)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_published_state_dict_loads_strictly(family):
    published = json.loads((REFERENCE / "ghostnet_state_dict.json").read_text())[family]
    model = CLASSIFIERS[family]()
    model.load_state_dict({name: torch.zeros(shape) for name, shape in published}, strict=True)
    assert [[name, [*value.shape]] for name, value in model.state_dict().items()] == published


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_each_block_gives_the_official_output(family, figures):
    """Each block is fed what the official one was fed, so that rounding does not add up from block to block.

    With these weights V2's gates hold logits of several thousands, where the last bit of an input decides: in float64
    its blocks 6 and 8 are 1e-4 away from their own float32 figures.
    """
    model, prefix = fill(CLASSIFIERS[family]()).eval(), f"{family}@1.0"
    coarse = {6, 8} if family == "ghostnetv2" else {}
    with torch.no_grad():
        x = model.act1(model.bn1(model.conv_stem(image(2, 96, 64))))[:1]
        for i, block in enumerate(model.blocks):
            theirs = figures[f"{prefix}/block{i}"]
            assert deviation(block(x), theirs) < (2e-3 if i in coarse else 1e-4), f"block {i}"
            x = torch.from_numpy(theirs)
        vector = model.act2(model.conv_head(model.global_pool(x))).flatten(1)
        assert deviation(model.classifier(model.dropout(vector)), figures[f"{prefix}/logits"]) < 1e-4


@pytest.mark.parametrize(("width", "tolerance"), [(1.0, 1e-4), (0.5, 1e-3)])
def test_v1_gives_the_official_logits(width, tolerance, figures):
    model = fill(GhostNetV1(width=width)).eval()
    with torch.no_grad():
        assert deviation(model(image(2, 96, 64))[:1], figures[f"ghostnetv1@{width}/logits"]) < tolerance


# Parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_v2_gives_the_official_logits_where_sums_are_rounded_as_there(width, figures):
    """V2 with these weights turns a difference in the last bit into one of the first, so the bits must agree before."""

    def logits(family: str) -> torch.Tensor:
        model = fill(CLASSIFIERS[family](width=width)).eval()
        with torch.no_grad():
            return model(image(2, 96, 64))[:1]

    if deviation(logits("ghostnetv1"), figures[f"ghostnetv1@{width}/logits"]) > 0:
        pytest.skip("this processor or torch rounds sums in another order than the reference did: V1 shows it")
    assert deviation(logits("ghostnetv2"), figures[f"ghostnetv2@{width}/logits"]) < 1e-4


@pytest.mark.parametrize(("channels", "rounded"), [(16, 16), (8, 8), (12.8, 12), (20.8, 20), (18, 20), (1, 4), (5, 8)])
def test_channels_are_rounded_to_fours_and_lose_at_most_a_tenth(channels, rounded):
    assert round_channels(channels) == rounded


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_a_ghost_module_is_intrinsic_maps_and_their_ghosts(ratio):
    module = fill(GhostModule(6, 10, ratio=ratio)).eval()
    x = image(1, 9, 7).repeat(1, 2, 1, 1)
    intrinsic = module.primary_conv(x)
    n = -(-10 // ratio)
    out = module(x)
    assert intrinsic.shape[1] == n and out.shape == (1, 10, 9, 7)
    torch.testing.assert_close(out[:, :n], intrinsic)
    torch.testing.assert_close(out[:, n:], module.cheap_operation(intrinsic)[:, : 10 - n])


@pytest.mark.parametrize(("stride", "c2"), [(1, 8), (1, 12), (2, 8)])
@pytest.mark.parametrize("attention", [False, True])
def test_bottleneck_shapes_and_shortcut(stride, c2, attention):
    block = GhostNetBottleneck(8, 16, c2, 3, stride, 0.25, attention)
    assert block(torch.rand(2, 8, 10, 6)).shape == (2, c2, 10 // stride, 6 // stride)
    assert (len(block.shortcut) == 0) == (stride == 1 and c2 == 8)
    assert isinstance(block.ghost1, DFCGhostModule) == attention and type(block.ghost2) is GhostModule


def test_dfc_gate_is_half_size_and_reaches_along_row_and_column():
    module = fill(DFCGhostModule(4, 4)).eval().double()
    x = torch.rand(1, 4, 24, 24, dtype=torch.float64)
    y = x.clone()
    y[..., 12, 12] += 1
    plain = GhostModule.forward
    changed = (module(x) / plain(module, x) - module(y) / plain(module, y)).nan_to_num().abs().amax((0, 1)) > 1e-12
    rows, columns = changed.nonzero().unbind(1)
    # Pixel 12 lies in cell 6 of the halved map; 5 + 1 + 5 taps reach cells 4 to 8, that is pixels 8 to 17.
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (8, 17)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3), (7, 7), (13, 5)])
def test_dfc_takes_every_size(size):
    module = fill(DFCGhostModule(4, 10)).eval()
    out = module(torch.rand(2, 4, *size))
    assert out.shape == (2, 10, *size) and out.isfinite().all()


def test_reduced_linear_is_a_linear_layer_over_group_means():
    layer = ReducedLinear(6, 2, reduction=3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        layer.linear.bias.copy_(torch.tensor([0.5, 0.0]))
    # Means of (1, 2, 3) and (4, 5, 9) are 2 and 6: 1 * 2 + 2 * 6 + 0.5 and -6.
    torch.testing.assert_close(layer(torch.tensor([[1.0, 2, 3, 4, 5, 9]])), torch.tensor([[14.5, -6.0]]))
    assert layer.linear.weight.shape == (2, 2)


@pytest.mark.parametrize("reduction", [0, -1, 7])
def test_reduced_linear_says_what_divides(reduction):
    with pytest.raises(ModelError, match=rf"1280 inputs in groups of {reduction}\. .* such as \d+"):
        ReducedLinear(1280, 10, reduction)


# Classification ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", NETWORKS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 31), (1, 1)])
def test_classifier_takes_odd_sizes(cls, size):
    assert small(cls).eval()(torch.rand(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize("head", [None, "linear", "reduced", lambda inputs, classes: ReducedLinear(inputs, classes, 8)])
def test_heads(head):
    assert small(GhostNetV1, head=head).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 5)


def test_reduced_head_is_a_quarter_of_the_weights():
    assert small(GhostNetV2, head="reduced").classifier.linear.weight.shape == (5, 320)


def test_wrong_arguments_are_answered_by_a_sentence():
    with pytest.raises(ModelError, match=r"'cosine' is not a classifier head.*'reduced'"):
        small(GhostNetV1, head="cosine")
    with pytest.raises(ModelError, match="width of Ghostnetv2 is 0"):
        Ghostnetv2(3, 0)


@pytest.mark.parametrize("cls", NETWORKS)
def test_gradients_reach_every_parameter(cls):
    model = small(cls, dropout=0.0)
    model(image(2, 64, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# Detection backbones -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    ("width", "channels"), [(None, [16, 24, 40, 112, 160]), (0.5, [8, 12, 20, 56, 80]), (1.3, [20, 32, 52, 144, 208])]
)
def test_backbone_channels_and_strides(backbone, width, channels):
    model = backbone(3, width).eval()
    with torch.no_grad():
        maps = model(torch.rand(1, 3, 128, 96))
    assert model.out_channels == channels == [m.shape[1] for m in maps]
    assert [(128 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(s, s) for s in (2, 4, 8, 16, 32)]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbone_takes_odd_sizes_and_other_channel_counts(backbone):
    maps = backbone(5, 0.25).eval()(torch.rand(1, 5, 75, 33))
    assert [tuple(m.shape[2:]) for m in maps] == [(38, 17), (19, 9), (10, 5), (5, 3), (3, 2)]


def test_backbone_maps_are_the_last_of_each_stride(figures):
    with torch.no_grad():
        maps = fill(Ghostnetv1(3)).eval()(image(2, 96, 64))
    for m, block in zip(maps, (0, 2, 4, 6, 8)):
        assert deviation(m[:1], figures[f"ghostnetv1@1.0/block{block}"]) < 1e-4


def test_backbones_are_registered_with_input_channels_first():
    from ultralytics.nn.registry import Context

    for backbone in BACKBONES:
        entry = REGISTRY[backbone.__name__]
        context = Context(channels=[3], repeats=1, width=0.25, max_channels=1024, scale="n", yaml={})
        assert entry.cls is backbone and entry.bind(context, [0.5]).args == [3, 0.5]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fused_backbone_gives_the_same_maps(backbone):
    torch.manual_seed(0)
    model = backbone(3, 0.25)
    model(torch.rand(2, 3, 64, 32))  # statistics other than 0 and 1
    model.eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        after = model.fuse().fuse()(x)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    for a, b in zip(before, after):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# Weight files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classifier", "backbone"), PAIRS)
def test_weight_file_round_trip(classifier, backbone, tmp_path, caplog):
    source = fill(classifier(width=0.5)).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    model = backbone(3, 0.5).load_weights(str(tmp_path / "weights.pth")).eval()
    trunk, whole = model.state_dict(), source.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in trunk.items())
    (record,) = caplog.records
    assert f"{len(trunk)} of {len(trunk)} entries" in record.message
    assert "10 of the classifier left out" in record.message


def test_training_checkpoint_of_several_devices_is_unpacked(tmp_path):
    from argparse import Namespace

    state = {f"module.{name}": value for name, value in fill(GhostNetV2(width=0.25)).state_dict().items()}
    torch.save({"epoch": 3, "args": Namespace(lr=0.1), "state_dict": state}, tmp_path / "last.pth.tar")
    model = Ghostnetv2(3, 0.25).load_weights(tmp_path / "last.pth.tar")
    assert torch.equal(model.bn1.weight, state["module.bn1.weight"])


def test_files_of_old_torch_versions_load(tmp_path):
    state = fill(GhostNetV1(width=0.25)).state_dict()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(Ghostnetv1(3, 0.25).load_weights(tmp_path / "old.pth").bn1.weight, state["bn1.weight"])


def test_stem_is_spread_over_other_input_channels(tmp_path, caplog):
    torch.save(fill(GhostNetV1(width=0.25)).state_dict(), tmp_path / "rgb.pth")
    colour, grey = (Ghostnetv1(c1, 0.25).load_weights(tmp_path / "rgb.pth").eval() for c1 in (3, 1))
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(x)[0], colour(x.expand(-1, 3, -1, -1))[0], rtol=1e-4, atol=1e-4)
    assert "from 3 to 1 input channels" in caplog.text


def test_missing_weight_file_is_named():
    with pytest.raises(MissingFileError, match=r"'nowhere\.pth' does not exist"):
        Ghostnetv1(3, 1.0).load_weights("nowhere.pth")


def test_weights_of_another_width_are_refused_with_counts(tmp_path):
    torch.save(GhostNetV1(width=0.5).state_dict(), tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match=r"Ghostnetv1 at width 0.25: .* 0 are missing and [1-9]\d* have another"):
        Ghostnetv1(3, 0.25).load_weights(tmp_path / "half.pth")


def test_weights_of_the_other_version_are_refused_with_counts(tmp_path):
    torch.save(GhostNetV1(width=0.25).state_dict(), tmp_path / "v1.pth")
    with pytest.raises(CheckpointError, match=r"of its 754 entries 252 are missing"):
        Ghostnetv2(3, 0.25).load_weights(tmp_path / "v1.pth")


@pytest.mark.parametrize("content", [b"no weights", [1, 2], GhostModule(4, 4)])  # the last is a pickled class
def test_a_file_that_is_no_weight_file_is_refused(content, tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        Ghostnetv1(3, 0.25).load_weights(file)


DETECTOR = {backbone.__name__: network for network, backbone in PAIRS}


def detector(folder: Path, backbone: str, weights: str = "") -> str:
    """Write the YAML of a detector on a narrow GhostNet."""
    file = folder / f"{backbone}.yaml"
    args = f"[0.25, {weights}]" if weights else "[0.25]"
    file.write_text(f"nc: 2\nbackbone: [[-1, 1, {backbone}, {args}]]\nhead: [[[2, 3, 4], 1, Detect, [nc]]]\n")
    return str(file)


@pytest.mark.parametrize("backbone", DETECTOR)
@pytest.mark.parametrize("form", ["bare", pytest.param("of several devices", marks=pytest.mark.slow)])
def test_a_published_file_gives_the_backbone_its_weights(backbone, form, tmp_path):
    state = fill(DETECTOR[backbone](width=0.25)).state_dict()
    parallel = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(state if form == "bare" else parallel, tmp_path / "published.pth")
    assert has_weights(YOLO(detector(tmp_path, backbone)).load(tmp_path / "published.pth").model, state)
    model = DetectionModel(detector(tmp_path, backbone), verbose=False)
    model.load(tmp_path / "published.pth")
    assert has_weights(model, state)


def has_weights(detector, state: dict) -> bool:
    """Whether a detector's backbone has the weights of a state dict."""
    return all(torch.equal(value, state[name]) for name, value in detector.model[0].state_dict().items())


@pytest.mark.slow
def test_a_training_begins_with_a_published_file(work_dir, tiny_data):
    torch.save(state := fill(GhostNetV1(width=0.25)).state_dict(), "published.pth")
    model, seen = YOLO(detector(work_dir, "Ghostnetv1")), []
    model.add_callback("on_train_start", lambda trainer: seen.append(has_weights(trainer.model, state)))
    model.train(data=str(tiny_data), pretrained="published.pth", epochs=1, val=False, project="runs", **FAST)
    assert seen == [True]


@pytest.mark.parametrize("backbone", DETECTOR)
def test_a_new_model_starts_from_the_file_that_its_yaml_names(backbone, work_dir, caplog):
    torch.save(state := fill(DETECTOR[backbone](width=0.25)).state_dict(), "published.pth")
    file = detector(work_dir, backbone, "published.pth")
    for build in (lambda: YOLO(file).model, lambda: DetectionModel(file, verbose=False)):
        caplog.clear()
        model = build()
        assert has_weights(model, state) and model.yaml["backbone"][0][3] == [0.25, "published.pth"]
        assert len([r for r in caplog.records if "entries loaded from 'published.pth'" in r.message]) == 1


@pytest.mark.slow
def test_a_checkpoint_does_without_the_file_that_its_yaml_named(work_dir, tiny_data, log):
    torch.save(fill(GhostNetV1(width=0.25)).state_dict(), "published.pth")
    file = detector(work_dir, "Ghostnetv1", "published.pth")
    model, args = YOLO(file), {"data": str(tiny_data), "project": "runs", "val": False, **FAST}
    model.model.model[0].bn1.weight.data.fill_(3.0)
    model.save("own.pt")
    model.add_callback("on_train_epoch_end", lambda trainer: 1 / 0 if trainer.epoch == 1 else None)
    with pytest.raises(ZeroDivisionError):
        model.train(**args, epochs=2, name="a")
    last = Path("runs/a/weights/last.pt")
    assert all(load_checkpoint(f)["yaml"]["backbone"][0][3] == [0.25, "published.pth"] for f in ("own.pt", last))

    Path("published.pth").unlink()
    log.clear()
    with pytest.raises(MissingFileError, match=r"'published\.pth' does not exist"):
        DetectionModel(file)
    again = YOLO("own.pt")
    assert has_weights(again.model, model.model.model[0].state_dict())
    model.reset_callbacks()
    model.load("own.pt").train(**args, epochs=1, name="b")
    DetectionTrainer(overrides={**args, "epochs": 1, "model": "own.pt", "name": "c"}).train()
    DetectionTrainer(overrides={"resume": str(last)}).train()
    assert not any("entries loaded" in line for line in log)


def test_a_published_file_gives_a_classifier_all_its_weights(tmp_path, log):
    state = fill(GhostNetV1(width=0.5)).state_dict()
    torch.save(state, tmp_path / "published.pth")
    model = YOLO("ghostnetv1n-cls.yaml").load(tmp_path / "published.pth").model
    assert all(torch.equal(value, state[name.removeprefix("model.0.")]) for name, value in model.state_dict().items())
    assert any("100% of the numbers" in line for line in log)


@pytest.mark.parametrize("verbose", [True, False])
def test_a_load_that_takes_nothing_is_a_warning(verbose, tmp_path, caplog):
    torch.save(GhostNetV1(width=0.25).state_dict(), tmp_path / "published.pth")
    model = DetectionModel(tiny_model(tmp_path), verbose=False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.load(tmp_path / "published.pth", verbose=verbose)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "Transferred 0/" in record.message and "stays as it was" in record.message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
