"""From dense to Ghost by computation: exact where it can be, near where it cannot, and honest in its report."""

from __future__ import annotations

import itertools
from copy import deepcopy

import pytest
import torch
from torch import nn

from fill import fill, image
from ultralytics.lab.conversion.fitting import NormalEquations, fit_behind, folded, unfold_bn, windows
from ultralytics.lab.conversion.ghost import to_ghost
from ultralytics.lab.conversion.pairing import match
from ultralytics.lab.conversion.wiring import trace
from ultralytics.nn.modules import Conv, GhostConv
from ultralytics.nn.parse import yaml_model_load
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
)
from ultralytics.nn.transfer import matching
from ultralytics.utils.errors import ModelError


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def small(conv: str, act: str = "nn.SiLU()") -> ClassificationModel:
    backbone = [[-1, 1, conv, [16, 5, 2]], [-1, 1, conv, [24, 3, 2]], [-1, 1, "C3k2", [24, False]]]
    backbone += [[0, 1, "Conv", [24, 3, 2]], [[-1, 2], 1, "Concat", [1]]]
    head = [[-1, 1, "Classify", [5]]]
    return ClassificationModel({"nc": 5, "activation": act, "backbone": backbone, "head": head}, verbose=False).eval()


def narrow(name: str) -> dict:
    """Return a model description at an eighth of the width."""
    d = yaml_model_load(name)
    d["scales"] = {"n": [0.33, 0.125, 256]}
    return d


def tensors(out) -> list[torch.Tensor]:
    return [out.flatten()] if isinstance(out, torch.Tensor) else [t for o in out for t in tensors(o)]


