from __future__ import annotations

import pickle
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scenes import write_image

from ultralytics.data.build import check_source
from ultralytics.data.loaders import (
    LoadImagesAndVideos,
    LoadPilAndNumpy,
    LoadStreams,
    LoadTensor,
    SourceTypes,
    load_inference_source,
)
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "火 灾 images"
    for i in range(3):
        write_image(root / f"p{i}.png", np.full((20 + i, 30, 3), 10 * i, np.uint8))
    (root / "notes.md").write_text("no image")
    return root


def write_video(path: Path, n: int = 7) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for i in range(n):
        writer.write(np.full((48, 64, 3), 30 * i, np.uint8))
    writer.release()
    return path


def names(loader):
    return [Path(p).name for paths, _, _ in loader for p in paths]


def test_folder_file_glob_list_and_text_file(folder, tmp_path, monkeypatch):
    everything = ["p0.png", "p1.png", "p2.png"]
    assert names(load_inference_source(folder)) == everything
    assert names(load_inference_source(str(folder / "*.png"))) == everything
    assert names(load_inference_source(str(folder / "p1.png"))) == ["p1.png"]
    assert names(load_inference_source([folder / "p2.png", str(folder / "p0.png")])) == ["p2.png", "p0.png"]
    (folder / "list.txt").write_text(f"p1.png\n{folder / 'p0.png'}\n", encoding="utf-8")
    assert names(load_inference_source(folder / "list.txt")) == ["p1.png", "p0.png"]
    monkeypatch.chdir(folder)
    assert names(load_inference_source("p0.png")) == ["p0.png"]


@pytest.mark.parametrize("name", ["a [1]", "[abc]", "q? x"])
def test_globs_below_folders_with_brackets(folder, tmp_path, name, monkeypatch):
    try:
        folder.rename(tmp_path / name)
    except OSError:
        pytest.skip("this system does not allow the name")
    for source in (name, f"{name}/p0.png", f"{name}/*.png", f"{name}/**/p[01].png"):
        wanted = {"p0.png", "p1.png", "p2.png"} if source in {name, f"{name}/*.png"} else {"p0.png", "p1.png"}
        wanted = {"p0.png"} if source.endswith("/p0.png") else wanted
        assert set(names(load_inference_source(tmp_path / source))) == wanted
        monkeypatch.chdir(tmp_path)
        assert set(names(load_inference_source(source))) == wanted


def test_batches_and_infos(folder):
    loader = load_inference_source(folder, batch=2)
    batches = list(loader)
    assert [len(p) for p, _, _ in batches] == [2, 1] and len(loader) == 2
    assert batches[0][2][1].startswith("image 2/3 ")
    assert batches[1][1][0].shape == (22, 30, 3) and batches[1][1][0][0, 0, 0] == 20
    assert loader.mode == "image" and loader.bs == 2 and not loader.source_type.stream
    assert names(loader) == ["p0.png", "p1.png", "p2.png"]  # it can be run through again


def test_frames_say_where_images_come_from(folder, tmp_path):
    """What is in the log texts of files, and what is not, as values; a batch is still a tuple of three."""
    write_video(folder / "v.avi")
    batches = list(load_inference_source(folder, batch=3, vid_stride=2))
    assert all(isinstance(batch, tuple) and len(batch) == 3 for batch in batches)
    frames = [frame for batch in batches for frame in batch.frames]
    assert [f.kind for f in frames] == ["image"] * 3 + ["video"] * 3
    assert [(f.index, f.total, f.number, f.length, f.fps) for f in frames[2:4]] == [
        (2, 4, None, 0, 0),
        (3, 4, 1, 3, 25),
    ]
    assert [f.number for f in frames[3:]] == [1, 2, 3]
    for batch in batches:
        assert batch[2] == [f.text for f in batch.frames] and batch[0] == [f.path for f in batch.frames]
        assert all(image is f.image for image, f in zip(batch[1], batch.frames))
    (batch,) = load_inference_source([np.zeros((4, 5, 3), np.uint8)] * 2)
    assert [(f.kind, f.index, f.total, f.number, f.text) for f in batch.frames] == [
        ("array", 0, 2, None, ""), ("array", 1, 2, None, "")
    ]  # fmt: skip
    (batch,) = load_inference_source(torch.rand(2, 3, 32, 64))
    sent = pickle.loads(pickle.dumps(batch))
    assert torch.equal(sent[1], batch[1]) and sent[0] == [f.path for f in sent.frames] == ["image0.jpg", "image1.jpg"]


