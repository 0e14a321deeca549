"""Datasets and augmentations written for 8.3.0: what they override is called, and their batches are the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import custom_dataset
import numpy as np
import pytest
import torch
from scenes import make_set, settings
from task_scenes import make_polygon_set

from ultralytics.data import BaseDataset, YOLODataset, build_dataloader
from ultralytics.data.augment import (
    BaseMixTransform,
    BaseTransform,
    Compose,
    Format,
    LetterBox,
    MixUp,
    Mosaic,
    RandomFlip,
    RandomPerspective,
)
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.data.instances import Labels, flat
from ultralytics.data.utils import find_dataset_yaml, load_dataset_cache_file, save_dataset_cache_file
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.instance import Instances

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "custom_dataset.json").read_text())
NAMES = {"names": {0: "a", 1: "b"}}


def make(cls, folder, task="detect", **overrides):
    return cls(str(folder), imgsz=64, hyp=settings(imgsz=64, **overrides), data=NAMES, batch_size=2, task=task)


@pytest.mark.parametrize("task", REFERENCE)
def test_the_batch_is_that_of_8_3_0(task):
    found = custom_dataset.figures(task)
    assert found.keys() == REFERENCE[task].keys()
    for key, wanted in REFERENCE[task].items():
        np.testing.assert_allclose(found[key], wanted, atol=2e-5, err_msg=key)


# Samples with instances -----------------------------------------------------------------------------------------------


def labels_of(n=2, segments=False):
    labels = Labels({"img": np.zeros((40, 80, 3), np.uint8), "cls": np.arange(n, dtype=np.float32)[:, None]})
    labels["bboxes"] = np.tile(np.array([[8, 10, 24, 30]], np.float32), (n, 1))
    if segments:
        labels["segments"] = [np.array([[8, 10], [24, 10], [24, 30], [8, 30]], np.float32)] * n
    return labels


def test_a_sample_holds_its_objects_once():
    labels = labels_of(segments=True)
    instances = labels["instances"]
    assert "bboxes" not in labels and "segments" not in labels and labels["instances"] is instances
    assert instances.segments.shape == (2, 1000, 2) and not instances.normalized
    instances.convert_bbox("xywh")
    instances.normalize(80, 40)
    back = flat(labels)
    assert "instances" not in back and back["bboxes"].dtype == np.float32
    np.testing.assert_allclose(back["bboxes"], labels_of()["bboxes"], atol=1e-4)
    assert len(back["segments"]) == 2 and back["segments"][0].max() == 30
    assert flat(back) is back and isinstance(back | {"x": 1}, Labels) and isinstance(back.copy(), Labels)
    assert labels_of().pop("instances").bboxes.shape == labels_of().get("instances").bboxes.shape == (2, 4)
    assert labels_of().get("nothing", 3) == 3
    with pytest.raises(KeyError):
        labels_of()["nothing"]


def test_objects_without_classes_are_named():
    labels = labels_of()
    labels["instances"] = labels["instances"][:1]
    with pytest.raises(DataError, match="left 1 boxes and 2 classes"):
        RandomFlip(0.0)(labels)


@pytest.mark.parametrize("n", [0, 2])
def test_samples_of_plain_dicts_with_instances_run_through_every_transform(n):
    labels = {"img": np.zeros((40, 80, 3), np.uint8), "cls": np.zeros((n, 1)), "note": "kept"}
    boxes = np.tile(np.array([[0.25, 0.5, 0.25, 0.5]], np.float32), (n, 1))
    labels["instances"] = Instances(boxes, np.zeros((0, 1000, 2), np.float32), None, "xywh", True)
    still = RandomPerspective(0, 0.0, 0.0, pre_transform=LetterBox((80, 80)))
    out = Compose([still, RandomFlip(1.0, "vertical"), RandomFlip(1.0), Format("ltwh", normalize=False)])(labels)
    assert out["bboxes"].tolist() == [[50, 30, 20, 20]] * n and out["note"] == "kept" and len(out["batch_idx"]) == n


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (dict(bbox_format="xyxy", normalize=False), [8, 10, 24, 30]),
        (dict(bbox_format="xyxy"), [0.1, 0.25, 0.3, 0.75]),
        (dict(bbox_format="ltwh"), [0.1, 0.25, 0.2, 0.5]),
        (dict(normalize=False), [16, 20, 16, 20]),
    ],
)
def test_format_gives_boxes_as_asked(options, wanted):
    out = Format(**options, batch_idx=False)(labels_of(1))
    np.testing.assert_allclose(out["bboxes"], [wanted], rtol=1e-6)
    assert "batch_idx" not in out
    with pytest.raises(ConfigError, match="'yolo' is not a format of boxes; give xyxy, xywh, ltwh"):
        Format("yolo")(labels_of(1))


def test_a_users_transform_gets_a_painted_image_that_it_may_write_on(tmp_path):
    seen = []

    class Note(BaseTransform):
        def apply_image(self, labels):
            seen.append(type(labels["img"]))
            labels["img"][:4] = 7

    dataset = make(YOLODataset, make_set(tmp_path, 4))
    geometry = dataset.transforms[0]
    geometry.insert(1, Note())  # between mosaic and perspective
    dataset.transforms.insert(0, Note())  # what the cache holds is read-only
    before = dataset.images[0][0].copy()
    assert dataset[0]["img"].shape == (3, 64, 64) and seen == [np.ndarray] * 2
    assert (dataset.images[0][0] == before).all()


def test_transforms_may_return_plain_dicts(tmp_path):
    found = []

    def first(labels):
        return {**labels, "cls": labels["cls"] + 1}

    def second(labels):
        labels["img"][0] = 3
        found.append(len(labels["instances"]))
        return dict(labels)

    dataset = make(YOLODataset, make_set(tmp_path, 2), mosaic=0.0)
    for transform in (second, first, second):
        dataset.transforms.insert(0, transform)
    assert dataset[0]["cls"].min() == 1 and found == [2, 2]
    dataset.transforms = lambda labels: second(labels)  # no Compose around it
    assert dataset[1]["instances"].bboxes.shape == (2, 4)


# Overrides ------------------------------------------------------------------------------------------------------------


def test_overrides_of_transforms_are_called_in_the_pipeline(tmp_path):
    called = []

    class MyMosaic(Mosaic):
        def get_indexes(self, buffer=True):
            called.append("mosaic")
            return [0, 1, 2]

    class MyMixUp(MixUp):
        def get_indexes(self):
            called.append("mixup")
            return 3

        def _mix_transform(self, labels):
            called.append(len(labels["mix_labels"]))
            return super()._mix_transform(labels)

    class MyPerspective(RandomPerspective):
        def affine_transform(self, img, border):
            called.append("affine")
            return super().affine_transform(img, border)

        def apply_segments(self, segments, M):
            called.append("segments")
            return super().apply_segments(segments, M)

        def box_candidates(self, box1, box2, wh_thr=2, ar_thr=100, area_thr=0.1, eps=1e-16):
            called.append("candidates")
            assert box1.shape == box2.shape and len(box1) == 4
            return super().box_candidates(box1, box2, wh_thr, ar_thr, area_thr, eps)

    dataset = make(YOLODataset, make_polygon_set(tmp_path), "segment")
    geometry = Compose([MyMosaic(dataset, 64), MyPerspective()])
    dataset.transforms = Compose([geometry, MyMixUp(dataset, geometry, p=1.0), Format(return_mask=True)])
    sample = dataset[0]
    assert sample["img"].shape == (3, 64, 64) and sample["masks"].shape == (1, 16, 16)
    once = ["mosaic", "affine", "segments", "candidates"]
    assert called == [*once, "mixup", *once, 1]


def test_boxes_and_keypoints_of_an_own_perspective():
    class Mine(RandomPerspective):
        def apply_bboxes(self, bboxes, M):
            return bboxes + 1

        def apply_keypoints(self, keypoints, M):
            return keypoints + 1

    labels = labels_of() | {"keypoints": np.zeros((2, 3, 3), np.float32)}
    out = Mine(0, 0.0, 0.0)(labels)
    assert out["bboxes"][0].tolist() == [9, 11, 25, 31] and (out["keypoints"] == 1).all()


def test_mixing_must_be_defined():
    with pytest.raises(NotImplementedError, match=r"get_indexes"):
        BaseMixTransform([0], p=1.0)(labels_of())


def test_labels_come_from_where_a_subclass_says(tmp_path):
    folder = make_set(tmp_path, 3)

    class Cached(YOLODataset):
        def cache_labels(self, path=Path("labels.cache")):
            assert Path(path) == folder.parents[1] / "labels" / "train.cache"
            save_dataset_cache_file("", tmp_path / "mine.cache", super().cache_labels(path), "1")
            return load_dataset_cache_file(tmp_path / "mine.cache")

    class Given(BaseDataset):
        use_segments = True

        def get_labels(self):
            square = np.array([[10, 10], [60, 10], [60, 60]], np.float32)
            one = {"cls": np.ones((1, 1), np.float32), "bboxes": np.array([[10, 10, 50, 50]], np.float32)}
            more = {"segments": [square], "bbox_format": "ltwh", "normalized": False, "weight": 0.5}
            return [{"im_file": f, "shape": (64, 64)} | one | more for f in self.im_files]

    plain, cached = make(YOLODataset, folder), make(Cached, folder)
    assert torch.equal(plain[(0, 1)]["bboxes"], cached[(0, 1)]["bboxes"]) and (tmp_path / "mine.cache").exists()
    given = Given(str(folder), imgsz=128, augment=False, hyp=settings(imgsz=128), single_cls=True)
    sample = given.get_image_and_label(0)
    assert sample["bboxes"].tolist() == [[10, 10, 60, 60]] and sample["cls"].tolist() == [[0]]
    batch = given.collate_fn([given[0], given[1]])
    assert batch["weight"] == [0.5, 0.5] and batch["masks"].shape == (2, 32, 32)
    with pytest.raises(NotImplementedError, match="get_labels"):
        BaseDataset(str(folder))


# Random numbers -------------------------------------------------------------------------------------------------------


class Noise:
    """Draws from the global generators, as most tutorials do."""

    def __call__(self, labels):
        if random.random() < 0.5:
            labels["img"] = (labels["img"] + np.random.randint(0, 50, labels["img"].shape)).astype(np.uint8)
        return labels


def noisy(folder):
    dataset = make(YOLODataset, folder)
    dataset.transforms.insert(1, Noise())
    return dataset


def epoch_of(dataset, epoch, workers=0):
    loader = build_dataloader(dataset, 2, workers)
    loader.set_epoch(epoch)
    try:
        return torch.cat([batch["img"] for batch in loader])
    finally:
        loader.close()


def test_what_a_transform_draws_follows_from_seed_and_epoch(tmp_path):
    dataset = noisy(make_set(tmp_path, 4))
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = epoch_of(dataset, 1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(2)
    assert torch.equal(first, epoch_of(noisy(tmp_path / "images" / "train"), 1)), "whatever the global state"
    assert torch.equal(first, epoch_of(dataset, 1, workers=1)), "in whichever process"
    assert not torch.equal(first, epoch_of(dataset, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_loops_of_ones_own_show_other_augmentations_in_each_epoch(tmp_path, workers):
    def epochs(dataset):
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(dataset, 2, num_workers=workers, collate_fn=YOLODataset.collate_fn)
        return [torch.cat([batch["img"] for batch in loader]) for _ in range(2)]

    folder = make_set(tmp_path, 4)
    first, second = epochs(make(YOLODataset, folder))
    assert not (first == second).flatten(1).all(1).any()
    assert all(torch.equal(a, b) for a, b in zip((first, second), epochs(make(YOLODataset, folder))))
    part = torch.utils.data.Subset(make(YOLODataset, folder), [0, 1])
    first, second = epochs(part)
    assert not torch.equal(first, second)
    still = YOLODataset(str(folder), imgsz=64, augment=False, data=NAMES)
    assert torch.equal(*epochs(still))


def test_loaders_with_a_sampler_of_ones_own(tmp_path):
    class Order(torch.utils.data.Sampler):
        epochs: list

        def __init__(self):
            self.epochs = []

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

        def __iter__(self):
            return iter([3, 1, 0] if self.epochs[-1] else [0, 1, 3])

        def __len__(self):
            return 3

    dataset, order = make(YOLODataset, make_set(tmp_path, 4)), Order()
    loader = InfiniteDataLoader(dataset, batch_size=2, sampler=order, collate_fn=dataset.collate_fn)
    files = [[Path(f).stem for batch in loader for f in batch["im_file"]] for _ in range(2)]
    assert files == [["p0", "p1", "p3"], ["p3", "p1", "p0"]] and order.epochs[:2] == [0, 1]
    last = InfiniteDataLoader(dataset, 3, drop_last=True, collate_fn=dataset.collate_fn, worker_init_fn=seed_worker)
    assert [len(batch["im_file"]) for batch in last] == [3]
    assert len(InfiniteDataLoader(dataset, 3, shuffle=True, collate_fn=dataset.collate_fn)) == 2


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_cache_of_ones_own_keeps_plain_data(tmp_path):
    rows = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 5)),
        np.array(True),
        np.float32(2),
        Path("a.jpg"),
    ]
    x = {"labels": rows, 3: (1, None, [0.5, "火"], {}), "hash": "h"}
    save_dataset_cache_file("", tmp_path / "a.cache", x, "2")
    back = load_dataset_cache_file(tmp_path / "a.cache")
    assert back[3] == x[3] and (back["hash"], back["version"]) == ("h", "2") and back["labels"][3:] == [2, "a.jpg"]
    for kept, given in zip(back["labels"], rows[:3]):
        assert (
            kept.dtype == given.dtype and kept.shape == given.shape and (kept == given).all() and kept.flags.writeable
        )
    with pytest.raises(DataError, match="A function cannot be kept"):
        save_dataset_cache_file("", tmp_path / "a.cache", {"f": make}, "2")


def test_a_foreign_cache_runs_no_code(tmp_path):
    import pickle

    with pytest.raises(MissingFileError, match="does not exist"):
        load_dataset_cache_file(tmp_path / "nothing.cache")
    np.savez(
        tmp_path / "far.npz", text=np.frombuffer(b'{"array": ["<f4", [9], 0]}', np.uint8), blob=np.zeros(4, np.uint8)
    )
    np.savez(tmp_path / "objects.npz", text=np.array([print]), blob=np.zeros(4, np.uint8))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"labels": print}))
    for file in tmp_path.glob("*.npz"):
        with pytest.raises(MissingFileError, match=r"is not a cache that this package kept"):
            load_dataset_cache_file(file)


def test_the_yaml_of_a_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no YAML file"):
        find_dataset_yaml(tmp_path)
    for name in ("a.yaml", f"{tmp_path.name}.yaml"):
        (tmp_path / name).write_text("x: 1")
        assert find_dataset_yaml(tmp_path).name == name
    (tmp_path / f"{tmp_path.name}.yaml").unlink()
    (tmp_path / "b.yaml").write_text("x: 1")
    with pytest.raises(ConfigError, match="There are 2 YAML files"):
        find_dataset_yaml(tmp_path)


# Albumentations -------------------------------------------------------------------------------------------------------


def test_without_the_library_nothing_is_drawn_or_changed(tmp_path, monkeypatch):
    from ultralytics.data import augment, pixel_augment

    monkeypatch.setattr(pixel_augment, "_library", lambda: None)
    labels = labels_of() | {"rng": np.random.default_rng(1)}
    assert augment.Albumentations()(labels) is labels
    assert labels["rng"].random() == np.random.default_rng(1).random()
    pipeline = make(YOLODataset, make_set(tmp_path, 2)).transforms
    assert not any(isinstance(t, augment.Albumentations) for t in pipeline.tolist())


def test_the_library_blurs_by_the_samples_own_numbers(tmp_path):
    A = pytest.importorskip("albumentations", reason="the library")
    from ultralytics.data.augment import Albumentations

    dataset = make(YOLODataset, make_set(tmp_path, 8))
    pixels = dataset.transforms[2]
    assert isinstance(pixels, Albumentations) and not pixels.contains_spatial
    dataset.transforms[2] = Albumentations(transforms=[A.GaussNoise(p=0.5)])
    first = epoch_of(dataset, 0)
    assert torch.equal(first, epoch_of(dataset, 0))
    dataset.transforms.transforms.pop(2)
    same = (first == epoch_of(dataset, 0)).flatten(1).all(1)
    assert 0 < same.sum() < 8, "the other images and random numbers are those without the library"
    flipped = Albumentations(transforms=[A.HorizontalFlip(p=1.0)])(labels_of() | {"rng": np.random.default_rng(0)})
    np.testing.assert_allclose(flipped["bboxes"][0], [56, 10, 72, 30], atol=1e-4)
