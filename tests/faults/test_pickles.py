"""A pickle that would run `os.system`, in each place where a file is loaded: refused, and what it wanted is named."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.labels import load_labels
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file, strip_checkpoint
from ultralytics.nn.tasks import attempt_load_weights
from ultralytics.utils.errors import CheckpointError, ModelError, UserError
from ultralytics.utils.hostile.pickles import names_in, pickle_in

SYSTEM = f"{os.system.__module__}.system"  # posix.system or nt.system


class Evil:
    """Its pickle runs a command that makes a file called `mark`."""

    def __reduce__(self):
        return os.system, ("echo x > mark",)


@pytest.fixture(autouse=True)
def nothing_runs(work_dir):
    """The file that the pickles here would make is never made."""
    yield
    assert not Path("mark").exists()


def plain(file: str) -> str:
    """A pickle and nothing else."""
    Path(file).write_bytes(pickle.dumps(Evil(), 2))
    return file


def torch_zip(file: str) -> str:
    """A file as torch.save writes it."""
    torch.save({"model": Evil(), "epoch": 0}, file)
    return file


def torch_old(file: str) -> str:
    """A file as torch.save wrote it before 1.6."""
    torch.save({"model": Evil(), "epoch": 0}, file, _use_new_zipfile_serialization=False)
    return file


def test_the_pickle_here_is_real(work_dir):
    pickle.loads(pickle.dumps(Evil(), 2))
    assert Path("mark").exists()
    Path("mark").unlink()


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_told_without_running(protocol):
    data = pickle.dumps([1, Evil(), {"a": Evil()}], protocol)
    assert list(names_in(data)) == [SYSTEM]
    assert list(names_in(data[:-5])) == [SYSTEM]  # cut off behind
    assert list(names_in(b"no pickle")) == []


# Weight files ---------------------------------------------------------------------------------------------------------

WAYS = {
    "model": lambda file: YOLO(file),
    "load": lambda file: YOLO(tiny_model(Path("."))).load(file),
    "checkpoint": load_checkpoint,
    "state dict": load_state_dict_file,
    "strip": strip_checkpoint,
    "backend": lambda file: AutoBackend(file),
    "weights": attempt_load_weights,
    "resume": lambda file: YOLO(tiny_model(Path("."))).train(data="none.yaml", resume=file, **FAST),
    "teacher": lambda file: train(teacher=file),
    "pretrained": lambda file: train(pretrained=file),
    "ghost backbone": lambda file: backbone(file),
}


def train(**settings) -> None:
    """Train the tiny model for an epoch, on a dataset of the test's own."""
    from tiny import write_tiny_data

    folder = Path("tiny")
    data = folder / "data.yaml" if folder.is_dir() else write_tiny_data(folder, 2, 2)
    YOLO(tiny_model(Path("."))).train(data=str(data), epochs=1, **FAST, **settings)


def backbone(file: str) -> None:
    text = f"nc: 2\nbackbone:\n  - [-1, 1, Ghostnetv1, [0.5, {file}]]\nhead:\n  - [[2, 3, 4], 1, Detect, [nc]]\n"
    Path("ghost.yaml").write_text(text, encoding="utf-8")
    YOLO("ghost.yaml")


@pytest.mark.parametrize("make", [torch_zip, torch_old, plain])
@pytest.mark.parametrize("way", WAYS)
def test_weight_files(work_dir, way, make):
    with pytest.raises(CheckpointError) as caught:
        WAYS[way](make("evil.pt"))
    assert f"'evil.pt' asks for {SYSTEM}," in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        "predict model=evil.pt source=x.jpg", "val model=evil.pt data=fire.yaml", "train resume model=evil.pt",
        "train resume=evil.pt", "export model=evil.pt", "track model=evil.pt source=x.mp4", "profile model=evil.pt",
        "transfer model=evil.pt to=yolo11n.yaml", "compare models=evil.pt data=fire.yaml epochs=1",
        "explain model=evil.pt source=x.jpg",
    ],
)  # fmt: skip
def test_commands(work_dir, capsys, command):
    torch_zip("evil.pt")
    assert main(command.split()) == 2
    assert f"asks for {SYSTEM}," in capsys.readouterr().err


def test_a_yaml_cannot_say_so_either(work_dir):
    for text in (
        "train: !!python/object/apply:os.system ['echo x > mark']\nval: x\nnames: [a]\n",
        "!!python/object/new:os.system ['echo x > mark']",
        "names: !!python/name:os.system\n",
    ):
        Path("evil.yaml").write_text(text, encoding="utf-8")
        for words in ("train model=yolo11n.yaml data=evil.yaml", "train model=evil.yaml data=x", "train cfg=evil.yaml"):
            assert main(words.split()) == 2


# Caches ---------------------------------------------------------------------------------------------------------------


def object_array(file: str) -> None:
    """An array of objects, of which NumPy keeps a pickle."""
    with open(file, "wb") as f:
        np.save(f, np.array([Evil()], object), allow_pickle=True)


def object_archive(file: str) -> None:
    """An archive with such arrays under all names of a label cache."""
    with open(file, "wb") as f:
        np.savez(f, key=np.array([Evil()], object), rows=np.array([Evil()], object))


