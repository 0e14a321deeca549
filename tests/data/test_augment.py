from __future__ import annotations

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scenes import make_set, settings

from ultralytics.data import YOLODataset
from ultralytics.data.augment import (
    Canvas,
    Compose,
    Format,
    LetterBox,
    MixUp,
    Mosaic,
    RandomFlip,
    RandomHSV,
    RandomPerspective,
    box_candidates,
    v8_transforms,
    warp,
    warp_boxes,
)
from ultralytics.data.canvas import scale
from ultralytics.utils.errors import ConfigError

REFERENCE = Path(__file__).parents[1] / "reference" / "letterbox.json"
PLAIN = dict(hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
NAMES = {0: "a", 1: "b"}


def sample(h=64, w=96, seed=0, **more):
    img = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 255, (h, w, 3), np.uint8), (0, 0), 3)
    boxes = np.array([[10, 12, 40, 50]], np.float32)
    return {
        "img": img,
        "cls": np.zeros((1, 1), np.float32),
        "bboxes": boxes,
        "rng": np.random.default_rng(seed),
        **more,
    }


@pytest.mark.parametrize("case", json.loads(REFERENCE.read_text()), ids=lambda c: f"{c['h']}x{c['w']}-{c['kw']}")
def test_letterbox_equals_the_reference(case):
    h, w = case["h"], case["w"]
    img = np.random.default_rng(h * 1000 + w).integers(0, 255, (h, w, 3), dtype=np.uint8)
    out = LetterBox(**case["kw"])(image=img)
    assert list(out.shape) == case["shape"]
    assert out.mean() == pytest.approx(case["mean"], abs=0.05)
    if int(cv2.__version__.split(".")[0]) in {4, 5}:  # whose bilinear resize is the same to the bit
        assert zlib.crc32(out.tobytes()) == case["crc32"]


