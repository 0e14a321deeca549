"""Devices, seeds, averaging, early stopping, fusing and counting."""

from __future__ import annotations

import copy
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.utils import torch_utils as tu
from ultralytics.utils.errors import ConfigError


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as far as torch is asked about them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU {i}")
    props = SimpleNamespace(name="Test GPU", total_memory=8 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: props)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


class Small(nn.Module):
    """Convolution, norm, activation, and what models have besides: a constant read by value and a cached tensor."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.SiLU()
        self.register_buffer("stride", torch.tensor([2.0]), persistent=False)
        self.cache = torch.zeros(0)

    def forward(self, x):
        y = self.act(self.bn(self.conv(x)))
        if self.cache.shape != y.shape:
            self.cache = torch.full_like(y, float(self.stride[0]))
        return y * self.cache


def randomised(module: nn.Module) -> nn.Module:
    """Give batch norms statistics that are not those of a new model."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            for t in (m.weight.data, m.bias.data, m.running_mean):
                t.normal_()
            m.running_var.uniform_(0.5, 1.5)
    return module.eval()


# ------------------------------------------------------------------------------------------------------------ devices


@pytest.mark.parametrize("device", ["", None, "cpu", "CPU", "cpu:0", "None", torch.device("cpu")])
def test_cpu_is_selected(no_gpu, device):
    assert tu.select_device(device, verbose=False) == torch.device("cpu")


@pytest.mark.parametrize("device", [7, "7", "0", "cuda:0", "cuda", "0,1", [0, 1], "mps", torch.device("cuda:0")])
def test_device_that_is_not_there_says_what_is(no_gpu, device):
    with pytest.raises(ConfigError, match=r"device=.*Available here: cpu\..*device=cpu"):
        tu.select_device(device)


@pytest.mark.parametrize("device", ["gpu", -1, "0;1", 1.5, "cuda:x", True])
def test_device_that_cannot_be_read_says_what_can(no_gpu, device):
    with pytest.raises(ConfigError, match="is not understood; allowed are 'cpu'"):
        tu.select_device(device)


@pytest.mark.parametrize(
    ("device", "numbers"),
    [
        ("", [0]),
        (None, [0]),
        (1, [1]),
        ("0,1", [0, 1]),
        ("[1, 0]", [1, 0]),
        ((0, 1), [0, 1]),
        ("cuda:0,cuda:1", [0, 1]),
    ],
)
def test_gpu_numbers(two_gpus, device, numbers):
    assert tu.parse_device(device) == numbers
    assert tu.select_device(device, verbose=False) == torch.device(f"cuda:{numbers[0]}")


def test_gpu_mistakes(two_gpus):
    with pytest.raises(ConfigError, match=r"names GPU 7, but torch sees 2 GPUs\. Available here: cpu, 0 \(GPU 0\), 1"):
        tu.select_device(7)
    with pytest.raises(ConfigError, match="twice"):
        tu.select_device("0,0")
    with pytest.raises(ConfigError, match=r"batch=7 .* Try batch=6"):
        tu.select_device("0,1", batch=7)
    assert tu.select_device("0,1", batch=8, verbose=False).index == 0


def test_cpu_is_named_in_the_log_line(capsys, no_gpu, monkeypatch):
    lines = []
    monkeypatch.setattr(tu.LOGGER, "info", lines.append)
    tu.select_device("cpu")
    assert len(lines) == 1
    assert f"torch-{torch.__version__} CPU ({tu.get_cpu_info()})" in lines[0]
    assert tu.get_cpu_info()


# -------------------------------------------------------------------------------------------- seeds, precision, modes


