"""Weights find the layers that stand in the same places of another model, and the report says so."""

from __future__ import annotations

import runpy
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from fill import fill, image
from ultralytics import YOLO
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.nn.tasks import DetectionModel, attempt_load_one_weight, describe, yaml_model_load
from ultralytics.nn.transfer import Report, Row, matching, transfer
from ultralytics.nn.transfer.graph import graph_of
from ultralytics.nn.transfer.match import align
from ultralytics.nn.transfer.units import units
from ultralytics.utils.errors import ModelError

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS.parent / "benchmarks" / "transfer_shares.py"))
change = SCRIPT["change"]
YAML = {**yaml_model_load("yolo11n.yaml"), "nc": 80}


def build(d: dict | str, names: dict | None = None, **kwargs) -> DetectionModel:
    model = DetectionModel(d, verbose=False, **kwargs)
    model.names = names or model.names
    return model


def small(d: dict) -> dict:
    """A YOLO11 at an eighth of the full width: quick to build and to run."""
    return {**deepcopy(d), "scales": {"n": [0.5, 0.125, 1024]}}


@pytest.fixture(scope="module")
def source() -> DetectionModel:
    return fill(build(YAML)).eval()


@pytest.fixture(scope="module")
def little() -> DetectionModel:
    return fill(build(small(YAML), {i: f"class {i}" for i in range(80)})).eval()


def outputs_of_layers(model: DetectionModel, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    hooks = [m.register_forward_hook(lambda m, i, o: found.append(o)) for m in model.model]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return found


# The same model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["yolo11n-pose", "yolo11n-cls", pytest.param("yolo11n-GhostNetV1", marks=pytest.mark.slow)]
)
def test_same_yaml_is_taken_bit_by_bit(name):
    task = next((t for t in TASKS.values() if t.weights.endswith(f"{name[7:]}.pt") and name[7:]), TASKS["detect"])
    cls = load(task.model)
    a, b = fill(cls(f"{name}.yaml", verbose=False)), cls(f"{name}.yaml", verbose=False)
    report = transfer(a, b)
    assert report.share == 1 and {r.how for r in report.rows} <= {"whole", "-"}
    assert all(torch.equal(t, b.state_dict()[k]) for k, t in a.state_dict().items())
    assert f"{len(a.state_dict())}/{len(b.state_dict())} entries (100% of the numbers)" in report.summary()


def test_neither_model_changes_otherwise(little):
    little.model[0].train()
    before = {k: v.clone() for k, v in little.state_dict().items()}
    target = build(small(YAML)).train()
    transfer(little, target)
    assert all(torch.equal(v, little.state_dict()[k]) for k, v in before.items())
    assert little.model[0].training and not little.model[1].training and target.model[3].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for x in (little, target) for m in x.modules())
    little.eval()


# One line more, less or other -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what, at, line", SCRIPT["CHANGES"])
def test_a_changed_line_costs_no_other_line_its_weights(what, at, line, source):
    target = build(change(YAML, what, at, line))
    by_name = sum(t.numel() for t in matching(source.state_dict(), target.state_dict()).values())
    report = transfer(source, target)
    kept = sum(
        t.numel() for i, m in enumerate(source.model) if what == "insert" or i != at for t in m.state_dict().values()
    )
    assert report.taken > 0.95 * kept and report.taken > 0.999 * by_name  # which takes counters of norms besides
    if what == "insert":
        assert report.row(at).how in {"random", "-"} and report.row(at).note == "new line"
        assert by_name < 0.6 * report.taken
    others = [r for r in report.rows if r.layer != at and r.how not in {"whole", "-"}]
    assert len(others) <= 2 * (what == "remove")  # some may read a layer with other channels now
    assert all(r.source for r in report.rows if r.layer != at)
    assert (DOCS / "transfer.md").read_text(encoding="utf-8").count(SCRIPT["row"](source, target, what, at, line)) == 2


