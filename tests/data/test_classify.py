from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import settings, write_image

from ultralytics.data import ClassificationDataset, build_dataloader
from ultralytics.data.augment import classify_augmentations, classify_transforms
from ultralytics.data.utils import check_cls_dataset
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError

GREY = np.full((40, 60, 3), 100, np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def photo(w=60, h=40, seed=0):
    low = rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    return Image.fromarray(low).resize((w, h), Image.Resampling.BICUBIC)


def make_classes(root, counts, size=(40, 60)):
    """Write images of one colour per class, which gets brighter from image to image."""
    for c, (name, n) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(n):
            img = np.zeros((*size, 3), np.uint8)
            img[..., c % 3] = 150 + i
            write_image(root / name / f"{name}{i}.png", img)
    return root


# Transforms ----------------------------------------------------------------------------------------------------------


def test_validation_takes_the_middle():
    img = np.zeros((40, 80, 3), np.uint8)
    img[:, 20:60] = (255, 128, 0)  # the square in the middle, RGB
    out = classify_transforms(20)(img)
    assert out.shape == (3, 20, 20) and out.dtype == torch.float32
    np.testing.assert_allclose(out[:, 2:-2, 2:-2].mean((1, 2)), [1, 128 / 255, 0], atol=0.01)
    assert classify_transforms((20, 30))(img).shape == (3, 20, 30)
    assert classify_transforms(64)(Image.new("L", (30, 50))).shape == (3, 64, 64)


def test_scale_crop_and_normalization():
    ramp = np.repeat(np.arange(60, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    half = classify_transforms(20, crop_fraction=0.5)(ramp)  # scaled to 40 x 60, of which the middle 20 is cut
    np.testing.assert_allclose(half[0, 0] * 255, np.arange(20, 40), atol=0.01)
    out = classify_transforms(8, mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2))(GREY)
    np.testing.assert_allclose(out[:, 0, 0], (100 / 255 - np.array([0.1, 0.2, 0.3])) / (0.5, 1, 2), rtol=1e-5)


def test_crops_have_the_areas_asked_for():
    """The columns of a ramp tell which part of it was cut out."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, 0).repeat(3, 2)
    plain = dict(hflip=0, hsv_h=0, hsv_s=0, hsv_v=0)
    crop = classify_augmentations(32, scale=(0.25, 0.5), ratio=(1.0, 1.0), **plain)
    sides = [float(out[0].max() - out[0].min()) * 255 for out in (crop(ramp, rng(seed)) for seed in range(100))]
    assert 90 < min(sides) < 105 and 130 < max(sides) < 142  # sqrt(0.25) and sqrt(0.5) of 200


def test_flips():
    img = np.zeros((30, 30, 3), np.uint8)
    img[:10, :10] = 255
    whole = dict(scale=(1.0, 1.0), ratio=(1.0, 1.0), hsv_h=0, hsv_s=0, hsv_v=0)
    plain = classify_augmentations(30, hflip=0, **whole)(img, rng())
    assert torch.equal(classify_augmentations(30, hflip=1.0, **whole)(img, rng()), plain.flip(2))
    assert torch.equal(classify_augmentations(30, hflip=0, vflip=1.0, **whole)(img, rng()), plain.flip(1))
    assert plain[:, 0, 0].min() == 1 and plain.mean() == pytest.approx(1 / 9, abs=0.01)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment", "augmix", None])
def test_augmentation_depends_on_the_generator_alone(policy):
    augment, img = classify_augmentations(32, auto_augment=policy, erasing=0.5), photo()
    before = torch.get_rng_state()
    outs = [augment(img, rng(seed)) for seed in range(20)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert all(torch.equal(out, augment(img, rng(seed))) for seed, out in enumerate(outs))
    assert len({out.numpy().tobytes() for out in outs}) == 20
    assert all(out.shape == (3, 32, 32) and out.dtype == torch.float32 and out.min() >= 0 for out in outs)


def test_automatic_policies_replace_colour_jitter():
    def steps(**kw):
        return [type(t).__name__ for t in classify_augmentations(32, **kw).transforms]

    assert steps() == ["RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter", "ToTensor"]
    assert steps(auto_augment="randaugment", erasing=0.4)[2:] == ["RandAugment", "ToTensor", "RandomErasing"]
    assert "ColorJitter" in steps(auto_augment="augmix", force_color_jitter=True)
    with pytest.raises(ConfigError, match="auto_augment=magic is not allowed; give randaugment, augmix, autoaugment"):
        steps(auto_augment="magic")
    with pytest.raises(ConfigError, match="interpolation=LANCZOS9"):
        classify_transforms(32, interpolation="LANCZOS9")


# Dataset -------------------------------------------------------------------------------------------------------------


def test_samples_know_their_class(tmp_path):
    root = make_classes(tmp_path / "train", {"blue": 3, "green": 2, "red": 2})
    dataset = ClassificationDataset(root, settings("classify", imgsz=32))
    assert len(dataset) == 7 and dataset.names == {0: "blue", 1: "green", 2: "red"}
    for s in (dataset[i] for i in range(7)):
        assert s["img"].shape == (3, 32, 32) and s["img"].dtype == torch.float32
        assert s["img"].mean((1, 2)).argmax() == 2 - s["cls"]  # RGB, made of BGR
    batch = next(iter(build_dataloader(dataset, 7, 0, shuffle=False)))
    assert batch["cls"].tolist() == [0, 0, 0, 1, 1, 2, 2] and batch["img"].shape == (7, 3, 32, 32)
    assert batch["img"].is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(IndexError):
        dataset[7]


def test_augmented_samples_depend_on_seed_epoch_and_index_alone(tmp_path):
    root = make_classes(tmp_path / "train", {"a": 3, "b": 3})
    a, b = (ClassificationDataset(root, settings("classify", imgsz=32), augment=True) for _ in range(2))
    for i in (4, 0, 2):
        assert torch.equal(a[(3, i)]["img"], b[(3, i)]["img"])
    assert any(not torch.equal(a[(0, i)]["img"], a[(1, i)]["img"]) for i in range(6))
    batches = [[x["img"] for x in build_dataloader(a, 2, workers)] for workers in (0, 2)]
    assert all(torch.equal(x, y) for x, y in zip(*batches))


def test_faulty_images_are_listed_and_left_out(tmp_path, caplog):
    root = make_classes(tmp_path / "train", {"a": 3, "b": 3})
    (root / "a" / "a1.png").write_bytes(b"nothing")
    for _ in range(2):  # looked at, and remembered
        caplog.clear()
        dataset = ClassificationDataset(root, settings("classify", imgsz=32), prefix="train")
        assert len(dataset) == 5 and "a1.png" in caplog.text and "5 images of 2 classes, 1 left out" in caplog.text
    assert len(list(tmp_path.glob("train-*.cache.npz"))) == 1
    write_image(root / "a" / "a1.png", GREY)
    assert len(ClassificationDataset(root, settings("classify", imgsz=32))) == 6
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="None of the 6 images"):
        ClassificationDataset(root, settings("classify", imgsz=32))


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_caches_change_nothing(tmp_path, cache):
    root = make_classes(tmp_path / "train", {"a": 2, "b": 2})
    plain, cached = (ClassificationDataset(root, settings("classify", imgsz=32, cache=c)) for c in (False, cache))
    assert all(torch.equal(plain[i]["img"], cached[i]["img"]) for i in range(4))


def test_fraction_keeps_every_class(tmp_path):
    root = make_classes(tmp_path / "train", {"a": 10, "b": 4, "c": 1})
    dataset = ClassificationDataset(root, settings("classify", imgsz=32, fraction=0.5), augment=True)
    assert [c for _, c in dataset.samples] == [0] * 5 + [1] * 2 + [2]


def test_split_folders_are_found(tmp_path, monkeypatch):
    for split in ("train", "validation", "test"):
        make_classes(tmp_path / "set" / split, {"cat": 2, "dog": 1})
    data = check_cls_dataset(tmp_path / "set")
    assert data["nc"] == 2 and data["names"] == {0: "cat", 1: "dog"}
    assert [data[k].name for k in ("train", "val", "test")] == ["train", "validation", "test"]
    monkeypatch.chdir(tmp_path)
    assert check_cls_dataset("set", split="test")["train"] == tmp_path / "set" / "train"
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr("ultralytics.utils.SETTINGS", {"datasets_dir": str(tmp_path)}, raising=False)
    assert check_cls_dataset("set")["nc"] == 2


def test_one_folder_of_classes_is_split(tmp_path):
    make_classes(tmp_path / "set", {"a": 10, "b": 5, "c": 1})
    data = check_cls_dataset(tmp_path / "set")
    train, val = (ClassificationDataset(data[k], settings("classify", imgsz=32)) for k in ("train", "val"))
    assert [sum(c == k for _, c in train.samples) for k in range(3)] == [8, 4, 1]
    assert [sum(c == k for _, c in val.samples) for k in range(3)] == [2, 1, 0]
    assert not set(train.im_files) & set(val.im_files) and train.names == val.names == data["names"]
    assert "80% of each class" in str(data["train"])
    again = ClassificationDataset(check_cls_dataset(tmp_path / "set")["val"], settings("classify", imgsz=32))
    assert again.im_files == val.im_files


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(MissingFileError, match=r"'nowhere' is not here; tried\n .*nowhere"):
        check_cls_dataset("nowhere")
    make_classes(tmp_path / "a" / "val", {"x": 1})
    with pytest.raises(MissingFileError, match="no folder 'train'"):
        check_cls_dataset(tmp_path / "a")
    make_classes(tmp_path / "a" / "train", {"y": 1})
    with pytest.raises(DataError, match="has the class folders x, which"):
        check_cls_dataset(tmp_path / "a")
    make_classes(tmp_path / "b" / "train", {"x": 1, "y": 1})
    with pytest.raises(MissingFileError, match="no folder 'val'"):
        check_cls_dataset(tmp_path / "b")
    make_classes(tmp_path / "b" / "val", {"x": 1})
    with pytest.raises(DataError, match="lacks the class folders y"):
        check_cls_dataset(tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="no images in folders"):
        check_cls_dataset(tmp_path / "c")
