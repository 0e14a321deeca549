from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from scenes import make_set, scene, settings, write_image, write_labels

from ultralytics.data import YOLODataset, build_yolo_dataset
from ultralytics.data.augment import Mosaic
from ultralytics.data.dataset import epoch_order, find_images
from ultralytics.data.image_cache import ImageCache
from ultralytics.data.image_files import read_image, verify_image
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError

DATA = {"names": {0: "a", 1: "b"}}


def build(folder, mode="train", batch=4, rect=False, **overrides):
    return build_yolo_dataset(settings(**overrides), str(folder), batch, DATA, mode=mode, rect=rect, stride=32)


def same(a, b):
    return a.keys() == b.keys() and torch.equal(a["img"], b["img"]) and torch.equal(a["bboxes"], b["bboxes"])


def test_sample_holds_what_a_batch_needs(tmp_path):
    dataset = build(make_set(tmp_path))
    s = dataset[0]
    assert s["img"].shape == (3, 128, 128) and s["img"].dtype == torch.uint8
    assert s["cls"].shape == (len(s["bboxes"]), 1) and s["batch_idx"].shape == (len(s["bboxes"]),)
    assert (s["bboxes"] >= 0).all() and (s["bboxes"] <= 1).all()
    label = dataset.labels[0]
    assert label["shape"] == (96, 128) and label["cls"].shape == (2, 1) and label["bboxes"].shape == (2, 4)
    assert dataset.im_files[0].endswith("p0.png") and dataset.label_files[0].endswith("p0.txt")


def test_a_sample_depends_on_seed_epoch_and_index_alone(tmp_path):
    folder = make_set(tmp_path)
    a, b, c = build(folder), build(folder), build(folder, seed=1)
    for i in (3, 0, 5):  # in any order, whatever was loaded before
        assert same(a[(2, i)], b[(2, i)])
    assert same(a[1], a[(0, 1)])
    assert not torch.equal(a[(0, 1)]["img"], a[(1, 1)]["img"])
    assert not torch.equal(a[1]["img"], c[1]["img"])
    with pytest.raises(IndexError):
        a[6]


def test_mosaic_reaches_only_for_what_was_just_decoded(tmp_path):
    dataset = build(make_set(tmp_path, 40), batch=1)
    order, place = epoch_order(40, 0, 3)
    rng = np.random.default_rng(0)
    for i in (int(order[20]), int(order[2])):
        drawn = {p for _ in range(100) for p in dataset.partners({"rng": rng, "epoch": 3, "index": i}, 3)}
        assert drawn == {int(order[(place[i] - k) % 40]) for k in range(8)}


def test_a_cache_changes_no_sample(tmp_path, monkeypatch):
    """Nor how far mosaics reach, where few images stay decoded without it: a resumed run may have another cache."""
    monkeypatch.setattr("ultralytics.data.image_cache.RECENT_BYTES", 3 * 3 * 128**2)
    folder = make_set(tmp_path, 12)
    plain, ram = build(folder), build(folder, cache="ram")
    assert all(same(plain[(1, i)], ram[(1, i)]) for i in range(12))


def test_mosaic_draws_from_all_of_a_small_set(tmp_path):
    dataset = build(make_set(tmp_path, 6))
    rng = np.random.default_rng(0)
    drawn = [p for _ in range(500) for p in dataset.partners({"rng": rng, "epoch": 0, "index": 2}, 3)]
    assert np.bincount(drawn, minlength=6).min() > 190


def test_close_mosaic(tmp_path):
    dataset, hyp = (
        build(make_set(tmp_path)),
        settings(scale=0.0, translate=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, fliplr=0.0),
    )
    dataset.close_mosaic(hyp)
    assert hyp.mosaic == 1.0  # the caller's settings stay
    assert isinstance(dataset.transforms[0][0], Mosaic)
    img = dataset[0]["img"].permute(1, 2, 0).numpy()[..., ::-1]
    np.testing.assert_array_equal(img[16:-16], dataset.load_image(0)[0])
    assert (img[:16] == 114).all() and len(dataset[0]["bboxes"]) == 2