@pytest.mark.parametrize("at", [2, 4, 7, 10, 14, 18, 23])
def test_each_layer_finds_its_own(at, little):
    target = build(change(small(YAML), "insert", at, [-1, 1, "nn.BatchNorm2d", [_channels(little, at)]]))
    match = align(graph_of(little), graph_of(target))
    assert match == {**{i: i for i in range(at)}, **{i + 1: i for i in range(at, 24)}}


def _channels(model: DetectionModel, at: int) -> int:
    return graph_of(model).nodes[at - 1].channels[0]


def test_a_line_that_does_nothing_changes_no_output(little):
    target = build(change(small(YAML), "insert", 7, [-1, 1, "nn.Identity", []]))
    transfer(little, target)
    x = image(1, 64, 96)
    assert torch.equal(target.eval()(x)[0], little(x)[0])


def test_layers_before_the_change_give_the_same(little):
    target = build(change(small(YAML), "insert", 7, [-1, 2, "C2PSA", [512]]))
    transfer(little, target)
    x = image(1, 64, 96)
    old, new = outputs_of_layers(little, x), outputs_of_layers(target, x)
    assert all(torch.equal(a, b) for a, b in zip(old[:7], new[:7]))
    assert not torch.allclose(old[7], new[8])


@pytest.mark.parametrize("error", [AssertionError, KeyError, ZeroDivisionError])
@pytest.mark.parametrize("least, channels", [(640, (8,)), (10**6, ())])
def test_modules_may_refuse_a_trial_size(error, least, channels):
    model = build(small(YAML)).train()

    def refuse(m, inputs):
        if inputs[0].shape[-1] < least:
            raise error

    model.model[0].register_forward_pre_hook(refuse)
    assert graph_of(model).nodes[0].channels == channels and model.model[0].training


def test_several_changes_at_once(source):
    d = change(YAML, "replace", 3, [-1, 1, "GhostConv", [256, 3, 2]])
    d = change(change(d, "remove", 9), "insert", 17, [-1, 1, "Conv", [256, 3, 1]])
    rows = transfer(source, build(d)).rows
    assert {r.layer: r.how for r in rows if r.how not in {"whole", "-"}} == {3: "random", 17: "random"}
    assert rows[3].source == "3 Conv" and rows[9].source == "10 C2PSA" and rows[23].source == "23 Detect"


def test_a_smaller_stride_shifts_nothing(little):
    report = transfer(little, build(change(small(YAML), "replace", 0, [-1, 1, "Conv", [64, 3, 1]])))
    assert report.share == 1 and report.row(8).source == "8 C3k2"


def test_repeats_of_a_line(little):
    d = change(small(YAML), "replace", 3, [-1, 4, "Conv", [256, 3, 1]])  # two at this depth
    wide = fill(build(change(small(YAML), "replace", 3, [-1, 1, "Conv", [256, 3, 1]])))
    target = build(d)
    assert transfer(wide, target).row(3).taken == sum(t.numel() for t in wide.model[3].state_dict().values())
    assert torch.equal(target.model[3][0].conv.weight, wide.model[3].conv.weight)
    again = build(change(small(YAML), "replace", 3, [-1, 1, "Conv", [256, 3, 1]]))
    assert transfer(target, again).row(3).how == "whole"
    assert torch.equal(again.model[3].conv.weight, wide.model[3].conv.weight)


# What is taken of a layer ---------------------------------------------------------------------------------------------


def test_a_norm_stays_with_its_convolution(little):
    found = units(little.model[2].state_dict())
    assert all(unit[0].endswith("conv.weight") and len(unit) == 6 for unit in found)
    target = build(change(small(YAML), "replace", 3, [-1, 1, "Conv", [256, 5, 2]]))  # the same norm, another kernel
    fresh = target.model[3].bn.running_mean.clone()
    assert transfer(little, target).row(3).how == "random"
    assert torch.equal(target.model[3].bn.running_mean, fresh)


