"""Users' variants of built-in modules: what they do not change stays, whatever their names and wherever they stand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_model
from torch import nn

from ultralytics import YOLO
from ultralytics.nn import own_modules, tasks
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.nn.modules import OBB, C2f, C3k2, Conv, Detect, Pose, Segment
from ultralytics.nn.registry import REGISTRY, register
from ultralytics.nn.tasks import DetectionModel, describe, guess_model_task, parse_model, yaml_model_load
from ultralytics.nn.transfer import transfer
from ultralytics.utils.errors import ModelError
from ultralytics.utils.system.logger import say_once


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch):
    """Forget what a test registers, puts into `nn.tasks` or has said."""
    monkeypatch.setattr(own_modules, "LOADED", {})
    say_once.cache_clear()
    registry, names = dict(REGISTRY), dict(vars(tasks))
    yield
    REGISTRY.clear()
    REGISTRY.update(registry)
    for name in [*vars(tasks)]:
        if name not in names:
            delattr(tasks, name)
        elif vars(tasks)[name] is not names[name]:
            setattr(tasks, name, names[name])


class C3k2_X(C3k2):
    """The same under another name."""


class PartialConv(nn.Module):
    """FasterNet's block (arXiv 2303.03667): a 3x3 convolution of a quarter of the channels, then two 1x1 ones."""

    def __init__(self, c: int):
        super().__init__()
        self.part = nn.Conv2d(c // 4, c // 4, 3, 1, 1, bias=False)
        self.mlp = nn.Sequential(Conv(c, 2 * c), nn.Conv2d(2 * c, c, 1, bias=False))

    def forward(self, x):
        y = torch.cat((self.part(x[:, : x.shape[1] // 4]), x[:, x.shape[1] // 4 :]), 1)
        return x + self.mlp(y)


class C3k2_Faster(C3k2):
    """C3k2 whose `m` alone is another, as tutorials write it."""

    def __init__(self, c1, c2, n=1, c3k=False, e=0.5, g=1, shortcut=True):
        super().__init__(c1, c2, n, c3k, e, g, shortcut)
        self.m = nn.ModuleList(PartialConv(self.c) for _ in range(n))


class C3k2_Alone(nn.Module):
    """No subclass, but the same signature."""

    def __init__(self, c1, c2, n=1, c3k=False, e=0.5, g=1, shortcut=True):
        super().__init__()
        self.inner = C3k2(c1, c2, n, c3k, e, g, shortcut)

    def forward(self, x):
        return self.inner(x)


class C2f_Own(C2f):
    """Of YOLOv8's kind."""

    def __init__(self, c1, c2, n=1, shortcut=False, e=0.5):
        super().__init__(c1, c2, n, shortcut, 1, e)


def variant(name: str, scale: str = "n", base: str = "yolo11n.yaml", **keys) -> dict:
    """Return YOLO11 with other names in the place of every C3k2."""
    d = yaml_model_load(base)
    for part in ("backbone", "head"):
        d[part] = [[f, n, name if m == "C3k2" else m, args] for f, n, m, args in d[part]]
    return {**d, "scale": scale, **keys}


def shapes(layers: nn.Module) -> list:
    return [(k, v.shape) for k, v in layers.state_dict().items()]


def built(d: dict) -> nn.Sequential:
    return parse_model(d, ch=3, verbose=False)[0]


@pytest.mark.parametrize("scale", "nsmlx")
def test_a_subclass_is_the_same_network_at_all_scales(scale):
    tasks.C3k2_X = C3k2_X
    with torch.device("meta"):
        layers = built(variant("C3k2_X", scale))
        assert shapes(layers) == shapes(built({**yaml_model_load("yolo11n.yaml"), "scale": scale}))
    assert {type(m).__name__ for m in layers if isinstance(m, C3k2)} == {"C3k2_X"}
    assert not layers[-1].legacy


@pytest.mark.parametrize("scale", "nm")
def test_another_inner_block_changes_nothing_else(scale):
    register(C3k2_Faster)
    with torch.device("meta"):
        mine, theirs = built(variant("C3k2_Faster", scale)), built({**yaml_model_load("yolo11n.yaml"), "scale": scale})
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs):
        if isinstance(b, C3k2):
            assert a.c3k is b.c3k and len(a.m) == len(b.m) and all(isinstance(m, PartialConv) for m in a.m)
            assert shapes(a.cv1) == shapes(b.cv1) and shapes(a.cv2) == shapes(b.cv2)
        else:
            assert type(a) is type(b) and shapes(a) == shapes(b)
    assert {m.c3k for m in mine if isinstance(m, C3k2)} == ({True, False} if scale == "n" else {True})


def test_an_own_class_with_the_signature_of_c3k2_counts_as_one(caplog):
    tasks.C3k2_Alone = C3k2_Alone
    layers = built(variant("C3k2_Alone", "m"))
    assert all(m.inner.c3k for m in layers if isinstance(m, C3k2_Alone)) and not layers[-1].legacy
    assert sum(p.numel() for p in layers.parameters()) == 20_114_688
    built(variant("C3k2_Alone", "n"))
    assert caplog.text.count("The head is YOLO11's, since C3k2_Alone is a kind of C3k2") == 1, "said once"


def test_the_kind_of_head_is_said_where_it_hangs_on_an_own_class(caplog):
    register(C2f_Own)
    assert built(variant("C2f_Own"))[-1].legacy
    assert "The head is YOLOv8's, since C2f_Own is no kind of C3k2" in caplog.text
    caplog.clear()
    say_once.cache_clear()
    assert not built(variant("C2f_Own", legacy=False))[-1].legacy
    assert built({**yaml_model_load("yolo11n.yaml"), "legacy": True})[-1].legacy
    built(yaml_model_load("yolo11n.yaml"))
    built(yaml_model_load("yolov8n.yaml"))
    assert "head" not in caplog.text, "what is written, or built in, needs no word"


def test_checkpoints_know_the_kind_of_head(tmp_path):
    register(C2f_Own)
    d = {
        "nc": 2,
        "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "C2f_Own", [16]]],
        "head": [[[0, 1], 1, "Detect", ["nc"]]],
    }
    for legacy in (True, False):
        model = DetectionModel({**d, "legacy": legacy}, verbose=False)
        del model.yaml["legacy"]
        model.args = {}
        save_checkpoint(tmp_path / "w.pt", describe(model))
        assert load_checkpoint(tmp_path / "w.pt")["yaml"]["legacy"] is legacy
        assert YOLO(tmp_path / "w.pt").model.model[-1].legacy is legacy


def test_own_heads_follow_the_model():
    """A head with the signature of 8.3.0, which knows no `legacy`."""

    class OwnDetect(Detect):
        def __init__(self, nc=80, ch=()):
            super().__init__(nc, ch)

    class OwnSegment(Segment):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    tasks.OwnDetect, tasks.OwnSegment = OwnDetect, OwnSegment
    for base, head, own in (("yolo11n", "Detect", "OwnDetect"), ("yolov8n-seg", "Segment", "OwnSegment")):
        d = yaml_model_load(f"{base}.yaml")
        mine = {**d, "head": [[f, n, own if m == head else m, args] for f, n, m, args in d["head"]]}
        with torch.device("meta"):
            assert shapes(built(mine)) == shapes(built(d))
        assert guess_model_task(mine) == guess_model_task(d)


@pytest.mark.parametrize("name", ["Detect", "Segment", "Pose", "OBB", "Classify"])
def test_the_task_follows_the_heads_class(name):
    register(type("OwnHead", (getattr(tasks, name),), {}))
    assert guess_model_task({"backbone": [], "head": [[-1, 1, "OwnHead", []]]}) == guess_model_task(
        {"backbone": [], "head": [[-1, 1, name, []]]}
    )


def test_names_replaced_in_tasks(caplog):
    class Mine(C3k2):
        pass

    class Bare(nn.Module):
        """A class in the place of C3k2 that has neither its base nor its parameters."""

        def __init__(self, c1, c2, n=1, shortcut=False, e=0.5):
            super().__init__()
            self.conv = Conv(c1, c2)

        def forward(self, x):
            return self.conv(x)

    for cls in (Mine, Bare):
        tasks.C3k2 = cls
        model = DetectionModel("yolo11n.yaml", verbose=False)
        assert type(model.model[2]) is cls and not model.model[-1].legacy
        assert caplog.text.count(f"{cls.__name__} of {__name__}, which takes the place of the built-in one") == 1
    tasks.C3k2 = C3k2
    assert type(DetectionModel("yolo11n.yaml", verbose=False).model[2]) is C3k2
    tasks.SPPF = tasks.Conv
    assert type(built(yaml_model_load("yolo11n.yaml"))[9]) is Conv


OWN = """
from torch import nn
from ultralytics.nn import register


@register
class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1):
        super().__init__()
        self.mine = nn.Conv2d(c1, c2, k, s, k // 2)

    def forward(self, x):
        return self.mine(x)
"""


def test_an_own_class_with_a_built_in_name_wins(tmp_path, caplog):
    @register
    class SPPF(nn.Module):
        def __init__(self, c1, c2, k=5):
            super().__init__()
            self.conv = Conv(c1, c2)

        def forward(self, x):
            return self.conv(x)

    layers = built(yaml_model_load("yolo11n.yaml"))
    assert type(layers[9]) is SPPF and caplog.text.count("takes the place of the built-in one") == 1
    with pytest.raises(ValueError, match="named 'SPPF' is registered already"):
        register(type("SPPF", (nn.Module,), {}))
    (tmp_path / "mine.py").write_text(OWN)
    yaml = Path(tiny_model(tmp_path))
    plain = DetectionModel(yaml, verbose=False)
    yaml.write_text("modules: [mine.py]\n" + yaml.read_text())
    model = YOLO(yaml, trust_modules=True).model
    assert type(model.model[0]).__module__.startswith("own_mine") and type(plain.model[0]) is Conv
    assert type(built(yaml_model_load("yolo11n.yaml"))[0]) is Conv, "other models keep the built-in one"


def test_constructors_that_pass_all_on():
    class PassOn(C3k2):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    register(PassOn)
    with torch.device("meta"):
        assert shapes(built(variant("PassOn", "m"))) == shapes(built({**yaml_model_load("yolo11n.yaml"), "scale": "m"}))


def test_weights_go_over_to_a_variant():
    tasks.C3k2_X = C3k2_X
    source, target = DetectionModel("yolo11n.yaml", verbose=False), DetectionModel(variant("C3k2_X"), verbose=False)
    report = transfer(source, target)
    assert report.taken == sum(v.numel() for v in source.state_dict().values())


def test_methods_of_heads_that_subclasses_replace():
    class OwnPose(Pose):
        def kpts_decode(self, bs, kpts):
            assert self.anchors.shape[0] == 2 and self.strides.shape[0] == 1
            return super().kpts_decode(bs, kpts) + 1

    class OwnOBB(OBB):
        def decode_bboxes(self, bboxes, anchors):
            return super().decode_bboxes(bboxes, anchors) * 0 + self.angle.abs().max()

    x = [torch.rand(2, 8, 4, 6), torch.rand(2, 8, 2, 3)]
    for kind, own, args in ((Pose, OwnPose, (1, (3, 2))), (OBB, OwnOBB, (1, 1))):
        a, b = kind(*args, (8, 8)).eval(), own(*args, (8, 8)).eval()
        b.load_state_dict(a.state_dict())
        a.stride.copy_(torch.tensor([8.0, 16.0]))
        b.stride.copy_(a.stride)
        before = {*vars(b)}
        with torch.no_grad():
            old, new = a(x)[0], b(x)[0]
        if kind is Pose:
            torch.testing.assert_close(new[:, 5:], old[:, 5:] + 1)
        else:
            assert torch.equal(new[:, 4:], old[:, 4:]) and new[:, :4].std() > 0 and not torch.equal(new, old)
        assert {*vars(b)} == before, "nothing stays on the head"


# Errors name the layer that caused them -------------------------------------------------------------------------------


def broken(cls: type, args: list) -> str:
    tasks.Broken = cls
    d = {
        "nc": 2,
        "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Broken", args], [-1, 1, "nn.Identity", []]],
        "head": [[-1, 1, "Conv", [16, 3, 2]], [[2, 3], 1, "Detect", ["nc"]]],
    }
    with pytest.raises(ModelError) as e:
        DetectionModel(d, verbose=False)
    return str(e.value)


def test_a_layer_that_gives_other_channels_than_it_says():
    class Wider(nn.Module):
        def __init__(self, c1, k=1):
            super().__init__()
            self.conv = nn.Conv2d(c1, 2 * c1, k)

        def forward(self, x):
            return self.conv(x)

    said = broken(Wider, [1])
    assert said.startswith(
        "model (layer 1: [-1, 1, Broken, [1]]): it was given (1, 16, 128, 128) and gives (1, 32, 128, "
    )
    assert "where 16 channels were expected, so that layer 3 fails" in said and "self.out_channels" in said


def test_assertions_without_text():
    class Odd(nn.Module):
        def __init__(self, c1, c2):
            super().__init__()
            if c1 % 3:
                raise AssertionError

    class Later(nn.Module):
        def __init__(self, c1):
            super().__init__()

        def forward(self, x):
            if x.shape[1] != 7:
                raise AssertionError
            return x

    said = broken(Odd, [16])
    assert "layer 1: [-1, 1, Broken, [16]]" in said
    assert f"AssertionError in {Path(__file__).name} line" in said and "`raise AssertionError`" in said
    said = broken(Later, [])
    assert "layer 1: " in said and "(1, 16, 128, 128)" in said and "`raise AssertionError`" in said


def test_nothing_is_left_in_the_package():
    assert "Broken" not in vars(tasks) and "own_mine" not in sys.modules
