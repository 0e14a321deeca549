"""Some of the fuzzer's cases (`fuzz.py` runs them all), and each fault it found, by name."""

from __future__ import annotations

import contextlib
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("resource", reason="limits of a process are POSIX")
import fuzz
import fuzz_guard
import fuzz_metadata
import fuzz_targets
from PIL import Image

from ultralytics.cfg import get_cfg
from ultralytics.cli import main
from ultralytics.data import labels
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.image_files import read_image
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import SETTINGS
from ultralytics.utils.errors import LONGEST, CheckpointError, ConfigError, DataError, MissingFileError, UserError

SHORT = {
    "torchscript_metadata": 8,
    "onnx_metadata": 16,
    "openvino_metadata": 6,
    "pickle_grammar": 20,
    "torchscript": 100,
    "yaml": 400,
    "labels": 600,
    "cli": 300,
    "checkpoint": 60,
    "cache": 100,
    "images": 200,
}
LONG = {"torchscript_metadata", "openvino_metadata"}  # writing their files takes longest; test_metadata.py is quick


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    """The watch of this process, which cannot be taken away again, but can be turned off."""
    return fuzz_guard.Watch(tmp_path_factory.getbasetemp())


@pytest.fixture
def restored(monkeypatch, work_dir):
    """Bring back what targets change for speed or in place of work, and the settings that commands change."""
    import logging
    import signal

    import ultralytics
    from ultralytics import cli
    from ultralytics.data import tools
    from ultralytics.lab import explain, profile_run, receptive_field, transfer
    from ultralytics.lab.compare import command

    spots = [(labels, "progress"), (Image, "MAX_IMAGE_PIXELS"), (tools, "safe_download"), (tools, "check_dataset"),
             (explain, "YOLO"), (explain, "explain"), (explain, "table"), (receptive_field, "report"),
             (profile_run, "load_model"), (transfer, "attempt_load_one_weight"), (command, "carry_out"),
             (ultralytics, "YOLO")]  # fmt: skip
    for place, name in spots:
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setitem(cli.VERBS, "checks", cli.VERBS["checks"])
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(work_dir))
    monkeypatch.setattr(SETTINGS, "_values", None)  # to be read there
    logger, handler = logging.getLogger("ultralytics"), signal.getsignal(signal.SIGVTALRM)
    level = logger.level
    yield
    logger.setLevel(level)
    signal.signal(signal.SIGVTALRM, handler)


def need(name: str) -> None:
    """Skip a target whose packages are missing."""
    for package in fuzz_metadata.PACKAGES.get(name, ()):
        pytest.importorskip(package)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in fuzz.FULL])
def test_some_cases(work_dir, restored, watch, name):
    need(name)
    report = fuzz.run(name, SHORT[name], watch=watch)
    assert not report.faults, f"{report}\n{next(iter(report.faults.values()))[1]}"
    assert 0 < report.refused < report.cases  # neither is all of it noise, nor is nothing damaged


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fuzz.FULL)
def test_more_cases(work_dir, restored, watch, name):
    """A tenth of the full run, cases behind those of the short one; the full one is `python tests/faults/fuzz.py`."""
    need(name)
    report = fuzz.run(name, fuzz.FULL[name] // 10, SHORT[name], watch)
    assert not report.faults, f"{report}\n{next(iter(report.faults.values()))[1]}"


def test_cases_repeat(work_dir):
    texts = [fuzz_targets.mutate.mutated_text(random.Random("yaml 7"), fuzz_targets.DATA[0], ["a"]) for _ in range(2)]
    assert texts[0] == texts[1] != fuzz_targets.DATA[0]


def test_the_watch_sees_what_must_not_be(tmp_path_factory, tmp_path, watch):
    """What the fuzzer would not see, it could not find."""
    import os
    import socket
    import subprocess

    import torch

    outside = Path(fuzz.__file__).with_name("never")
    evils = [
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=False),
        lambda: socket.create_connection(("127.0.0.1", 9), 0.1),
        lambda: outside.write_text("x"),
        lambda: outside.mkdir(),
        lambda: exec(compile("1", "evil.yaml", "exec")),
        lambda: __import__("pickle").loads(b"cposix\nsystem\n."),
        lambda: torch.load(tmp_path / "a.pt", weights_only=False),
    ]
    torch.save({"a": np.zeros(1)}, tmp_path / "a.pt")
    for evil in evils:
        with pytest.raises(fuzz_guard.Forbidden), watch.case():
            evil()
    with pytest.raises(fuzz_guard.Forbidden, match="swallowed"), watch.case(), contextlib.suppress(BaseException):
        os.system("true")
    with watch.case():
        (tmp_path / "fine").write_text("x")
    assert not outside.exists()