def test_another_class_shares_what_is_alike(source):
    target = build(change(YAML, "replace", 8, [-1, 2, "C2f", [1024, True]]))
    row = transfer(source, target).row(8)
    assert (row.how, row.source, row.note) == ("part", "8 C3k2", "random: m")
    assert torch.equal(target.model[8].cv2.conv.weight, source.model[8].cv2.conv.weight)


def test_wider_layers_take_nothing(little):
    report = transfer(little, build(YAML))
    assert {r.how for r in report.rows[:-1]} == {"random", "-"}
    assert [r.source for r in report.rows] == [f"{i} {r.kind}" for i, r in enumerate(report.rows)]


@pytest.mark.parametrize(
    "reads, note",
    [
        ([-1, 4, 3], "16 of 96 input channels are new, start at zero"),
        ([4, -1], "input channels in another order"),
    ],
)
def test_columns_follow_the_layers_behind_a_concat(reads, note, little):
    d = small(YAML)
    d["head"][4][0] = reads
    target = build(d)
    row = transfer(little, target).row(16)
    x = image(1, 64, 96)
    wanted = outputs_of_layers(little, x)
    assert note.split(" ", 3)[-1] in row.note
    torch.testing.assert_close(outputs_of_layers(target, x)[16], wanted[16], rtol=1e-4, atol=1e-4)


def test_fused_models(little):
    x = image(1, 64, 96)
    fused = deepcopy(little).fuse(verbose=False)
    target = build(small(YAML))
    report = transfer(fused, target)
    assert report.share == 1 and report.row(0).note == "from a fused model"
    torch.testing.assert_close(target.eval()(x)[0], little(x)[0], rtol=1e-3, atol=1e-2)
    again = build(small(YAML)).fuse(verbose=False)
    assert transfer(little, again).share == 1
    torch.testing.assert_close(again.eval()(x)[0], little(x)[0], rtol=1e-3, atol=1e-2)


# Stages that read several layers --------------------------------------------------------------------------------------


STAGES = yaml_model_load("yolo11n-ghost.yaml")


@pytest.fixture(scope="module")
def stages() -> DetectionModel:
    return fill(build(small(STAGES))).eval()


@pytest.mark.parametrize(
    "reads, how",
    [([7, -1], "whole"), ([-1, 3, 7], "part"), ([-1, 7, 3], "part"), ([7], "whole"), ([-1, 3], "whole")],
)
def test_stages_follow_their_inputs(reads, how, stages):
    d = small(STAGES)
    d["head"][3][0] = reads
    target = build(d)
    row, old, new = transfer(stages, target).row(10), stages.model[10], target.model[10]
    assert row.how == how and ("start at zero" in row.note) == (how == "part")
    for j, conv in zip(reads, new.cv1.convs):
        known = {-1: 0, 7: 1, 3: 1 if len(reads) == 2 else None}[j]  # layer 3 may take the place of layer 7
        wanted = torch.zeros_like(conv.weight) if known is None else old.cv1.convs[known].weight
        assert torch.equal(conv.weight, wanted)
    assert all(torch.equal(t, new.m.state_dict()[k]) for k, t in old.m.state_dict().items())
    x = image(1, 64, 96)
    same = torch.allclose(outputs_of_layers(target, x)[10], outputs_of_layers(stages, x)[10], rtol=1e-4, atol=1e-4)
    assert same == ({-1, 7} <= {*reads})


def test_fused_sums_are_not_taken(stages):
    target = build(small(STAGES))
    before = {k: v.clone() for k, v in target.state_dict().items()}
    report = transfer(deepcopy(stages).fuse(verbose=False), target)
    assert report.row(0).how == "whole" and report.row(8).how == "random"
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items() if ".convs." in k)