@pytest.mark.parametrize("make", [plain, object_array, object_archive])
def test_label_cache(work_dir, tiny_data_copy, caplog, make):
    images = sorted(str(p) for p in (tiny_data_copy.parent / "images" / "val").iterdir())
    good = load_labels(images, 2)
    cache = next((tiny_data_copy.parent / "labels").glob("*.cache.npz"))
    caplog.clear()
    make(str(cache))
    again = load_labels(images, 2)
    assert [e.rows.tolist() for e in again] == [e.rows.tolist() for e in good]
    assert f"'{cache}' is not a cache but a pickle that asks for {SYSTEM}; it was not run." in caplog.text
    with np.load(cache, allow_pickle=False) as z:
        assert len(z["counts"]) == len(images)  # made anew


@pytest.mark.parametrize("make", [plain, object_array])
def test_image_cache(work_dir, tiny_data_copy, caplog, make):
    file = str(next((tiny_data_copy.parent / "images" / "val").iterdir()))
    make(f"{file}.npy")
    image, _ = ImageCache([file], 64, "disk")[0]
    assert image.shape == (48, 64, 3)
    assert f"'{file}.npy' holds a pickle that asks for {SYSTEM}; it was not run." in caplog.text
    assert pickle_in(f"{file}.npy") == ""  # made anew


# Exported files -------------------------------------------------------------------------------------------------------


def test_a_plain_pickle_under_the_names_of_exported_files(work_dir):
    metadata = json.dumps({"task": "detect", "names": ["a"], "stride": 32, "imgsz": [64, 64]})
    for name in ("evil.torchscript", "evil.onnx", "evil.mnn", "evil.tflite", "evil.pte", "evil.engine"):
        plain(name)
        with pytest.raises(UserError, match=r"evil\.|pip install"):  # a runtime that is not here reads nothing
            YOLO(name)
    for folder in ("evil_openvino_model", "evil_ncnn_model", "evil_rknn_model"):
        Path(folder).mkdir()
        Path(folder, "metadata.json").write_text(metadata, encoding="utf-8")
        for name in ("model.xml", "model.bin", "model.param", "model.onnx"):
            plain(f"{folder}/{name}")
        with pytest.raises(UserError, match=r"evil|pip install"):
            YOLO(folder)


def test_metadata_cannot_run_code_either(work_dir):
    from ultralytics.nn.formats.job import from_texts

    texts = {"task": "detect", "names": "__import__('os').system('echo x > mark')", "stride": "32", "imgsz": "[64, 64]"}
    with pytest.raises(ModelError, match="its names are not a list"):
        from_texts(texts, "a.onnx")


# Hostile without a name -----------------------------------------------------------------------------------------------


def archive(file: str, data: bytes) -> str:
    """A weight file with this pickle."""
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", data)
    return file


def nested(first: bytes, made: bytes) -> bytes:
    """Opcodes that leave on the stack what holds a thing twice, which holds a thing twice, and so on, 60 deep."""
    steps = (b"0(h%ch%c%sq%c" % (i, i, made, i + 1) for i in range(60))
    return first + b"q\x00" + b"".join(steps)


LISTS, TUPLES = nested(b"]", b"l"), nested(b")", b"t")
KEY = b"X\x06\x00\x00\x00format"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Nr" + struct.pack("<I", 2**32 - 1) + b".", "is damaged|holds a NoneType"),  # room for 4 billion memories
        (b"}" + TUPLES + b"Ns.", "a tuple as a key"),  # whose hash takes 2 ** 60 steps
        (b"\x8f(" + TUPLES + b"\x90.", "a tuple as a key"),
        (b"(" + TUPLES + b"\x91.", "a tuple as a key"),
        (b"ctorch.torch_version\nTorchVersion\n(" + LISTS + b"tR.", "a list where a text belongs"),
        (b"ctorch\ndevice\n(" + LISTS + b"tR.", "a list where a text belongs"),
        (b"cnumpy\ndtype\n(" + LISTS + b"tR.", "a list where a text belongs"),
        (
            b"}(" + KEY + b"X\x05\x00\x00\x00ghostX\x0e\x00\x00\x00format_version" + LISTS + b"u.",
            "holds more than",
        ),
    ],
    ids=["memories", "key", "set", "frozenset", "version", "device", "dtype", "own"],
)
def test_short_pickles_that_would_take_all_memory_or_time(work_dir, data, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(archive("evil.pt", b"\x80\x04" + data))
    assert len(str(caught.value)) < 1000


def test_weight_file_that_unpacks_without_end(work_dir):
    with zipfile.ZipFile("evil.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", pickle.dumps({}, 2))
        z.writestr("archive/data/0", bytes(100 << 20))
    assert Path("evil.pt").stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="would unpack to more than 100 times"):
        load_checkpoint("evil.pt")


def test_tensors_without_end_that_share_one_storage(work_dir):
    shared = torch.zeros(1 << 20)
    torch.save({f"a{i}": shared.view(1 << 10, 1 << 10) for i in range(100)}, "evil.pt")
    with pytest.raises(CheckpointError, match="many times as large as the file"):
        load_state_dict_file("evil.pt")


def test_modules_that_stand_in_each_other_twice(work_dir):
    from foreign import foreign_model, save_foreign

    model = foreign_model()
    inner = torch.nn.Module()
    for _ in range(40):
        outer = torch.nn.Module()
        outer._modules = {"a": inner, "b": inner}
        inner = outer
    model.model._modules = {"deep": inner, **model.model._modules}
    with pytest.raises(CheckpointError, match="more than 200000 modules"):
        load_checkpoint(save_foreign(Path("evil.pt"), {"model": model}))
