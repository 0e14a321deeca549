"""Model YAMLs: names and scales, one decorator for a new module, and errors that name the line."""

from copy import deepcopy
from inspect import Parameter, Signature

import pytest
import torch
from torch import nn

from ultralytics.nn.modules import C3Ghost, Conv, Ghost, GhostBottleneck
from ultralytics.nn.parse import without_weight_files
from ultralytics.nn.registry import REGISTRY, Bound, register
from ultralytics.nn.tasks import DetectionModel, guess_model_task, parse_model, yaml_model_load
from ultralytics.utils.errors import MissingFileError, ModelError

YAML = """nc: 2
scales:
  n: [0.5, 0.25, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, {module}, {args}]
  - [-1, 1, Conv, [128, 3, 2]]
head:
  - [{source}, 1, Detect, [nc]]
"""


def write(folder, module="Conv", args="[64, 3, 2]", source="[1, 2]", name="own.yaml"):
    file = folder / name
    file.write_text(YAML.format(module=module, args=args, source=source), encoding="utf-8")
    return file


@pytest.fixture
def registered():
    """Let a test register modules; they are gone afterwards."""
    before = dict(REGISTRY)
    yield register
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.parametrize("name", ["yolo11s-GhostConv.yaml", "yolo11s_GhostConv.yaml", "yolo11s-ghostconv.yaml"])
def test_scale_and_spelling_of_names(name):
    d = yaml_model_load(name)
    assert d["scale"] == "s"
    assert d["backbone"][0][2] == "GhostConv"


def test_no_scale_is_n_and_said_once(caplog):
    DetectionModel("yolo11-GhostConv.yaml", verbose=True)
    assert caplog.text.count("names no scale") == 1 and "'n' is taken" in caplog.text


def test_unknown_model_names_the_nearest():
    with pytest.raises(MissingFileError, match=r"yolo11-GhostConv\.yaml"):
        yaml_model_load("yolo11-GhostCon.yaml")


def test_one_decorator_adds_a_module(tmp_path, registered):
    @registered
    class TwiceConv(nn.Module):
        def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1):
            super().__init__()
            self.a, self.b = Conv(c1, c2, k, s), Conv(c2, c2, k)

        def forward(self, x):
            return self.b(self.a(x))

    model = DetectionModel(write(tmp_path, "TwiceConv"), verbose=False)
    assert model.model[1].a.conv.in_channels == 16  # width-scaled by the line before
    assert model.model[1].b.conv.out_channels == 16


def test_signature_rules(tmp_path, registered):
    class Base(nn.Module):
        def forward(self, x):
            return x[0] if isinstance(x, list) else x

    @registered
    class Keep(Base):
        def __init__(self, c1: int, factor: float = 1.0):
            super().__init__()
            self.got = (c1, factor)

    @registered
    class Inner(Base):
        def __init__(self, c1: int, c2: int, n: int = 1):
            super().__init__()
            self.conv, self.got = Conv(c1, c2), (c1, c2, n)

        def forward(self, x):
            return self.conv(x)

    @registered
    class Sources(Base):
        def __init__(self, flag: bool, ch: list):
            super().__init__()
            self.got = (flag, ch)

    @registered(bind=lambda context, args: Bound([context.c1 * 2], context.c1))
    class Odd(Base):
        def __init__(self, doubled: int):
            super().__init__()
            self.got = doubled

    d = {
        "nc": 2,
        "depth_multiple": 0.5,
        "width_multiple": 0.5,
        "backbone": [
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "Keep", [0.5]],
            [-1, 6, "Inner", [64]],
            [[0, 1], 1, "Sources", [True]],
            [-1, 1, "Odd", []],
        ],
        "head": [[-1, 1, "nn.Upsample", ["None", 2, "nearest"]]],
    }
    layers, save = parse_model(d, ch=3, verbose=False)
    assert [m.got for m in [*layers][1:5]] == [(16, 0.5), (16, 32, 3), (True, [16, 16]), 32]
    assert save == [0, 1]
    assert isinstance(layers[5], nn.Upsample) and layers[5].size is None


@pytest.mark.parametrize(
    ("names", "args", "given"),
    [
        ("channel reduction", [8], (16, 8)),
        ("dim num_heads", [], (16,)),
        ("in_channels scale style", [2, "pl"], (16, 2, "pl")),
        ("inc outc num_param stride", [64, 5], (16, 32, 5)),
        ("in_channels out_channels kernel_size", [64], (16, 32)),
        ("dim_in dim_out n", [64, 0.5], (16, 32, 2, 0.5)),
        ("channels c2 factor", [], (16,)),
        ("channels c2 factor", [32, 4], (16, 16, 4)),
        ("e_lambda", [0.5], (0.5,)),
    ],
)
def test_names_of_channels_in_code_of_others(registered, names: str, args: list, given: tuple):
    class Theirs(nn.Module):
        def __init__(self, *given):
            super().__init__()
            self.given = given

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ["self", *names.split()]]
    Theirs.__init__.__signature__ = Signature(parameters)
    registered(Theirs)
    repeats = 4 if names.endswith(" n") else 1
    backbone = [[-1, 1, "Conv", [32, 3]], [-1, repeats, "Theirs", args]]
    d = {"nc": 2, "depth_multiple": 0.5, "width_multiple": 0.5, "backbone": backbone, "head": []}
    layers, _ = parse_model(d, ch=3, verbose=False)
    assert layers[1].given == given


