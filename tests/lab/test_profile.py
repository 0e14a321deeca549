"""Costs of models: counted by PyTorch, adding up layer by layer, with what cannot be counted named."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import zoo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ultralytics import YOLO
from ultralytics.cfg import find_model_yaml, model_yamls
from ultralytics.lab import profile_run
from ultralytics.lab.profile import MB, cost_of, load_model, profile
from ultralytics.lab.profile_report import layer_table, model_table, unknown_text, write_csv
from ultralytics.utils import flops
from ultralytics.utils.errors import ConfigError, MissingFileError, ModelError
from ultralytics.utils.torch_utils import get_num_params

OWN_MODULES = """
import torch
from torch import nn
from ultralytics.nn import register

@torch.library.custom_op("profiletest::secret", mutates_args=())
def secret(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@register
class Secret(nn.Module):
    def forward(self, x):
        return secret(secret(x))

@register
class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:])
"""
OWN_MODEL = """
modules: [own_blocks.py]
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Secret, []]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Spectrum, []]
head:
  - [[3], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def yolo11n():
    return profile(zoo.build("yolo11n"), 640, name="yolo11n")


# Counting -------------------------------------------------------------------------------------------------------------


def test_known_figures_of_yolo11n(yolo11n):
    c = yolo11n.cost
    assert (c.params, c.params_fused) == (2_624_080, 2_616_248)
    assert c.gflops == c.gflops_fused == pytest.approx(6.5425024, abs=1e-12)
    assert c.gmacs == c.gflops / 2
    assert c.size_bytes == round(c.size_mb * MB) and 5.2e6 < c.size_bytes < 5.6e6
    assert len(yolo11n.layers) == 24 and (yolo11n.task, yolo11n.nc) == ("detect", 80)


def test_a_pass_with_weights_counts_the_same(yolo11n):
    """PyTorch's counter alone on a real pass at a size that is not square."""
    model = zoo.build("yolo11n", nc=3).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 96, 160))
    assert cost_of(model, [96, 160]).gflops == counter.get_total_flops() / 1e9


NAMES = (
    "yolo11n yolo11n-seg yolo11n-pose yolo11n-GhostConv-obb yolo11n-GhostConv-cls yolo11n-GhostNetV1 yolov8n-ghost-p6"
)


@pytest.mark.parametrize(
    "name", [*NAMES.split(), *(pytest.param(name, marks=pytest.mark.slow) for name in model_yamls())]
)
def test_layers_add_up_in_every_model(name):
    model = zoo.build(name, nc=3)
    found = profile(model, 128)
    rows, c = found.layers, found.cost
    assert (sum(r.params for r in rows), sum(r.params_fused for r in rows)) == (c.params, c.params_fused)
    assert c.params == get_num_params(model)
    assert sum(r.flops for r in rows) == round(c.gflops * 1e9) > 0
    assert sum(r.flops_fused for r in rows) == round(c.gflops_fused * 1e9) > 0
    assert sum(r.memory for r in rows) == c.memory_mb * MB
    assert max(r.peak for r in rows) == c.peak_mb * MB
    assert len(rows) == len(model.yaml["backbone"]) + len(model.yaml["head"])
    assert not found.unknown
    assert all(r.line for r in rows)
    assert not model.is_fused()


def test_a_backbone_of_several_outputs_is_one_row():
    model = zoo.build("yolo11n-GhostNetV2")
    first, second, *_ = profile(model, 64).layers
    assert (first.index, first.module, first.source) == ("0-4", "Ghostnetv2", -1)
    assert [s[2:] for s in first.shapes] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    assert first.params == get_num_params(model.model[0])
    assert second.index == "5"


def test_lines_are_those_of_the_yaml(yolo11n):

    lines = find_model_yaml("yolo11n.yaml").read_text(encoding="utf-8").splitlines()
    for row in yolo11n.layers:
        assert f"{row.module}, [" in lines[row.line - 1]
        assert row.text.startswith(f"[{row.source}, ")
    assert yolo11n.layers[12].source == [-1, 6]


def test_a_description_that_differs_from_its_file_has_no_lines():
    model = zoo.build("yolo11n")
    model.yaml["head"][-1] = [[16, 19, 22], 1, "Detect", [7]]
    assert {row.line for row in profile(model, 64).layers} == {None}


class Chain(nn.Module):
    def forward(self, x):
        y = x + 1
        y.mul_(2)
        z = y.view(1, -1)[:, :4]
        del y
        return z * 3