def test_validation_batches_are_rectangles_sorted_by_aspect(tmp_path):
    sizes = ((64, 128), (128, 64), (100, 100), (90, 128))
    dataset = build(make_set(tmp_path, 8, sizes), mode="val", batch=2, rect=True)
    aspects = [label["shape"][0] / label["shape"][1] for label in dataset.labels]
    assert aspects == sorted(aspects)
    assert dataset.batch_shapes.tolist() == [[96, 160], [128, 160], [160, 160], [160, 96]]
    for i in range(8):
        s = dataset[i]
        assert list(s["img"].shape[1:]) == dataset.batch_shapes[i // 2].tolist()
        assert s["ratio_pad"][0] == pytest.approx((128 / max(s["ori_shape"]),) * 2, rel=0.02)
        (x, y, w, h), (height, width) = s["bboxes"][0].numpy(), s["img"].shape[1:]
        inside = s["img"][0].numpy()[
            round((y - h / 2) * height) + 1 : round((y + h / 2) * height) - 1,
            round((x - w / 2) * width) + 1 : round((x + w / 2) * width) - 1,
        ]
        assert inside.size and inside.min() > 230


def test_collate_joins_and_counts(tmp_path):
    dataset = build(make_set(tmp_path), mode="val")
    (tmp_path / "labels" / "train" / "p1.txt").write_text("")
    dataset = build(tmp_path / "images" / "train", mode="val")
    batch = dataset.collate_fn([dataset[i] for i in range(3)])
    assert batch["img"].shape == (3, 3, 128, 128) and batch["img"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["img"][2], dataset[2]["img"])
    assert (
        batch["batch_idx"].tolist() == [0, 0, 2, 2] and batch["bboxes"].shape == (4, 4) and batch["cls"].shape == (4, 1)
    )
    assert len(batch["im_file"]) == len(batch["ori_shape"]) == 3
    empty = dataset.collate_fn([dataset[1]])
    assert empty["bboxes"].shape == (0, 4) and empty["batch_idx"].shape == (0,)


def test_image_without_objects_trains(tmp_path):
    folder = make_set(tmp_path, 2, objects=0)
    s = build(folder)[0]
    assert s["bboxes"].shape == (0, 4) and s["img"].shape == (3, 128, 128)


def test_classes_single_cls_and_fraction(tmp_path):
    folder = make_set(tmp_path, 6)
    assert {float(c) for label in build(folder, classes=[1]).labels for c in label["cls"].ravel()} == {1.0}
    assert {float(c) for label in build(folder, single_cls=True).labels for c in label["cls"].ravel()} == {0.0}
    assert len(build(folder, fraction=0.5)) == 3 and len(build(folder, mode="val", fraction=0.5)) == 6
    with pytest.raises(ConfigError, match="fraction"):
        YOLODataset(str(folder), hyp=settings(), data=DATA, fraction=0.0)


@pytest.mark.parametrize("cache", ["ram", "disk", True])
def test_caches_change_nothing(tmp_path, cache):
    folder = make_set(tmp_path)
    plain, cached = build(folder), build(folder, cache=cache)
    for i in range(6):
        assert same(plain[(1, i)], cached[(1, i)])
    stored = sorted(p.name for p in folder.glob("*.npy"))
    assert stored == ([f"p{i}.png.npy" for i in range(6)] if cache == "disk" else [])
    assert bool(cached.images.kept) == (cache != "disk")


def test_disk_cache_notices_a_new_image_and_survives_damage(tmp_path):
    folder = make_set(tmp_path, 3)
    build(folder, cache="disk")
    for i in range(2):
        (folder / f"p{i}.png.npy").write_bytes(b"damaged")
    write_image(folder / "p2.png", np.full((96, 128, 3), 50, np.uint8))
    later = os.path.getmtime(folder / "p2.png.npy") + 10
    os.utime(folder / "p2.png", (later, later))
    dataset = build(folder, cache="disk", mode="val")
    assert dataset.load_image(2)[0].max() == 50 and dataset.load_image(0)[0].max() == 255


@pytest.mark.skipif(os.name != "posix", reason="folder permissions")
def test_disk_cache_in_a_read_only_folder_costs_a_log_line(tmp_path, caplog):
    folder = make_set(tmp_path, 2)
    folder.chmod(0o555)
    try:
        dataset = build(folder, cache="disk")
        assert dataset[0]["img"].shape == (3, 128, 128)
    finally:
        folder.chmod(0o755)
    assert "cache=disk is off" in caplog.text and not list(folder.glob("*.npy"))


def test_recent_images_stay_within_their_budget(tmp_path, monkeypatch):
    files = find_images(make_set(tmp_path, 6))
    monkeypatch.setattr("ultralytics.data.image_cache.RECENT_BYTES", 120_000)
    images = ImageCache(files, 128)
    for i in range(6):
        images[i]
    assert 0 < images.recent_bytes == sum(im.nbytes for im, _ in images.recent.values()) <= 120_000
    assert images[5][0] is images[5][0] and not images[5][0].flags.writeable
    with pytest.raises(ConfigError, match="cache=tape"):
        ImageCache(files, 128, "tape")


def test_all_kinds_of_images_become_three_channels(tmp_path):
    from PIL import Image

    h, w = 40, 60
    bgr = np.full((h, w, 3), (200, 100, 50), np.uint8)
    alpha = np.dstack([bgr, np.full((h, w), 128, np.uint8)])
    write_image(tmp_path / "alpha.png", alpha)
    write_image(tmp_path / "grey.png", np.full((h, w), 77, np.uint8))
    write_image(tmp_path / "deep.png", np.full((h, w), 77 * 256, np.uint16))
    write_image(tmp_path / "deep3.png", bgr.astype(np.uint16) * 256)
    Image.new("CMYK", (w, h), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    wanted = {
        "alpha": (200, 100, 50),
        "grey": (77,) * 3,
        "deep": (77,) * 3,
        "deep3": (200, 100, 50),
        "cmyk": (0, 0, 255),
    }
    for file in find_images(tmp_path):
        img = read_image(file)
        assert img.shape == (h, w, 3) and img.dtype == np.uint8 and verify_image(file) == (h, w)
        name = os.path.splitext(os.path.basename(file))[0]
        np.testing.assert_allclose(img.reshape(-1, 3).mean(0), wanted.pop(name), atol=3)
    assert not wanted


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_rotation_is_the_same_everywhere(tmp_path, orientation):
    from PIL import Image

    image = Image.new("RGB", (60, 40))
    image.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert (
        read_image(tmp_path / "a.jpg").shape[:2]
        == verify_image(tmp_path / "a.jpg")
        == ((60, 40) if orientation > 4 else (40, 60))
    )


def test_path_with_spaces_and_chinese(tmp_path):
    folder = make_set(tmp_path / "火灾 数据 集", 3)
    for cache in (False, "disk"):
        assert build(folder, cache=cache)[0]["img"].shape == (3, 128, 128)
    assert len(build(folder).labels[0]["cls"]) == 2


def test_text_file_and_lists_of_images(tmp_path):
    folder = make_set(tmp_path, 4)
    (tmp_path / "list.txt").write_text("./images/train/p0.png\n\nimages/train/p3.png\nnotes.md\n", encoding="utf-8")
    names = [os.path.basename(f) for f in find_images(tmp_path / "list.txt")]
    assert names == ["p0.png", "p3.png"]
    assert len(find_images([tmp_path / "list.txt", folder])) >= 4
    (folder / "._p0.png").write_bytes(b"left by macOS")
    (folder / "Thumbs.db").write_bytes(b"left by Windows")
    assert len(find_images(folder)) == 4


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no images in .*Put images there"):
        build(tmp_path)
    with pytest.raises(MissingFileError, match="do not exist"):
        build(tmp_path / "missing")
    with pytest.raises(ConfigError, match="multi_modal"):
        build_yolo_dataset(settings(), tmp_path, 4, DATA, multi_modal=True)


def test_tiny_and_extreme_images(tmp_path):
    for i, (h, w) in enumerate(((10, 10), (12, 400), (500, 11))):
        write_image(tmp_path / "images" / f"p{i}.png", scene(h, w, 0, 0)[0])
        write_labels(tmp_path / "labels" / f"p{i}.txt", np.array([[1, 1, w - 1, h - 1]]), (h, w))
    for mode, rect in (("train", False), ("val", True), ("val", False)):
        dataset = build(tmp_path / "images", mode, rect=rect, batch=1)
        for i in range(3):
            assert all(side % 32 == 0 for side in dataset[i]["img"].shape[1:])


def test_removed_image_is_named(tmp_path):
    folder = make_set(tmp_path, 2)
    dataset = build(folder, "val")
    (folder / "p0.png").unlink()
    with pytest.raises(MissingFileError, match=r"p0\.png"):
        dataset[0]


def test_undecodable_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(tmp_path / "a.jpg")