def test_unreadable_image_among_others_is_left_out(folder):
    (folder / "p1.png").write_bytes(b"damaged")
    assert names(load_inference_source(folder)) == ["p0.png", "p2.png"]
    with pytest.raises(DataError, match=r"p1\.png"):
        names(load_inference_source(folder / "p1.png"))


@pytest.mark.parametrize("stride", [1, 3])
def test_video(tmp_path, stride):
    loader = load_inference_source(write_video(tmp_path / "视 频.avi"), batch=2, vid_stride=stride)
    frames = [(im, info) for _, ims, infos in loader for im, info in zip(ims, infos)]
    assert len(frames) == 7 // stride and frames[0][0].shape == (48, 64, 3)
    wanted = [30 * i for i in range(stride - 1, 7, stride)]
    np.testing.assert_allclose([im.mean() for im, _ in frames], wanted, atol=4)
    assert frames[-1][1].startswith(f"video 1/1 (frame {7 // stride}/{7 // stride})")
    assert loader.mode == "video" and loader.video_flag == [True] and loader.fps == 25


def test_broken_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"a\.mp4"):
        list(load_inference_source(tmp_path / "a.mp4"))


@pytest.mark.parametrize("source", ["missing.jpg", "missing/*.jpg", "missing_folder/"])
def test_missing_source_says_what_was_tried(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match=str(tmp_path)):
        load_inference_source(source)


def test_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match="no images or videos"):
        load_inference_source(tmp_path)
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(DataError, match="neither an image nor a video"):
        load_inference_source(tmp_path / "a.md")
    with pytest.raises(ConfigError, match="screen is not available"):
        load_inference_source("screen 0")
    with pytest.raises(DataError, match="type dict"):
        load_inference_source({"a": 1})
    with pytest.raises(ConfigError, match="vid_stride=0"):
        load_inference_source(tmp_path, vid_stride=0)
    with pytest.raises(DataError, match="empty list"):
        load_inference_source([])


def test_arrays_of_every_kind():
    h, w = 6, 8
    wanted = np.full((h, w, 3), 128, np.uint8)
    kinds = [
        wanted,
        wanted[..., 0],
        wanted[..., :1],
        np.dstack([wanted, wanted[..., 0]]),
        wanted.astype(np.uint16) * 256,
        wanted.astype(np.float32) / 255,
        wanted.astype(np.float64),
        wanted[:, ::-1],
    ]
    loader = load_inference_source(kinds)
    ((paths, images, infos),) = list(loader)
    assert len(paths) == len(infos) == len(kinds) == loader.bs and paths[1] == "image1.jpg"
    for image in images:
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        np.testing.assert_allclose(image.astype(int), wanted, atol=1)
    for bad in (np.zeros((2, 3, 4, 3), np.uint8), np.zeros((3, 20, 20), np.uint8), np.zeros((0, 5, 3))):
        with pytest.raises(DataError, match="is no image"):
            load_inference_source(bad)


def test_pillow_images_of_every_mode(tmp_path):
    from PIL import Image

    rgb = Image.new("RGB", (8, 6), (10, 20, 30))
    ((_, images, _),) = list(load_inference_source([rgb, rgb.convert("RGBA"), rgb.convert("CMYK")]))
    for image in images:
        np.testing.assert_allclose(image[0, 0].astype(int), (30, 20, 10), atol=2)
    ((_, images, _),) = list(load_inference_source(Image.new("L", (8, 6), 50)))
    assert images[0].shape == (6, 8, 3) and (images[0] == 50).all()
    deep = Image.fromarray(np.full((6, 8), 50 * 256, np.uint16))
    assert (LoadPilAndNumpy(deep).im0[0] == 50).all()
    rgb.save(tmp_path / "a.png")
    ((paths, images, _),) = list(load_inference_source([str(tmp_path / "a.png"), np.zeros((6, 8, 3), np.uint8)]))
    assert paths[0] == str(tmp_path / "a.png") and images[0][0, 0].tolist() == [30, 20, 10]


def test_tensor():
    loader = load_inference_source(torch.rand(2, 3, 64, 32))
    ((paths, images, _),) = list(loader)
    assert images.shape == (2, 3, 64, 32) and len(paths) == 2 and loader.source_type.tensor
    assert LoadTensor(torch.rand(3, 32, 32)).im0.shape == (1, 3, 32, 32)
    assert LoadTensor(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)).im0.max() == 1
    assert LoadTensor(torch.full((1, 3, 32, 32), 255.0)).im0.max() == 1
    with pytest.raises(DataError, match="multiples of 32"):
        LoadTensor(torch.rand(1, 3, 33, 32))
    with pytest.raises(DataError, match="is no batch"):
        LoadTensor(torch.rand(1, 4, 32, 32))


