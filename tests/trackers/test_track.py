"""Tracking from end to end: `model.track` and `yolo track` over videos, frames, folders and streams."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from moving import ColourFinder, crossing, frame, write_video
from tiny import tiny_model

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.engine.results import BaseTensor, Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.trackers import BOTSORT, register_tracker
from ultralytics.trackers.settings import read_tracker
from ultralytics.trackers.track import tracked
from ultralytics.utils.errors import ConfigError, MissingFileError

BOTH = ("bytetrack.yaml", "botsort.yaml")


@pytest.fixture
def model(work_dir):
    """A YOLO whose network finds the three colours; its runs are saved in the test's folder."""
    yolo = YOLO(tiny_model(work_dir))
    yolo.model = ColourFinder()
    yolo.overrides.update(imgsz=320, device="cpu", verbose=False, project=str(work_dir / "runs"))
    return yolo


def frames(n: int, hidden: range = range(0)) -> list[np.ndarray]:
    """Draw the crossing objects; the second is away in the hidden frames."""
    return [frame(crossing(t), (0, 2) if t in hidden else (0, 1, 2)) for t in range(n)]


def numbers(result: Results) -> dict[int, int]:
    """Return {class: number}; each object has a class of its own."""
    assert result.boxes.is_track
    return dict(zip(result.boxes.cls.int().tolist(), result.boxes.id.int().tolist()))


# Videos ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tracker", BOTH)
def test_a_video_of_three_crossing_objects_has_three_numbers(model, work_dir, tracker):
    video = write_video(work_dir / "crossing.avi", frames(50, hidden=range(32, 42)))
    results = list(model.track(video, stream=True, tracker=tracker))
    assert len(results) == 50
    seen: dict[int, Counter] = {k: Counter() for k in range(3)}
    for t, result in enumerate(results):
        for cls, number in numbers(result).items():
            seen[cls][number] += 1
        assert len(result) == (2 if 32 <= t < 42 else 3)
    assert [len(c) for c in seen.values()] == [1, 1, 1] and {n for c in seen.values() for n in c} == {1, 2, 3}
    last = results[-1]
    centre = dict(zip(last.boxes.cls.int().tolist(), last.boxes.xywh[:, :2].numpy()))
    for k in range(3):
        box = crossing(49)[k]
        np.testing.assert_allclose(centre[k], (box[:2] + box[2:]) / 2, atol=4)
    assert isinstance(last.boxes.id, torch.Tensor) and last.boxes.data.shape == (3, 7)


def test_each_video_of_a_folder_begins_anew_unless_told_to_persist(model, work_dir):
    (work_dir / "videos").mkdir()
    write_video(work_dir / "videos" / "a.avi", frames(6))
    mirrored = [np.ascontiguousarray(im[::-1, ::-1]) for im in frames(6)]
    write_video(work_dir / "videos" / "b.avi", mirrored)
    apart = model.track(work_dir / "videos", tracker="bytetrack.yaml")
    assert set(numbers(apart[6]).values()) == {1, 2, 3}
    together = model.track(work_dir / "videos", tracker="bytetrack.yaml", persist=True)
    assert max(numbers(together[-1]).values()) > 3


def test_images_of_a_folder_are_one_sequence(model, work_dir):
    folder = work_dir / "images"
    folder.mkdir()
    for t, im in enumerate(frames(8)):
        cv2.imwrite(str(folder / f"{t:03}.png"), im)
    first, *others = [numbers(r) for r in model.track(folder)]
    assert len(first) == 3 and all(n == first for n in others)
    assert [numbers(r) for r in model.track(folder, batch=3)] == [first] * 8
    assert [numbers(r) for r in model.track(frames(8))] == [first] * 8, "and so is a list of arrays"


# Frames ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tracker", BOTH)
def test_persist_keeps_numbers_over_calls_with_single_frames(model, tracker):
    first = numbers(model.track(frames(1)[0], persist=True, tracker=tracker)[0])
    for im in frames(20, hidden=range(5, 15))[1:]:
        now = numbers(model.track(im, persist=True, tracker=tracker)[0])
        assert now == {k: first[k] for k in now}
    assert len(now) == 3 and model.predictor.trackers[0].frame_id == 20
    model.track(frames(1)[0], tracker=tracker)
    assert model.predictor.trackers[0].frame_id == 1, "without persist it begins anew"
    other = next(t for t in BOTH if t != tracker)
    model.track(frames(2)[1], persist=True, tracker=other)
    assert model.predictor.trackers[0].frame_id == 1, "another tracker cannot go on"


