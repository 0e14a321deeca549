"""Rewriting before export: the same outputs, each rule where it holds and nowhere else."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import zoo
from torch import nn

from fill import fill, image
from ultralytics.engine.exporter import Predictions
from ultralytics.nn.modules import C2PSA, C3, DFL, PSA, SPPF, C2f, C3k2, Concat, Conv, JoinConv, SplitConv
from ultralytics.nn.rewrite import ELEMENTWISE, RULES, Maps, ProductDFL, rewrite
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import ROOT
from ultralytics.utils.errors import ConfigError, ModelError

# Counts of dfl, join, concat, upsample, split.
COUNTS = {
    "yolo11n": (1, 13, 4, 2, 9),
    "yolo11n-GhostConv-seg": (1, 13, 4, 2, 9),
    "yolo11n-GhostNetV2": (1, 7, 4, 2, 5),
    "yolo11n-cls": (0, 7, 0, 0, 5),
    "yolo11n-ghost": (1, 2, 0, 0, 1),
    "yolo11n-obb": (1, 13, 4, 2, 9),
    "yolo11n-pose": (1, 13, 4, 2, 9),
    "yolov8n-ghost": (1, 9, 4, 2, 0),
    "yolov8n-p6": (1, 12, 6, 3, 11),
    "ghostnetv1-cls": (0, 0, 0, 0, 0),
}
YAMLS = [f.stem for f in Path(ROOT, "cfg", "models").rglob("*.yaml")]
ALL = sorted(name.replace("yolo11", "yolo11n").replace("yolov8", "yolov8n") for name in YAMLS)
FEED = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [24, 3, 2]]]  # strides 2 and 4


def ready(model: nn.Module) -> nn.Module:
    """A fused model in eval mode with weights of all kinds; a GhostNet, where they outgrow float32, with its own."""
    return (model if "hostnetv" in model.yaml.get("yaml_file", "").lower() else fill(model)).eval().fuse(verbose=False)


def lines(*more: list, activation: str | None = None) -> DetectionModel:
    """A model of `FEED` and more YAML lines."""
    d = {"nc": 2, "backbone": FEED, "head": [*more]} | ({"activation": activation} if activation else {})
    return ready(DetectionModel(d, verbose=False)).double()


def output(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = model(x)
    return y if isinstance(y, torch.Tensor) else y[0]


def rewritten(model: nn.Module, *rules: str, x: torch.Tensor | None = None) -> tuple[nn.Module, dict[str, int]]:
    """A copy that was rewritten, by all rules or by some, with the counts that are not 0; its outputs are the same."""
    dtype = next(model.parameters()).dtype
    copy, x = deepcopy(model), (image(1, 64, 64) if x is None else x).to(dtype)
    counts = rewrite(copy, [name for name in RULES if rules and name not in rules])
    wanted, got = output(model, x), output(copy, x)
    rounding = (1e-11 if dtype == torch.float64 else 2e-5) * wanted.abs().max().item()
    assert rounding > 0
    torch.testing.assert_close(got, wanted, rtol=0, atol=rounding)
    return copy, {name: n for name, n in counts.items() if n}


@pytest.mark.parametrize("name", [*COUNTS, *(pytest.param(n, marks=pytest.mark.slow) for n in ALL if n not in COUNTS)])
def test_a_rewritten_model_gives_the_same(name):
    model = ready(zoo.build(name, nc=3))
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]  # folded by `fuse`, training branches too
    copy, counts = rewritten(model)
    assert tuple(copy.rewritten) == tuple(RULES)
    assert counts or name.startswith("ghostnet")
    if name in COUNTS:
        assert tuple(copy.rewritten.values()) == COUNTS[name]


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_works_on_yolo11n_alone(rule):
    needs = {"upsample": ["concat"]}.get(rule, [])
    _, counts = rewritten(ready(zoo.build("yolo11n")), rule, *needs)
    assert counts.keys() == {rule, *needs} and counts[rule] > 0


def test_single_precision_moves_boxes_by_little():
    model = fill(zoo.build("yolo11n")).eval()
    plain, fast = Predictions(model), Predictions(model, optimize=True)
    x = image(1, 64, 96)
    assert 0 < (plain(x) - fast(x)).abs().max() < 1e-3
    assert type(model.model[-1].dfl) is type(plain.model.model[-1].dfl) is DFL
    assert type(fast.model.model[-1].dfl) is ProductDFL


# --------------------------------------------------------------------------------------------- box distributions


@pytest.mark.parametrize("scale", [1, 30, 1e4, 1e37])
def test_dfl_of_any_logits(scale):
    dfl, x = DFL(16), torch.randn(2, 64, 50) * scale
    x[0, :, 0], x[0, :16, 1], x[0, 16:, 1] = -scale, scale, -scale  # all alike; one side far above the others
    got = ProductDFL(dfl)(x)
    torch.testing.assert_close(got, dfl(x), rtol=1e-5, atol=1e-5)
    assert got.min() >= 0 and got.max() <= 15 + 1e-5  # the sum is rounded


def test_dfl_in_half_precision():
    x = (torch.randn(1, 64, 50) * 20).half()
    torch.testing.assert_close(ProductDFL(DFL(16)).half()(x).float(), DFL(16)(x.float()), rtol=0, atol=0.05)


def test_dfl_of_other_bins():
    dfl = DFL(7)
    dfl.conv.weight.data[:] = torch.randn(1, 7, 1, 1)
    x = torch.randn(2, 28, 9)
    torch.testing.assert_close(ProductDFL(dfl)(x), dfl(x))


# -------------------------------------------------------------------------------------------------- inside blocks


@pytest.mark.parametrize(
    ("block", "joined", "split"),
    [
        (C2f(16, 24, 2), 1, 1),
        (C2f(16, 24, 2, shortcut=True), 1, 1),  # the second half is read by a bottleneck and its shortcut
        (C3(16, 24, 2), 1, 0),
        (C3k2(16, 24, 2, c3k=True), 3, 1),  # itself and the C3k in it
        (C2PSA(128, 128), 1, 1),
        (PSA(128, 128), 1, 1),
        (SPPF(16, 24), 1, 0),
    ],
)
def test_blocks_read_and_write_maps_where_they_are(block, joined, split):
    whole = nn.Sequential(block)
    for m in fill(whole).modules():
        if isinstance(m, Conv):
            m.fuse()
    x = torch.randn(2, block.cv1.conv.in_channels, 6, 5)
    copy, counts = rewritten(whole.eval().double(), x=x)
    assert (counts["join"], counts.get("split", 0)) == (joined, split)
    assert [type(copy[0].cv2), type(copy[0].cv1)].count(SplitConv) == split
    assert not [p for p in copy.parameters() if p.requires_grad and p.is_meta]


class Doubled(C2f):
    """Does something else with the same parts."""

    def forward(self, x):
        return 2 * super().forward(x)


class Named(C2f):
    """The same under another name."""


def block_model(block: nn.Module) -> nn.Sequential:
    for m in fill(block).modules():
        if isinstance(m, Conv):
            m.fuse()
    return nn.Sequential(block).eval().double()


def test_a_block_with_a_forward_of_its_own_stays():
    x = torch.randn(1, 16, 4, 4)
    assert rewritten(block_model(Doubled(16, 16)), x=x)[1] == {}
    assert rewritten(block_model(Named(16, 16)), x=x)[1] == {"join": 1, "split": 1}


def test_what_mixes_channels_is_not_split():
    x = torch.randn(1, 16, 4, 4)
    block = C2f(16, 16)
    block.cv1.act = nn.PReLU(16)  # a slope for each channel
    assert not isinstance(block.cv1.act, ELEMENTWISE)
    assert rewritten(block_model(block), x=x)[1] == {"join": 1}


@pytest.mark.parametrize(("hooked", "left"), [("cv1", {"join": 1}), ("cv2", {"split": 1}), ("cv2.conv", {"split": 1})])
def test_what_is_watched_stays(hooked, left):
    net, seen = block_model(C2f(16, 16)), []
    net[0].get_submodule(hooked).register_forward_hook(lambda m, inputs, y: seen.append(y.shape))
    assert rewritten(net, x=torch.randn(1, 16, 4, 4))[1] == left
    assert len(seen) == 2  # of the model, and of its copy


def test_convolutions_that_are_no_plain_product_stay():
    block = C2f(16, 16)
    block.cv1, block.cv2 = Conv(16, 16, 3), Conv(24, 16, 1, g=2)
    assert rewritten(block_model(block), x=torch.randn(1, 16, 4, 4))[1] == {}


def test_blocks_may_share_a_convolution():
    a, b = C2f(16, 16), C2f(16, 16)
    b.cv2 = a.cv2
    fill(a), fill(b)
    for m in [*a.modules(), *b.modules()]:
        if isinstance(m, Conv):
            m.fuse()
    copy, counts = rewritten(nn.Sequential(a, b, a).eval().double(), x=torch.randn(1, 16, 4, 4))
    assert counts == {"join": 2, "split": 2}
    assert copy[0] is copy[2]


# ------------------------------------------------------------------------------------------------- between layers


@pytest.mark.parametrize(
    "reader",
    [
        [-1, 1, "Conv", [8, 1]],
        [-1, 1, "C2f", [8]],
        [-1, 1, "C3", [8]],
        [-1, 2, "C3", [8]],
        [-1, 1, "C3k2", [8, True]],
        [-1, 1, "SPPF", [8]],
        [-1, 1, "GhostConv", [8, 1]],
    ],
)
@pytest.mark.parametrize("sources", [[-1, 0], [0, -1]])
def test_convolutions_behind_a_concat_read_its_inputs(reader, sources):
    copy, counts = rewritten(lines([-1, 1, "nn.Upsample", [None, 2, "nearest"]], [sources, 1, "Concat", [1]], reader))
    assert (counts["concat"], counts["upsample"]) == (1, 1)
    assert isinstance(copy.model[3], Maps) and isinstance(copy.model[2], nn.Identity)
    joins = [m for m in copy.modules() if isinstance(m, JoinConv) and any(m.factors)]
    assert all(join.factors[sources.index(-1)] == 2 for join in joins)
    assert joins and all(join.convs[sources.index(0)].in_channels == 16 for join in joins)


@pytest.mark.parametrize(
    "reader",
    [
        [-1, 1, "Conv", [8, 3]],
        [-1, 1, "Conv", [8, 1, 2]],
        [-1, 1, "Conv", [8, 1, 1, None, 2]],
        [[-1], 1, "Concat", [1]],
        [-1, 1, "Bottleneck", [40]],  # adds its input
        [-1, 1, "nn.MaxPool2d", [2]],
    ],
)
def test_other_readers_get_one_map(reader):
    up = [-1, 1, "nn.Upsample", [None, 2, "nearest"]]
    copy, counts = rewritten(lines(up, [[-1, 0], 1, "Concat", [1]], reader))
    assert counts == {} and type(copy.model[3]) is Concat and type(copy.model[2]) is nn.Upsample


def test_a_concat_that_two_read_stays():
    twice = [[-1, -1], 1, "Concat", [1]]
    for read in ([2, 1, "Conv", [8, 1]], [[-1, 2], 1, "Concat", [1]]):
        assert rewritten(lines(twice, [-1, 1, "Conv", [8, 1]], read, [-1, 1, "Conv", [8, 3]]))[1] == {}


def test_a_concat_along_another_side_stays():
    net = lines([[-1, -1], 1, "Concat", [1]], [-1, 1, "Conv", [8, 1]])
    net.model[2].d, net.model[3].conv = 2, nn.Conv2d(24, 8, 1).double()
    assert rewritten(net)[1] == {}


def test_the_same_map_may_come_twice_and_the_image_too():
    assert rewritten(lines([[-1, -1], 1, "Concat", [1]], [-1, 1, "Conv", [8, 1]]))[1] == {"concat": 1}
    image = [[[-1, -1], 1, "Concat", [1]]]
    net = DetectionModel({"nc": 2, "backbone": image, "head": [[-1, 1, "Conv", [8, 1]]]}, verbose=False)
    assert rewritten(ready(net))[1] == {"concat": 1}


def test_a_concat_of_a_concat_goes_on_as_one_map():
    net = lines([[-1, -1], 1, "Concat", [1]], [[-1, 1], 1, "Concat", [1]], [-1, 1, "Conv", [8, 1]])
    copy, counts = rewritten(net)
    assert counts == {"concat": 1} and [type(m) for m in copy.model][2:4] == [Concat, Maps]


@pytest.mark.parametrize(
    ("up", "more"),
    [
        (["nn.Upsample", [None, 2, "bilinear"]], []),
        (["nn.Upsample", [None, 2, "nearest"]], [[[4, 2], 1, "Concat", [1]]]),  # read by another layer too
        (["nn.ConvTranspose2d", [24, 2, 2]], []),
    ],
)
def test_other_enlargements_stay_where_they_are(up, more):
    copy, counts = rewritten(lines([-1, 1, *up], [[-1, 0], 1, "Concat", [1]], [-1, 1, "Conv", [8, 1]], *more))
    assert counts == {"concat": 1} and type(copy.model[2]).__name__ == up[0].removeprefix("nn.")


@pytest.mark.parametrize("number", [2, 3, 4])
def test_layers_that_are_watched_stay(number):
    net = lines([-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 0], 1, "Concat", [1]], [-1, 1, "C2f", [8]])
    net.model[number].register_forward_hook(lambda m, inputs, y: None)
    copy, counts = rewritten(net)
    assert counts == {"join": 1, "split": 1} | ({"concat": 1} if number == 2 else {})
    assert type(copy.model[number]) is type(net.model[number])


def test_a_layer_at_two_places_stays():
    net = lines([[-1, -1], 1, "Concat", [1]], [-1, 1, "Conv", [48, 1]])
    net.model.append(net.model[-1])  # reads itself there, not the Concat
    assert rewritten(net)[1] == {}


def test_activations_of_the_yaml_stay():
    net = lines([[-1, -1], 1, "Concat", [1]], [-1, 1, "C2f", [8]], activation="nn.LeakyReLU(0.3)")
    assert rewritten(net)[1] == {"join": 1, "concat": 1, "split": 1}


# ------------------------------------------------------------------------------------------------------ the call


def test_a_second_time_changes_nothing():
    net = rewritten(ready(zoo.build("yolo11n-cls", nc=2)), "join")[0]
    before = [*net.state_dict()]
    assert rewrite(net) == net.rewritten == {"join": 7}
    assert [*net.state_dict()] == before


def test_an_unfused_model_keeps_its_convolutions():
    assert rewritten(fill(zoo.build("yolo11n")).eval())[1] == {"dfl": 1}


def test_mistakes_are_sentences():
    model = zoo.build("yolo11n-cls", nc=2)
    with pytest.raises(ModelError, match=r"model\.eval\(\)"):
        rewrite(model.train())
    with pytest.raises(ConfigError, match="Did you mean 'split'"):
        rewrite(model.eval(), ["splt"])
    assert not hasattr(model, "rewritten")