def test_letterbox_moves_boxes_with_the_image():
    img = np.zeros((50, 101, 3), np.uint8)
    img[10:30, 20:60] = 255
    labels = {
        "img": img,
        "bboxes": np.array([[20, 10, 60, 30]], np.float32),
        "cls": np.zeros((1, 1)),
        "ratio_pad": (1, 1),
    }
    out = LetterBox((128, 128))(labels)
    ys, xs = np.nonzero((out["img"] > 180).all(-1))
    np.testing.assert_allclose(out["bboxes"][0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1)
    assert out["resized_shape"] == (128, 128) and out["ratio_pad"][1] == (0, (128 - 63) // 2)


def four_tiles():
    imgs = [sample(64, 96, i)["img"] for i in range(4)]
    return Canvas((256, 256, 3), [(imgs[0], 10, 20), (imgs[1], 106, 20), (imgs[2], 10, 84), (imgs[3], 106, 84)])


def centered(matrix):
    """Return a matrix of image coordinates as one of pixel centres, which OpenCV's warps take."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ matrix @ half


@pytest.mark.parametrize(
    "matrix",
    [
        (0.7, 1.1, -31.3, -12.8),
        (1.45, 0.55, -100.2, 20.4),
        (1, 1, -64, -64),
        (0.5, 0.5, -20.5, -10.25),
        (1.5, 1.5, -240.1, -150.3),
        (0.1, 0.1, 30.3, 50.6),
        (9.0, 7.0, -950.0, -600.0),
    ],
)
def test_scaling_equals_warping_what_was_painted(matrix):
    sx, sy, tx, ty = matrix
    m, canvas = np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]], float), four_tiles()
    fast, exact = scale(canvas, m, (128, 120))
    assert fast.shape == (120, 128, 3) and np.abs(exact - m).max() <= 0.5
    np.testing.assert_array_equal(exact[:2, :2], m[:2, :2])
    plain = warp(canvas, centered(exact), (128, 120))
    ones = warp(np.full((256, 256, 3), 255, np.uint8), centered(exact), (128, 120))  # grey outside
    assert np.abs(fast.astype(int) - plain)[ones == 255].max(initial=0) <= 3
    assert (fast[ones == 114] == 114).all() and (plain != 114).any()
    np.testing.assert_array_equal(scale(canvas.paint(), m, (128, 120))[0], fast)


def test_scaling_is_a_random_perspective_in_distribution():
    """Against the warp of the painted canvas, as the transform itself was: shifts without bias, the same pixels."""
    transform, rng = RandomPerspective(translate=0.1, scale=0.5), np.random.default_rng(0)
    canvas, shifts, means = four_tiles(), [], []
    for _ in range(200):
        m, _ = transform.draw(rng, (256, 256), (128, 128))
        fast, exact = scale(canvas, m, (128, 128))
        plain = warp(canvas, m, (128, 128))
        shifts.append((exact - m)[:2, 2])
        means.append((fast.mean(), fast.std(), plain.mean(), plain.std()))
    shifts, means = np.array(shifts), np.array(means)
    assert np.abs(shifts).max() <= 0.5 and np.abs(shifts.mean(0)).max() < 0.07  # 0.02 is its error
    np.testing.assert_allclose(shifts.std(0), 12**-0.5, atol=0.03)
    np.testing.assert_allclose(means[:, :2], means[:, 2:], atol=1.5)
    np.testing.assert_allclose(means[:, :2].mean(0), means[:, 2:].mean(0), atol=0.1)


@pytest.mark.parametrize("shift", [-900.0, 600.0])
def test_what_lies_outside_the_frame_is_grey(shift):
    m = np.array([[0.3, 0, shift], [0, 0.3, 0], [0, 0, 1]])
    assert (scale(four_tiles(), m, (128, 120))[0][:, 1:] == 114).all()
    tiny = np.array([[0.001, 0, 3.0], [0, 0.001, 3.0], [0, 0, 1]])
    assert (scale(four_tiles(), tiny, (128, 120))[0] == 114).all()


def test_turned_canvas_is_painted_first():
    img = sample()["img"]
    canvas = Canvas((128, 128, 3), [(img, 10, 20)])
    m = np.vstack([cv2.getRotationMatrix2D((64, 64), 30, 1.1), (0, 0, 1)])
    np.testing.assert_array_equal(warp(canvas, m, (100, 90)), warp(canvas.paint(), m, (100, 90)))
    whole = canvas.paint()
    assert (whole[20:84, 10:106] == img).all() and (whole[:20] == 114).all() and (whole[:, 106:] == 114).all()
    np.testing.assert_array_equal(canvas.region(-5, 30, 60, 140)[:98, 5:], whole[30:, :60])


def mosaic_set(tmp_path, **overrides):
    folder = make_set(tmp_path, 8, objects=2)
    hyp = settings(**PLAIN, **overrides)
    return YOLODataset(folder, imgsz=128, hyp=hyp, data={"names": NAMES}, batch_size=4)


def views(dataset, n=40):
    """Yield (image (h, w) in 0..1, boxes (n, 4) xyxy) of augmented samples."""
    for epoch in range(n // len(dataset)):
        for i in range(len(dataset)):
            s = dataset[(epoch, i)]
            h, w = s["img"].shape[1:]
            xywh = s["bboxes"].numpy() * (w, h, w, h)
            boxes = np.concatenate([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)
            yield s["img"][0].numpy() / 255, boxes


@pytest.mark.parametrize(
    "overrides", [{}, {"mosaic": 0.0}, {"flipud": 1.0, "fliplr": 1.0}, {"mixup": 0.0, "scale": 0.9}]
)
def test_boxes_hold_their_objects_exactly(tmp_path, overrides):
    """Upright boxes are full of white, and hardly any white lies outside of them."""
    boxes_seen, white, outside = 0, 0, 0
    for img, boxes in views(mosaic_set(tmp_path, **overrides)):
        covered = np.zeros(img.shape, bool)
        for x1, y1, x2, y2 in boxes:
            inner = img[int(np.ceil(y1)) + 2 : int(y2) - 2, int(np.ceil(x1)) + 2 : int(x2) - 2]
            assert inner.size == 0 or inner.min() > 0.9, (x1, y1, x2, y2)
            covered[max(0, int(y1) - 1) : int(y2) + 2, max(0, int(x1) - 1) : int(x2) + 2] = True
            boxes_seen += 1
        white += (img > 0.9).sum()
        outside += ((img > 0.9) & ~covered).sum()
    assert boxes_seen > 60 and outside < 0.02 * white  # what is left are slivers not worth a box


def test_boxes_enclose_turned_objects(tmp_path):
    """Under rotation, shear and tilt, each side of a box within the image touches its object."""
    sides = 0
    for img, boxes in views(mosaic_set(tmp_path, degrees=25.0, shear=8.0, perspective=0.0003)):
        padded = np.pad(img, 3)
        for box in boxes:
            x1, y1, x2, y2 = (round(float(v)) + 3 for v in box)
            strips = (
                padded[y1:y2, x1 - 2 : x1 + 3],
                padded[y1 - 2 : y1 + 3, x1:x2],
                padded[y1:y2, x2 - 3 : x2 + 2],
                padded[y2 - 3 : y2 + 2, x1:x2],
            )
            if (box[:2] > 3).all() and (box[2:] < 125).all():
                sides += 4
                assert min(strip.max() for strip in strips) > 0.6, box
    assert sides > 100


def test_mosaic_takes_four_images_and_fits_the_canvas(tmp_path):
    dataset = mosaic_set(tmp_path)
    out = Mosaic(dataset, 128, p=1.0)(dataset.get_image_and_label(0) | {"rng": np.random.default_rng(0)})
    assert out["img"].shape == (256, 256, 3) == np.asarray(out["img"]).shape
    assert len(out["img"].tiles) == 4 and out["mosaic_border"] == (-64, -64)
    assert (out["bboxes"] >= 0).all() and (out["bboxes"] <= 256).all() and len(out["bboxes"]) == len(out["cls"])


def test_mosaic_center_is_uniform(tmp_path):
    dataset = mosaic_set(tmp_path)
    mosaic, rng, centers = Mosaic(dataset, 128), np.random.default_rng(0), []
    for _ in range(200):
        tile, x, y = mosaic(dataset.get_image_and_label(0) | {"rng": rng})["img"].tiles[0]
        centers.append((x + tile.shape[1], y + tile.shape[0]))
    centers = np.array(centers)
    assert centers.min() >= 64 and centers.max() <= 192
    np.testing.assert_allclose(centers.mean(0), 128, atol=8)
    np.testing.assert_allclose(centers.std(0), 128 / 12**0.5, atol=4)


def test_perspective_draws_within_its_bounds():
    transform, rng = RandomPerspective(translate=0.1, scale=0.5), np.random.default_rng(0)
    drawn = [transform.draw(rng, (256, 256), (128, 128)) for _ in range(500)]
    gains = np.array([g for _, g in drawn])
    shifts = np.array([(m @ (128, 128, 1))[:2] for m, _ in drawn])  # where the centre goes
    assert 0.5 <= gains.min() < 0.52 and 1.48 < gains.max() <= 1.5
    assert 0.4 * 128 <= shifts.min() < 0.42 * 128 and 0.58 * 128 < shifts.max() <= 0.6 * 128


def test_still_perspective_changes_nothing():
    s = sample()
    out = RandomPerspective(0, 0.0, 0.0)(dict(s))
    assert out["img"] is s["img"]
    np.testing.assert_array_equal(out["bboxes"], s["bboxes"])


def test_warp_boxes_follows_points():
    m = np.array([[0.0, -1, 100], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(warp_boxes(np.array([[10, 20, 30, 60]]), m), [[40, 10, 80, 30]])


def test_box_candidates_thresholds():
    before = np.array([[0, 0, 100, 100]] * 4, np.float32)
    after = np.array([[0, 0, 100, 11], [0, 0, 30, 30], [0, 0, 2, 100], [0, 0, 100, 9]], np.float32)
    assert box_candidates(before, after).tolist() == [True, False, False, False]
    assert not box_candidates(np.array([[0, 0, 500, 5.0]]), np.array([[0, 0, 500, 4.0]])).any()
    assert box_candidates(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


def test_mixup_keeps_both():
    class Other:
        def __len__(self):
            return 1

        def get_image_and_label(self, i):
            return sample(seed=1)

    s = sample()
    out = MixUp(Other(), p=1.0)(dict(s))
    assert len(out["bboxes"]) == len(out["cls"]) == 2
    half = (s["img"].astype(float) + sample(seed=1)["img"]) / 2
    assert np.abs(out["img"] - half).mean() < 25


def test_hsv_leaves_grey_grey_and_its_input_alone():
    s = sample()
    s["img"].flags.writeable = False
    before = s["img"].copy()
    out = RandomHSV(0.5, 0.5, 0.5)(dict(s))
    assert (out["img"] != before).any() and (s["img"] == before).all()
    grey = sample(img=np.full((64, 96, 3), 100, np.uint8))
    out = RandomHSV(0.5, 0.5, 0.0)(grey)["img"]
    assert np.abs(out.astype(int) - 100).max() <= 1
    assert RandomHSV(0, 0, 0)(dict(s))["img"] is s["img"]


def test_hsv_value_gain_is_within_its_bounds():
    rng, values = np.random.default_rng(0), []
    for _ in range(200):
        img = np.full((8, 8, 3), 100, np.uint8)
        values.append(int(RandomHSV(0, 0, 0.4)({"img": img, "rng": rng})["img"].max()))
    assert 59 <= min(values) < 64 and 136 < max(values) <= 140


@pytest.mark.parametrize(("direction", "box"), [("horizontal", [56, 12, 86, 50]), ("vertical", [10, 14, 40, 52])])
def test_flip(direction, box):
    s = sample()
    out = RandomFlip(1.0, direction)(dict(s))
    np.testing.assert_array_equal(out["bboxes"], [box])
    np.testing.assert_array_equal(out["img"], s["img"][:, ::-1] if direction == "horizontal" else s["img"][::-1])
    np.testing.assert_array_equal(s["bboxes"], sample()["bboxes"])


def test_format_gives_rgb_tensors():
    s = sample(im_file="x.jpg", ori_shape=(64, 96))
    out = Format()(dict(s))
    assert out["img"].shape == (3, 64, 96) and out["img"].dtype == torch.uint8
    np.testing.assert_array_equal(out["img"].numpy(), s["img"].transpose(2, 0, 1)[::-1])
    np.testing.assert_allclose(out["bboxes"], [[25 / 96, 31 / 64, 30 / 96, 38 / 64]], rtol=1e-6)
    assert "rng" not in out and out["batch_idx"].shape == (1,)
    swapped = Format(bgr=1.0)(dict(s))["img"]
    np.testing.assert_array_equal(swapped.numpy(), s["img"].transpose(2, 0, 1))
    empty = Format()(sample(bboxes=np.zeros((0, 4), np.float32), cls=np.zeros((0, 1), np.float32)))
    assert empty["bboxes"].shape == (0, 4) and empty["cls"].shape == (0, 1)


def test_bad_strengths_raise():
    with pytest.raises(ConfigError, match="not a probability"):
        Mosaic(None, p=1.5)
    with pytest.raises(ConfigError, match="joins 4"):
        Mosaic(None, n=9)
    with pytest.raises(ConfigError, match="horizontal"):
        RandomFlip(0.5, "diagonal")


def test_compose_and_pipeline(tmp_path):
    pipeline = v8_transforms(mosaic_set(tmp_path), 128, settings())
    assert [type(t).__name__ for t in pipeline.tolist()] == [
        "Compose",
        "MixUp",
        "RandomHSV",
        "RandomFlip",
        "RandomFlip",
    ]
    assert isinstance(pipeline[0][0], Mosaic) and isinstance(pipeline[1:], Compose)
    pipeline.insert(0, lambda s: s | {"seen": True})
    pipeline.append(Format())
    assert len(pipeline.tolist()) == 7
