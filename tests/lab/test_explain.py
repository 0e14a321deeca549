"""Heat maps and receptive fields: of hand-made models where they are known, of all tasks, and as a command."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fill import fill
from ultralytics.cli import main
from ultralytics.lab import explain as lab
from ultralytics.lab.explain import Explainer, eigen_cam, explain, heat_of, layer_cam, onto_original, target_of
from ultralytics.lab.receptive_field import ReceptiveField, noise, receptive_fields, settle_norms
from ultralytics.models.yolo.model import YOLO
from ultralytics.utils.errors import ConfigError

SMALL = {
    "detect": "yolo11n.yaml",
    "segment": "yolo11n-seg.yaml",
    "pose": "yolo11n-pose.yaml",
    "obb": "yolo11n-obb.yaml",
    "classify": "yolo11n-cls.yaml",
}


def pattern(h: int = 5, w: int = 7) -> torch.Tensor:
    return torch.rand(h, w, generator=torch.Generator().manual_seed(0))


# Heat maps ------------------------------------------------------------------------------------------------------------


def test_eigen_cam_finds_what_channels_share():
    """All channels are multiples of one pattern, some negative: the map is that pattern, centred, up to its scale."""
    p = pattern()
    strong = eigen_cam(torch.stack([3 * p, -0.5 * p, 2 * p]))
    expected = (p - p.mean()) * (3**2 + 0.5**2 + 2**2) ** 0.5
    torch.testing.assert_close(strong, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(eigen_cam(torch.stack([-p, -2 * p])), (p - p.mean()) * 5**0.5, atol=1e-5, rtol=1e-5)
    assert not eigen_cam(torch.ones(3, 4, 4)).any()  # nothing varies


def test_layer_cam_of_a_linear_model():
    """The score is w1 a1 - w2 a2: only the first channel speaks for it, with its weight."""
    a = torch.stack([pattern(), pattern() + 1]).requires_grad_(True)
    (gradient,) = torch.autograd.grad((2 * a[0] - a[1]).sum(), a)
    torch.testing.assert_close(layer_cam(a, gradient), 2 * pattern())
    assert heat_of(layer_cam(a, gradient)).max() == pytest.approx(1)


class Spots(nn.Module):
    """A detector whose one layer copies the red channel and whose head says where it is strongest."""

    task, names, stride = "detect", {0: "spot", 1: "other"}, torch.tensor([1.0])

    def __init__(self):
        super().__init__()
        copy, head = nn.Conv2d(3, 2, 1, bias=False), self.Head()
        with torch.no_grad():
            copy.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]])[..., None, None])
        self.model = nn.Sequential(copy, head)
        for i, m in enumerate(self.model):
            m.i, m.f, m.span = i, -1, 1

    class Head(nn.Module):
        def forward(self, x):
            scores = (x.flatten(2) * 4 - 2).sigmoid()
            b, _, n = scores.shape
            h, w = x.shape[2:]
            at = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1]).flatten(1)
            boxes = torch.cat((at.float() + 0.5, torch.full((2, n), 6.0)))
            return torch.cat((boxes.expand(b, -1, -1), scores), 1), [x]

    def forward(self, x):
        return self.model(x)


def spotted() -> np.ndarray:
    """Return an image with a red spot left and a blue one right (BGR)."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[30, 20], image[40, 100] = (0, 0, 255), (255, 0, 0)
    return image


@pytest.mark.parametrize(("classes", "at"), [([0], (30, 20)), ([1], (40, 100))])
def test_layer_cam_lies_on_what_was_found_of_a_class(classes, at):
    """The spots are single pixels, the input is as large as the image: the heat is there and nowhere else."""
    yolo = YOLO("yolo11n.yaml")
    yolo.model = Spots()
    explainer = Explainer(yolo, "layercam", imgsz=(64, 128), conf=0.5, classes=classes)
    found = explainer.explain("a.png", [spotted()])
    assert [*found.heat] == [0] and len(found.result) == 1
    assert np.argwhere(found.heat[0] > 0.5).tolist() == [[*at]]
    assert found.heat[0].sum() == pytest.approx(1, abs=1e-4)
    assert found.row()["heat in boxes"] == pytest.approx(1, abs=1e-3)
    assert found.boxes().sum() == 36  # the box is 6 x 6 pixels


def test_nothing_found_is_said(work_dir, caplog):
    yolo = YOLO("yolo11n.yaml")
    yolo.model = Spots()
    with caplog.at_level("WARNING"):
        rows = explain(yolo, np.zeros((64, 64, 3), np.uint8), "layercam", save_dir="e", imgsz=64, conf=0.5)
    assert "nothing was found" in caplog.text and "heat in boxes" not in rows[0]
    assert (work_dir / "e" / rows[0]["file"]).is_file()


