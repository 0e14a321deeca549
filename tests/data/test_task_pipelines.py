"""Polygons, keypoints and rotated boxes must still lie on their pixels after the whole pipeline."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scenes import make_set, settings
from task_scenes import FLIP_IDX, POINT_COLORS, fill, make_polygon_set, make_pose_set, rectangle

from ultralytics.data import YOLODataset, build_dataloader, build_yolo_dataset
from ultralytics.data.augment import CopyPaste, Format, Mosaic, RandomFlip
from ultralytics.data.instances import crop, project_keypoints
from ultralytics.utils.errors import ConfigError, DataError

PLAIN = dict(hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
NAMES = {0: "a", 1: "b"}
POSE = {"names": {0: "a"}, "kpt_shape": [3, 3], "flip_idx": FLIP_IDX}
STILL = dict(mosaic=0.0, scale=0.0, translate=0.0, fliplr=0.0)


def build(folder, task, data=None, mode="train", rect=False, **overrides):
    hyp = settings(task=task, imgsz=256, **PLAIN, **overrides)
    return build_yolo_dataset(hyp, str(folder), 4, data or {"names": NAMES}, mode=mode, rect=rect)


def samples(dataset, epochs=4):
    return [dataset[(e, i)] for e in range(epochs) for i in range(len(dataset))]


def colors_of(sample):
    """Return where the image is red (class 0) and green (class 1), (2, h, w) bool."""
    r, g, _ = sample["img"].numpy().astype(int)
    return np.stack([(r > 128) & (g < 100), (g > 128) & (r < 100)])


def near(mask, pixels):
    """Return the mask grown by some pixels."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2)) > 0


def inner(mask):
    """Return the mask without the outermost two pixels, where an object just outside of the image may graze it."""
    return mask[..., 2:-2, 2:-2]


PIPELINES = {
    "default": {},
    "turned": dict(degrees=180.0, shear=8.0, flipud=0.5),
    "small": dict(degrees=45.0, scale=0.9, fliplr=0.0),
    "tilted": dict(degrees=20.0, perspective=0.0004, scale=0.2),
    "one image": dict(mosaic=0.0, degrees=45.0, flipud=1.0, fliplr=1.0),
}


@pytest.mark.parametrize("overrides", PIPELINES.values(), ids=PIPELINES)
def test_masks_lie_on_their_objects(tmp_path, overrides):
    dataset, painted, objects = build(make_polygon_set(tmp_path), "segment", mask_ratio=1, **overrides), 0, 0
    lost = 0
    for s in samples(dataset):
        masks, colors = s["masks"][0].numpy(), colors_of(s)
        assert masks.shape == (256, 256) and masks.max() == len(s["cls"]) == len(s["bboxes"])
        for i, (cls, box) in enumerate(zip(s["cls"][:, 0].int().tolist(), s["bboxes"].numpy()), 1):
            mask = masks == i
            assert not inner(mask & ~near(colors[cls], 3)).any()  # nothing but its object, of its class
            ys, xs = np.nonzero(mask)
            x, y, w, h = box * 256
            found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            if (found > 2).all() and (found < 254).all():
                np.testing.assert_allclose((x - w / 2, y - h / 2, x + w / 2, y + h / 2), found, atol=1.6)
                objects += 1
        missed = colors.any(0) & ~near(masks > 0, 2)
        lost, painted = lost + missed.sum(), painted + colors.sum()
    assert objects > 20 and lost < 0.005 * painted  # slivers not worth an object