def test_the_fuzzer_sees_what_torchscript_writes(work_dir, restored, monkeypatch, capfd):
    """Python's audit hooks do not: without the lists, some of the first cases write a file."""
    import io

    from ultralytics.nn.formats import torchscript

    monkeypatch.setattr(torchscript, "checked_script", lambda file: io.BytesIO(Path(file).read_bytes()))
    target, written = fuzz.TARGETS["torchscript"](), 0
    for i in range(150):
        try:
            target.case(random.Random(f"torchscript {i}"))
        except UserError:
            continue
        except fuzz_guard.Forbidden as e:
            written += "wrote a file" in str(e)
    assert written


# What it found --------------------------------------------------------------------------------------------------------


def data_yaml(text: str) -> str:
    Path("case.yaml").write_text(text, encoding="utf-8")
    return "case.yaml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: " + "c" * 5000 + "\nval: x\nnames: [a]", "The train images of"),  # the system raised: name too long
        ("train: a\nval: b\nnames: [a]\nkpt_shape: [2, 3]\nflip_idx: [0, {0: 1}]", "list of the keypoints' numbers"),
        ("train: a\nval: b\nnames: [a]\nkpt_shape: [2, 3]\nflip_idx: 7", "list of the keypoints' numbers"),
        ("train: a\nval: b\nnc: 1000000000", "at most 100000"),  # made so many names
        ("train: a\nval: b\nnames: !!int x", "a value cannot be read"),
        ("train: a\nval: b\nnames: !!timestamp x", "a value cannot be read"),
        ("train: a\nval: b\nnames: !!bool x", "a value cannot be read"),
        ("train: a\nval: b\nnames: [a]\nnames: [b]", "'names' appears twice, in line 3 and in line 4"),
    ],
)  # fmt: skip
def test_data_yamls(work_dir, text, words):
    with pytest.raises(UserError, match=words) as caught:
        check_det_dataset(data_yaml(text))
    assert len(str(caught.value)) <= LONGEST + 10


@pytest.mark.parametrize("setting", [{"epochs": 10**400}, {"lr0": 10**400}, {"imgsz": [10**400, 2]}])
def test_numbers_too_large_for_a_float(work_dir, setting):
    with pytest.raises(ConfigError, match="is not possible"):
        get_cfg(overrides=setting)
    with pytest.raises(ConfigError, match=r"number in line 1 has more than 100 characters\. "):
        get_cfg(data_yaml(str(setting)))


@pytest.mark.parametrize(
    "words", ["train model=" + "a" * 300, "train model=" + "a" * 5000 + ".pt", "compare models=" + "a" * 5000 + ".pt",
              "train cfg=" + "a" * 300 + ".yaml", "data check " + "a" * 5000, "explain receptive_field" + "9" * 9000],
)  # fmt: skip
def test_long_words(work_dir, capsys, words):
    assert main(words.split()) == 2
    assert 0 < len(capsys.readouterr().err) < LONGEST + 100


@pytest.mark.parametrize(
    "words", [["profile", "model=,"], ["compare", "models=yolo11n.yaml", "data=fire.yaml", "seeds=99999999999"],
              ["compare", "models=yolo11n.yaml", "data=fire.yaml", "seeds=[[1]]"], ["val", "model=a\0.pt"],
              ["transfer", "model=\ud800", "to=yolo11n.yaml"], ["settings", "runs_dir=\udcff"]],
)  # fmt: skip
def test_odd_words(work_dir, capsys, words):
    assert main(words) == 2
    assert 0 < len(capsys.readouterr().err) < LONGEST