def test_a_first_parameter_named_dimension_joins_channels(registered):
    @registered
    class Joined(nn.Module):
        def __init__(self, dimension: int = 1):
            super().__init__()
            self.d = dimension

    d = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3]], [-1, 1, "Conv", [16, 3]]], "head": []}
    d["head"] = [[[0, 1], 1, "Joined", [1]], [-1, 1, "Conv", [8, 1]]]
    layers, _ = parse_model(d, ch=3, verbose=False)
    assert layers[2].d == 1 and layers[3].conv.in_channels == 24


def test_repeats_outside_a_module_take_each_others_output():
    d = {"nc": 2, "backbone": [[-1, 3, "Conv", [24, 3]]], "head": []}
    layers, _ = parse_model(d, ch=3, verbose=False)
    assert layers(torch.zeros(1, 3, 8, 8)).shape == (1, 24, 8, 8)


@pytest.mark.parametrize(
    ("name", "args"),
    [("nn.ReLU", []), ("nn.Dropout2d", [0.1]), ("nn.Conv2d", [8, 24, 3, 1, 1]), ("OwnPool", []), ("OwnWider", [24])],
)
def test_repeats_of_any_kind_of_module(registered, name: str, args: list):
    @registered
    class OwnPool(nn.Module):
        def __init__(self, c1: int):
            super().__init__()
            self.bn = nn.BatchNorm2d(c1)

        def forward(self, x):
            return self.bn(x)

    @registered
    class OwnWider(nn.Module):
        def __init__(self, c1: int, wanted: int):
            super().__init__()
            self.conv, self.out_channels = nn.Conv2d(c1, wanted, 1), wanted

        def forward(self, x):
            return self.conv(x)

    d = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3]], [-1, 3, name, args], [-1, 1, "Conv", [16, 1]]], "head": []}
    layers, _ = parse_model(d, ch=3, verbose=False)
    wide = 24 if args and args[-1] != 0.1 else 8
    assert isinstance(layers[1], nn.Sequential) and len(layers[1]) == 3 and layers[2].conv.in_channels == wide
    assert layers(torch.zeros(1, 3, 8, 8)).shape == (1, 16, 8, 8)