def test_the_target_is_the_logit():
    """However near a score is to 1, its gradient does not fade; a classifier's classes may be chosen."""
    logits = torch.tensor([[2.0, 9.0, -1.0]], requires_grad=True)
    result = SimpleNamespace(probs=SimpleNamespace(top1=1))
    (gradient,) = torch.autograd.grad(target_of(logits.softmax(1), result), logits)
    assert gradient[0, 1].item() == pytest.approx(1, rel=1e-3)
    (gradient,) = torch.autograd.grad(target_of(logits.softmax(1), result, [0, 2]), logits)
    assert (gradient[0, [0, 2]] > 0.9).all() and gradient[0, 1] < 0


def test_heat_goes_back_where_it_came_from():
    letterboxed = np.zeros((64, 64), np.float32)
    letterboxed[16:48, 32:] = 1  # of an image twice as wide as high
    back = onto_original(letterboxed, (100, 200))
    assert back[:, :98].max() < 0.01 and back[:, 102:].min() > 0.99
    cut = onto_original(np.ones((32, 32), np.float32), (100, 200), cut=1.0)
    assert cut[:, 50:150].min() == 1 and cut.sum() == 100 * 100


@pytest.mark.parametrize("method", lab.METHODS)
@pytest.mark.parametrize("task", SMALL)
def test_all_tasks(task, method, work_dir):
    """Images of the original size under a path that is not ASCII, one panel each: found, together, layers."""
    yolo = YOLO(SMALL[task])
    fill(yolo.model)
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8))
    (work_dir / "图").mkdir()
    (work_dir / "a.png").rename("图/火.png")
    rows = explain(yolo, "图", method, [4, 6], "热图", imgsz=64, conf=0.001, max_det=5)
    drawn = cv2.imdecode(np.fromfile(f"热图/{rows[0]['file']}", np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (60 + 18, 4 * 100 + 3 * 4, 3) and rows[0]["file"] == "火.png"
    assert "火.png" in (work_dir / "热图/summary.csv").read_text(encoding="utf-8-sig")
    if task != "classify":
        assert 0 < rows[0]["heat in boxes"] <= 1 and rows[0]["boxes cover"] <= 1


@pytest.mark.parametrize("name", ["ghostnetv1-cls.yaml", "yolo11n-GhostNetV2.yaml"])
def test_layers_of_a_backbone_on_one_line(name):
    """Each map of a backbone, and each block of a network, can be looked at; what the head reads is the default."""
    explainer = Explainer(name, "eigencam", [1, 3], imgsz=64)
    found = explainer.explain("a.png", [np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)])
    assert [*found.heat] == [1, 3]
    explainer.layers = None
    last = [9] if "cls" in name else [12, 15, 18]
    assert [*explainer.explain("a.png", [np.zeros((64, 64, 3), np.uint8)]).heat] == last


def test_layers_without_a_map_are_named():
    explainer = Explainer("yolo11n.yaml", layers=[23], imgsz=64)
    with pytest.raises(ConfigError, match=r"layer 23 gives no feature map. Choose from 0 to 22"):
        explainer.explain("a.png", [np.zeros((64, 64, 3), np.uint8)])
    with pytest.raises(ConfigError, match=r"method='eigencan' is not known.*eigencam"):
        Explainer("yolo11n.yaml", "eigencan")


# Receptive fields -----------------------------------------------------------------------------------------------------


def convolutions(*kernels: tuple[int, int, int]) -> nn.Module:
    """Return layers of kernel, stride and dilation, without activation."""
    layers = nn.Sequential(*(nn.Conv2d(3, 3, k, s, d * (k // 2), d) for k, s, d in kernels))
    for i, layer in enumerate(layers):
        layer.i, layer.f, layer.span = i, -1, 1
    return fill(layers)


@pytest.mark.parametrize(
    ("kernels", "side", "stride"),
    [
        (((3, 1, 1),), 3, 1),
        (((1, 1, 1),), 1, 1),
        (((3, 1, 1), (3, 1, 1)), 5, 1),
        (((3, 2, 1), (3, 2, 1)), 7, 4),
        (((3, 1, 3),), 7, 1),
        (((7, 1, 1), (1, 1, 1)), 7, 1),
    ],
)
def test_the_field_of_convolutions_is_their_kernels(kernels, side, stride):
    found = receptive_fields(convolutions(*kernels), noise(2, 3, (32, 32)), [len(kernels) - 1])[0]
    assert (found.width, found.height, found.stride, found.cut) == (side, side, stride, False)
    rows, columns = np.nonzero(found.energy)
    assert rows.min() == columns.min() == 16 - side // 2  # the middle unit's window
    assert found.energy.sum() == pytest.approx(1)
    assert found.radii[0] <= found.radii[1] <= side


def test_the_energy_of_one_kernel():
    """Of a linear layer the energy of a pixel is known: the squared weights, summed over outputs first."""
    model = convolutions((3, 1, 1))
    found = receptive_fields(model, noise(3, 3, (9, 9)), [0])[0]
    expected = model[0].weight.detach().double().sum(0).square().sum(0).numpy()
    np.testing.assert_allclose(found.energy[3:6, 3:6], expected / expected.sum(), rtol=1e-6)


def test_the_radii_of_a_bell():
    """A Gaussian of sigma 6 holds 50 % within 1.177 sigma and 95 % within 2.448 sigma, around its own middle."""
    y, x = np.mgrid[:101, :121]
    bell = np.exp(-((x - 70) ** 2 + (y - 40) ** 2) / (2 * 6**2))
    found = ReceptiveField.of(0, "", 1, bell)
    assert found.centre == pytest.approx((70, 40), abs=0.01)
    assert found.radii == pytest.approx((6 * 1.177, 6 * 2.448), abs=0.6)
    assert ReceptiveField.of(0, "", 1, np.zeros((4, 4))).radii == (0, 0)


def test_a_field_that_reaches_the_border_may_be_larger():
    found = receptive_fields(convolutions((7, 1, 1)), noise(1, 3, (6, 6)), [0])[0]
    assert found.cut and found.row()["sees, w x h"] == "6x6 or more"


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolo11n-GhostConv.yaml", "yolo11n-cls.yaml"])
def test_fused_and_unfused_see_the_same(name):
    yolo = YOLO(name)
    model, images = yolo.model.eval().requires_grad_(False), noise(2, 3, (96, 96))
    settle_norms(model, images)
    assert not model.training and not any(m.training for m in model.modules())
    before = receptive_fields(model, images, [2, 4])
    after = receptive_fields(model.fuse(verbose=False), images, [2, 4])
    for a, b in zip(before, after):
        assert (a.layer, a.stride) == (b.layer, b.stride)
        np.testing.assert_allclose(a.energy, b.energy, atol=1e-3 * a.energy.max())
    assert before[0].radii[1] < before[1].radii[1]  # deeper layers see more


# Command --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_as_a_process(work_dir):
    cv2.imwrite("a.jpg", np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8))
    words = ["model=yolo11n.yaml", "source=a.jpg", "imgsz=64", "layers=[4,", "6]", "conf=0.0", "max_det=3"]
    words = ["explain", *words, "project=runs", "name=e"]
    run = subprocess.run([sys.executable, "-m", "ultralytics", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "heat in boxes" in run.stdout and (work_dir / "runs/e/a.png").is_file()


def test_the_receptive_field_command(work_dir, capsys):
    words = ["explain", "model=yolo11n.yaml", "receptive_field=true", "layers=[2,4]", "imgsz=96", "samples=1"]
    assert main([*words, "project=runs", "name=rf"]) == 0
    out = capsys.readouterr().out
    assert "radius of 95%" in out and "63x63" in out
    assert cv2.imread("runs/rf/receptive_field.png") is not None
    assert (work_dir / "runs/rf/receptive_field.csv").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("source=a.jpg", "needs model="),
        ("model=yolo11n.yaml", "needs source="),
        ("model=yolo11n.yaml sorce=a.jpg", "Did you mean 'source'"),
        ("model=yolo11n.yaml source=a.jpg layers=four", "is no list of indices"),
        ("model=yolo11n.yaml receptive_field=true samples=0", "samples=0 is no number"),
        ("model=yolo11n.yaml receptive_field=true conf=0.5", "'conf' is for heat maps"),
        ("model=yolo11n.yaml receptive_field=true source=a.jpg", "'source' is for heat maps"),
        ("model=yolo11n.yaml source=a.jpg samples=3", "is for the receptive field"),
        ("model=yolo11n.yaml source=a.jpg method=gradcam", "method='gradcam' is not known"),
    ],
)
def test_mistakes_get_a_sentence(words, said, work_dir, capsys):
    assert main(["explain", *words.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(work_dir.iterdir())  # no folder is left behind


def test_usage(capsys):
    assert main(["explain"]) == 0
    assert "receptive_field=true" in capsys.readouterr().out


def test_means_are_over_images_in_which_something_was_found():
    rows = [{"image": "a", "boxes cover": 0.4, "heat in boxes": 0.8}, {"image": "b", "boxes cover": 0.0}]
    assert lab.table(rows).splitlines()[-1].split() == ["mean", "0.400", "0.800"]
