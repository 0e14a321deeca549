"""Pipes and devices where files belong, and links that lead back: a sentence at once, where doors waited for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data import converter, image_files, labels, loaders
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.tasks import yaml_model_load
from ultralytics.trackers.settings import read_tracker
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import check_regular, open_regular, read_json, read_text, walk
from ultralytics.utils.hostile.archives import unpack
from ultralytics.utils.plotting import plot_results

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")


class Waited(BaseException):
    """A door waited for a pipe."""


@pytest.fixture(autouse=True)
def patience():
    """Fail a test that waits, which no exception of its own would end."""

    def waited(*_) -> None:
        raise Waited

    old = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


def stream(path: str) -> None:
    next(iter(loaders.load_inference_source(path)))


def resume(path: str) -> None:
    YOLO("yolo11n.yaml").train(data="none.yaml", resume=path)


def masks(path: str) -> None:
    os.replace(path, "masks/a.png")
    converter.convert_segment_masks_to_yolo_seg("masks", "out", 1)


DOORS = {
    "text.txt": read_text,
    "record.json": read_json,
    "data.yaml": check_det_dataset,
    "model.yaml": yaml_model_load,
    "settings.yaml": get_cfg,
    "tracker.yaml": read_tracker,
    "weights.pt": load_checkpoint,
    "model.pt": YOLO,
    "resume.pt": resume,
    "a.torchscript": YOLO,
    "a.onnx": YOLO,
    "a.engine": check_regular,
    "a.jpg": image_files.read_image,
    "b.jpg": image_files.verify_image,
    "source.jpg": stream,
    "source.mp4": stream,
    "list.txt": stream,
    "label.txt": lambda f: labels.read_label(f, 1),
    "archive.zip": lambda f: unpack(f, "out"),
    "coco.json": lambda f: converter.convert_coco(f, "out"),
    "voc/a.xml": lambda f: converter.convert_voc("voc", "out"),
    "masks/b.png": masks,
    "size.jpg": converter.image_size,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices(work_dir, door, kind):
    path = Path(door)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(UserError) as caught:
        DOORS[door](str(path))
    assert any(
        word in str(caught.value)
        for word in ("pipe", "no file", "regular file", "does not exist", "neither", "no such", "There")
    )


def test_caches_that_are_pipes(work_dir):
    Path("set/images").mkdir(parents=True)
    Path("set/labels").mkdir()
    Image.new("RGB", (20, 16)).save("set/images/a.jpg")
    Path("set/labels/a.txt").write_text("0 .5 .5 .2 .2\n", encoding="utf-8")
    (good,) = labels.load_labels(["set/images/a.jpg"], 1)
    (cache,) = Path("set").glob("labels*.cache.npz")
    cache.unlink()
    os.mkfifo(cache)
    (again,) = labels.load_labels(["set/images/a.jpg"], 1)
    assert again.rows.tolist() == good.rows.tolist()
    os.mkfifo("set/images/a.jpg.npy")
    assert ImageCache(["set/images/a.jpg"], 32, "disk")[0][0].shape[2] == 3


@pytest.mark.parametrize("suffix", ["png", "csv"])
def test_results_that_are_a_pipe(work_dir, suffix):
    os.mkfifo("results.csv")
    with pytest.raises(UserError):
        plot_results("results.csv")


def test_open_regular(work_dir):
    Path("a").write_bytes(b"abc")
    Path("link").symlink_to("a")
    for name in ("a", "link"):
        with open_regular(name) as f:
            assert f.read() == b"abc" and f.name
    for name, words in (
        (".", "is a folder"),
        ("b", "does not exist"),
        ("a\0b", "cannot be read"),
        ("/dev/null", "device"),
    ):
        with pytest.raises(UserError, match=words):
            open_regular(name)


def looping(folder: str) -> Path:
    """A folder with images and with two links to itself, of which each doubles what a walk finds, without end."""
    root = Path(folder)
    (root / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (root / name).symlink_to(root.resolve())
    for name in ("1.jpg", "sub/2.jpg"):
        Image.new("RGB", (16, 16)).save(root / name)
    return root


def test_links_that_lead_back(work_dir):
    root = looping("set")
    assert [Path(f).name for f in image_files.list_images(root)] == ["1.jpg", "2.jpg"]
    assert {Path(f).name for f in loaders._expand("set/**/*.jpg")} == {"1.jpg", "2.jpg"}
    assert {Path(f).name for f in loaders._expand("set/**")} == {"1.jpg", "2.jpg"}
    assert len([*walk(root)]) == 2


def test_links_to_other_folders_are_followed(work_dir):
    Path("elsewhere").mkdir()
    Image.new("RGB", (16, 16)).save("elsewhere/3.jpg")
    Path("set/images").mkdir(parents=True)
    Path("set/images/far").symlink_to(Path("elsewhere").resolve())
    assert image_files.list_images("set/images") == [os.path.join("set/images", "far", "3.jpg")]
    assert loaders._expand("set/**/*.jpg") == [os.path.join("set", "images", "far", "3.jpg")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('path: "a\\0b"', "says `path: "), ("path: [a, b]", "says `path: "), ("path: {a: b}", "says `path: "),
        ('train: "a\\0b"', "says `train: "), ("download: 5", "says `download: 5`"),
        ("download: [5]", "says `download: "),
        ("download: {5: a}", "says `download: "), ("download: true", "says `download: True`"),
    ],
)  # fmt: skip
def test_data_yamls_that_cannot_be_meant(work_dir, line, words):
    train = "" if line.startswith("train") else "train: x\n"
    Path("data.yaml").write_text(f"{line}\n{train}val: y\nnames: [a]\n", encoding="utf-8")
    with pytest.raises(UserError, match=words):
        check_det_dataset("data.yaml")
