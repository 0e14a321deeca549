"""Weight files: round trips, files of 8.x, damaged files, disks that are full, stripping."""

from __future__ import annotations

import collections
import errno
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from foreign import foreign_model, save_foreign, zipped
from torch import nn

from ultralytics.nn import checkpoint, unpickle
from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file, save_checkpoint, strip_checkpoint
from ultralytics.utils.errors import CheckpointError, MissingFileError


def content(**extra) -> dict:
    """The least that a checkpoint of this package holds."""
    torch.manual_seed(0)
    weights = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    return {
        "yaml": {"nc": 1, "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "scales": {"n": (0.5, 0.25, 1024)}},
        "task": "detect",
        "names": {0: "火焰"},
        "nc": 1,
        "stride": [8.0, 16.0, 32.0],
        "args": {"epochs": 3, "imgsz": 320, "lr0": 0.01, "device": None, "amp": True},
        "model": weights,
        **extra,
    }


# -------------------------------------------------------------------------------------------------------- round trips


def test_round_trip_keeps_everything(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    rng = {"python": (3, tuple(range(625)), None), "torch": torch.get_rng_state(), "big": {"state": 2**127 + 1}}
    saved = content(optimizer=optimizer.state_dict(), rng=rng, epoch=7, best_fitness=np.float64(0.25), updates=12)
    path = tmp_path / "运行 1" / "last.pt"
    save_checkpoint(path, saved)
    ckpt = load_checkpoint(path)
    for key in ("yaml", "task", "names", "nc", "stride", "args"):
        assert ckpt[key] == saved[key]
    assert (ckpt["epoch"], ckpt["best_fitness"], ckpt["updates"], ckpt["source"]) == (7, 0.25, 12, "ghost")
    assert list(ckpt["model"]) == list(saved["model"])
    assert all(torch.equal(ckpt["model"][k], v) for k, v in saved["model"].items())
    assert ckpt["rng"]["python"] == rng["python"]
    assert ckpt["rng"]["big"] == rng["big"]
    assert torch.equal(ckpt["rng"]["torch"], rng["torch"])
    again = torch.optim.AdamW(model.parameters())
    again.load_state_dict(ckpt["optimizer"])
    assert torch.equal(again.state[model.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])


def test_torch_reads_the_file_with_weights_only(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content(where=tmp_path, device=torch.device("cpu"), kinds={"b", "a"}))
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found["names"] == {0: "火焰"}
    assert (found["where"], found["device"], found["kinds"]) == (str(tmp_path), "cpu", ["a", "b"])


def test_values_of_other_libraries_become_plain(tmp_path):
    big = torch.arange(10_000.0)
    extra = {
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "array": np.arange(3),
        "unsigned": np.arange(3, dtype=np.uint32),
        "space": SimpleNamespace(a=1),
        "ordered": collections.OrderedDict(z=1, a=2),
        "view": big[:2],
        "grown": nn.Parameter(torch.ones(2)),
    }
    save_checkpoint(tmp_path / "a.pt", content(**extra))
    ckpt = load_checkpoint(tmp_path / "a.pt")
    assert (ckpt["scalar"], ckpt["flag"], ckpt["space"]) == (0.5, True, {"a": 1})
    assert ckpt["array"].tolist() == ckpt["unsigned"] == [0, 1, 2]
    assert list(ckpt["ordered"]) == ["z", "a"]
    assert ckpt["view"].tolist() == [0, 1]
    assert not ckpt["grown"].requires_grad
    assert (tmp_path / "a.pt").stat().st_size < 20_000  # the view did not bring its base


def test_what_a_file_cannot_hold_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"entry 'extra\[1\]\.net' is of type Linear"):
        save_checkpoint(tmp_path / "a.pt", content(extra=[1, {"net": nn.Linear(1, 1)}]))
    with pytest.raises(CheckpointError, match="lacks yaml, task"):
        save_checkpoint(tmp_path / "a.pt", {"model": {}})
    assert not list(tmp_path.iterdir())


def test_files_of_a_later_format_and_of_wrong_content(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content())
    raw = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({**raw, "format_version": 99}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match=r"new\.pt' has format version 99"):
        load_checkpoint(tmp_path / "new.pt")
    torch.save({**raw, "names": 5}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad\.pt' is damaged: its names"):
        load_checkpoint(tmp_path / "bad.pt")


# ------------------------------------------------------------------------------------------------------ failed writes


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, words):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(epoch=1))

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match=rf"best\.pt' could not be written: .*{words}.*older file .* as it was"):
        save_checkpoint(path, content(epoch=2))
    assert load_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_disk_that_takes_only_a_part_keeps_the_old_file(tmp_path):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(epoch=1))
    script = """
import resource, signal, sys, torch
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ckpt = load_checkpoint(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], {**ckpt, "epoch": 2, "large": torch.zeros(200_000)})
except Exception as e:
    print(type(e).__name__, e)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(unpickle.__file__).parents[2]), *sys.path])}
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, env=env, check=True)
    assert run.stdout.startswith("CheckpointError The weight file")
    assert "larger than this system allows" in run.stdout
    assert load_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="a part of the path is a file"):
        save_checkpoint(tmp_path / "file" / "weights" / "best.pt", content())


# ---------------------------------------------------------------------------------------------- files of 8.x, made here


def test_import_of_8x(tmp_path):
    model, ema = foreign_model(1), foreign_model(2).half()
    path = save_foreign(
        tmp_path / "8x.pt",
        {
            "epoch": 4,
            "best_fitness": np.float64(0.5),
            "model": model,
            "ema": ema,
            "train_args": {"task": "detect", "epochs": 9, "project": PurePosixPath("a/b"), "odd": np.arange(2)},
            "date": "2024-10-01",
            "version": "8.3.0",
        },
    )
    ckpt = load_checkpoint(path)
    assert list(ckpt["model"]) == list(ema.state_dict())
    assert "model.1.anchors" not in ckpt["model"]
    for k, v in ema.state_dict().items():
        assert torch.equal(ckpt["model"][k], v.float() if v.is_floating_point() else v)
    assert ckpt["model"]["model.0.conv.weight"].dtype == torch.float32
    assert ckpt["model"]["model.0.bn.weight"].tolist() == [2] * 4  # of the average, not of the model
    assert (ckpt["names"], ckpt["nc"], ckpt["stride"]) == ({0: "fire", 1: "smoke"}, 2, [8.0, 16.0, 32.0])
    assert (ckpt["task"], ckpt["epoch"], ckpt["best_fitness"]) == ("detect", 4, 0.5)
    assert (ckpt["version"], ckpt["date"], ckpt["source"]) == ("8.3.0", "2024-10-01", "ultralytics")
    assert ckpt["args"]["project"] == "a/b"
    assert ckpt["args"]["odd"].tolist() == [0, 1]
    assert ckpt["yaml"]["backbone"] == [[-1, 1, "Conv", [64, 3, 2]]]
    save_checkpoint(tmp_path / "own.pt", ckpt)
    assert load_checkpoint(tmp_path / "own.pt")["source"] == "ghost"


def test_import_without_ema_and_training_arguments(tmp_path):
    ckpt = load_checkpoint(save_foreign(tmp_path / "a.pt", {"model": foreign_model(), "ema": None}))
    assert ckpt["task"] == "detect"  # by the head
    assert ckpt["args"] == {"box": 7.5, "save_dir": "runs"}
    assert (ckpt["epoch"], ckpt["best_fitness"]) == (-1, None)
    bare = load_checkpoint(save_foreign(tmp_path / "b.pt", foreign_model()))  # torch.save(model)
    assert list(bare["model"]) == list(ckpt["model"])


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_import_of_the_format_before_zip(tmp_path):
    path = save_foreign(tmp_path / "old.pt", {"model": foreign_model()}, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    want = foreign_model().state_dict()
    assert all(torch.equal(v, want[k]) for k, v in load_checkpoint(path)["model"].items())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"old\.pt' is damaged"):
        load_checkpoint(path)


def test_import_of_another_task_or_without_yaml(tmp_path):
    path = save_foreign(tmp_path / "a.pt", {"model": foreign_model(), "train_args": {"task": "origami"}})
    with pytest.raises(CheckpointError, match="is for 'origami', but this package knows detect"):
        load_checkpoint(path)
    path = save_foreign(tmp_path / "b.pt", {"model": nn.Sequential(nn.Linear(1, 1))})
    with pytest.raises(
        CheckpointError, match=r"holds a torch\.nn\.modules\.container\.Sequential without a model YAML"
    ):
        load_checkpoint(path)


def test_names_as_a_list_and_numpy_arrays_of_either_version(tmp_path):
    model = foreign_model()
    model.names = ["fire", "smoke"]
    path = save_foreign(tmp_path / "a.pt", {"model": model, "train_args": {"x": np.eye(2), "task": "detect"}})
    ckpt = load_checkpoint(path)
    assert ckpt["names"] == {0: "fire", 1: "smoke"}
    assert ckpt["args"]["x"].tolist() == [[1, 0], [0, 1]]
    with zipfile.ZipFile(path) as z:
        files = {n: z.read(n) for n in z.namelist()}
    entry = next(n for n in files if n.endswith("data.pkl"))
    old, new = (b"numpy.core.multiarray", b"numpy._core.multiarray")
    files[entry] = files[entry].replace(new, old) if new in files[entry] else files[entry].replace(old, new)
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    assert load_checkpoint(path)["args"]["x"].tolist() == [[1, 0], [0, 1]]


# -------------------------------------------------------------------------------------------------- bare state dicts


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"state_dict": d, "epoch": 3}, lambda d: {"model": d}])
@pytest.mark.parametrize("zip_format", [True, False])
def test_state_dict_files(tmp_path, wrap, zip_format):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    parallel = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save(wrap(parallel), tmp_path / "w.pth", _use_new_zipfile_serialization=zip_format)
    found = load_state_dict_file(tmp_path / "w.pth")
    assert list(found) == list(net.state_dict())
    net.load_state_dict(found, strict=True)
    with pytest.raises(CheckpointError, match=r"w\.pth' holds weights without a description.*YOLO\('yolo11n\.yaml'\)"):
        load_checkpoint(tmp_path / "w.pth")


def test_state_dict_of_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content())
    assert list(load_state_dict_file(tmp_path / "a.pt")) == list(content()["model"])


def test_tensors_keep_type_shape_and_strides(tmp_path):
    kinds = [torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
    tensors = {str(k): torch.tensor([[0, 1, 1], [1, 0, 1]]).to(k) for k in kinds}
    base = torch.arange(24.0)
    tensors |= {"empty": torch.zeros(0, 3), "scalar": torch.tensor(3), "t": base.view(4, 6).t(), "part": base[5:9:2]}
    tensors["last"] = torch.rand(1, 3, 4, 4).to(memory_format=torch.channels_last)
    torch.save(tensors, tmp_path / "a.pt")
    for k, v in load_state_dict_file(tmp_path / "a.pt").items():
        assert torch.equal(v, tensors[k])
        assert (v.dtype, v.shape, v.stride()) == (tensors[k].dtype, tensors[k].shape, tensors[k].stride())


# ---------------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "has 0 bytes"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG image"),
        (b"\x89PNG\r\n" + bytes(100), "is a PNG image"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (struct.pack("<Q", 40) + b'{"a": 1}', "is a safetensors file"),
        (b"hello, I am text", "is not a weight file"),
        (pickle.dumps({"a": 1}), "is a plain pickle"),
        (b"\x80\x02garbage", "is damaged"),
        (b"\x80\x02" + bytes(300), "is damaged"),
    ],
)
def test_files_that_are_no_weights(tmp_path, data, words):
    path = tmp_path / "权重 a.pt"
    path.write_bytes(data)
    for read in (load_checkpoint, load_state_dict_file):
        with pytest.raises(CheckpointError, match=r"权重 a\.pt'.*" + words + r".*\. (Name|Copy)"):
            read(path)


def test_folder_missing_file_and_foreign_zip(tmp_path):
    with pytest.raises(CheckpointError, match=r"is a folder.*best\.pt"):
        load_checkpoint(tmp_path)
    with pytest.raises(MissingFileError, match=r"none\.pt' does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("a.txt", "text")
    with pytest.raises(CheckpointError, match="zip file without weights"):
        load_checkpoint(tmp_path / "a.zip")
    zipped(tmp_path / "script.pt", pickle.dumps(1, 2), **{"constants.pkl": b""})
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(tmp_path / "script.pt")


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_file(tmp_path, part):
    save_checkpoint(tmp_path / "a.pt", content())
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CheckpointError, match=r"a\.pt' is truncated.*Copy or download it again"):
        load_checkpoint(tmp_path / "a.pt")


def test_flipped_bytes_are_found_or_harmless(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content())
    data = (tmp_path / "a.pt").read_bytes()
    weights = content()["model"]
    for position in range(60, len(data), len(data) // 60):
        (tmp_path / "a.pt").write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            found = load_checkpoint(tmp_path / "a.pt")["model"]
        except CheckpointError:
            continue
        assert all(torch.equal(found[k], v) for k, v in weights.items())  # a byte between the entries


def test_missing_and_short_storage(tmp_path):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as z:
        pickled = next(z.read(n) for n in z.namelist() if n.endswith("data.pkl"))
    for entries in ({}, {"data/0": bytes(8)}):
        zipped(tmp_path / "b.pt", pickled, **entries)
        with pytest.raises(CheckpointError, match="is damaged"):
            load_state_dict_file(tmp_path / "b.pt")


def test_tensor_that_claims_more_than_its_storage(tmp_path):
    huge = torch.zeros(1).as_strided((1 << 40,), (0,))
    torch.save({"a": huge}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state_dict_file(tmp_path / "a.pt")


# ---------------------------------------------------------------------------------------------------------- stripping


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(checkpoint.LOGGER, "info", lines.append)
    return lines


def outputs(ckpt: dict) -> torch.Tensor:
    weight = ckpt["model"]["0.weight"]
    return torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), weight).flatten(1)


def test_strip_halves_and_drops_what_training_needs(tmp_path, log):
    path = tmp_path / "best.pt"
    train = {"optimizer": {"a": torch.zeros(10_000)}, "train_model": content()["model"], "rng": {}, "epoch": 9}
    save_checkpoint(path, content(best_fitness=0.5, metrics={"fitness": 0.5}, **train))
    before = path.stat().st_size
    kept = strip_checkpoint(path, check=outputs)
    ckpt = load_checkpoint(path)
    assert kept["precision"] == ckpt["precision"] == "float16"
    assert torch.load(path, weights_only=True)["model"]["0.weight"].dtype == torch.float16
    assert ckpt["model"]["1.num_batches_tracked"].dtype == torch.int64
    assert not {"optimizer", "train_model", "rng"} & ckpt.keys()
    assert (ckpt["epoch"], ckpt["best_fitness"], ckpt["metrics"]) == (-1, 0.5, {"fitness": 0.5})
    assert path.stat().st_size < before / 3
    assert len(log) == 1
    assert "half precision" in log[0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("check", "factor"), [(outputs, 1e6), (outputs, 1e-8), (None, 1e6)])
def test_strip_keeps_float32_where_half_changes_the_outputs(tmp_path, log, check, factor):
    ckpt = content()
    ckpt["model"]["0.weight"] *= factor  # beyond or below what half precision can hold
    save_checkpoint(tmp_path / "best.pt", ckpt)
    if check and factor < 1:
        check = lambda c: outputs(c) / factor  # noqa: E731
    kept = strip_checkpoint(tmp_path / "best.pt", check=check)
    found = load_checkpoint(tmp_path / "best.pt")
    assert kept["precision"] == found["precision"] == "float32"
    assert torch.equal(found["model"]["0.weight"], ckpt["model"]["0.weight"])
    assert "float32, since half precision changes" in log[0]


def test_strip_halves_tensors_of_next_to_nothing(tmp_path, log):
    ckpt = content()
    ckpt["model"]["0.bias"] *= 1e-9  # below what half precision can hold, and of no weight
    ckpt["model"]["1.bias"].zero_()
    save_checkpoint(tmp_path / "best.pt", ckpt)
    assert strip_checkpoint(tmp_path / "best.pt")["precision"] == "float16"


def test_strip_takes_a_number_and_writes_elsewhere(tmp_path, log):
    from ultralytics.utils.torch_utils import strip_optimizer

    path = tmp_path / "best.pt"
    save_checkpoint(path, content(epoch=3, optimizer={}))
    data = path.read_bytes()
    score = iter((0.90, 0.50))
    assert strip_checkpoint(path, check=lambda _: next(score), save_as=tmp_path / "a.pt")["precision"] == "float32"
    strip_optimizer(path, tmp_path / "new" / "b.pt")
    assert path.read_bytes() == data
    assert load_checkpoint(tmp_path / "new" / "b.pt")["epoch"] == -1


def test_strip_that_cannot_write_keeps_the_file(tmp_path, monkeypatch, log):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(epoch=3))
    data = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"best\.pt' could not be written: the disk is full"):
        strip_checkpoint(path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]