def test_seeds_repeat_all_generators():
    def draw():
        tu.init_seeds(3, deterministic=True)
        return random.random(), np.random.rand(), torch.rand(2).tolist()

    try:
        assert draw() == draw()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        tu.init_seeds(0, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_amp_check_passes_sound_and_refuses_broken_arithmetic(monkeypatch):
    cpu = torch.device("cpu")
    assert tu._amp_agrees(cpu)
    assert not tu.check_amp(nn.Linear(2, 2))  # mixed precision is for GPUs
    conv2d = tu.F.conv2d

    def broken(x, *args, **kwargs):
        y = conv2d(x, *args, **kwargs)
        return y * float("nan") if y.dtype != torch.float32 else y  # under autocast

    monkeypatch.setattr(tu.F, "conv2d", broken)
    assert not tu._amp_agrees(cpu)


def test_autocast_is_off_unless_enabled():
    x = torch.ones(4, 4)
    with tu.autocast(False, "cpu"):
        assert (x @ x).dtype == torch.float32
    with tu.autocast(True, "cpu"):
        assert (x @ x).dtype == torch.bfloat16


def test_smart_inference_mode_covers_functions_and_generators():
    @tu.smart_inference_mode()
    def double(x):
        return x * 2

    @tu.smart_inference_mode()
    def stream(x):
        yield x * 2

    x = torch.ones(1, requires_grad=True)
    assert double(x).is_inference()
    assert next(stream(x)).is_inference()
    assert (x * 2).requires_grad


# ----------------------------------------------------------------------------------------------------------- training


def test_ema_follows_the_formula_for_floating_entries_only():
    torch.manual_seed(0)
    model = Small()
    ema = tu.ModelEMA(model)
    want = {k: v.double().clone() for k, v in model.state_dict().items()}
    for update in range(1, 4):
        model.train()(torch.rand(2, 3, 8, 8))  # moves the running statistics
        with torch.no_grad():
            model.conv.weight.add_(1)
        ema.update(model)
        d = 0.9999 * (1 - math.exp(-update / 2000))
        for k, v in model.state_dict().items():
            want[k] = d * want[k] + (1 - d) * v.double() if v.dtype.is_floating_point else want[k]
    assert ema.updates == 3
    for k, v in ema.ema.state_dict().items():
        torch.testing.assert_close(v.double(), want[k], rtol=1e-6, atol=1e-7)
    assert ema.ema.bn.num_batches_tracked == 0
    assert not ema.ema.training
    assert not any(p.requires_grad for p in ema.ema.parameters())


def test_ema_is_no_alias_and_can_be_switched_off():
    model = Small()
    ema = tu.ModelEMA(model, updates=10)
    old = ema.ema.conv.weight.clone()
    with torch.no_grad():
        model.conv.weight.add_(1)
    assert torch.equal(ema.ema.conv.weight, old)
    ema.enabled = False
    ema.update(model)
    assert ema.updates == 10
    assert torch.equal(ema.ema.conv.weight, old)


def test_ema_copies_attributes():
    model = Small()
    ema = tu.ModelEMA(nn.DataParallel(model))
    model.names, model.reducer = {0: "fire"}, "not this"
    ema.update_attr(model, include=["names", "reducer"])
    assert ema.ema.names == {0: "fire"}
    assert not hasattr(ema.ema, "reducer")


def test_early_stopping():
    stopper = tu.EarlyStopping(patience=3)
    fitness = [0, 0, 0.5, 0.4, 0.4, 0.4, 0.4]
    assert [stopper(e, f) for e, f in enumerate(fitness)] == [False] * 5 + [True] * 2
    assert (stopper.best_epoch, stopper.best_fitness) == (2, 0.5)
    assert not any(tu.EarlyStopping(patience=0)(e, -e) for e in range(1000))
    patient = tu.EarlyStopping(patience=2)
    assert not patient(0, 1.0)
    assert not patient(1, 0.0)
    assert patient.possible_stop
    assert not patient(5, None)  # not validated


def test_early_stopping_with_fitness_below_zero_or_none_at_all():
    stopper = tu.EarlyStopping(patience=2)
    assert not any(stopper(e, f) for e, f in enumerate([-9.0, -7.0, -5.0, -3.0]))
    assert (stopper.best_epoch, stopper.best_fitness) == (3, -3.0)
    stopper = tu.EarlyStopping(patience=3)
    assert [stopper(e, f) for e, f in enumerate([math.nan, -2.0, math.nan, -3.0, math.nan])] == [False] * 4 + [True]
    assert stopper.best_epoch == 1


def test_one_cycle_and_weights_of_the_recipe():
    ramp = tu.one_cycle(1, 0.01, 10)
    assert [round(ramp(x), 4) for x in (0, 5, 10)] == [1, 0.505, 0.01]
    model = Small()
    tu.initialize_weights(model)
    assert (model.bn.eps, model.bn.momentum, model.act.inplace) == (1e-3, 0.03, False)
    relu = nn.ReLU()
    tu.initialize_weights(nn.Sequential(relu))
    assert relu.inplace


def test_wrappers_and_dicts():
    model = Small()
    assert tu.de_parallel(nn.DataParallel(model)) is model
    assert tu.is_parallel(nn.DataParallel(model))
    assert not tu.is_parallel(model)
    assert tu.unwrap(torch.compile(nn.DataParallel(model), backend="eager")) is model
    a = {"x": torch.zeros(2), "y": torch.zeros(3), "z.anchor": torch.zeros(1)}
    b = {"x": torch.zeros(2), "y": torch.zeros(4), "z.anchor": torch.zeros(1)}
    assert list(tu.intersect_dicts(a, b, exclude=["anchor"])) == ["x"]


@pytest.mark.parametrize("name", ["student", "module", "_orig_mod", "teacher"])
def test_a_model_with_the_attribute_of_a_wrapper_is_itself(name):
    model = Small()
    setattr(model, name, nn.Linear(2, 2))
    assert tu.unwrap(model) is model
    assert tu.ModelEMA(model).ema.state_dict().keys() == model.state_dict().keys()


def test_norms_take_a_single_value_within_the_block():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False))
    one, more = torch.rand(1, 3, 2, 2), torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="more than 1 value"), tu.single_values(model[:2], 2):  # not of one image
        model[:2](one)
    before = model[1].running_mean.clone()
    with tu.single_values(model[:2], 1):
        got = model[:2](one)
        assert torch.equal(got, model[:2].eval()(one)) and torch.equal(model[1].running_mean, before)
        model.train()
        model[:2](more)  # has a variance, and is learnt from as ever
    assert not torch.equal(model[1].running_mean, before)
    assert model[1].training and not model[1]._forward_hooks and not model[1]._forward_pre_hooks


