"""The table of formats: each row writes a file that computes what its model does, and says plainly what is wrong."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import zoo
from tiny import tiny_model
from torch import nn

from fill import image
from ultralytics.engine.exporter import Predictions, describe, export, image_batch
from ultralytics.nn.formats import FORMATS, Format, attached, folder, format_named, format_of, rknn, tensorrt
from ultralytics.nn.formats.job import from_text, to_text
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError, MissingPackageError, ModelError
from ultralytics.utils.files import file_size

METADATA = {"task": "detect", "names": {"0": "火", "1": "smoke"}, "stride": 32, "imgsz": [64, 96], "batch": 1}
ON_GPU = {"engine"}  # what cannot run on a CPU
NO_CHECKSUM = {"torchscript", "onnx"}  # single values of the weights may change unseen


def missing(form: Format) -> str:
    """Return what a format needs that is not here; an empty text if it can be tried."""
    packages = [p for p in dict.fromkeys((*form.writing, *form.running)) if not find_spec(p.replace("-", "_"))]
    return ", ".join(packages) or ("a GPU" if form.name in ON_GPU and not torch.cuda.is_available() else "")


MISSING = {form.name: why for form in FORMATS.values() if (why := missing(form))}
TRIED = [form for form in FORMATS.values() if form.name not in MISSING]


def settled(name: str) -> nn.Module:
    """A new model in eval mode whose batch norms know its activations, so that these neither grow nor vanish."""
    torch.manual_seed(0)
    model = DetectionModel(name, verbose=False) if name.endswith(".yaml") else zoo.build(name, nc=3)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # mean over the batches
    with torch.no_grad():
        for seed in range(2):
            model.train().predict(image(4, 64, 64, seed))
        for branch in getattr(model.model[-1], "cv3", []):
            branch[-1].bias.zero_()  # scores around a half, where differences show
    return model.eval()


# The table


def test_names_lead_to_their_row():
    for name, form in FORMATS.items():
        assert format_named(name) is form and form.name == name
        assert format_of(form.file(Path("runs/best"))) is form and format_of(f"BEST{form.suffix}") is form
        assert form.note and form.title
    assert len({f.suffix for f in FORMATS.values()}) == len(FORMATS)
    assert format_of("best.pt") is None
    with pytest.raises(ConfigError, match="Did you mean 'ncnn'"):
        format_named("ncn")


def test_modules_load_without_their_packages():
    code = (
        "import sys; from ultralytics.nn.formats import FORMATS\n"
        "for f in FORMATS.values():\n"
        "    m = f.load(); assert callable(m.write) and callable(m.Runner), f\n"
        "names = {p.replace('-', '_') for f in FORMATS.values() for p in (*f.writing, *f.running)}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("writing", [True, False], ids=["writing", "running"])
def test_missing_packages_are_named(form, writing, monkeypatch):
    packages = form.writing if writing else form.running
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    if not packages:
        return form.require(writing=writing)
    with pytest.raises(MissingPackageError, match=f"pip install {' '.join(packages)}") as e:
        form.require(writing=writing)
    assert form.title in str(e.value)


# Metadata


def test_metadata_behind_a_file(tmp_path):
    file = tmp_path / "模型.bin"
    file.write_bytes(b"payload" * 99)
    attached.attach(file, METADATA)
    payload, found = attached.read_attached(file, "Test")
    assert payload == b"payload" * 99
    assert found["names"] == {0: "火", 1: "smoke"} and found["imgsz"] == [64, 96]
    with zipfile.ZipFile(file) as archive:  # as TensorFlow Lite's own tools read it
        assert archive.namelist() == [attached.NAME]


@pytest.mark.parametrize("place", [0, 300, 692, -200, -5], ids=lambda n: f"byte {n}")
def test_a_changed_byte_is_found(place, tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"payload" * 99)
    attached.attach(file, METADATA)
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.bin"):
        attached.read_attached(file, "Test")


def test_metadata_from_elsewhere_is_refused(tmp_path):
    file = tmp_path / "a.bin"
    for metadata, message in ((METADATA, "checksum"), ({}, "does not say its task")):
        file.write_bytes(b"payload")
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(attached.NAME, to_text(metadata))
        with pytest.raises(ModelError, match=message):
            attached.read_attached(file, "Test")
    file.write_bytes(b"payload")
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(attached.NAME, " " * (attached.MAX_BYTES + 1))
    with pytest.raises(ModelError, match="not a Test file"):
        attached.read_attached(file, "Test")


def test_metadata_of_a_folder_knows_its_files(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"weights")
    folder.write_metadata(tmp_path, METADATA)
    assert folder.read_metadata(tmp_path)["names"] == {0: "火", 1: "smoke"}
    (tmp_path / "a.bin").write_bytes(b"weighty")
    with pytest.raises(ModelError, match=r"a\.bin' is damaged"):
        folder.read_metadata(tmp_path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(ModelError, match=r"a\.bin' is damaged or missing"):
        folder.read_metadata(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"task"', "null", json.dumps({**METADATA, "names": 3})])
def test_metadata_that_is_none(text):
    with pytest.raises(ModelError, match="best"):
        from_text(text, "best")


# What runs without packages


def test_the_header_of_an_engine(tmp_path):
    file = tmp_path / "a.engine"
    file.write_bytes(tensorrt.with_header(METADATA, b"engine"))
    metadata, engine = tensorrt.split_header(file)
    assert engine == b"engine" and metadata["names"][0] == "火"
    assert file.read_bytes()[:4] == len(to_text(METADATA).encode()).to_bytes(4, "little")


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\xff" * 99, b"\x05\0\0\0{", b"\x04\0\0\0[12]engine", b"\x02\0\0\0{}e"]
)
def test_what_is_no_engine(content, tmp_path):
    (tmp_path / "a.engine").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.engine"):
        tensorrt.Runner(tmp_path / "a.engine")


def test_an_engine_needs_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "a.engine").write_bytes(tensorrt.with_header(METADATA, b"engine"))
    with pytest.raises(ConfigError, match="Running TensorRT needs an NVIDIA GPU"):
        tensorrt.Runner(tmp_path / "a.engine")
    with pytest.raises(ConfigError, match="Writing TensorRT needs an NVIDIA GPU"):
        tensorrt.write(None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="give device=0 instead of device=cpu"):
        tensorrt.Runner(tmp_path / "a.engine", "cpu")


@pytest.mark.parametrize("name", ["yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolov8n-ghost"])
@torch.no_grad()
def test_raw_maps_decode_to_what_the_model_gives(name):
    model, x = settled(name), image(2, 64, 96, seed=1)
    wanted = Predictions(model)(x)
    raw = rknn.Raw(Predictions(model))
    maps = dict(zip(raw.outputs, raw(x), strict=True))
    assert maps["box0"].shape == (2, 64, 8, 12) and maps["cls2"].shape == (2, 3, 2, 3)
    got = rknn.decode(maps, 96, describe(model, x, None, {}))
    for a, b in zip(got, [wanted] if isinstance(wanted, torch.Tensor) else wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_an_opset_that_the_toolkit_cannot_read():
    with pytest.raises(ConfigError, match="rknn-toolkit2 reads 12 to 19"):
        rknn.write(type("Job", (), {"opset": 20}))


# Files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> nn.Module:
    return settled(tiny_model(tmp_path_factory.mktemp("yaml")))


@pytest.fixture(scope="module")
def written(tiny, tmp_path_factory):
    """Return a function that writes a format once."""
    files = {}

    def write(form: Format) -> Path:
        if form.name not in files:
            file = form.file(tmp_path_factory.mktemp(form.name) / "模型")
            files[form.name] = export(tiny, form, file, [64, 96], batch=2, optimize=False)
        assert files[form.name][1].holds
        return files[form.name][0]

    return write


@pytest.mark.parametrize("name", MISSING)
def test_formats_that_are_not_tried(name):
    pytest.skip(f"{FORMATS[name].title} needs {MISSING[name]}")


@pytest.mark.parametrize("form", TRIED, ids=lambda form: form.name)
def test_a_file_computes_what_its_model_does(form, written, tiny):
    file = written(form)
    run, x = form.load().Runner(file), image_batch(tiny, [64, 96], 2).flip(0)
    assert run.metadata["names"] == tiny.names and run.metadata["imgsz"] == [64, 96] and run.metadata["batch"] == 2
    with torch.no_grad():
        wanted = tiny(x)[0]
    first, kept = run(x), [y.clone() for y in run(x)]
    run(x * 0)
    torch.testing.assert_close(first[0], kept[0], rtol=0, atol=0)  # what it gave is not overwritten by the next
    torch.testing.assert_close(first[0], wanted, rtol=1e-4, atol=1e-3)
    assert not torch.equal(run(x * 0)[0], first[0])
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def spoilt(file: Path, copy: Path, form: Format) -> list[Path]:
    """Return copies of a file, or of a folder, each with one file in it that is damaged in another way."""
    copies = []
    inner = [p.relative_to(file) for p in sorted(file.iterdir())] if file.is_dir() else [None]
    for part in inner:
        content = (file / part if part else file).read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes(b ^ 0x55 for b in content[middle : middle + 64]) + content[middle + 64 :]
        damages = [b"", b"\0" * 999, b"{} no model " * 99, content[:middle]]
        for i, damage in enumerate(damages if form.name in NO_CHECKSUM else [*damages, changed]):
            target = copy / f"{len(copies)}{i}{file.name}"
            (shutil.copytree if part else shutil.copy)(file, target)
            (target / part if part else target).write_bytes(damage)
            copies.append(target)
    return copies


@pytest.mark.parametrize("form", [form for form in TRIED if form.name not in ON_GPU], ids=lambda form: form.name)
def test_a_damaged_file_gives_a_sentence(form, written, tmp_path):
    file = written(form)
    for copy in spoilt(file, tmp_path, form):
        with pytest.raises(ModelError) as e:
            _ = form.load().Runner(copy).metadata
        assert copy.name in str(e.value), e.value


@pytest.mark.parametrize(
    ("form", "precision"),
    [pytest.param(f, p, id=f"{f.name}-{p}") for f in TRIED for p in ("half", "int8") if p in f.options],
)
def test_coarser_precisions(form, precision, written, tiny, tmp_path):
    plain = written(form)
    if (form.name, precision) == ("openvino", "int8"):
        pytest.importorskip("nncf")
    settings = {precision: True}
    if precision == "int8":
        settings["images"] = lambda: [image(1, 64, 96, seed).numpy() for seed in range(4)]
    file, parity = export(tiny, form, form.file(tmp_path / "a"), [64, 96], optimize=False, **settings)
    assert parity.holds and parity.precision != "float32"
    assert form.load().Runner(file).metadata[precision] is True
    assert file_size(file) < file_size(plain)


TWO_MODELS = """
import signal, sys
from ultralytics.nn.formats.openvino import Runner

seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
first, second = Runner(sys.argv[1]), Runner(sys.argv[1])
del first
del second
signal.raise_signal(signal.SIGTERM)
print("seen", seen)
"""


@pytest.mark.skipif("openvino" in MISSING, reason="openvino is not installed")
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_signal_after_two_models_ends_no_process(written):
    """OpenVINO leaves a freed stack for signals behind if two of it go in the order in which they came."""
    words = [sys.executable, "-c", TWO_MODELS, str(written(FORMATS["openvino"]))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "seen [1]\n"), done.stderr