# Heads ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task, own", [("segment", "proto, cv4"), ("pose", "cv4"), ("obb", "cv4")])
def test_other_tasks_take_all_but_their_own_branch(task, own, source):
    name = TASKS[task].weights.replace(".pt", ".yaml")
    target = load(TASKS[task].model)(name, nc=80, verbose=False)
    report = transfer(source, target)
    assert {r.how for r in report.rows[:-1]} == {"whole", "-"}
    assert report.rows[-1].note == f"random: {own}"
    for branch in ("cv2", "cv3"):
        a, b = (getattr(m.model[-1], branch).state_dict() for m in (source, target))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_key_points_are_no_masks():
    cls = {name: load(TASKS[name].model) for name in ("obb", "segment")}
    a, b = cls["obb"]("yolo11s-obb.yaml", verbose=False), cls["segment"]("yolo11s-seg.yaml", verbose=False)
    before = b.model[-1].cv4[0][1].conv.weight.clone()
    assert a.model[-1].cv4[0][1].conv.weight.shape == before.shape  # they would fit
    transfer(a, b)
    assert torch.equal(b.model[-1].cv4[0][1].conv.weight, before)


def test_branches_follow_their_maps():
    a, b = fill(build("yolov8n.yaml")), build("yolov8n-p2.yaml")
    report = transfer(a, b)
    for mine, theirs in ((1, 0), (2, 1), (3, 2)):
        for branch in ("cv2", "cv3"):
            new, old = (getattr(m.model[-1], branch)[k].state_dict() for m, k in ((b, mine), (a, theirs)))
            assert all(torch.equal(old[k], new[k]) for k in old)
    assert report.row(15).how == "whole" and report.row(18).note == report.row(21).note == "new line"


def class_rows(model: DetectionModel) -> list[torch.Tensor]:
    return [t for branch in model.model[-1].cv3 for t in branch[-1].state_dict().values()]


def two_and_three(names: dict) -> tuple[DetectionModel, DetectionModel, Report, list[torch.Tensor]]:
    a = fill(build(small(YAML), {0: "helmet", 1: "Person"}, nc=2))
    b = build(small(YAML), names, nc=len(names))
    before = [t.clone() for t in class_rows(b)]
    return a, b, transfer(a, b), before


def test_class_rows_go_by_name():
    a, b, report, before = two_and_three({0: "fire", 1: "person", 2: "helmet"})
    for new, old, fresh in zip(class_rows(b), class_rows(a), before):
        assert torch.equal(new[1], old[1]) and torch.equal(new[2], old[0]) and torch.equal(new[0], fresh[0])
    assert "2 of 3 classes by name" in report.rows[-1].note
    assert report.taken == report.numbers - sum(t[:1].numel() for t in before)


def test_class_rows_without_names_are_random():
    a, b, report, before = two_and_three({i: str(i) for i in range(3)})
    assert all(torch.equal(new, fresh) for new, fresh in zip(class_rows(b), before))
    assert torch.equal(b.model[-1].cv3[0][1][1].conv.weight, a.model[-1].cv3[0][1][1].conv.weight)  # hidden ones fit
    assert "names not known" in report.rows[-1].note


@pytest.mark.parametrize("names, order", [(["fire", "smoke"], [0, 1]), (["person", "helmet"], [1, 0])])
def test_as_many_classes(names, order):
    a, b, report, _ = two_and_three(dict(enumerate(names)))
    assert all(torch.equal(new, old[order]) for new, old in zip(class_rows(b), class_rows(a)))
    assert report.share == 1


def test_classifier_rows_go_by_name():
    cls = load(TASKS["classify"].model)
    a, b = (cls("yolo11n-cls.yaml", nc=n, verbose=False) for n in (3, 2))
    a.names, b.names = {0: "cat", 1: "dog", 2: "bird"}, {0: "bird", 1: "cow"}
    transfer(fill(a), b)
    assert torch.equal(b.model[-1].linear.weight[0], a.model[-1].linear.weight[2])
    assert torch.equal(b.model[-1].conv.conv.weight, a.model[-1].conv.conv.weight)