# ------------------------------------------------------------------------------------------------- fusing and counting


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_fused_convolutions_compute_the_same(bias, groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, groups=groups, bias=bias)
    deconv = nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1, groups=groups, bias=bias)
    model = randomised(nn.Sequential(conv, nn.BatchNorm2d(12), deconv, nn.BatchNorm2d(8)))
    fused = nn.Sequential(tu.fuse_conv_and_bn(conv, model[1]), tu.fuse_deconv_and_bn(deconv, model[3]))
    x = torch.rand(2, 8, 11, 13)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in fused.parameters())


def test_flops_are_exact_and_leave_the_model_alone():
    model = Small().train()
    model(torch.rand(2, 3, 64, 96))
    before, cache = copy.deepcopy(model.state_dict()), model.cache
    values = 8 * 32 * 48
    want = 2 * 27 * values / 1e9  # of the convolution; torch's counter has none for a norm
    assert tu.get_flops(model, [64, 96]) == pytest.approx(want, rel=1e-9)
    assert tu.get_flops(model, 64) == pytest.approx(want * 2 / 3, rel=1e-9)
    assert tu.get_flops(model, [64]) == tu.get_flops(model, 64)
    assert model.training
    assert model.cache is cache
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_flops_of_a_module_that_reads_values():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) * (1.0 if x.sum().item() > 0 else 2.0)

    assert tu.get_flops(Reads(), 32) == pytest.approx(2 * 3 * 4 * 32 * 32 / 1e9)


def test_flops_of_a_layer_that_takes_other_channels_than_an_image():
    conv = nn.Conv2d(16, 8, 1)
    for flops in tu.get_flops(conv, [32]), tu.get_flops_with_torch_profiler(conv, [32]):
        assert flops == pytest.approx(2 * 16 * 8 * 32 * 32 / 1e9)


@pytest.mark.parametrize(
    ("name", "whole", "fused"), [("yolo11n", 6.612, 6.4812), ("yolo11n-GhostConv", 5.8252, 5.6944)]
)
def test_gflops_of_models_are_those_of_the_reference(name, whole, fused):
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel(f"{name}.yaml", verbose=False)
    assert tu.get_flops(model, 640) == pytest.approx(whole, rel=0.015)
    assert tu.get_flops(model.fuse(), 640) == pytest.approx(fused, rel=0.015)


def test_model_info_counts(monkeypatch):
    lines = []
    monkeypatch.setattr(tu.LOGGER, "info", lines.append)
    model = Small()
    model.conv.weight.requires_grad_(False)
    assert tu.model_info(model, imgsz=32, detailed=True)[:3] == (4, 232, 16)
    assert "Small summary: 4 layers, 232 parameters, 16 gradients" in lines[-1]
    assert len(lines) == 1 + 3 + 1
    assert tu.model_info(model, verbose=False) is None


def test_model_info_names_the_yaml_that_was_built(monkeypatch):
    from ultralytics.nn.tasks import DetectionModel

    lines = []
    monkeypatch.setattr(tu.LOGGER, "info", lines.append)
    tu.model_info(DetectionModel("yolov8n.yaml", verbose=False), imgsz=32)
    tu.model_info(DetectionModel({"nc": 1, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": []}, verbose=False))
    assert [line.split(" summary")[0] for line in lines] == ["YOLOv8n", "DetectionModel"]


def test_scale_img_pads_to_the_stride():
    x = torch.rand(1, 3, 64, 96)
    assert tu.scale_img(x, 1.0) is x
    assert tu.scale_img(x, 0.67, gs=32).shape == (1, 3, 64, 96)
    assert tu.scale_img(x, 0.5, same_shape=True).shape == x.shape


def test_profile_goes_on_after_a_failure():
    rows = tu.profile(
        torch.rand(1, 3, 16, 16), [nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)], n=1, device=torch.device("cpu")
    )
    assert tu.profile(torch.rand(1, 64, 8, 8), nn.BatchNorm2d(64), n=1, device=torch.device("cpu"))[0][1] == 0
    assert rows[0][0] == 16
    assert rows[0][-1] == (1, 4, 16, 16)
    assert rows[1] is None
