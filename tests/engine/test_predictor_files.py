"""What a predictor saves and draws: images, labels, crops, videos, and the folders for them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from red_finder import RedFinder, make, scene

from ultralytics.engine.outputs import ResultSaver
from ultralytics.engine.predictor import BasePredictor
from ultralytics.utils import files
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import RunFolder


def test_images_labels_and_crops_are_saved(tmp_path, images, log):
    predictor = make(tmp_path, save=True, save_txt=True, save_conf=True, save_crop=True)
    results = predictor(images)
    out = tmp_path / "runs" / "predict"
    files = sorted(str(f.relative_to(out)) for f in out.rglob("*") if f.is_file())
    crops = [f"crops/{c}/{n}.jpg" for c in ("fire", "smoke") for n in "ab"]
    assert files == sorted(["a.png", "b.png", "c.png", "labels/a.txt", "labels/b.txt", *crops])
    assert np.array_equal(cv2.imread(str(out / "a.png")), results[0].plot())
    assert np.array_equal(cv2.imread(str(out / "c.png")), scene(box=None))
    row = np.loadtxt(out / "labels" / "a.txt")[0]
    np.testing.assert_allclose(row, [0, 70 / 160, 50 / 120, 60 / 160, 60 / 120, 0.9], atol=0.02)
    assert results[0].save_dir == str(out)
    assert str(out) in log[-1] and "2 labels saved" in log[-1]


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path, images):
    twins = []
    for folder, suffix in (("a", ".png"), ("b", ".png"), ("c", ".bmp")):
        (tmp_path / folder).mkdir()
        twins.append(tmp_path / folder / f"0{suffix}")
        cv2.imwrite(str(twins[-1]), scene())
    predictor = make(tmp_path, save=True, save_txt=True)
    predictor([str(p) for p in twins])
    assert {p.name for p in predictor.save_dir.iterdir() if p.is_file()} == {"0.png", "0_2.png", "0_3.bmp"}
    assert {p.name for p in (predictor.save_dir / "labels").iterdir()} == {"0.txt", "0_2.txt", "0_3.txt"}


def test_a_second_call_goes_into_the_same_folder_without_doubled_lines(tmp_path, images):
    predictor = make(tmp_path, save_txt=True)
    predictor(images)
    predictor(images)
    assert [d.name for d in (tmp_path / "runs").iterdir()] == ["predict"]
    assert len((tmp_path / "runs/predict/labels/a.txt").read_text().splitlines()) == 2
    make(tmp_path, save_txt=True)(images)
    assert sorted(d.name for d in (tmp_path / "runs").iterdir()) == ["predict", "predict2"]


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "a_2.png"], ["A.PNG", "b.jpg"]])
def test_sources_in_the_run_folder_are_never_written_over(tmp_path, log, names):
    """Nor is a label that lies where labels are saved."""
    folder = tmp_path / "set"
    (folder / "labels").mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(cv2.imencode(".png", scene())[1].tobytes())
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    before = {p: p.read_bytes() for p in (folder / name for name in names)}
    where = {"project": str(tmp_path), "name": "set", "exist_ok": True}
    for _ in range(2):
        make(tmp_path, save=True, save_txt=True, **where)(folder if len(names) > 1 else folder / names[0])
        assert all(p.read_bytes() == content for p, content in before.items())
    assert len([*folder.glob("*.*")]) > len(names), "what was drawn is there, too"
    assert sum("keeps sources and results apart" in line for line in log) == 2


def test_labels_of_the_source_are_never_written_over(tmp_path, log):
    """The run folder is that of a dataset, whose labels lie where those of the run would."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), scene())
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    make(tmp_path, save_txt=True, project=str(tmp_path), name=".", exist_ok=True)(tmp_path / "images")
    assert (tmp_path / "labels" / "a.txt").read_text() == "0 0.5 0.5 0.1 0.1\n"
    assert len((tmp_path / "labels" / "a_2.txt").read_text().splitlines()) == 2


def test_a_link_in_the_run_folder_is_no_way_to_the_source(tmp_path, images):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").symlink_to(images / "a.png")
    before = (images / "a.png").read_bytes()
    make(tmp_path, save=True, project=str(tmp_path), name="out", exist_ok=True)(images / "a.png")
    assert (images / "a.png").read_bytes() == before and (folder / "a_2.png").is_file()


