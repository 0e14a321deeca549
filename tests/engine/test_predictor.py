"""The predictor with a model that finds red squares: what comes back and what is logged."""

from __future__ import annotations

import pickle
import sys
import threading
from copy import copy, deepcopy

import cv2
import pytest
import torch
from red_finder import RedFinder, assert_box, make, scene

from ultralytics.data.loaders import SourceTypes
from ultralytics.engine import outputs
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils.errors import ModelError


def copy_of(args, **changes):
    """Return settings with changes."""
    args = copy(args)
    for name, value in changes.items():
        setattr(args, name, value)
    return args


# Results -----------------------------------------------------------------------------------------------------------
def test_an_array_gives_boxes_in_its_own_pixels(tmp_path):
    results = make(tmp_path)(scene())
    assert len(results) == 1 and isinstance(results[0], Results)
    assert_box(results[0])
    assert results[0].boxes.cls.tolist() == [0, 1] and results[0].names == {0: "fire", 1: "smoke"}
    assert set(results[0].speed) == {"preprocess", "inference", "postprocess"} and results[0].speed["inference"] > 0
    assert not (tmp_path / "runs").exists(), "nothing is saved, so no folder is made"


@pytest.mark.parametrize(("h", "w"), [(120, 160), (480, 200), (33, 641), (1000, 1000), (5, 9)])
def test_boxes_come_back_from_any_shape(tmp_path, h, w):
    box = (w // 4, h // 4, max(w // 2, w // 4 + 2), max(h // 2, h // 4 + 2))
    results = make(tmp_path)(scene(h, w, box))
    assert_box(results[0], box, tolerance=2 + 2 * max(h, w) / 160)


def test_model_sees_rgb_in_the_least_rectangle_channels_last(tmp_path):
    predictor = make(tmp_path)
    predictor(scene(120, 160))
    x = predictor.model.model.inputs[-1]
    assert x.shape == (1, 3, 128, 160), "padded to the stride, not to a square"
    assert x.is_contiguous(memory_format=torch.channels_last) and x.dtype == torch.float32
    assert x[0, :, 54, 70].tolist() == [1, 0, 0], "red is the first channel"
    assert x.min() >= 0 and x.max() <= 1


def test_mixed_shapes_in_a_batch_become_squares(tmp_path, images):
    predictor = make(tmp_path, batch=3)
    results = predictor(images)
    assert predictor.model.model.inputs[-1].shape == (3, 3, 160, 160)
    assert_box(results[0])
    assert_box(results[1])
    assert len(results[2]) == 0
    assert [r.path for r in results] == [str(images / n) for n in ("a.png", "b.png", "c.png")]


def test_a_tensor_is_taken_as_it_is(tmp_path):
    rgb = torch.from_numpy(scene(64, 96, (8, 16, 40, 48))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    results = make(tmp_path)(rgb)
    assert_box(results[0], (8, 16, 40, 48), 1e-3)
    assert tuple(results[0].orig_img[20, 20]) == (0, 0, 255), "the image is BGR like all others"


def test_lists_and_pillow_images(tmp_path, images):
    from PIL import Image

    predictor = make(tmp_path)
    pil = Image.fromarray(scene()[..., ::-1].copy())
    for result in predictor([scene(), pil]):
        assert_box(result)
    assert len(predictor([str(images / "a.png"), str(images / "c.png")])) == 2


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ({}, [0, 1]),
        ({"conf": 0.5}, [0]),
        ({"classes": [1]}, [1]),
        ({"classes": 1}, [1]),
        ({"agnostic_nms": True}, [0]),
        ({"max_det": 1}, [0]),
    ],
)
def test_settings_of_suppression_are_used(tmp_path, settings, classes):
    assert make(tmp_path, **settings)(scene())[0].boxes.cls.tolist() == classes