def test_prediction_in_between_is_neither_tracked_nor_a_disturbance(model):
    sequence = frames(4)
    first = numbers(model.track(sequence[0], persist=True)[0])
    plain = model.predict(frame(crossing(40)))[0]
    assert plain.boxes.id is None and model.predictor.args.conf == 0.25
    assert numbers(model.track(sequence[1], persist=True)[0]) == first
    assert model.predictor.args.conf == 0.1 and model.predictor.args.mode == "track"
    assert len(model.callbacks["on_predict_postprocess_end"]) == 1, "the hook is hung up once"


def test_two_videos_read_in_turn_have_trackers_of_their_own(model, work_dir):
    a = write_video(work_dir / "a.avi", frames(12))
    b = write_video(work_dir / "b.avi", frames(30)[12:24])
    pairs = list(zip(model.track(a, stream=True), model.track(b, stream=True, tracker="bytetrack.yaml")))
    assert len(pairs) == 12
    for one, other in pairs:
        assert set(numbers(one).values()) == set(numbers(other).values()) == {1, 2, 3}


def test_frames_without_objects(model):
    empty = np.full((240, 320, 3), 110, np.uint8)
    results = model.track([empty, *frames(3), empty, empty, *frames(6)[3:]])
    assert [len(r) for r in results] == [0, 3, 3, 3, 0, 0, 3, 3, 3]
    assert results[0].boxes.id is None and results[4].boxes.id is None
    assert results[1].boxes.id is None, "seen for the first time, and not in the first frame: not confirmed yet"
    assert numbers(results[2]) == numbers(results[8])
    assert all(torch.isfinite(r.boxes.data).all() for r in results)


# Streams --------------------------------------------------------------------------------------------------------------
def test_each_stream_has_a_tracker_of_its_own(model, work_dir):
    """The first ends early, after which the second alone fills the batches."""
    write_video(work_dir / "one.avi", frames(4))
    write_video(work_dir / "two.avi", frames(18)[10:])
    (work_dir / "both.streams").write_text("one.avi\ntwo.avi\n", encoding="utf-8")
    results = list(model.track("both.streams", stream=True, stream_buffer=True))
    for name, count in (("one.avi", 4), ("two.avi", 8)):
        own = [numbers(r) for r in results if r.path == name]
        assert len(own) == count and all(n == own[0] for n in own) and set(own[0].values()) == {1, 2, 3}
    assert [t.frame_id for t in model.predictor.trackers] == [4, 8]


# What comes of it -----------------------------------------------------------------------------------------------------
def test_numbers_are_drawn_and_written(model, work_dir, monkeypatch):
    labels = []
    monkeypatch.setattr(
        "ultralytics.engine.results.Annotator.box_labels", lambda self, boxes, texts, *_, **__: labels.extend(texts)
    )
    video = write_video(work_dir / "v.avi", frames(3))
    model.track(video, save=True, save_txt=True, save_conf=True, name="here")
    run = work_dir / "runs" / "here"
    assert "id:1 " in "".join(labels) and len(labels) == 9
    lines = (run / "labels" / "v_2.txt").read_text().splitlines()
    assert sorted(int(line.split()[6]) for line in lines) == [1, 2, 3]
    assert all(len(line.split()) == 7 for line in lines)
    assert (run / "v.mp4").is_file() or (run / "v.avi").is_file()
    summary = model.track(frames(1)[0])[0].summary()
    assert sorted(item["track_id"] for item in summary) == [1, 2, 3]


def test_runs_are_saved_in_a_folder_called_track(model, work_dir):
    model.track(frames(2), save_txt=True)
    assert (work_dir / "runs" / "track" / "labels").is_dir()


class WithMore(DetectionPredictor):
    """Gives each object a further part, as segmentation and pose do: here its class once more, as a box."""

    def construct_result(self, *args):
        result = super().construct_result(*args)
        result.parts = {**result.parts, "extra": type(result.boxes)}
        result.extra = result.boxes
        return result