def test_zip_that_spans_disks(work_dir):
    with zipfile.ZipFile("a.pt", "w") as z:
        z.writestr("archive/data.pkl", b"\x80\x02N.")
    data = Path("a.pt").read_bytes()
    end = data.index(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<IQI", 1, 0, 7)
    Path("a.pt").write_bytes(data[:end] + locator + data[end:])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint("a.pt")


def test_array_file_with_half_a_head(work_dir):
    image = fuzz_targets.make_images("set", 1)
    np.save(f"{image[0]}.npy", np.zeros((16, 20, 3), np.uint8))
    data = bytearray(Path(f"{image[0]}.npy").read_bytes())
    data[30:90] = b"\n{('" * 15
    Path(f"{image[0]}.npy").write_bytes(data)
    assert ImageCache(image, 32, "disk")[0][0].shape == (26, 32, 3)


def test_png_with_a_chunk_of_4_gigabytes(work_dir):
    """OpenCV made room for what the chunk says it holds."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save("a.png")
    data = bytearray(Path("a.png").read_bytes())
    at = data.index(b"IDAT")
    data[at - 4 : at] = b"\xff\xff\x03\x23"
    Path("a.png").write_bytes(data)
    before = fuzz_guard.resource.getrusage(fuzz_guard.resource.RUSAGE_SELF).ru_maxrss
    try:
        assert read_image("a.png").shape == (24, 32, 3)  # Pillow reads what is there
    except DataError as e:
        assert "cannot be decoded" in str(e)
    assert fuzz_guard.resource.getrusage(fuzz_guard.resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


def test_label_cache_of_other_content(work_dir):
    """Arrays of wrong sizes, kinds and numbers under the right key: the labels are read anew."""
    files = fuzz_targets.make_images("set", 2)
    good = labels.load_labels(files, 1)
    (file,) = Path("set").glob("labels-*.cache.npz")
    with np.load(file) as z:
        arrays = dict(z)
    row = arrays["rows"]
    changes = {
        "rows": [row[:1], row.astype(np.float64), row + np.array([9, 0, 0, 0, 0], np.float32), row * np.nan, row - 1],
        "counts": [np.array([2, 0, 0]), np.array([-1, 3]), np.array([1.0, 1.0]), np.array(["1", "1"])],
        "shapes": [np.zeros((1, 2), int), np.full((2, 2), -1)],
        "found": [np.array([1, 1])],
        "lengths": [np.array([5]), np.array([2**62, 2**62])],
        "faults": [np.frombuffer(t, np.uint8) for t in (b"[]", b'{"7": "x"}', b'{"0": 1}', b"[" * 9000, b"\xff")],
    }
    for name, values in changes.items():
        for value in values:
            np.savez(file, **{**arrays, name: value})
            again = labels.load_labels(files, 1)
            assert [e.rows.tolist() for e in again] == [e.rows.tolist() for e in good], (name, value)


def test_a_list_of_sources_that_holds_itself(work_dir):
    from ultralytics.data.loaders import load_inference_source

    Path("list.txt").write_text("list.txt\n", encoding="utf-8")
    with pytest.raises(DataError, match="may not hold another list"):
        load_inference_source("list.txt")
    Path("list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not text in UTF-8"):
        load_inference_source("list.txt")


@pytest.mark.parametrize(
    "address",
    ["videotestsrc ! filesink location=x", "rtsp://x ! y", "rtsp://x\ty", "file:x", "x.avi"],
)
def test_no_stream_is_a_pipeline(work_dir, address, monkeypatch):
    from ultralytics.data import loaders

    monkeypatch.setattr(loaders.cv2, "VideoCapture", lambda *_: pytest.fail("opened"))
    Path("a.streams").write_text(f"{address}\n", encoding="utf-8")
    with pytest.raises(MissingFileError, match="gives no image"):
        loaders.load_inference_source("a.streams")


def test_no_settings_file_can_say_that_modules_are_trusted(work_dir, capsys):
    Path("evil.py").write_text("open('mark', 'w')\n", encoding="utf-8")
    layers = {"nc": 1, "modules": ["evil.py"], "backbone": [[-1, 1, "Mine", [8]]], "head": [[[0], 1, "Detect", ["nc"]]]}
    Path("evil.yaml").write_text(yaml.safe_dump(layers), encoding="utf-8")
    Path("cfg.yaml").write_text("model: evil.yaml\ntrust_modules: true\ndata: x.yaml\n", encoding="utf-8")
    assert main(["train", "cfg=cfg.yaml"]) == 2
    assert "which nobody has allowed to run" in capsys.readouterr().err
    assert not get_cfg("cfg.yaml").trust_modules
    assert not Path("mark").exists()