def test_what_cannot_be_repeated_says_so(registered):
    @registered
    class Ladder(nn.Module):
        def __init__(self, c1: int):
            super().__init__()
            self.out_channels = [c1, c1]

    for line in ([-1, 2, "Ladder", []], [[-1, -1], 2, "Detect", ["nc"]]):
        with pytest.raises(ModelError, match=r"layer 1: .*cannot be repeated\. Write 1 repeat"):
            parse_model({"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3]], line], "head": []}, ch=3, verbose=False)


@pytest.mark.parametrize("name", ["f", "np", "span"])
def test_an_attribute_that_the_model_would_overwrite_is_refused(registered, name: str):
    @registered
    class Mine(nn.Module):
        def __init__(self, c1: int):
            super().__init__()
            setattr(self, name, nn.Conv2d(c1, c1, 1) if name == "f" else 5)

    with pytest.raises(ModelError, match=f"Mine has an attribute '{name}'.*Rename its own"):
        parse_model({"nc": 2, "backbone": [[-1, 1, "Mine", []]], "head": []}, ch=3, verbose=False)


def test_a_name_can_be_registered_once(registered):
    registered(type("Mine", (nn.Module,), {}))
    with pytest.raises(ValueError, match="registered already"):

        @registered(name="Mine")
        class Other(nn.Module):
            pass


def test_class_put_into_tasks_is_found(tmp_path, monkeypatch):
    from ultralytics.nn import tasks

    class Mine(Conv):
        pass

    monkeypatch.setattr(tasks, "Mine", Mine, raising=False)
    assert type(DetectionModel(write(tmp_path, "Mine"), verbose=False).model[1]) is Mine


def test_a_module_can_start_from_a_weight_file(registered):
    class Started(nn.Module):
        def __init__(self, c1: int, given: int):
            super().__init__()
            self.given, self.files = given, []

        def load_weights(self, file: str) -> None:
            self.files.append(file)

        def forward(self, x):
            return x

    registered(Started, weights=0)
    line = [-1, 1, "Started", ["start", 5]]
    d = {**yaml_model_load("yolo11n.yaml"), "start": "own.pth"}  # the name of a YAML key stands for its value
    d["backbone"] = [line, *d["backbone"]]
    d["head"] = [[[j + (j > 0) for j in f] if isinstance(f, list) else f, *rest] for f, *rest in d["head"]]
    assert DetectionModel(d, verbose=False).model[0].files == ["own.pth"]
    layers, _ = parse_model(d, ch=3, verbose=False)
    assert (layers[0].files, layers[0].given) == ([], 5)
    bare = without_weight_files(d)
    assert bare["backbone"][0] == [-1, 1, "Started", [5]] and d["backbone"][0] == line
    d["backbone"][0] = [*line[:3], [None, 5]]
    assert (layer := DetectionModel(d, verbose=False).model[0]).given == 5 and layer.files == []
    d["backbone"][0] = [-1, 4, *line[2:]]
    with pytest.raises(ModelError, match=r"layer 0: .*starts from a weight file.*Write 1 repeat"):
        parse_model(d, ch=3, verbose=False)
    with pytest.raises(ValueError, match="load_weights"):
        registered(type("Other", (nn.Module,), {}), weights=0)


def test_parse_leaves_the_description_alone():
    d = yaml_model_load("yolo11n.yaml")
    before = deepcopy(d)
    parse_model(d, ch=3, verbose=False)
    assert d == before


def test_parameter_counts_stand_on_instances():
    model = DetectionModel("yolo11n.yaml", verbose=False)
    assert model.model[0].np != model.model[1].np
    assert not {"np", "type", "i", "f"} & {*vars(Conv)}


def test_activation_is_scoped_to_its_build():
    d = {**yaml_model_load("yolo11n.yaml"), "activation": "nn.LeakyReLU(0.1)"}
    with_leaky = DetectionModel(d, verbose=False)
    assert isinstance(with_leaky.model[0].act, nn.LeakyReLU) and with_leaky.model[0].act.negative_slope == 0.1
    assert isinstance(DetectionModel("yolo11n.yaml", verbose=False).model[0].act, nn.SiLU)


def test_activation_is_not_run():
    d = {**yaml_model_load("yolo11n.yaml"), "activation": "__import__('os').getcwd()"}
    with pytest.raises(ModelError, match="activation"):
        DetectionModel(d, verbose=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"module": "GhostConvv"}, ["own.yaml line 6", "unknown module 'GhostConvv'", "GhostConv'"]),
        ({"args": "[64, 3, 2, 1, 1, 1, True, 9]"}, ["own.yaml line 6", "cannot be built"]),
        ({"module": "Ghost", "args": "[64, 3, 1]"}, []),
        ({"module": "Ghost", "args": "[128, 3, 1]"}, ["own.yaml line 6", "shapes do not fit", "(1, 16, 128, 128)"]),
        ({"source": "[1, 7]"}, ["own.yaml line 9", "layer 7"]),
        ({"module": "Concat", "args": "[1]"}, ["own.yaml line 6", "shapes do not fit"]),
    ],
)
def test_errors_name_the_line(tmp_path, change, words):
    file = write(tmp_path, **change)
    if not words:
        DetectionModel(file, verbose=False)
        return
    with pytest.raises(ModelError) as e:
        DetectionModel(file, verbose=False)
    assert all(word in str(e.value) for word in words), str(e.value)


def test_malformed_line(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("nc: 1\nbackbone:\n  - [-1, 1, Conv]\nhead: []\n")
    with pytest.raises(ModelError, match=r"line 3 .*\[from, repeats, module"):
        DetectionModel(file, verbose=False)


def test_unknown_scale():
    with pytest.raises(ModelError, match="no scale 'q'"):
        DetectionModel({**yaml_model_load("yolo11n.yaml"), "scale": "q"}, verbose=False)


def test_ghost_bottlenecks_are_one_network():
    a, b = Ghost(16, 32, 3, 2), GhostBottleneck(16, 32, 3, 2)
    assert [(k, v.shape) for k, v in a.state_dict().items()] == [(k, v.shape) for k, v in b.state_dict().items()]
    x = torch.rand(1, 16, 9, 7)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.eval()(x), b.eval()(x)) and a(x).shape == (1, 32, 5, 4)
    assert C3Ghost(16, 32, 2)(x).shape == (1, 32, 9, 7)


def test_building_leaves_batch_statistics_untouched():
    state = DetectionModel("yolo11n.yaml", verbose=False).state_dict()
    assert all((v == 0).all() for k, v in state.items() if k.endswith(("running_mean", "num_batches_tracked")))
    assert all((v == 1).all() for k, v in state.items() if k.endswith("running_var"))


def test_guess_task():
    assert guess_model_task("yolo11n-GhostConv.yaml") == guess_model_task(yaml_model_load("yolo11n.yaml")) == "detect"
