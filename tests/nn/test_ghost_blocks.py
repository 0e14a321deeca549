"""The Ghost family: folding is exact, budgets hold, every scale and task builds and learns, and nothing is joined."""

from __future__ import annotations

import warnings
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import CLASSES, build

from fill import image
from ultralytics.cfg import find_model_yaml
from ultralytics.nn.modules import (
    BranchConv,
    Detect,
    GhostDetect,
    GhostDWConv,
    GhostOBB,
    GhostPose,
    GhostSegment,
    GhostStage,
    JoinConv,
)
from ultralytics.nn.tasks import BaseModel, build_from_checkpoint, describe, guess_model_task, yaml_model_load
from ultralytics.utils.torch_utils import ModelEMA, get_flops, get_num_params

TASKS = ["", *(f"-{suffix}" for suffix in CLASSES)]


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm statistics and weights of its own, so that folding has something to do."""
    rng = torch.Generator().manual_seed(seed)
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            for tensor, low, high in ((bn.running_mean, -0.5, 0.5), (bn.running_var, 0.5, 2.0)):
                tensor.uniform_(low, high, generator=rng)
            for tensor, low, high in ((bn.weight.data, 0.5, 1.5), (bn.bias.data, -0.5, 0.5)):
                tensor.uniform_(low, high, generator=rng)
    return module.eval()


def flat(y) -> list[torch.Tensor]:
    return [y] if isinstance(y, torch.Tensor) else [t for part in y for t in flat(part)]


@torch.no_grad()
def difference(a: nn.Module, b: nn.Module, x) -> float:
    """Return the largest difference of the modules' outputs, relative to the largest output."""
    pairs = [*zip(flat(a(x)), flat(b(x)), strict=True)]
    return max(float((p - q).abs().max() / p.abs().max()) for p, q in pairs)


def kinds(module: nn.Module) -> list[type]:
    return [type(m) for m in module.modules()]


@pytest.mark.parametrize(
    ("args", "identity"),
    [
        ({"c1": 16, "c2": 32, "k": 3, "s": 2}, False),
        ({"c1": 16, "c2": 16, "k": 3}, True),
        ({"c1": 16, "c2": 16, "k": 3, "s": 2, "g": 16}, False),
        ({"c1": 16, "c2": 16, "k": 5, "g": 16}, True),
        ({"c1": 16, "c2": 16, "k": 1, "g": 16}, True),
    ],
)
def test_branch_and_identity_fold_into_one_convolution(args, identity):
    block = shaken(BranchConv(**args))
    assert (block.identity is not None) == identity
    fused = deepcopy(block)
    fused.fuse()
    fused.fuse()  # a second time does nothing
    assert [*fused.state_dict()] == ["conv.weight", "conv.bias"]
    assert nn.BatchNorm2d not in kinds(fused)
    assert difference(block, fused, torch.randn(2, args["c1"], 12, 10)) < 1e-5


@pytest.mark.parametrize("task", TASKS)
def test_depthwise_and_1x1_kernels_start_as_small_as_dense_ones(task):
    """Those of the family's own blocks: SPPF, C2PSA, the masks' prototypes and the classifier are YOLO11's."""
    model = build(f"yolo11n-ghost{task}", nc=2)
    own = (GhostStage, GhostDWConv, Detect)
    kernels = {
        f"{i}.{name}": m.weight.abs().max() * max(m.kernel_size[0], 3) * m.in_channels**0.5  # 1 for a dense one
        for i, layer in enumerate(model.model)
        if isinstance(layer, own)
        for name, m in layer.named_modules()
        if isinstance(m, nn.Conv2d)
        and m.bias is None
        and not name.startswith(("cv1.convs", "cv2.convs", "proto", "dfl"))
    }
    assert len(kernels) >= 12
    assert {name: float(size) for name, size in kernels.items() if not 0.9 < size <= 1.0001} == {}


def test_join_equals_one_convolution_of_the_maps_side_by_side():
    join, whole = shaken(JoinConv([16, 32, 16], 32, up=True)), nn.Conv2d(64, 32, 1, bias=False)
    whole.weight.data = torch.cat([conv.weight for conv in join.convs], 1).detach()
    x = [torch.randn(2, 16, 4, 5), torch.randn(2, 32, 8, 10), torch.randn(2, 16, 8, 10)]
    side_by_side = torch.cat((nn.functional.interpolate(x[0], scale_factor=2.0), *x[1:]), 1)
    with torch.no_grad():
        assert torch.allclose(join(x), join.act(join.bn(whole(side_by_side))), atol=1e-5)
    fused = deepcopy(join)
    fused.fuse()
    fused.fuse()
    assert sorted(fused.state_dict()) == ["convs.0.bias", *(f"convs.{i}.weight" for i in range(3))]
    assert difference(join, fused, x) < 1e-5


def test_join_starts_like_one_dense_convolution():
    parts = [conv.weight for conv in JoinConv([16, 240], 64).convs]
    assert all(0.9 / 48 < w.abs().max() <= 1.0001 / 48 for w in parts)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_stage_halves_or_keeps_the_size(n):
    down, keep = GhostStage(16, 64, n, 0.25, 2), GhostStage([64, 16], 32, n, up=True)
    assert down(torch.zeros(2, 16, 16, 8)).shape == (2, 64, 8, 4)
    assert keep([torch.zeros(2, 64, 4, 4), torch.zeros(2, 16, 8, 8)]).shape == (2, 32, 8, 8)
    assert (len(down.m), len(keep.m)) == (2 * n + 2, 2 * n)