def test_memory_of_a_known_chain():
    """Two results are made (3 x 8 x 8 and 4 numbers); changes in place and views are none."""
    found = flops.count_forward(Chain(), 8)
    whole, last = 3 * 8 * 8 * 4, 4 * 4
    assert (found.memory, found.peak) == (whole + last, 2 * whole + last)


def test_memory_is_that_of_a_pass_with_weights():
    model = zoo.build("yolo11n-GhostConv", nc=3).fuse(verbose=False)
    shapes_only = flops.count_forward(model, 64)
    with torch.no_grad():
        real = flops._count(model, "cpu", model, (1, 3, 64, 64), ())
    assert (shapes_only.flops, shapes_only.memory, shapes_only.peak) == (real.flops, real.memory, real.peak)


# Operators that the counter does not know -----------------------------------------------------------------------------


def test_unknown_operators_of_own_modules_are_listed(tmp_path):
    (tmp_path / "own_blocks.py").write_text(OWN_MODULES, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(OWN_MODEL, encoding="utf-8")
    found = profile(load_model(tmp_path / "own.yaml", trust_modules=True), 64, name="own")
    secret, spectrum = found.layers[1], found.layers[3]
    assert secret.unknown == {"profiletest::secret": 2} and secret.flops == 0
    assert set(spectrum.unknown) == {"aten::_fft_r2c", "aten::_fft_c2r"}
    assert not any(found.layers[i].unknown for i in (0, 2, 4))
    text = unknown_text(found)
    assert "profiletest::secret (2 calls, layer 1)" in text and "aten::_fft_r2c (1 call, layer 3)" in text
    assert [line.split()[7] for line in layer_table(found).splitlines() if "0.0000*" in line] == ["0.0000*"] * 2


@pytest.mark.parametrize(
    ("function", "unknown"),
    [
        (lambda x: torch.mv(x.flatten(0, 2), x.flatten()[:8]), {"aten::mv": 1}),
        (
            lambda x: nn.functional.grid_sample(x, x.new_zeros(1, 2, 2, 2), align_corners=False),
            {"aten::grid_sampler_2d": 1},
        ),
        (lambda x: torch.cdist(x[0], x[0]), {"aten::_cdist_forward": 1}),
        (lambda x: torch.einsum("bchw,bdhw->bcd", x, x), {}),
        (lambda x: nn.functional.scaled_dot_product_attention(x, x, x), {}),
        (lambda x: nn.functional.gelu(x).softmax(1).max(2).values.sort().values, {}),
        (lambda x: nn.functional.interpolate(nn.functional.pad(x, [1, 1]), scale_factor=2).topk(2).values, {}),
        (lambda x: nn.functional.layer_norm(x.clamp(0, 1).flip(2), (8, 8)).std() + x.amax((2, 3)).mean(), {}),
    ],
)
def test_operators_are_known_or_listed(function, unknown):
    class Calls(nn.Module):
        def forward(self, x):
            return function(x)

    assert flops.count_forward(Calls(), 8).unknown == unknown


def test_products_inside_of_attention_and_einsum_are_counted():
    class Calls(nn.Module):
        def forward(self, x):  # (1, 3, 8, 8): three heads of eight tokens
            return nn.functional.scaled_dot_product_attention(x, x, x), torch.einsum("bchw,bdhw->bcd", x, x)

    assert flops.count_forward(Calls(), 8).flops == 2 * (2 * 3 * 8 * 8 * 8) + 2 * 3 * 3 * 64


def test_info_names_unknown_operators(monkeypatch):
    lines = []
    monkeypatch.setattr("ultralytics.utils.LOGGER.info", lines.append)
    monkeypatch.setattr("ultralytics.utils.LOGGER.warning", lines.append)
    model = zoo.build("yolo11n")
    assert model.info()[1:] == (2_624_080, 2_624_064, pytest.approx(6.5425024))
    assert "6.54 GFLOPs" in lines[-1]
    model.model[11].forward = lambda x: torch.fft.fft2(nn.functional.interpolate(x, scale_factor=2)).real
    model.info()
    assert "Not counted" in lines[-1] and "aten::_fft_c2c (1 call)" in lines[-1]


# Reports --------------------------------------------------------------------------------------------------------------


def test_text_table_adds_up(yolo11n):
    lines = layer_table(yolo11n).splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    assert len(rows) == 24
    assert lines[-1].split() == ["sum", "2,624,080", "2,616,248", "6.5425", "6.5425", *lines[-1].split()[-2:]]
    params = [next(w for w in row[5:] if "x" not in w and "+" not in w) for row in rows]
    assert sum(int(p.replace(",", "")) for p in params) == 2_624_080


def test_models_side_by_side(yolo11n):
    ghost = profile(zoo.build("yolo11n-GhostConv"), 640, name="yolo11n-GhostConv")
    table = model_table([yolo11n, ghost])
    assert "2,298,384 (-12%)" in table and "5.76 (-12%)" in table
    assert "2,624,080" in table.splitlines()[3]


def test_csv_holds_the_layers_and_the_models(yolo11n, tmp_path):
    from ultralytics.lab.latency import Latency

    timed = [Latency("yolo11n", "eager", 12.5, 14.0, 1, "cpu", 20)]
    layers, models = write_csv([yolo11n], timed, tmp_path / "成本.csv")
    rows = list(csv.DictReader(layers.open(encoding="utf-8", newline="")))
    assert sum(int(r["params"]) for r in rows) == 2_624_080
    assert sum(float(r["gflops"]) for r in rows) == pytest.approx(6.5425024)
    assert rows[12]["from"] == "[-1, 6]" and rows[0]["yaml"] == "[-1, 1, Conv, [64, 3, 2]]"
    (row,) = csv.DictReader(models.open(encoding="utf-8", newline=""))
    assert models.name == "成本_models.csv"
    assert (row["params"], row["eager_median_ms"], row["threads"]) == ("2624080", "12.5", "1")


# Command --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_as_a_process(tmp_path):
    words = "model=yolo11n-cls.yaml,yolo11n-GhostConv-cls.yaml imgsz=64 nc=2 rounds=1 runtimes=eager layers=true"
    result = subprocess.run(
        [sys.executable, "-m", "ultralytics", "profile", *words.split(), f"csv={tmp_path / 'c.csv'}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(Path(zoo.__file__).parents[1])},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    out = result.stdout
    assert out.count("layer by layer") == 2 and "classify, 2" in out
    assert "1 thread; 2 runs in 1 rounds" in out
    assert [line.split()[:2] for line in out.splitlines() if " eager " in line] == [
        ["yolo11n-cls", "eager"],
        ["yolo11n-GhostConv-cls", "eager"],
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"c.csv", "c_models.csv"}


def test_command_weighs_a_weight_file(tmp_path, capsys):

    YOLO("yolo11n.yaml").save(tmp_path / "my.pt")
    assert profile_run.main([str(tmp_path / "my.pt"), "imgsz=64", "rounds=0"]) == 0
    out = capsys.readouterr().out
    assert f"{(tmp_path / 'my.pt').stat().st_size:,}" in out and "2,624,080" in out


def test_command_without_words_shows_how(capsys):
    assert profile_run.main([]) == 0
    shown = capsys.readouterr().out
    assert all(key in shown for key in profile_run.DEFAULTS)


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["model=yolo11n.yaml", "imgz=640"], ConfigError, "'imgsz'"),
        (["imgsz=640"], ConfigError, "Which model"),
        (["yolo11n.yaml", "threads=0"], ConfigError, "at least 1"),
        (["yolo11n.yaml", "rounds=many"], ConfigError, "at least 0"),
        (["yolo11n.yaml", "layers=all"], ConfigError, "true or false"),
        (["yolo11n.yaml", "runtimes=eager,openvin"], ConfigError, "'openvino'"),
        (["yolo11n.yaml", "csv=cost.xlsx"], ConfigError, ".csv"),
        (["yolo11n.yaml", "imgsz=big"], ConfigError, "whole number"),
        (["yolo11q.pt"], MissingFileError, "yolo11q.pt"),
        (["yolo12n.yaml"], MissingFileError, "yolo12n.yaml"),
    ],
)
def test_mistakes_are_sentences(words, error, says):
    with pytest.raises(error, match=says.replace(".", r"\.")):
        profile_run.main(words)


def test_nc_is_for_yamls(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(ModelError, match="nc=3"):
        load_model(tmp_path / "a.pt", nc=3)


def test_size_is_brought_to_the_stride_and_named(capsys):
    profile_run.main(["yolo11n.yaml", "imgsz=[60,100]", "rounds=0", "layers=false"])
    assert "64x128 pixels" in capsys.readouterr().out


def test_unknown_counters_add():
    found = flops.Forward(unknown=Counter({"a::b": 3}))
    assert "a::b (3 calls)" in flops.describe_unknown(found.unknown)