def test_a_run_that_writes_nothing_leaves_no_folder(tmp_path, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(DataError, match=r"a\.png' cannot be written: No space left on device\. Make room"):
        make(tmp_path, save=True)(images)
    assert not (tmp_path / "runs").exists()


def test_what_is_drawn_follows_the_settings(tmp_path):
    predictor = make(tmp_path, save=True, show_boxes=False)
    predictor(scene())
    saved = cv2.imread(str(tmp_path / "runs" / "predict" / "image0.jpg"))
    assert np.abs(saved.astype(int) - scene()).mean() < 3


@pytest.fixture
def video(tmp_path):
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for k in range(6):
        writer.write(scene(box=(20 + 5 * k, 20, 80 + 5 * k, 80)))
    writer.release()
    return file


def test_a_video_is_saved_as_a_video(tmp_path, video, log):
    predictor = make(tmp_path, save=True, save_txt=True, save_frames=True, verbose=True, batch=2)
    results = predictor(str(video))
    out = tmp_path / "runs" / "predict"
    assert len(results) == 6
    saved = next(f for f in out.iterdir() if f.stem == "clip" and f.suffix in (".mp4", ".avi"))
    reader, frames = cv2.VideoCapture(str(saved)), 0
    while reader.read()[0]:
        frames += 1
    assert frames == 6 and reader.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert sorted(f.name for f in (out / "clip_frames").iterdir()) == [f"{k}.jpg" for k in range(1, 7)]
    assert (out / "labels" / "clip_1.txt").is_file()
    assert any("stream=True" in line for line in log), "a list of a video's results is warned of"
    assert any(line.startswith("video 1/1 (frame 1/6)") for line in log)


def test_vid_stride_takes_fewer_frames_at_true_speed(tmp_path, video):
    predictor = make(tmp_path, save=True, vid_stride=2)
    assert len(list(predictor(str(video), stream=True))) == 3
    saved = next(f for f in (tmp_path / "runs" / "predict").iterdir() if f.stem == "clip")
    assert cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FPS) == pytest.approx(5)


def test_videos_in_one_batch_keep_their_own_speed(tmp_path):
    (tmp_path / "in").mkdir()
    for fps in (5, 20):
        writer = cv2.VideoWriter(str(tmp_path / "in" / f"{fps}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), fps, (160, 120))
        for _ in range(3):
            writer.write(scene())
        writer.release()
    list(make(tmp_path, save=True, batch=6)(tmp_path / "in", stream=True))
    saved = {f.stem: cv2.VideoCapture(str(f)).get(cv2.CAP_PROP_FPS) for f in (tmp_path / "runs" / "predict").iterdir()}
    assert saved == {"5": pytest.approx(5), "20": pytest.approx(20)}


def test_a_stream_that_is_left_early_closes_its_video(tmp_path, video):
    stream = make(tmp_path, save=True)(str(video), stream=True)
    next(stream)
    stream.close()
    saved = next(f for f in (tmp_path / "runs" / "predict").iterdir() if f.stem == "clip")
    assert cv2.VideoCapture(str(saved)).read()[0], "one whole frame is in the file"


def test_frames_are_counted_in_each_stream(tmp_path, video):
    (tmp_path / "two.streams").write_text(f"{video}\n{video}\n")
    predictor = make(tmp_path, save_txt=True, save_frames=True, stream_buffer=True)
    assert len(list(predictor(tmp_path / "two.streams", stream=True))) == 12
    name = re.sub(r"[/.\s]+", "_", str(video.with_suffix("")))
    numbers = {int(f.stem.removeprefix(f"{name}_")) for f in (predictor.save_dir / "labels").iterdir()}
    assert numbers == {1, 2, 3, 4, 5, 6}
    assert {f.name for f in (predictor.save_dir / f"{name}_frames").iterdir()} == {f"{k}.jpg" for k in range(1, 7)}


def test_cameras_whose_addresses_differ_in_the_end_have_files_of_their_own(tmp_path):
    saver = ResultSaver(RunFolder(tmp_path / "run"), ())
    addresses = ("rtsp://10.0.0.1", "rtsp://10.0.0.2", "rtsp://10.0.0/1")
    names = [saver.name(Path(a), stream=True) for a in addresses]
    assert len({n.with_suffix(".mp4") for n in names}) == 3 and names[0] == saver.name(Path(addresses[0]), stream=True)


def test_predict_cli_keeps_nothing_but_saves(tmp_path, images):
    predictor = make(tmp_path, save=True)
    assert predictor.predict_cli(images) is None
    assert (tmp_path / "runs" / "predict" / "b.png").is_file()


def test_a_predictor_needs_a_postprocess_and_a_model(tmp_path):
    base = BasePredictor(overrides={"device": "cpu", "imgsz": 64, "save": False, "verbose": False})
    with pytest.raises(ConfigError, match="No model"):
        base(scene())
    with pytest.raises(NotImplementedError, match="BasePredictor"):
        base(scene(), model=RedFinder())
