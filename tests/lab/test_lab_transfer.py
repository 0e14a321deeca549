"""`yolo transfer` writes a weight file with a report, and answers each mistake with one sentence."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fill import fill
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.lab.conversion.ghost import to_ghost
from ultralytics.lab.transfer import KEYS, USAGE, load_images
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.nn.tasks import DetectionModel, describe, yaml_model_load
from ultralytics.nn.transfer import Report, Row
from ultralytics.utils import yaml_save


@pytest.fixture
def trained(work_dir: Path) -> dict[str, torch.Tensor]:
    """The weights of `best.pt`, a little YOLO11 with two classes; `new.yaml` is the same with one line more."""
    d = {**yaml_model_load("yolo11n.yaml"), "scales": {"n": [0.5, 0.125, 1024]}}
    model = fill(DetectionModel(d, nc=2, verbose=False))
    model.names, model.args = {0: "fire", 1: "smoke"}, {"imgsz": 64, "data": "fire.yaml", "lr0": 0.5}
    save_checkpoint("best.pt", describe(model))
    head = [[[j + (j > 10) for j in f] if isinstance(f, list) else f, *rest] for f, *rest in d["head"]]
    d = {k: v for k, v in d.items() if k not in {"yaml_file", "scale", "ch"}}
    yaml_save("new.yaml", {**d, "backbone": [*d["backbone"], [-1, 1, "nn.Identity", []]], "head": head})
    yaml_save("other.yaml", {**d, "nc": 5})
    return model.state_dict()


def answer(capsys, *words: str) -> str:
    """Run a command that is a mistake and return the one sentence that it answers."""
    assert main(["transfer", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


def test_writes_a_file_that_can_be_used(trained, capsys):
    assert main(["transfer", "model=best.pt", "to=other.yaml", "save=out/o.pt"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("layer  kind") and "Layers: 18 whole." in printed and "Wrote 'out/o.pt'" in printed
    ckpt = load_checkpoint("out/o.pt")
    assert ckpt["names"] == {0: "fire", 1: "smoke"} and ckpt["nc"] == 2
    assert ckpt["args"] == {"imgsz": 64, "data": "fire.yaml", "task": "detect"}
    assert all(torch.equal(ckpt["model"][k], t) for k, t in trained.items())
    assert YOLO("out/o.pt").predict(torch.zeros(1, 3, 64, 64), verbose=False)[0].names[1] == "smoke"


def test_default_name_is_one_that_is_free(trained, capsys):
    for _ in range(2):
        assert main(["transfer", "model=best.pt", "to=new.yaml"]) == 0
    assert Path("new-from-best.pt").is_file() and Path("new-from-best2.pt").is_file()
    assert "Identity" in capsys.readouterr().out


def test_other_class_count(trained):
    assert main(["transfer", "model=best.pt", "to=other.yaml", "nc=3", "save=o.pt"]) == 0
    assert load_checkpoint("o.pt")["names"] == {0: "0", 1: "1", 2: "2"}


@pytest.mark.parametrize("by", ["images", "data"])
def test_images_convert_layers(by, trained, tiny_data, monkeypatch, capsys):
    calls = []

    def to_ghost(source, target, images):
        calls.append((source.names, target.names, images))
        return Report([Row(3, "3 Conv", "Conv", "converted", 7, 9, "explained variance 0.5")])

    monkeypatch.setitem(sys.modules, "ultralytics.lab.conversion.ghost", SimpleNamespace(to_ghost=to_ghost))
    where = tiny_data if by == "data" else tiny_data.parent / "images" / "train"
    assert main(["transfer", "model=best.pt", "to=other.yaml", f"{by}={where}", "count=3"]) == 0
    old, new, images = calls[0]
    assert old == new and images.shape == (3, 3, 64, 64)
    out = capsys.readouterr().out
    assert "explained variance 0.5" in out and "Layers: 1 converted." in out


def test_size_of_images_fits_the_stride(trained, tiny_data, monkeypatch):
    sizes = []

    def to_ghost(source, target, images):
        sizes.append(images.shape[-1])
        return Report([])

    monkeypatch.setitem(sys.modules, "ultralytics.lab.conversion.ghost", SimpleNamespace(to_ghost=to_ghost))
    assert main(["transfer", "model=best.pt", "to=other.yaml", f"data={tiny_data}", "count=1", "imgsz=100"]) == 0
    assert sizes == [128]


def test_a_ghost_model_of_more_classes_by_images(trained, tiny_data, monkeypatch, capsys):
    """The whole way: conversion, placing and report in one."""
    d = {k: v for k, v in yaml_model_load("yolo11n-GhostConv.yaml").items() if k not in {"yaml_file", "scale", "ch"}}
    yaml_save("ghost.yaml", {**d, "scales": {"n": [0.5, 0.125, 1024]}})
    words = ["model=best.pt", "to=ghost.yaml", "nc=3", f"data={tiny_data}", "count=1", "save=ghost.pt"]
    monkeypatch.setattr("ultralytics.lab.conversion.ghost.to_ghost", partial(to_ghost, steps=1, samples=100))
    assert main(["transfer", *words]) == 0
    out = capsys.readouterr().out
    assert "EV 0." in out and "2 classes became 3, names not known" in out and load_checkpoint("ghost.pt")["nc"] == 3


def test_input_channels_come_from_the_source(trained, tiny_data, capsys):
    d = {**yaml_model_load("yolo11n.yaml"), "scales": {"n": [0.5, 0.125, 1024]}}
    save_checkpoint("gray.pt", describe(fill(DetectionModel(d, ch=1, nc=2, verbose=False))))
    assert main(["transfer", "model=gray.pt", "to=other.yaml", "save=o.pt"]) == 0
    assert load_checkpoint("o.pt")["yaml"]["ch"] == 1 and "Layers: 18 whole." in capsys.readouterr().out
    assert "3 channels" in answer(capsys, "model=gray.pt", "to=other.yaml", f"data={tiny_data}")


@pytest.mark.parametrize("text, trusted", [("True", True), ("false", False), ("mine.py", "mine.py"), ("1", 1)])
def test_trust_is_read_as_elsewhere(text, trusted, trained, monkeypatch):
    seen = []
    for place in ("ultralytics.nn.tasks", "ultralytics.lab.transfer"):  # of the weights, and of the YAML
        monkeypatch.setattr(f"{place}.trust_modules", lambda name, where: seen.append(where))
    assert main(["transfer", "model=best.pt", "to=other.yaml", f"trust_modules={text}"]) == 0
    assert seen == [trusted] * 2


def test_images_are_spread_over_all(tiny_data):
    folder = tiny_data.parent / "images" / "train"
    some, one = load_images(folder, 4, 64), load_images(str(folder), 100, 96)
    assert some.shape == (4, 3, 64, 64) and one.shape == (8, 3, 96, 96) and some.dtype == torch.float32
    assert 0 <= some.min() < some.max() <= 1 and not torch.equal(some[0], some[1])


@pytest.mark.parametrize(
    "words, said",
    [
        (["model=best.pt"], "needs to="),
        (["model=best.pt", "too=new.yaml"], "Did you mean 'to'"),
        (["model=best.pt", "to=new.yaml", "nc=0"], "whole number of 1 or more"),
        (["model=best.pt", "to=best.pt"], "is no model YAML"),
        (["model=none.pt", "to=new.yaml"], "none.pt"),
        (["model=best.pt", "to=none.yaml"], "none.yaml"),
        (["model=best.pt", "to=new.yaml", "save=out/new"], "must end in .pt"),
        (["model=best.pt", "to=new.yaml", "save=./best.pt"], "would overwrite"),
        (["model=best.pt", "to=new.yaml", "images=a", "data=b"], "Give one of them"),
        (["model=best.pt", "to=new.yaml", "images=nowhere"], "nowhere"),
    ],
)
def test_mistakes(words, said, trained, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics.lab.conversion.ghost", SimpleNamespace(to_ghost=None))
    assert said in answer(capsys, *words)


def test_help_names_every_key(capsys):
    assert main(["transfer"]) == 0
    assert capsys.readouterr().out == USAGE
    assert all(f"{key}=" in USAGE for key in KEYS)