def test_what_suppresses_is_loaded_before_the_first_image_is_timed(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("ultralytics.models.yolo.detect.predict.suppressor", lambda device: seen.append(device))
    predictor = make(tmp_path)
    predictor.add_callback("on_predict_batch_start", lambda predictor: seen.append("batch"))
    predictor(scene())
    assert seen == ["cpu", "batch"]


def test_results_may_be_changed_afterwards(tmp_path):
    boxes = make(tmp_path)(scene())[0].boxes
    boxes.data[:, 0] += 1  # a tensor made in inference mode would refuse


def test_stream_gives_results_one_by_one(tmp_path, images):
    predictor = make(tmp_path)
    stream = predictor(images, stream=True)
    next(stream)
    assert len(predictor.model.model.inputs) == 1, "the rest is not computed yet"
    assert len(list(stream)) == 2


# One predictor, many users -----------------------------------------------------------------------------------------
def test_streams_of_one_predictor_may_be_read_in_turn(tmp_path, images):
    predictor = make(tmp_path)
    outer = predictor(images, stream=True)
    first = next(outer)
    predictor.args.conf = 0.25
    inner = predictor(scene(box=(0, 0, 30, 30)))
    rest = list(outer)
    assert_box(inner[0], (0, 0, 30, 30))
    assert [r.path for r in (first, *rest)] == [str(images / n) for n in ("a.png", "b.png", "c.png")]
    assert_box(rest[0])


def test_threads_share_a_predictor(tmp_path):
    predictor, wrong = make(tmp_path), []

    def work(k: int):
        for _ in range(5):
            found = predictor(scene(box=(10 * k, 10, 10 * k + 20, 40)))[0].boxes.xyxy[0]
            if abs(float(found[0]) - 10 * k) > 2:
                wrong.append((k, found))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_each_call_of_many_threads_has_its_own_settings(tmp_path):
    """Callbacks and hooks, which are given the predictor, see their call's settings, and so do the results."""
    predictor, seen, wrong = make(tmp_path), threading.local(), []
    predictor.add_callback("on_predict_batch_start", lambda p: setattr(seen, "conf", p.args.conf))

    def work(k: int):
        for _ in range(10):
            conf = (0.1, 0.5, 0.95)[k % 3]
            with predictor.new_run(copy_of(predictor.args, conf=conf)):
                found = predictor(scene())[0]
            if len(found) != (2, 1, 0)[k % 3] or seen.conf != conf:
                wrong.append((k, len(found), seen.conf))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(switch)
    assert not wrong


def test_what_a_call_has_stays_its_own_while_another_runs(tmp_path, images):
    predictor = make(tmp_path)
    outer = predictor(images, stream=True)
    next(outer)
    own = predictor.dataset
    predictor(scene(), model=RedFinder())
    assert predictor.dataset is not own and predictor.seen == 1, "the latest call is shown"
    other = predictor.model
    assert len(list(outer)) == 2 and len(other.model.inputs) == 1, "the first goes on with its own model"


def test_a_call_within_a_callback_leaves_the_outer_one_alone(tmp_path, images):
    predictor, inner = make(tmp_path), []

    def look(p):
        if p.batch[0][0].endswith("a.png") and not inner:
            inner.append(len(p(scene(), stream=False)))
            inner.append(p.batch[0][0])

    predictor.add_callback("on_predict_batch_end", look)
    assert len(predictor(images)) == 3 and inner == [1, str(images / "a.png")]


def test_subclasses_and_callbacks_find_what_8_3_has(tmp_path, images):
    """Attributes of a user's own stay on the one predictor, and those of the call may be read and set."""
    kept = []

    class Counting(DetectionPredictor):
        count = 0

        def postprocess(self, preds, img, orig_imgs):
            self.count += len(self.batch[0])
            self.results = super().postprocess(preds, img, orig_imgs)
            return self.results

    predictor = Counting(overrides={"imgsz": 160, "batch": 1, "device": "cpu", "save": False, "verbose": False})
    predictor.setup_model(RedFinder(), verbose=False)
    predictor.add_callback(
        "on_predict_batch_end",
        lambda p: kept.append((p, p.seen, len(p.results), p.source_type.stream, tuple(p.imgsz), p.dataset.mode)),
    )
    predictor(images)
    assert predictor.count == 3
    assert kept == [(predictor, k, 1, False, (160, 160), "image") for k in (1, 2, 3)]
    assert predictor.plotted_img is None and predictor.vid_writer == {} and predictor.done_warmup


def test_attributes_are_born_with_the_predictor(tmp_path, images):
    """Besides what a run has, there are few, and no call adds one."""
    predictor = make(tmp_path, save=True, verbose=True)
    born = set(vars(BasePredictor()))
    predictor(images)
    assert set(vars(predictor)) == born and len(born) <= 25


def test_results_are_made_of_what_is_given(tmp_path):
    """Whatever the predictor's runs have seen: output, input, images and paths come by the signature."""
    predictor = make(tmp_path)
    predictor.model.model(torch.zeros(1, 3, 160, 160))
    x = torch.from_numpy(scene(160, 160)[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    (result,) = predictor.make_results(predictor.model.model(x), x, [scene(160, 160)], ["here.png"])
    assert_box(result)
    assert result.path == "here.png" and predictor.batch is None


def test_a_subclass_may_set_its_model_up_in_its_own_way(tmp_path):
    class Own(DetectionPredictor):
        def setup_model(self, model, verbose=True):
            made.append(model)
            self.device = torch.device("cpu")
            self.model = AutoBackend(RedFinder(), self.device, verbose=False)

    made: list = []
    predictor = Own(overrides={"imgsz": 160, "device": "cpu", "save": False, "verbose": False})
    predictor.setup_model("mine")
    assert_box(predictor(scene())[0])
    assert_box(predictor(scene())[0])
    assert made == ["mine"]


class Mirrored:
    """A loader of the user's own, as one for 8.3.0: mere tuples, whose texts say nothing."""

    mode, bs, fps = "video", 2, 5

    def __init__(self, count: int):
        self.count, self.source_type = count, SourceTypes()

    def __len__(self):
        return self.count // 2

    def __iter__(self):
        for _ in range(len(self)):
            yield ["a.mp4", "b.png"], [scene()[:, ::-1].copy(), scene()], ["", ""]


def test_a_loader_of_mere_tuples_has_its_frames_counted(tmp_path, log):
    class Own(DetectionPredictor):
        def setup_source(self, source):
            super().setup_source(scene())
            self.dataset, self.source_type = source, source.source_type

    predictor = Own(overrides={"imgsz": 160, "device": "cpu", "project": str(tmp_path), "save_txt": True})
    results = predictor(Mirrored(6), model=RedFinder())
    assert [r.path for r in results] == ["a.mp4", "b.png"] * 3
    assert {f.name for f in (tmp_path / "predict" / "labels").iterdir()} == {"a_1.txt", "a_2.txt", "a_3.txt", "b.txt"}
    assert any(line.startswith("0: 128x160 ") for line in log)


def test_a_callback_may_put_another_batch_in_its_place(tmp_path):
    predictor, kinds = make(tmp_path, save_txt=True), []

    def more(p):
        p.batch = (["x.png", "y.png"], [scene(), scene(box=(0, 0, 30, 30))], ["", ""])

    predictor.add_callback("on_predict_batch_start", more)
    predictor.add_callback("on_predict_batch_end", lambda p: kinds.extend(f.kind for f in p.run.frames))
    results = predictor(scene())
    assert [r.path for r in results] == ["x.png", "y.png"] and predictor.seen == 2 and kinds == ["image"] * 2
    assert_box(results[1], (0, 0, 30, 30))


def test_a_predictor_can_be_copied_and_sent(tmp_path, images):
    predictor = make(tmp_path, conf=0.5)
    stream = predictor(images, stream=True)
    next(stream)
    for copied in (pickle.loads(pickle.dumps(predictor)), deepcopy(predictor), copy(predictor)):
        assert copied.args.conf == 0.5 and copied.model is None
        assert_box(copied(scene())[0])
    assert len(list(stream)) == 2


def test_another_precision_or_model_sets_the_backend_up_again(tmp_path):
    predictor = make(tmp_path)
    predictor(scene())
    kept = predictor.model
    predictor(scene())
    assert predictor.model is kept, "the same settings keep it"
    predictor(scene(), model=RedFinder())
    assert predictor.model is not kept


def test_new_settings_act_on_the_next_call_only(tmp_path):
    predictor = make(tmp_path)
    stream = predictor([scene(), scene()], stream=True)
    first = next(stream)
    predictor.args = copy_of(predictor.args, conf=0.5, imgsz=64)
    assert len(predictor(scene())[0]) == 1 and predictor.model.model.inputs[-1].shape[3] == 64
    assert predictor.args.conf == 0.5 and predictor.args.mode == "predict"
    assert len(first) == len(next(stream)) == 2


def test_the_callers_model_is_left_alone():
    mine = RedFinder().train()
    backend = AutoBackend(mine, "cpu", fp16=True, fuse=True, verbose=False)
    assert backend.model.fused and not mine.fused and mine.training
    assert not backend.model.training and not backend.fp16
    assert backend.stride == 32 and backend.names == {0: "fire", 1: "smoke"} and backend.nc == 2 and backend.pt
    assert backend.model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(p.requires_grad for p in backend.parameters()) and all(p.requires_grad for p in mine.parameters())


@pytest.mark.parametrize("name", ["yolo11n.ptt", "model", "model.yaml"])
def test_a_file_that_no_backend_runs_is_named(name):
    with pytest.raises(ModelError, match=name):
        AutoBackend(name)


# Events and log ----------------------------------------------------------------------------------------------------
def test_events_fire_in_order(tmp_path, images):
    predictor, seen = make(tmp_path), []
    batch = ["on_predict_batch_start", "on_predict_postprocess_end", "on_predict_batch_end"]
    for event in ("on_predict_start", *batch, "on_predict_end"):
        predictor.add_callback(event, lambda p, event=event: seen.append(event))
    predictor(images)
    assert seen == ["on_predict_start", *batch * 3, "on_predict_end"]


def test_one_line_an_image_then_the_summary(tmp_path, images, log):
    make(tmp_path, verbose=True)(images)
    assert log[0].startswith(f"image 1/3 {images / 'a.png'}: 128x160 1 fire, 1 smoke, ") and log[0].endswith("ms")
    assert "(no detections), " in log[2]
    assert log[3].startswith("Speed: ") and log[3].endswith("per image at shape (1, 3, 128, 160)")
    assert not any("saved" in line for line in log)


def test_arrays_are_numbered_in_the_log_and_quiet_is_quiet(tmp_path, log):
    make(tmp_path, verbose=True)([scene(), scene()])
    assert log[0].startswith("0: 128x160 ") and log[1].startswith("1: 128x160 ")
    log.clear()
    make(tmp_path)(scene())
    assert log == []


def test_augment_is_handed_to_the_model(tmp_path):
    class Notes(RedFinder):
        def forward(self, x, augment=False):
            self.fused = augment
            return super().forward(x)

    predictor = make(tmp_path, augment=True)
    predictor.setup_model(Notes())
    predictor(scene())
    assert predictor.model.model.fused is True


@pytest.fixture
def windows(monkeypatch):
    """A screen on which OpenCV opens windows, as far as the package can tell."""
    monkeypatch.setattr(outputs, "check_imshow", lambda warn=False: True)


def test_show_without_a_window_warns_once_and_goes_on(tmp_path, images, log, monkeypatch, windows):
    def no_screen(*_):
        raise cv2.error("no display")

    monkeypatch.setattr(cv2, "namedWindow", no_screen)
    assert len(make(tmp_path, show=True)(images)) == 3
    assert sum("show=True" in line for line in log) == 1


def test_show_without_a_screen_never_asks_opencv(tmp_path, images, log, monkeypatch):
    """Its Qt would end the process."""
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: pytest.fail("OpenCV was asked for a window"))
    assert len(make(tmp_path, show=True)(images)) == 3
    assert sum("There is no screen" in line for line in log) == 1


def test_windows_are_opened_and_closed_again(tmp_path, images, monkeypatch, windows):
    calls = []
    for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *args, name=name: calls.append((name, args[0])))
    make(tmp_path, show=True)(images / "a.png")
    title = str(images / "a.png")
    opened = [(name, title) for name in ("namedWindow", "resizeWindow", "imshow")]
    assert calls == [*opened, ("waitKey", 500), ("destroyWindow", title)]
