"""Modules by themselves: equal to those of 8.3.0, named in YAMLs, fused, and the small functions beside them."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from module_cases import CASES, MODES, entries, flat, inputs, samples
from torch import nn

from fill import fill
from ultralytics.nn import modules
from ultralytics.nn.modules import block, conv
from ultralytics.nn.modules.activation import AGLU
from ultralytics.nn.modules.transformer import AIFI, MLP, TransformerEncoderLayer
from ultralytics.nn.modules.utils import bias_init_with_prob, inverse_sigmoid, linear_init
from ultralytics.nn.parse import build_layers
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.errors import ModelError

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = np.load(REFERENCE / "modules.npz")
CRCS = json.loads((REFERENCE / "families.json").read_text())["modules"]


class Alone(BaseModel):
    """A module that is fused as part of a model."""

    def __init__(self, module: nn.Module):
        nn.Module.__init__(self)
        self.model = nn.Sequential(module)

    def info(self, **_) -> None:
        pass


@pytest.mark.parametrize("key", CASES)
def test_weights_and_outputs_equal_the_reference(key):
    name, args, shape = CASES[key]
    for mode, crc, wanted in zip(MODES, CRCS[key], VALUES[key]):
        alone = Alone(fill(getattr(modules, name)(*args))).train(mode == "train")
        if mode == "fused":
            alone.fuse(verbose=False)
        assert zlib.crc32(json.dumps(entries(alone.model[0])).encode()) == crc, mode
        with torch.no_grad():
            values = samples(flat(alone.model[0](inputs(shape))))
        np.testing.assert_allclose(values, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0, err_msg=mode)


def layers(*lines, width=1.0, nc=80):
    d = {"nc": nc, "depth_multiple": 1.0, "width_multiple": width, "backbone": [*lines], "head": []}
    return build_layers(d, 3, verbose=False)[0]


@pytest.mark.parametrize("args", [[], [7], [64], [64, 7]])
def test_cbam_knows_its_channels(args):
    """YAMLs for 8.3.0 repeat the channels of the layer before, and others do not."""
    _, cbam = layers([-1, 1, "Conv", [64, 3, 2]], [-1, 1, "CBAM", args])
    assert cbam.channel_attention.fc.in_channels == 64
    assert cbam.spatial_attention.cv1.kernel_size == (7, 7)


def test_kernel_of_spatial_attention():
    with pytest.raises(ModelError, match="kernel_size=5 is not possible"):
        modules.SpatialAttention(5)


def test_lines_of_a_yaml():
    """Which arguments are scaled, and where the repeats go, is as in 8.3.0."""
    net = layers(
        [-1, 1, "HGStem", [16, 24]],
        [-1, 3, "HGBlock", [16, 32, 3]],
        [-1, 1, "nn.ConvTranspose2d", [32, 2, 2, 0]],
        [-1, 2, "RepC3", [32]],
        [-1, 1, "AIFI", [32, 4]],
        [-1, 1, "ResNetLayer", [16, 8, 2, False, 2]],
        [-1, 2, "SCDown", [64, 3, 2]],
        [1, 1, "CBLinear", [[8, 16]]],
        [-3, 1, "ADown", [32]],
        [[7, -1], 1, "CBFuse", [[1]]],
        [-1, 1, "Conv", [32]],
        width=0.5,
    )
    stem, block, up, rep, attention, resnet, down, linear, _, fuse, last = net
    assert (stem.stem4.conv.out_channels, len(block.m), block.ec.conv.out_channels) == (24, 3, 32)
    assert (up.in_channels, up.out_channels, len(rep.m)) == (32, 16, 2)
    assert (attention.fc1.out_features, attention.ma.num_heads) == (32, 4)
    assert resnet.layer[1].cv3.conv.out_channels == 32
    assert [m.cv1.conv.in_channels for m in down] == [32, 32] and linear.conv.out_channels == 24
    assert fuse.idx == [1] and last.conv.in_channels == 16


@pytest.mark.parametrize("module", [modules.C2f(8, 8, 2), modules.RepNCSPELAN4(8, 8, 8, 8)])
def test_forward_split(module):
    x = inputs((1, 8, 6, 6))
    module.eval()
    assert torch.equal(module.forward_split(x), module(x))


@pytest.mark.parametrize("cls", [modules.Conv, modules.ConvTranspose, modules.RepConv, modules.RepVGGDW])
def test_a_fused_module_runs_forward_fuse(cls):
    class Doubled(cls):
        def forward_fuse(self, x):
            return 2 * super().forward_fuse(x)

    module = Doubled(*([8] if cls is modules.RepVGGDW else [8, 8])).eval()
    x = inputs((1, 8, 6, 6))
    with torch.no_grad():
        before = module(x)
        module.fuse()
        torch.testing.assert_close(module(x), 2 * before, rtol=1e-4, atol=1e-5)
        module.fuse()  # once more does no harm
        torch.testing.assert_close(module(x), 2 * before, rtol=1e-4, atol=1e-5)


def test_channels_that_do_not_fit():
    with pytest.raises(ModelError, match="keeps its channels"):
        modules.C2fPSA(64, 128)
    with pytest.raises(ModelError, match="k=5"):
        modules.RepConv(8, 8, 5)
    with pytest.raises(ModelError, match="multiple of 4"):
        AIFI.build_2d_sincos_position_embedding(2, 2, 6)


def test_encoder_that_normalizes_before():
    x = inputs((2, 5, 8))
    layer = fill(TransformerEncoderLayer(8, 16, 4, normalize_before=True)).eval()
    y = layer.norm1(x)
    y = x + layer.ma(y, y, y)[0]
    torch.testing.assert_close(layer(x), y + layer.fc2(layer.act(layer.fc1(layer.norm2(y)))))


def test_aglu_lies_between_known_curves():
    """With both numbers 1 it is the sigmoid; with a small lambda it comes near a Gumbel curve, exp(-exp(-x))."""
    unit, x = AGLU(), torch.linspace(-3, 3, 7)
    assert {name for name, _ in unit.named_parameters()} == {"lambd", "kappa"}
    with torch.no_grad():
        unit.kappa.fill_(1.0)
        torch.testing.assert_close(unit.lambd.fill_(1.0) and unit(x), x.sigmoid())
        unit.lambd.fill_(1e-3)
        torch.testing.assert_close(unit(x), (-(-x).exp()).exp(), atol=1e-2, rtol=0)


def test_small_functions():
    assert 1 / (1 + math.exp(-bias_init_with_prob(0.2))) == pytest.approx(0.2)
    p = torch.tensor([0.0, 0.3, 1.0])
    torch.testing.assert_close(inverse_sigmoid(p).sigmoid(), p, atol=1e-4, rtol=0)
    layer = nn.Linear(4, 100)
    linear_init(layer)
    assert layer.weight.abs().max() <= 0.1 and layer.bias.abs().max() <= 0.1
    assert MLP(4, 8, 2, 2, sigmoid=True)(torch.zeros(1, 4)).max() < 1


def test_names_are_where_8_3_0_has_them():
    for name in ("SPP", "ADown", "CIB", "CBFuse", "HGBlock", "ResNetBlock", "RepCSP", "C3TR", "PSA"):
        assert getattr(block, name) is getattr(modules, name)
    for name in ("CBAM", "ChannelAttention", "RepConv", "DWConvTranspose2d"):
        assert getattr(conv, name) is getattr(modules, name)


def test_padding_of_8_3_0():
    assert [conv.autopad(k) for k in range(1, 8)] == [0, 1, 1, 2, 2, 3, 3]
    assert [conv.autopad(k, d=2) for k in range(1, 8)] == [0, 1, 2, 3, 4, 5, 6]
    assert conv.autopad((1, 3)) == [0, 1] and conv.autopad(3, 0) == 0