def test_mosaic_cuts_polygons_and_points_where_it_cuts_images(tmp_path):
    cut = 0
    for make, task, data in ((make_polygon_set, "segment", None), (make_pose_set, "pose", POSE)):
        dataset = build(make(tmp_path / task), task, data)
        for i in range(12):
            sample = dataset.get_image_and_label(i % 6) | {"rng": np.random.default_rng(i)}
            out = Mosaic(dataset, 256)(sample)
            if task == "segment":
                points = np.concatenate(out["segments"])
                boxes = np.array([[*s.min(0), *s.max(0)] for s in out["segments"]])
                np.testing.assert_allclose(out["bboxes"], boxes, atol=1e-4)
                cut += (points == 0).any() or (points == 512).any()
            else:
                points = out["keypoints"][out["keypoints"][..., 2] > 0][:, :2]
                hidden = out["keypoints"][out["keypoints"][..., 2] == 0][:, :2]
                cut += (hidden == 0).any() or (hidden == 512).any()
            assert (points >= 0).all() and (points <= 512).all()
    assert cut > 10


@pytest.mark.parametrize("mode", ["flip", "mixup"])
def test_pasted_objects_have_masks(tmp_path, mode):
    folder = make_polygon_set(tmp_path)
    plain = samples(build(folder, "segment", mask_ratio=1), 2)
    pasted = samples(build(folder, "segment", mask_ratio=1, copy_paste=1.0, copy_paste_mode=mode, degrees=10.0), 2)
    assert sum(len(s["cls"]) for s in pasted) > 1.2 * sum(len(s["cls"]) for s in plain)
    wrong = right = 0
    for s in pasted:
        masks, colors = s["masks"][0].numpy(), colors_of(s)
        assert not (colors.any(0) & ~near(masks > 0, 2)).sum() > 60
        assert not inner((masks > 0) & ~near(colors.any(0), 2)).any()
        for i, cls in enumerate(s["cls"][:, 0].int().tolist(), 1):
            right += (colors[cls] & (masks == i)).sum()
            wrong += (colors[1 - cls] & (masks == i)).sum()
    assert wrong < 0.05 * right  # where a small object was hidden by a larger one


def test_pasting_from_others_into_rectangular_batches(tmp_path):
    dataset = build(make_polygon_set(tmp_path), "segment", rect=True, copy_paste=1.0, copy_paste_mode="mixup")
    for batch in build_dataloader(dataset, 4, 0):
        assert batch["img"].shape[2:] == tuple(4 * side for side in batch["masks"].shape[1:])
        assert len(batch["cls"]) > 2 * len(batch["img"])


def test_copy_paste_spares_what_stands_there(tmp_path):
    img = np.zeros((100, 200, 3), np.uint8)
    square = np.array([[10, 10], [50, 10], [50, 50], [10, 50]], np.float32)
    middle = square + (70, 40)  # its mirror image covers itself
    labels = {
        "img": img,
        "cls": np.array([[0.0], [1.0]], np.float32),
        "bboxes": np.array([[10, 10, 50, 50], [80, 50, 120, 90]], np.float32),
        "segments": [square, middle],
        "rng": np.random.default_rng(0),
    }
    cv2.rectangle(img, (10, 10), (49, 49), (255, 255, 255), -1)
    img.flags.writeable = False
    out = CopyPaste(p=1.0)(dict(labels))
    assert out["cls"].ravel().tolist() == [0, 1, 0] and out["bboxes"][2].tolist() == [150, 10, 190, 50]
    assert out["img"][12:49, 152:189].min() == 255 and out["img"][:, 125:145].max() == 0
    assert CopyPaste(p=0.0)(dict(labels))["img"] is img
    assert len(CopyPaste(p=0.4)(dict(labels))["cls"]) == 2  # 0.4 of one object
    with pytest.raises(ConfigError, match="copy_paste_mode=twist"):
        CopyPaste(mode="twist")