def raw(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the maps of a detector, or the logarithms of a classifier's probabilities, as one row of numbers."""
    with torch.no_grad():
        out = model.eval()(x)
    return torch.cat(tensors(out[1])) if isinstance(out, tuple) else out.log().flatten()


def make_ghostly(conv: Conv, rng: torch.Generator) -> None:
    """Let the second half of a 5x5 convolution be depthwise 5x5 filters of its first half."""
    half = conv.conv.out_channels // 2
    with torch.no_grad():
        conv.bn.running_mean.zero_()
        conv.bn.running_var.fill_(1 - conv.bn.eps)
        conv.bn.weight.fill_(1)
        conv.bn.bias[:half] = 0  # so that padding after the first half is padding before it
        first = torch.randn(half, conv.conv.in_channels, 1, 1, generator=rng)
        filters = torch.randn(half, 1, 5, 5, generator=rng) / 3
        conv.conv.weight.zero_()
        conv.conv.weight[:half, :, 2:3, 2:3] = first
        conv.conv.weight[half:] = first * filters


def test_a_convolution_that_is_ghostly_is_recovered_whatever_its_order():
    rng = torch.Generator().manual_seed(1)
    identity = "nn.LeakyReLU(1.0)"
    # Stride 1, since at stride 2 the cheap filter reads positions that the dense one never computed
    lines = {"backbone": [[-1, 1, "Conv", [16, 5, 1]], [-1, 1, "Conv", [24, 3, 2]]], "head": [[-1, 1, "Classify", [5]]]}
    source = fill(ClassificationModel({"nc": 5, "activation": identity, **lines}, verbose=False)).eval()
    make_ghostly(source.model[0], rng)
    wiring = trace(source)
    wiring.permute(source, wiring.moves("model.0.conv.weight", torch.randperm(16, generator=rng).tolist()))
    lines = deepcopy(lines)
    lines["backbone"][0][2] = "GhostConv"
    target = ClassificationModel({"nc": 5, "activation": identity, **lines}, verbose=False)
    x = image(4, 32, 32)
    report = to_ghost(source, target, x, samples=2048, steps=0)
    row = report.rows[0]
    assert row.how == "converted" and row.kind == "GhostConv"
    assert float(row.note.split()[-1]) > 0.999
    other = image(2, 48, 32, seed=7)
    with torch.no_grad():
        maps = [model.model[1](model.model[0](other)) for model in (source, target.eval())]
    torch.testing.assert_close(*maps, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(raw(source, other), raw(target, other), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "pair"),
    [
        (DetectionModel, ("yolo11n.yaml", "yolo11n-GhostConv.yaml")),
        (ClassificationModel, ("yolo11n-cls.yaml", "yolo11n-GhostConv-cls.yaml")),
        slow(SegmentationModel, ("yolo11n-seg.yaml", "yolo11n-GhostConv-seg.yaml")),
        slow(PoseModel, ("yolo11n-pose.yaml", "yolo11n-GhostConv-pose.yaml")),
        slow(OBBModel, ("yolo11n-obb.yaml", "yolo11n-GhostConv-obb.yaml")),
    ],
)
def test_every_task_is_nearer_to_the_dense_model_than_by_names(kind, pair):
    torch.manual_seed(0)
    source, target, named = (kind(narrow(name), verbose=False) for name in (pair[0], pair[1], pair[1]))
    fill(source)
    named.load_state_dict(matching(source.state_dict(), named.state_dict()), strict=False)
    x = image(4, 96, 96)
    report = to_ghost(source, target, x, samples=300, steps=0)
    want = raw(source, x)
    far, near = ((want - raw(model, x)).square().mean() for model in (named, target))
    assert near < far / 2
    assert report.share == 1.0
    converted = [row for row in report.rows if row.how == "converted"]
    ghosts = [m for m in target.model if type(m).__name__ == "GhostConv"]
    assert len(converted) == len(ghosts) > 0
    assert all("EV" in row.note for row in converted)


def test_the_source_stays_and_the_result_repeats():
    source, x = fill(small("Conv")), image(3, 32, 32)
    before = {k: v.clone() for k, v in source.state_dict().items()}
    results = []
    for _ in range(2):
        target = small("GhostConv")
        to_ghost(source, target, [x[:1], x[1], x[2:]], samples=300, steps=2)
        results.append(target.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert all(torch.equal(v, results[1][k]) for k, v in results[0].items())


def test_training_starts_where_inference_stands():
    """Batch norms of fitted layers hold the statistics of the images: both modes give the same."""
    source, target, x = fill(small("Conv")), small("GhostConv"), image(6, 32, 32)
    to_ghost(source, target, x, samples=300, steps=0)
    with torch.no_grad():
        inference = target.eval().model[1](target.model[0](x))
        training = target.train().model[1](target.model[0](x))
    torch.testing.assert_close(inference, training, atol=1e-3, rtol=1e-2)


def test_reconstruction_comes_nearer():
    source, x = fill(small("Conv")), image(8, 32, 32)
    errors = []
    for steps in (0, 60):
        target = small("GhostConv")
        to_ghost(source, target, x, samples=300, steps=steps)
        with torch.no_grad():
            errors.append(float((source.model[:3](x) - target.eval().model[:3](x)).square().mean()))
    assert errors[1] < errors[0] * 0.8


def test_a_tied_order_is_said():
    """Two convolutions that a sum ties cannot both choose: the second takes the order of the first."""
    lines = {"backbone": [[-1, 1, "Conv", [8, 3, 1]], [-1, 1, "nn.Flatten", [1]]], "head": [[-1, 1, "Classifier", []]]}
    ghost = deepcopy(lines)
    ghost["backbone"][0][2] = "GhostConv"
    source, target = (ClassificationModel({"nc": 5, **d}, verbose=False) for d in (lines, ghost))
    report = to_ghost(fill(source), target, image(2, 8, 8), samples=100, steps=0)
    assert "order tied" in report.rows[0].note  # the flattened map is the output: no channel may move


@pytest.mark.parametrize("c", [2, 6, 8])
def test_matching_is_the_best_of_all(c):
    cost = torch.rand(c, c, generator=torch.Generator().manual_seed(c))
    cheap = torch.minimum(cost, cost.T)

    def total(order: list[int]) -> float:
        return sum(float(cost[a, b]) for a, b in zip(order[: c // 2], order[c // 2 :]))

    order = match(cost)
    assert sorted(order) == [*range(c)]
    best = min(sum(float(cheap[p[k], p[k + 1]]) for k in range(0, c, 2)) for p in itertools.permutations(range(c)))
    assert total(order) == pytest.approx(best)


def test_matching_keeps_groups():
    cost = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    halves = match(cost, [0, 0, 0, 0, 1, 1, 1, 1])
    assert {*halves[:4]} == {0, 1, 2, 3}
    assert match(cost, [0] * 7 + [None]) == [*range(8)]
    assert match(cost, [0, 0, 1, 1, 0, 0, 1, 1]) == [*range(8)]


def test_matching_of_many_channels_is_whole():
    cost = torch.ones(64, 64)
    cost[:, :8] = 0.1  # all want the same partners
    assert sorted(match(cost)) == [*range(64)]


def test_normal_equations_solve_in_parts():
    rng = torch.Generator().manual_seed(0)
    x, weights = torch.randn(200, 6, generator=rng), torch.randn(7, 3, generator=rng)
    z = x @ weights[:-1] + weights[-1]
    equations = NormalEquations(6, 3)
    for part in (slice(0, 70), slice(70, 200)):
        equations.add(x[part], z[part])
    torch.testing.assert_close(equations.solve(ridge=1e-9).float(), weights, atol=1e-4, rtol=1e-4)
    held = equations.solve(torch.zeros(7, 3), ridge=1e6).float()
    assert held[:-1].abs().max() < 1e-3  # near the start
    torch.testing.assert_close(held[-1], z.mean(0), atol=1e-2, rtol=1e-2)  # the bias is free


def test_filters_are_fitted_behind_the_activation():
    rng = torch.Generator().manual_seed(0)
    seen, act = torch.randn(3, 500, 25, generator=rng), nn.SiLU()
    weights = torch.randn(3, 26, generator=rng) / 2
    z = (seen @ weights[:, :-1, None])[..., 0] + weights[:, -1:]
    torch.testing.assert_close(fit_behind(seen, z, act), weights, atol=2e-2, rtol=1e-2)
    noisy = z.clamp_min(0) * 2 - 1 + torch.randn(z.shape, generator=rng) * (z < 0)  # noise where SiLU hides it
    x = torch.cat((seen, torch.ones(3, 500, 1)), -1)
    plain = torch.linalg.lstsq(x, noisy[..., None]).solution
    left = [
        (act(noisy) - act((x @ w)[..., 0])).square().mean() for w in (plain, fit_behind(seen, noisy, act)[..., None])
    ]
    assert left[1] < left[0]


def test_windows_are_what_a_convolution_reads():
    conv = nn.Conv2d(4, 6, 3, 2, 1, bias=False)
    x = torch.randn(2, 4, 9, 11)
    rows, cols = torch.tensor([0, 4, 2]), torch.tensor([0, 5, 3])
    out = windows(x, conv, rows, cols).flatten(1) @ conv.weight.flatten(1).T
    torch.testing.assert_close(out.view(2, 3, 6), conv(x)[:, :, rows, cols].transpose(1, 2))


def test_a_folded_weight_goes_back_into_the_batch_norm():
    layer = fill(Conv(4, 6, 3)).eval()
    x = torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        want = layer(x)
        weight, bias = folded(layer.conv, layer.bn)
        unfold_bn(layer.conv, layer.bn, weight, bias, torch.randn(6), torch.rand(6) + 0.1)
        torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_converted_is_refused():
    source, x = small("Conv"), image(1, 32, 32)
    other = DetectionModel(narrow("yolo11n-GhostConv.yaml"), verbose=False)
    with pytest.raises(ModelError, match="different graphs"):
        to_ghost(source, other, x)
    with pytest.raises(ModelError, match="fused"):
        to_ghost(DetectionModel(narrow("yolo11n.yaml"), verbose=False).fuse(verbose=False), other, x)


@pytest.mark.parametrize(
    ("kind", "pair"),
    [
        (DetectionModel, ("yolo11n.yaml", "yolo11n-GhostConv.yaml")),
        (ClassificationModel, ("yolo11n-cls.yaml", "yolo11n-GhostConv-cls.yaml")),
    ],
)
def test_heads_with_other_class_counts_are_left_random(kind, pair):
    source, target = (kind(narrow(name), nc=nc, verbose=False) for name, nc in zip(pair, (3, 5)))
    report = to_ghost(fill(source), target, image(2, 64, 64), samples=100, steps=2)
    assert report.rows[-1].how == "part"
    assert 0.5 < report.share < 1
    assert isinstance(target.model[0], GhostConv)
    assert "part" in report.table()


@pytest.mark.slow
@pytest.mark.parametrize("act", ["nn.ReLU()", "nn.LeakyReLU(0.1)"])
@pytest.mark.parametrize("pair", [("yolo11n.yaml", "yolo11n-GhostConv.yaml"), ("yolov8n.yaml", "yolov8n-ghost.yaml")])
def test_activations_in_place_change_nothing(act, pair):
    results = []
    for inplace in (True, False):
        torch.manual_seed(0)
        source, target = (DetectionModel({**narrow(name), "activation": act}, verbose=False) for name in pair)
        for m in (*source.modules(), *target.modules()):
            if hasattr(m, "inplace"):
                assert m.inplace or not inplace
                m.inplace = inplace
        to_ghost(fill(source), target, image(1, 64, 64), samples=60, steps=1)
        results.append(target.state_dict())
    assert all(torch.equal(v, results[1][k]) for k, v in results[0].items())


def test_a_backbone_of_several_outputs_in_one_line():
    source, target = (DetectionModel(narrow("yolo11n-GhostNetV1.yaml"), verbose=False) for _ in range(2))
    assert source.model[0].span > 1
    x = image(1, 64, 64)
    report = to_ghost(fill(source), target, x, samples=60, steps=2)
    assert report.share == 1.0
    want = raw(source, x)
    assert (want - raw(target, x)).square().mean() < 0.1 * want.var()


def test_steps_that_lead_to_no_number_are_taken_back():
    source, target = fill(small("Conv")), small("GhostConv")
    to_ghost(source, target, image(3, 32, 32), samples=100, steps=3, rate=1e30)
    assert all(v.isfinite().all() for v in target.state_dict().values())


def test_what_is_placed_reads_the_channels_in_their_new_order():
    lines = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "C3k2", [24, True]]], [[-1, 1, "Classify", [5]]]
    ghost = deepcopy(lines)
    ghost[0][0][2], ghost[0][1][2:] = "GhostConv", ["C2f", [24]]
    source, target = (
        ClassificationModel({"nc": 5, "backbone": backbone, "head": head}, verbose=False)
        for backbone, head in (lines, ghost)
    )
    report = to_ghost(fill(source), target, image(2, 32, 32), samples=100, steps=0, ridge=1e12)  # rows stay as they are
    old, new = (nn.functional.normalize(m.conv.weight.flatten(1)) for m in (source.model[0], target.model[0].cv1))
    likeness, order = (new @ old.T).max(1)
    assert likeness.min() > 0.99 and order.tolist() != [*range(8)]
    assert torch.equal(target.model[1].cv1.conv.weight[:, :8], source.model[1].cv1.conv.weight[:, order])
    row = report.row(1)
    assert (row.how, row.note, row.taken > 0) == ("part", "random: m", True)


def test_other_widths_and_kernels_are_left_random():
    wide = {**narrow("yolo11n-GhostConv.yaml"), "scales": {"n": [0.33, 0.25, 256]}}
    source, target = (DetectionModel(d, verbose=False) for d in (narrow("yolo11n.yaml"), wide))
    report = to_ghost(fill(source), target, image(1, 64, 64), samples=60, steps=1)
    assert {row.how for row in report.rows if row.kind == "GhostConv"} == {"random"}
    target = small("GhostConv")
    target.model[0].cv1.conv = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
    report = to_ghost(fill(small("Conv")), target, image(1, 32, 32), samples=60, steps=1)
    assert [row.how for row in report.rows[:2]] == ["random", "converted"]


def test_the_target_keeps_its_precision_and_the_modes_of_its_layers():
    target = small("GhostConv").half().train()
    target.model[0].eval()
    to_ghost(fill(small("Conv")), target, image(1, 32, 32), samples=60, steps=0)
    assert {p.dtype for p in target.parameters()} == {torch.float16}
    assert target.training and target.model[1].cv1.training and not target.model[0].cv1.bn.training