def test_streams_file_faults(tmp_path):
    with pytest.raises(MissingFileError, match="list of streams"):
        load_inference_source(str(tmp_path / "a.streams"))
    (tmp_path / "a.streams").write_text("\n# nothing\n")
    with pytest.raises(DataError, match="is empty"):
        load_inference_source(str(tmp_path / "a.streams"))
    (tmp_path / "a.streams").write_text(f"{tmp_path}/missing.avi\n")
    with pytest.raises(MissingFileError, match="gives no image"):
        load_inference_source(str(tmp_path / "a.streams"))


def test_buffered_streams_give_every_frame(tmp_path):
    for i in range(2):
        write_video(tmp_path / f"v{i}.avi", 5 + i)
    (tmp_path / "a.streams").write_text(f"{tmp_path / 'v0.avi'}\n{tmp_path / 'v1.avi'}\n")
    loader = LoadStreams(str(tmp_path / "a.streams"), buffer=True)
    for thread in loader.threads:
        thread.join()  # all that comes has come
    batches = list(loader)
    assert [len(images) for _, images, _ in batches] == [2] * 5 + [1]
    assert [f.number for batch in batches for f in batch.frames if f.index == 1] == [1, 2, 3, 4, 5, 6]
    assert {(f.kind, f.total, f.fps, f.text) for batch in batches for f in batch.frames} == {("stream", 2, 25, "")}
    assert not any(t.is_alive() for t in loader.threads)


def test_http_stream(tmp_path):
    """A camera that sends JPEG images one after the other over HTTP."""
    frame = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for _ in range(200):
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(frame)
                    self.wfile.write(head + frame + b"\r\n")
                    time.sleep(0.005)
            except OSError:
                pass

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        loader = load_inference_source(f"http://127.0.0.1:{server.server_port}/video.mjpg")
        assert loader.source_type.stream and loader.mode == "stream"
        for i, (_, images, _) in enumerate(loader):
            assert images[0].shape == (48, 64, 3) and abs(images[0].mean() - 90) < 3
            if i == 2:
                break
        loader.close()
        assert not any(t.is_alive() for t in loader.threads)
    finally:
        server.shutdown()
        server.server_close()


def test_a_loader_is_a_source_as_it_is(folder):
    loader = load_inference_source(folder, batch=2)
    assert load_inference_source(loader, batch=9) is loader and loader.bs == 2


@pytest.mark.parametrize(
    "source", [iter(["a.jpg"]), {"a.jpg"}, b"a.jpg", True, np.array(["a.jpg"]), ["a.jpg", 7], [], ()]
)
def test_what_is_no_source_is_a_sentence(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.jpg", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DataError, match=r"cannot be read|is no image|is an empty list"):
        load_inference_source(source)


def test_sizes_of_loaders(folder):
    loader = LoadImagesAndVideos(str(folder))
    assert (loader.nf, loader.ni, len(loader)) == (3, 3, 3)


def test_the_screen_is_a_source(monkeypatch):
    from PIL import Image, ImageGrab

    asked = []

    def grab(box=None, all_screens=False):
        asked.append(box)
        return Image.new("RGBA", (40, 30), (255, 0, 0, 255))

    monkeypatch.setattr(ImageGrab, "grab", grab)
    sources = {"screen": None, "screen 0": None, "Screen 1 2 30 40": (1, 2, 31, 42), "screen 0 1 2 3 4": (1, 2, 4, 6)}
    for source, box in sources.items():
        loader = load_inference_source(source)
        assert asked[-1] == box and loader.source_type == SourceTypes(screenshot=True)
    batches = iter(loader)
    (first,), (second,) = (next(batches).frames for _ in range(2))
    assert first.image.shape == (30, 40, 3) and first.image[0, 0].tolist() == [0, 0, 255]
    assert (first.number, second.number, first.kind) == (1, 2, "stream")
    for wrong in ("screen left", "screen 1 2 3 4 5 6"):
        with pytest.raises(ConfigError, match="write `screen`"):
            load_inference_source(wrong)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("a.jpg", None),
        (3, 0),
        ("list.streams", 0),
        ("rtsp://a/b", 0),
        ("screen 0", 1),
        (np.zeros((4, 4, 3)), 2),
        (torch.zeros(1), 4),
    ],
)
def test_kinds_of_sources(source, kind):
    found, *kinds = check_source(source)
    assert kinds == [i == kind for i in range(5)] and (isinstance(found, str) or kind in {2, 4})
    with pytest.raises(DataError, match="type dict"):
        check_source({})