def test_masks_of_a_validation_batch(tmp_path):
    dataset = build(make_polygon_set(tmp_path), "segment", mode="val", rect=True)
    batch = next(iter(build_dataloader(dataset, 4, 0, shuffle=False)))
    h, w = batch["img"].shape[2:]
    assert batch["masks"].shape == (4, h // 4, w // 4) and batch["masks"].dtype == torch.uint8
    for i in range(4):
        colors = colors_of({"img": batch["img"][i]})
        small = cv2.resize(colors.any(0).astype(np.uint8), (w // 4, h // 4), interpolation=cv2.INTER_AREA) > 0
        mask = batch["masks"][i].numpy() > 0
        assert (small ^ mask).sum() < 0.15 * mask.sum() and not (mask & ~near(small, 1)).any()
    separate = build(make_polygon_set(tmp_path), "segment", mode="val", rect=True, overlap_mask=False)
    parts = separate.collate_fn([separate[i] for i in range(4)])
    assert parts["masks"].shape == (8, h // 4, w // 4) == (len(parts["cls"]), h // 4, w // 4)
    for part, sample in ((parts["masks"][:2], separate[0]),):
        assert part.max() == 1 and torch.equal(part, sample["masks"])


def test_images_without_objects_have_empty_masks_and_points(tmp_path):
    folder = make_set(tmp_path, 2, objects=0)
    s = build(folder, "segment")[0]
    assert s["masks"].shape == (1, 64, 64) and not s["masks"].any()
    assert build(folder, "segment", overlap_mask=False)[0]["masks"].shape == (0, 64, 64)
    assert build(folder, "pose", POSE)[0]["keypoints"].shape == (0, 3, 3)
    assert build(folder, "obb")[0]["bboxes"].shape == (0, 5)


def rotated(box, size=256):
    x, y, w, h, angle = (float(v) for v in box)
    return rectangle(x * size, y * size, w * size, h * size, angle)


@pytest.mark.parametrize("overrides", PIPELINES.values(), ids=PIPELINES)
def test_rotated_boxes_lie_on_their_objects(tmp_path, overrides):
    dataset, objects, tight, painted, lost = (
        build(make_polygon_set(tmp_path, kind="obb"), "obb", **overrides),
        0,
        0,
        0,
        0,
    )
    for s in samples(dataset):
        assert s["bboxes"].shape == (len(s["cls"]), 5) and "masks" not in s
        colors, covered = colors_of(s), np.zeros((256, 256), np.uint8)
        for cls, box in zip(s["cls"][:, 0].int().tolist(), s["bboxes"]):
            mask = np.zeros((256, 256), np.uint8)
            fill(mask, rotated(box), 1)
            assert 0 <= box[4] < np.pi / 2
            objects, tight = objects + 1, tight + (colors[cls][mask > 0].mean() > 0.93)
            covered |= mask
        missed = colors.any(0) & ~near(covered, 2)
        lost, painted = lost + missed.sum(), painted + colors.sum()
    assert objects > 40 and lost < 0.005 * painted
    assert tight > 0.5 * objects  # the others are cut by the border, or no longer rectangles


def test_uncut_rotated_boxes_are_exact(tmp_path):
    dataset = build(make_polygon_set(tmp_path, kind="obb"), "obb", **{**STILL, "flipud": 1.0, "degrees": 7.0})
    for s in samples(dataset, 2):
        colors = colors_of(s)
        for cls, box in zip(s["cls"][:, 0].int().tolist(), s["bboxes"]):
            mask = np.zeros((256, 256), np.uint8)
            fill(mask, rotated(box), 1)
            mine = colors[cls] & near(mask, 3)
            assert (mine & (mask > 0)).sum() / (mine | (mask > 0)).sum() > 0.95


def test_rotated_boxes_that_reach_out_are_whole_in_validation_and_cut_in_training(tmp_path):
    folder = make_polygon_set(tmp_path, 3, kind="obb")
    corners = np.array([(-0.125, 0.25), (0.375, 0.25), (0.375, 0.5), (-0.125, 0.5)])
    (tmp_path / "labels" / "train" / "p2.txt").write_text("1 " + " ".join(map(str, corners.ravel())))
    for mode, box in (("val", [0.125, 0.375, 0.5, 0.25, 0]), ("train", [0.1875, 0.375, 0.375, 0.25, 0])):
        dataset = build(folder, "obb", mode=mode, **STILL)
        np.testing.assert_allclose(dataset[2]["bboxes"], [box], atol=0.001)


def test_rotated_box_of_a_label_keeps_its_angle(tmp_path):
    folder = make_polygon_set(tmp_path, 3, kind="obb")
    s = build(folder, "obb", mode="val")[2]  # 220 x 220 in a frame of 256
    rows = np.loadtxt(tmp_path / "labels" / "train" / "p2.txt")
    for row, box in zip(rows, s["bboxes"]):
        corners = row[1:].reshape(4, 2) * 256
        side = corners[1] - corners[0]
        angle = np.arctan2(side[1], side[0])
        assert np.abs(np.sin(2 * (angle - float(box[4])))) < 0.02  # the same but for quarter turns
        np.testing.assert_allclose(box[:2] * 256, corners.mean(0), atol=0.6)
        assert sorted(box[2:4].tolist()) == pytest.approx(
            sorted(np.linalg.norm(np.diff(corners, axis=0), axis=1)[:2] / 256), abs=0.01
        )


def expected_colors(sample, order):
    """Assert that each visible keypoint lies on its own colour; return how many there are."""
    img, seen = sample["img"].numpy(), 0
    for points in sample["keypoints"].numpy():
        for k, (x, y, v) in enumerate(points):
            assert v in (0, 2) and 0 <= x <= 1 and 0 <= y <= 1
            if v == 0:
                continue
            px, py = min(int(x * 256), 255), min(int(y * 256), 255)
            around = img[::-1, max(py - 1, 0) : py + 2, max(px - 1, 0) : px + 2].reshape(3, -1).astype(int)
            wanted = np.array(POINT_COLORS[order[k]])[:, None]
            assert np.abs(around - wanted).sum(0).min() < 150, (k, around)
            seen += 1
    return seen


def dots(sample):
    """Return the number of coloured pixels."""
    img = sample["img"].numpy().astype(int)
    return ((img.max(0) > 200) & (img.min(0) < 60)).sum()


@pytest.mark.parametrize(
    ("overrides", "order"),
    [
        (dict(fliplr=0.0), [0, 1, 2]),
        (dict(fliplr=1.0), FLIP_IDX),
        (dict(fliplr=0.0, flipud=1.0), FLIP_IDX),
        (dict(fliplr=1.0, flipud=1.0), [0, 1, 2]),
        (dict(fliplr=1.0, degrees=90.0, shear=5.0, perspective=0.0003), FLIP_IDX),
        (dict(fliplr=1.0, mosaic=0.0, degrees=30.0), FLIP_IDX),
    ],
)
def test_keypoints_lie_on_their_dots(tmp_path, overrides, order):
    dataset, seen, pixels = build(make_pose_set(tmp_path), "pose", POSE, **overrides), 0, 0
    for s in samples(dataset):
        assert s["keypoints"].shape == (len(s["cls"]), 3, 3)
        seen, pixels = seen + expected_colors(s, order), pixels + dots(s)
    assert seen > 60 and pixels < seen * 49 * 2.3  # few dots without a keypoint: gains reach 1.5


def test_keypoints_of_mixed_images_and_of_validation(tmp_path):
    folder = make_pose_set(tmp_path)
    s = build(folder, "pose", POSE, mixup=1.0)[0]
    assert len(s["keypoints"]) == len(s["cls"]) > 4
    val = build(folder, "pose", POSE, mode="val")
    assert sum(expected_colors(s, [0, 1, 2]) for s in samples(val, 1)) == sum(
        int((label["keypoints"][..., 2] > 0).sum()) for label in val.labels
    )
    batch = val.collate_fn([val[0], val[1]])
    assert batch["keypoints"].shape == (4, 3, 3) and batch["batch_idx"].tolist() == [0, 0, 1, 1]


def test_two_numbers_per_keypoint(tmp_path):
    data = POSE | {"kpt_shape": [3, 2]}
    full, short = (
        build(make_pose_set(tmp_path / "a"), "pose", POSE),
        build(make_pose_set(tmp_path / "b", ndim=2), "pose", data),
    )
    for a, b in zip(samples(full, 1), samples(short, 1)):
        assert torch.equal(a["keypoints"], b["keypoints"])


def test_keypoints_change_places_in_a_mirror_seen_or_not():
    labels = {
        "img": np.zeros((50, 100, 3), np.uint8),
        "cls": np.zeros((1, 1), np.float32),
        "bboxes": np.array([[0, 0, 50, 50]], np.float32),
        "keypoints": np.array([[[10, 10, 2], [99, 20, 1], [40, 45, 0]]], np.float32),
        "rng": np.random.default_rng(0),
    }
    out = Format(return_keypoint=True)(RandomFlip(1.0, "horizontal", [2, 1, 0])(labels))["keypoints"][0]
    np.testing.assert_allclose(out, [[0.6, 0.9, 0], [0.01, 0.4, 1], [0.9, 0.2, 2]], atol=1e-6)


def test_keypoints_that_leave_the_image_wait_at_its_border():
    keypoints = np.array([[[-5, 10, 2], [30, 60, 1], [120, -1, 2], [40, 45, 0], [130, 45, 0], [0, 50, 2]]], np.float32)
    labels = {"cls": np.zeros((1, 1), np.float32), "bboxes": np.array([[0, 0, 50, 50]], np.float32)}
    wanted = [[0, 10, 0], [30, 50, 0], [100, 0, 0], [40, 45, 0], [100, 45, 0], [0, 50, 2]]
    np.testing.assert_allclose(crop(labels | {"keypoints": keypoints}, (100, 50))["keypoints"][0], wanted)
    np.testing.assert_allclose(project_keypoints(keypoints, np.eye(3), (100, 50))[0], wanted)


def test_keypoints_without_flip_idx_are_not_mirrored(tmp_path, caplog):
    dataset = build(make_pose_set(tmp_path), "pose", {"names": {0: "a"}, "kpt_shape": [3, 3]}, fliplr=1.0)
    assert "no `flip_idx`" in caplog.text
    assert sum(expected_colors(s, [0, 1, 2]) for s in samples(dataset, 1)) > 10
    with pytest.raises(DataError, match="`flip_idx` has 2 entries"):
        build(tmp_path / "images", "pose", POSE | {"flip_idx": [1, 0]})
    with pytest.raises(DataError, match="no `kpt_shape`"):
        build(tmp_path / "images", "pose")


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_samples_depend_on_seed_epoch_and_index_alone(tmp_path, task):
    make = make_pose_set if task == "pose" else lambda root: make_polygon_set(root, kind=task)
    folder, data = make(tmp_path), POSE if task == "pose" else None
    overrides = dict(degrees=10.0, mixup=0.5, copy_paste=0.5)
    a, b = build(folder, task, data, **overrides), build(folder, task, data, **overrides)
    for i in (3, 0, 5):
        one, two = a[(2, i)], b[(2, i)]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one if isinstance(one[k], torch.Tensor))


def test_classes_and_single_cls_keep_objects_whole(tmp_path):
    dataset = build(make_polygon_set(tmp_path), "segment", classes=[1])
    assert all(len(lb["segments"]) == len(lb["cls"]) == 1 for lb in dataset.labels)
    assert {float(c) for lb in dataset.labels for c in lb["cls"].ravel()} == {1.0}
    posed = YOLODataset(
        str(make_pose_set(tmp_path / "pose")), 256, hyp=settings(task="pose"), data=POSE, task="pose", classes=[7]
    )
    assert all(lb["keypoints"].shape == (0, 3, 3) for lb in posed.labels)
