"""Both trackers on boxes that are known: crossings, noise, dropouts, occlusion, moving cameras, and their settings."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from moving import crossing, found, frame

from ultralytics.cfg import check_dict_alignment
from ultralytics.trackers import BOTSORT, BYTETracker
from ultralytics.trackers.basetrack import BaseTrack
from ultralytics.trackers.settings import check_tracker, read_tracker
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import ROOT, yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError

BOTH = ("bytetrack", "botsort")


def make(kind: str, **changes) -> BYTETracker:
    return TRACKER_MAP[kind](check_tracker({"tracker_type": kind, **changes}))


def ids(rows: np.ndarray) -> list[int]:
    return sorted(rows[:, 4].astype(int).tolist())


# Following ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("seed", range(5))
def test_three_crossing_objects_keep_their_numbers_despite_noise_and_dropouts(kind, seed):
    rng, tracker, seen_as = np.random.default_rng(seed), make(kind), [set(), set(), set()]
    for t in range(60):
        truth = crossing(t)
        there = np.flatnonzero((rng.uniform(size=3) > 0.15) | (t < 2))
        boxes = truth[there] + rng.normal(0, 1.0, (len(there), 4))
        order = rng.permutation(len(there))
        rows = tracker.update(found(boxes[order], rng.uniform(0.75, 0.95, len(there))), frame(truth))
        for row in rows:
            i = there[order][int(row[7])]
            seen_as[i].add(int(row[4]))
            assert np.abs(row[:4] - truth[i]).max() < 8
    assert [len(s) for s in seen_as] == [1, 1, 1] and len(set.union(*seen_as)) == 3


@pytest.mark.parametrize("kind", BOTH)
def test_a_number_survives_ten_frames_of_occlusion(kind):
    tracker, hidden = make(kind), range(20, 30)
    for t in range(40):
        truth = crossing(t)
        there = [0, 2] if t in hidden else [0, 1, 2]
        rows = tracker.update(found(truth[there]), frame(truth, tuple(there)))
        assert len(rows) == len(there)
        numbers = {there[int(row[7])]: int(row[4]) for row in rows}
        if t == 0:
            first = numbers
        assert numbers == {i: first[i] for i in there}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("buffer", [3, 12])
def test_lost_tracks_are_given_up_after_track_buffer(kind, buffer):
    box = [[50, 50, 90, 110]]
    for gap, number in ((buffer, 1), (buffer + 1, 2)):
        tracker = make(kind, track_buffer=buffer)
        for _ in range(3):
            tracker.update(found(box))
        for k in range(gap):
            assert len(tracker.update(found([]))) == 0
            assert len(tracker.lost_stracks) == (k + 1 <= buffer)
        tracker.update(found(box))
        assert ids(tracker.update(found(box))) == [number]


@pytest.mark.parametrize("kind", BOTH)
def test_unsure_detections_keep_a_track_but_begin_none(kind):
    tracker, box = make(kind), np.array([[50.0, 50, 90, 110]])
    assert len(tracker.update(found(box, 0.3))) == 0 and len(tracker.update(found(box, 0.55))) == 0
    tracker = make(kind)
    for conf in (0.9, 0.2, 0.2, 0.9, 0.15):
        assert ids(tracker.update(found(box, conf))) == [1]
    assert len(tracker.update(found(box, 0.05))) == 0, "below track_low_thresh nothing counts"


@pytest.mark.parametrize("kind", BOTH)
def test_later_tracks_count_when_seen_twice(kind):
    tracker = make(kind)
    a, b = [50, 50, 90, 110], [200, 50, 240, 110]
    assert ids(tracker.update(found([a]))) == [1]
    assert ids(tracker.update(found([a, b]))) == [1]
    assert ids(tracker.update(found([a, b]))) == [1, 2]
    tracker.update(found([a, b, [10, 150, 40, 200]]))
    assert ids(tracker.update(found([a, b]))) == [1, 2] and len(tracker.removed_stracks) == 1


@pytest.mark.parametrize("kind", BOTH)
def test_rows_name_the_detection_and_carry_its_score_and_class(kind):
    tracker, boxes = make(kind), np.array([[10.0, 10, 50, 60], [100, 100, 150, 160]])
    rows = tracker.update(found(boxes, [0.7, 0.9], [3, 5]))
    assert rows.shape == (2, 8)
    for row in rows:
        k = int(row[7])
        np.testing.assert_allclose(row[:4], boxes[k])
        assert row[5:7].tolist() == [[0.7, 3], [0.9, 5]][k]


@pytest.mark.parametrize("kind", BOTH)
def test_empty_frames_and_boxes_that_are_none_do_no_harm(kind):
    tracker = make(kind)
    box = [50.0, 50, 90, 110]
    bad = [[np.nan, 0, 10, 10], [30, 30, 30, 60], [60, 60, 50, 50], [0, 0, np.inf, 5]]
    for t in range(12):
        boxes = [] if t % 3 == 1 else [*bad, box, *bad]
        rows = tracker.update(found(boxes), np.zeros((120, 160, 3), np.uint8))
        assert rows.shape == ((0, 8) if t % 3 == 1 else (1, 8)) and np.isfinite(rows).all()
        assert t % 3 == 1 or (ids(rows) == [1] and rows[0, 7] == 4)


@pytest.mark.parametrize("kind", BOTH)
def test_rotated_boxes_are_followed(kind):
    tracker = make(kind)
    for t in range(20):
        boxes = np.array([[60.0 + 3 * t, 100, 60, 20, 0.1 * t], [200.0 - 3 * t, 110, 50, 24, -0.05 * t]])
        given = found(np.zeros((2, 4)), 0.9)
        given.xywhr = boxes
        rows = tracker.update(given)
        assert rows.shape == (2, 9) and ids(rows[:, 1:]) == [1, 2]
        for row in rows:
            np.testing.assert_allclose(row[:4], boxes[int(row[8])][:4], atol=4)
            assert row[4] == boxes[int(row[8])][4] and row[5] == row[8] + 1


def test_of_two_tracks_in_one_place_the_older_stays():
    tracker = make("bytetrack")
    for _ in range(5):
        tracker.update(found([[50, 50, 90, 110], [200, 50, 240, 110]]))
    tracker.update(found([[50, 50, 90, 110]]))
    lost = tracker.lost_stracks[0]
    lost.mean[:2] = tracker.tracked_stracks[0].mean[:2]
    lost.start_frame = 4
    tracker.update(found([[50, 50, 90, 110]]))
    assert [t.track_id for t in tracker.tracked_stracks] == [1] and not tracker.lost_stracks


def test_after_a_reset_numbers_begin_at_one():
    tracker = make("botsort")
    tracker.update(found([[50, 50, 90, 110]]), np.zeros((120, 160, 3), np.uint8))
    tracker.reset()
    assert tracker.gmc._gray is None and tracker.frame_id == 0
    assert ids(tracker.update(found([[150, 50, 190, 110]]))) == [1]


# Subclasses -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("base", [BYTETracker, BOTSORT])
def test_what_subclasses_override_is_called(base):
    called = []

    class Track(base.track):
        def activate(self, kalman_filter, frame_id):
            called.append("activate")
            super().activate(kalman_filter, frame_id)

        def update(self, new_track, frame_id):
            called.append("update")
            super().update(new_track, frame_id)

        def re_activate(self, new_track, frame_id, new_id=False):
            called.append("re_activate")
            super().re_activate(new_track, frame_id, new_id)

        def convert_coords(self, tlwh):
            assert len(tlwh) == 4
            return super().convert_coords(tlwh)

    class Tracker(base):
        def init_track(self, dets, scores, cls, img=None):
            called.append("init_track")
            return [Track(*each) for each in zip(dets, scores, cls)]

        def get_dists(self, tracks, detections):
            called.append("get_dists")
            return super().get_dists(tracks, detections)

        def multi_predict(self, tracks):
            called.append("multi_predict")
            super().multi_predict(tracks)

        def get_kalmanfilter(self):
            called.append("get_kalmanfilter")
            return super().get_kalmanfilter()

    tracker, box = (
        Tracker(check_tracker({"tracker_type": base.__name__.lower().replace("tracker", "track")})),
        [[50, 50, 90, 110]],
    )
    for boxes in (box, box, [], box):
        rows = tracker.update(found(boxes))
    assert ids(rows) == [1] and called.count("get_kalmanfilter") == 1
    assert [name for name in called if "activate" in name or name == "update"] == ["activate", "update", "re_activate"]
    assert called.count("init_track") == 8 and called.count("get_dists") == 8 and called.count("multi_predict") == 4


def test_looks_are_compared_where_there_is_an_encoder():
    class Encoder:
        def inference(self, img, dets):
            return [img[int(y), int(x)].astype(float) + 1 for x, y in dets[:, :2]]

    def swapping(encoder):
        tracker = make("botsort", with_reid=True, proximity_thresh=1.0, gmc_method=None)
        tracker.encoder, seen = encoder, []
        for flip in (False, True):
            image = np.zeros((60, 120, 3), np.uint8)
            image[:, :60], image[:, 60:] = ((0, 0, 255), (255, 0, 0))[:: -1 if flip else 1]
            rows = tracker.update(found([[10, 10, 50, 50], [70, 10, 110, 50]]), image)
            seen.append({tuple(image[30, int(row[0]) + 20].tolist()): int(row[4]) for row in rows})
        return seen

    first, second = swapping(Encoder())
    assert first == second and len(first) == 2
    first, second = swapping(None)
    assert first != second, "boxes alone say otherwise"


def test_looks_are_averaged():
    track = BOTSORT.track([10, 10, 4, 4, 0], 0.9, 0, np.array([2.0, 0]), feat_history=2)
    track.update_features(np.array([0, 3.0]))
    track.update_features(np.array([0, 3.0]))
    assert len(track.features) == 2 and track.curr_feat.tolist() == [0, 1]
    np.testing.assert_allclose(np.linalg.norm(track.smooth_feat), 1)
    assert track.smooth_feat[0] > track.smooth_feat[1] > 0


def test_ids_are_counted_by_tracker():
    one, other = make("bytetrack"), make("bytetrack")
    assert ids(one.update(found([[50, 50, 90, 110]]))) == ids(other.update(found([[50, 50, 90, 110]]))) == [1]
    BaseTrack.reset_id()
    assert (BaseTrack.next_id(), BaseTrack.next_id()) == (1, 2)
    for method in ("activate", "predict", "update"):
        with pytest.raises(NotImplementedError, match=method):
            getattr(BaseTrack(), method)()


# The camera -----------------------------------------------------------------------------------------------------------
def panning(method: str) -> list[list[int]]:
    """Return the numbers of two resting objects before and after the camera swings, in jumps wider than they are."""
    rng = np.random.default_rng(1)
    world = sum(
        cv2.resize(rng.uniform(0, 1, (s, 3 * s)), (900, 300), interpolation=cv2.INTER_CUBIC) for s in (8, 30, 90)
    )
    world = cv2.cvtColor(cv2.normalize(world, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    objects = np.array([[400.0, 100, 416, 130], [450, 160, 468, 190]])
    tracker, numbers = make("botsort", gmc_method=method), []
    for left in (200, 200, 222, 200, 222, 244, 244):
        image = world[:, left : left + 400].copy()
        boxes = objects - [left, 0, left, 0]
        for x1, y1, x2, y2 in boxes.astype(int):
            image[y1:y2, x1:x2] = 255
        numbers.append(ids(tracker.update(found(boxes), image)))
    return numbers


@pytest.mark.parametrize("method", ["sparseOptFlow", "orb", "sift", "ecc"])
def test_numbers_survive_a_panning_camera(method):
    assert panning(method) == [[1, 2]] * 7


def test_without_compensation_they_do_not():
    """Otherwise the test above would show nothing."""
    assert panning("none") != [[1, 2]] * 7


def test_tracks_turn_and_zoom_with_the_camera():
    tracker = make("botsort")
    tracker.update(found([[50, 50, 90, 130]]))
    track = tracker.tracked_stracks[0]
    track.mean[4:6] = 2, 0
    quarter = np.array([[0.0, -1.2, 300], [1.2, 0, 10]])
    tracker.track.multi_gmc([track], quarter)
    np.testing.assert_allclose(track.mean[:6], [300 - 1.2 * 90, 10 + 1.2 * 70, 48, 96, 0, 2.4], atol=1e-9)
    assert (np.linalg.eigvalsh(track.covariance) > 0).all()


# Settings -------------------------------------------------------------------------------------------------------------
def test_the_yamls_hold_the_keys_and_defaults_of_8_3_0():
    byte = {
        "tracker_type": "bytetrack",
        "track_high_thresh": 0.5,
        "track_low_thresh": 0.1,
        "new_track_thresh": 0.6,
        "track_buffer": 30,
        "match_thresh": 0.8,
        "fuse_score": True,
    }
    more = {"gmc_method": "sparseOptFlow", "proximity_thresh": 0.5, "appearance_thresh": 0.25, "with_reid": False}
    for kind, wanted in (("bytetrack", byte), ("botsort", {**byte, **more, "tracker_type": "botsort"})):
        assert yaml_load(ROOT / "cfg" / "trackers" / f"{kind}.yaml") == wanted
        assert vars(read_tracker(f"{kind}.yaml")) == wanted
        assert vars(check_tracker({"tracker_type": kind})) == wanted, "the defaults of the dataclass are the same"
        check_dict_alignment(wanted, dict(wanted))
    assert (TRACKER_MAP["bytetrack"], TRACKER_MAP["botsort"]) == (BYTETracker, BOTSORT)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "'tracker_type: None' in the tracker's settings is not known. Choose bytetrack or botsort."),
        ({"tracker_type": "bytetrak"}, "Did you mean 'bytetrack'?"),
        ({"tracker_type": "botsort", "track_bufer": 3}, "'track_bufer' in the tracker's settings is not a setting of"),
        ({"tracker_type": "bytetrack", "gmc_method": "orb"}, "is not a setting of bytetrack. Keys are tracker_type"),
        ({"tracker_type": "botsort", "gmc_method": "ebc"}, "'gmc_method' takes one of sparseOptFlow, orb, sift, ecc"),
        ({"tracker_type": "botsort", "match_thresh": 2}, "'match_thresh' takes a number from 0 to 1 (default 0.8)"),
        ({"tracker_type": "botsort", "track_buffer": "long"}, "'track_buffer' takes a whole number of at least 0"),
    ],
)
def test_wrong_settings_are_answered_by_a_sentence(given, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        check_tracker(given)


def test_an_unknown_tracker_names_those_that_are_there(work_dir):
    with pytest.raises(
        MissingFileError, match=re.escape("give botsort.yaml or bytetrack.yaml, or the path of a YAML.")
    ):
        read_tracker("deepsort.yaml")
    with pytest.raises(MissingFileError, match=re.escape("Did you mean 'bytetrack.yaml'?")):
        read_tracker("bytetrack")
    (work_dir / "mine.yaml").write_text("tracker_type: ByteTrack\ntrack_buffer: 7\n", encoding="utf-8")
    settings = read_tracker("mine.yaml")
    assert (settings.tracker_type, settings.track_buffer, settings.match_thresh) == ("bytetrack", 7, 0.8)


def test_what_is_not_available_is_said(monkeypatch):
    from ultralytics.utils import LOGGER

    said = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *_: said.append(text))
    check_tracker({"tracker_type": "botsort", "with_reid": True, "gmc_method": None})
    assert len(said) == 1 and "with_reid" in said[0]