def test_other_parts_go_with_their_objects(model, monkeypatch):
    def new(self):
        result = Results(self.orig_img, self.path, self.names, speed=self.speed)
        result.parts = self.parts
        return result

    monkeypatch.setattr(Results, "new", new)
    red_is_hidden = frame(crossing(3), (1, 2))
    for result in model.track([*frames(3), red_is_hidden, *frames(6)[4:]], predictor=WithMore):
        assert result.extra.cls.tolist() == result.boxes.cls.tolist() and result.boxes.id is not None


class Rotated(BaseTensor):
    """Rotated boxes (n, 7) of an image, x, y, w, h, angle, confidence, class; or (n, 8) with a number."""

    xywhr = property(lambda self: self.data[:, :5])
    conf = property(lambda self: self.data[:, -2])
    cls = property(lambda self: self.data[:, -1])


class RotatedResult(SimpleNamespace):
    """Stands for the result of a model that finds rotated boxes."""

    orig_img, boxes = frame(crossing(0)), None

    def __getitem__(self, idx):
        return RotatedResult(obb=self.obb[idx])

    def update(self, obb):
        self.obb = Rotated(obb, (240, 320))


def test_rotated_boxes_of_a_result_get_numbers():
    tracker = BOTSORT(read_tracker("botsort.yaml"))
    for t in range(5):
        rows = [
            [60.0 + 3 * t, 100, 60, 20, 0.1 * t, 0.9, 1],
            [200, 100, 50, 30, 1, 0.05, 0],
            [250, 60, 40, 20, 2, 0.8, 2],
        ]
        result = tracked(tracker, RotatedResult(obb=Rotated(torch.tensor(rows), (240, 320))))
        data = result.obb.data
        assert data.shape == (2, 8) and data.dtype == torch.float32
        torch.testing.assert_close(data[:, [4, 5, 6, 7]], torch.tensor([[0.1 * t, 1, 0.9, 1], [2, 2, 0.8, 2]]))


# Mistakes -------------------------------------------------------------------------------------------------------------
def test_mistakes_are_answered_by_sentences(model, work_dir):
    image = frames(1)[0]
    with pytest.raises(MissingFileError, match="There is no tracker 'deepsort"):
        model.track(image, tracker="deepsort.yaml")
    (work_dir / "mine.yaml").write_text("tracker_type: botsort\ntrack_bufer: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="Did you mean 'track_buffer'"):
        model.track(image, tracker="mine.yaml")
    with pytest.raises(ConfigError, match="No source was given"):
        model.track()
    model.track(image)
    model.predictor.args.task = "classify"
    with pytest.raises(ConfigError, match="finds no objects that could be tracked"):
        model.predictor(image)


# The command ----------------------------------------------------------------------------------------------------------
def test_the_command_tracks_a_video(work_dir, capsys):
    YOLO(tiny_model(work_dir)).save("tiny.pt")
    video = write_video(work_dir / "v.avi", frames(5))
    words = ["track", "model=tiny.pt", f"source={video}", "imgsz=64", "device=cpu", "project=runs", "save_txt=True"]
    assert main([*words, "tracker=bytetrack.yaml", "conf=0.001"]) == 0
    assert list(Path("runs/track").glob("v.*"))
    assert main([*words, "tracker=bytetrak.yaml"]) == 2
    assert "Did you mean 'bytetrack.yaml'?" in capsys.readouterr().err


def test_the_command_writes_numbers(work_dir, monkeypatch):
    """With a network that finds something, put in place of the untrained one."""
    YOLO(tiny_model(work_dir)).save("tiny.pt")
    loaded = YOLO._load
    monkeypatch.setattr(YOLO, "_load", lambda self, *a: (loaded(self, *a), setattr(self, "model", ColourFinder()))[0])
    video = write_video(work_dir / "v.avi", frames(4))
    assert main(["detect", "track", "model=tiny.pt", f"source={video}", "imgsz=320", "project=runs", "save_txt"]) == 0
    lines = Path("runs/track/labels/v_4.txt").read_text().splitlines()
    assert sorted(int(line.split()[-1]) for line in lines) == [1, 2, 3]
    drawn = cv2.VideoCapture(str(next(Path("runs/track").glob("v.*"))))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_registered_model_tracks_whenever_it_predicts(model):
    register_tracker(model, persist=True)
    predicted = [numbers(model.predict(image, conf=0.1)[0]) for image in frames(6)]
    assert [sorted(n.values()) for n in predicted] == [[1, 2, 3]] * 6 and len(model.predictor.trackers) == 1
    assert predicted[0] == predicted[-1]