# Sources --------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_has_a_graph_and_a_state_dict_has_none(little, work_dir):
    save_checkpoint("a.pt", describe(little))
    d = change(small(YAML), "insert", 3, [-1, 1, "nn.Identity", []])
    assert build(d).load(load_checkpoint("a.pt")).share == 1
    target = build(d)
    report = transfer(little.state_dict(), target)
    assert report.share < 0.1 and report.row(0).source == "same name"
    taken = matching(little.state_dict(), target.state_dict())
    assert report.taken == sum(t.numel() for t in taken.values())
    assert all(torch.equal(target.state_dict()[k], t) for k, t in taken.items())


def test_a_checkpoint_of_unknown_modules_goes_by_name(little, caplog):
    ckpt = describe(little)
    ckpt["yaml"] = change(ckpt["yaml"], "replace", 2, [-1, 1, "Unheard", [8]])
    assert build(small(YAML)).load(ckpt).share == 1
    assert "matched by name only" in caplog.text


def test_what_is_no_source_is_refused():
    with pytest.raises(ModelError, match="cannot be taken from a dict"):
        transfer({"a": 1}, build(small(YAML)))
    with pytest.raises(ModelError, match="cannot be taken from a list"):
        build(small(YAML)).load([1])


def test_model_loads_files_and_models(little, work_dir, capsys):
    save_checkpoint("a.pt", describe(little))
    torch.save(little.state_dict(), "bare.pt")
    save_checkpoint("start.pt", describe(build(small(YAML))))
    model = YOLO("start.pt")
    for weights in ("a.pt", "bare.pt", YOLO("a.pt")):
        model.model.load_state_dict({k: v + 1 for k, v in model.model.state_dict().items()})
        model.load(weights)
        assert all(torch.equal(t, model.model.state_dict()[k]) for k, t in little.state_dict().items())
    report = build(small(YAML)).load(attempt_load_one_weight("a.pt")[0])
    assert isinstance(report, Report) and report.share == 1


def test_names_come_along_where_there_were_none(little):
    fresh, named = build(small(YAML)), build(small(YAML), {i: f"own {i}" for i in range(80)})
    fresh.load(little)
    named.load(little)
    assert fresh.names == little.names and named.names[3] == "own 3"


# The report -----------------------------------------------------------------------------------------------------------


def test_a_target_of_plain_modules_takes_by_name():
    source, target = (nn.Module() for _ in range(2))
    for m in (source, target):
        m.model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    report = transfer(source.state_dict(), target)
    assert [(r.kind, r.how) for r in report.rows] == [("Conv2d", "whole"), ("BatchNorm2d", "whole")]


def test_report_adds_up_and_rows_can_be_replaced():
    report = Report(
        [Row(0, "0 Conv", "Conv", "whole", 10, 10, "", 6, 6), Row(1, "", "GhostConv", "random", 0, 30, "", 0, 12)]
    )
    assert report.share == 0.25
    assert "(99% of" in Report([Row(0, "0 Conv", "Conv", "part", 999, 1000)]).summary()
    new = report.replace(
        [Row(1, "1 Conv", "GhostConv", "converted", 30, 30, "explained variance 0.9"), Row(2, "", "X", "-", 0, 0)]
    )
    assert "18/18 entries (100% of" in new.summary() and "6/18 entries (25% of" in report.summary()
    assert new.share == 1 and [r.layer for r in new.rows] == [0, 1, 2] and report.row(1).how == "random"
    lines = str(new).splitlines()
    assert lines[0].split() == ["layer", "kind", "from", "how", "taken", "of", "note"]
    assert "explained variance 0.9" in lines[2] and lines[-1].endswith("Layers: 1 whole, 1 converted.")
    assert report.replace([Row(0, "", "Conv", "part", 9, 10)]).rows[0] is report.rows[0]  # fewer numbers
    with pytest.raises(ValueError, match="how='all'"):
        Row(0, "0 Conv", "Conv", "all", 1, 1)