@pytest.mark.parametrize("task", TASKS)
def test_fused_model_computes_the_same(task):
    model = shaken(build(f"yolo11n-ghost{task}", nc=5))
    fused = deepcopy(model).fuse(verbose=False)
    assert nn.BatchNorm2d not in kinds(fused)
    assert difference(model, fused, image(1, 64, 96)) < 1e-4


def test_budget_of_the_smallest():
    model, dense = build("yolo11n-ghost"), build("yolo11n")
    for _ in range(2):  # as trained, and fused
        assert 1.4e6 < get_num_params(model) <= 1.6e6
        assert 3.5 < get_flops(model, 640) <= 4.2
        model.fuse(verbose=False)
    assert get_flops(model, 640) < 0.65 * get_flops(dense, 640)


def weightless(name: str) -> BaseModel:
    """Build a model of any size in no time; it has shapes, but no values."""
    with torch.device("meta"):
        return BaseModel(f"{name}.yaml", verbose=False)


def flops(model: BaseModel) -> int:
    """Return what the training form costs at 320 pixels; unlike the inference form it reads no values."""
    with FlopCounterMode(display=False) as counter:
        model.train()(torch.empty(1, 3, 320, 320, device="meta"))
    return counter.get_total_flops()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", ["n", *(pytest.param(scale, marks=pytest.mark.slow) for scale in "smlx")])
def test_every_scale_is_lighter_in_whole_blocks_of_channels(scale, task):
    light, dense = weightless(f"yolo11{scale}-ghost{task}"), weightless(f"yolo11{scale}{task}")
    assert get_num_params(light) < 0.75 * get_num_params(dense)
    assert flops(light) < 0.86 * flops(dense)
    last = {id(branch[-1]) for name in ("cv2", "cv3", "cv4") for branch in getattr(light.model[-1], name, ())}
    convs = [m for name, m in light.named_modules() if isinstance(m, nn.Conv2d) and ".dfl" not in name]
    assert [m.out_channels for m in convs if id(m) not in last and m.out_channels % 16] == []


def batch_of(task: str) -> dict:
    """Two images with an object each, and what the task asks of it."""
    batch = {
        "img": image(2, 64, 64),
        "cls": torch.zeros(2, 1),
        "batch_idx": torch.arange(2.0),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]] * 2),
        "masks": torch.ones(2, 16, 16),
        "keypoints": torch.full((2, 17, 3), 0.5),
    }
    if task == "-obb":
        batch["bboxes"] = torch.cat((batch["bboxes"], torch.full((2, 1), 0.3)), 1)
    return {"img": batch["img"], "cls": torch.arange(2)} if task == "-cls" else batch


@pytest.mark.parametrize("task", TASKS)
def test_one_step_of_training_reaches_every_parameter(task):
    model = build(f"yolo11n-ghost{task}", nc=2).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, pose=12.0, kobj=1.0, overlap_mask=True, nc=2)
    ema = ModelEMA(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(batch_of(task))[0].sum().backward()
    assert [
        k for k, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ] == []
    optimizer.step()
    ema.update(model)
    assert difference(ema.ema, deepcopy(ema.ema).fuse(verbose=False), image(1, 64, 64)) < 1e-4


@pytest.mark.parametrize(("task", "head"), [*zip(TASKS, (GhostDetect, GhostSegment, GhostPose, GhostOBB))], ids=str)
def test_head_has_its_own_branches_and_is_known(task, head):
    model = build(f"yolo11n-ghost{task}", nc=2)
    last = model.model[-1]
    assert type(last) is head and isinstance(last, Detect)
    dense = [max(m.kernel_size) for m in last.cv2.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    assert dense == [1, 3, 1] * 3
    assert guess_model_task(yaml_model_load(f"yolo11n-ghost{task}.yaml")) == model.task
    assert model.stride.tolist() == [8, 16, 32]


def test_weights_build_the_same_again():
    model = shaken(build("yolo11n-ghost", nc=2))
    again = build_from_checkpoint(describe(model)).eval()
    assert difference(model, again, image(1, 64, 64)) == 0


def test_names_that_differ_little_are_told_apart():
    names = (
        "yolo11n-ghost",
        "yolo11s_ghost",
        "yolo11x-Ghost",
        "yolo11n-GhostConv",
        "yolo11n-ghostconv",
        "yolo11n-ghost-seg",
    )
    files = ["yolo11-ghost", "yolo11-ghost", "yolo11-ghost", "yolo11-GhostConv", "yolo11-GhostConv", "yolo11-ghost-seg"]
    assert [find_model_yaml(f"{name}.yaml").stem for name in names] == files
    assert yaml_model_load("yolo11s-ghost.yaml")["scale"] == "s"


def test_nothing_is_concatenated_in_the_exported_blocks(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the graph is read by onnx")
    model = build("yolo11n-ghost", nc=2).eval().fuse(verbose=False)
    file = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: shapes are constants here
        torch.onnx.export(model, (torch.zeros(1, 3, 64, 64),), str(file), dynamo=False, opset_version=17)
    nodes = onnx.load(file).graph.node
    joined = {int(n.name.split("/model.")[1].split("/")[0]) for n in nodes if n.op_type in {"Concat", "Split"}}
    stages = {m.i for m in model.model if isinstance(m, GhostStage)}
    assert joined and not joined & stages
    assert "BatchNormalization" not in {n.op_type for n in nodes}


def test_the_class_count_does_not_change_the_network():
    """8.3.0 does not scale a number of channels that equals the class count; here nothing depends on that."""
    body = [sum(p.numel() for p in build("yolo11n-ghost", nc=nc).model[:5].parameters()) for nc in (511, 512)]
    assert body[0] == body[1]
