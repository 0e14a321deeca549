"""Datasets as tutorials extend them: with a choice, a length, labels, transforms and batches of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import make_set, scene, settings, write_image

from ultralytics.data import YOLODataset, build_dataloader
from ultralytics.data.classify_dataset import ClassificationDataset

NAMES = {"names": {0: "a", 1: "b"}}


class Weighted(YOLODataset):
    """Shows images by weights, as the tutorials on unbalanced classes do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.keys, self.shown = [], []
        weights = np.array([1.0 + label["cls"].sum() for label in self.labels])
        self.p = weights / weights.sum()

    def __getitem__(self, index):
        self.keys.append(index)
        draw = np.random.default_rng(int(index))
        self.shown.append(int(draw.choice(len(self.labels), p=self.p)))
        return self.transforms(self.get_image_and_label(self.shown[-1]))


class Twice(YOLODataset):
    """Is twice as long as its images, of which the second half are the first again."""

    def __len__(self):
        return 2 * len(self.labels)

    def __getitem__(self, index):
        return super().__getitem__(index % len(self.labels))


class Labelled(YOLODataset):
    """Adds to each sample and joins batches itself."""

    def get_image_and_label(self, index):
        return super().get_image_and_label(index) | {"cls": np.ones_like(self.labels[index]["cls"])}

    def build_transforms(self, hyp=None):
        return super().build_transforms(hyp)

    @staticmethod
    def collate_fn(batch):
        return YOLODataset.collate_fn(batch) | {"mine": len(batch)}


def make(cls, folder, **overrides):
    return cls(str(folder), imgsz=64, hyp=settings(imgsz=64, **overrides), data=NAMES, batch_size=2)


def batches(dataset, epoch, workers=0):
    loader = build_dataloader(dataset, 2, workers)
    loader.set_epoch(epoch)
    try:
        return [batch["img"] for batch in loader]
    finally:
        loader.close()


@pytest.mark.parametrize("cls", [Weighted, Twice, Labelled])
@pytest.mark.parametrize("rect", [False, True])
def test_samples_of_a_subclass_depend_on_seed_and_epoch(tmp_path, cls, rect):
    folder = make_set(tmp_path, 4, sizes=((96, 128), (64, 128)))
    dataset = make(cls, folder)
    if rect:
        dataset.rect = True
        dataset.set_rectangle()
        dataset.transforms = dataset.build_transforms(settings(imgsz=64))
    first, again, other = (batches(dataset, epoch) for epoch in (0, 0, 1))
    assert len(first) == len(dataset) // 2
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not all(torch.equal(a, b) for a, b in zip(first, other))


def test_user_code_is_asked_by_plain_indices(tmp_path):
    dataset = make(Weighted, make_set(tmp_path, 4))
    batches(dataset, 3)
    assert sorted(dataset.keys) == [0, 1, 2, 3] and {type(key) for key in dataset.keys} == {int}
    assert dataset.epoch == 0 and dataset._asked is None


def test_an_image_that_is_shown_twice_is_augmented_twice(tmp_path):
    dataset = make(Twice, make_set(tmp_path, 1))
    (pair,) = batches(dataset, 0)
    assert not torch.equal(*pair)


def test_a_lost_image_of_a_longer_subclass(tmp_path, caplog):
    folder = make_set(tmp_path, 3)
    dataset = Twice(str(folder), imgsz=64, hyp=settings(imgsz=64), data=NAMES, augment=False)
    (folder / "p2.png").unlink()
    assert len(dataset.__getitems__([(0, i) for i in range(6)])) == 4 and dataset.left_out == 1
    assert caplog.text.count("It is left out of validation") == 1


def test_indices_count_from_the_end_too(tmp_path):
    dataset = make(YOLODataset, make_set(tmp_path, 3))
    assert torch.equal(dataset[(1, -1)]["img"], dataset[(1, 2)]["img"])
    for key in (3, (0, 3), -4, (0, -4)):
        with pytest.raises(IndexError):
            dataset[key]


def test_loader_processes_ask_a_subclass_alike(tmp_path):
    dataset = make(Weighted, make_set(tmp_path, 4))
    assert all(torch.equal(a, b) for a, b in zip(batches(dataset, 2), batches(dataset, 2, workers=1)))


def test_own_collate_fn_labels_and_transforms(tmp_path):
    loader = build_dataloader(make(Labelled, make_set(tmp_path, 4), mosaic=0.0), 2, 0)
    batch = next(iter(loader))
    assert batch["mine"] == 2 and batch["cls"].unique().tolist() == [1]


def test_classification_subclass_and_foreign_dataset(tmp_path):
    for i in range(4):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", scene(40, 50, 1, i)[0])

    class Chosen(ClassificationDataset):
        def __getitem__(self, index):
            assert type(index) is int
            return super().__getitem__(0)

    batch = next(iter(build_dataloader(Chosen(tmp_path, settings("classify", imgsz=32), augment=True), 4, 0)))
    assert batch["cls"].tolist() == [0] * 4 and not torch.equal(batch["img"][0], batch["img"][1])

    class Foreign(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.tensor(index + 1)

    assert sorted(torch.cat(list(build_dataloader(Foreign(), 2, 0))).tolist()) == [1, 2, 3, 4]
