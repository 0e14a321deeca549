"""Images that are deleted, replaced or spoiled while a dataset is used, and labels that are edited between runs."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import pickle
import stat
import zlib
from pathlib import Path

import numpy as np
import pytest
from scenes import make_set, settings, write_image, write_labels

from ultralytics.data import ClassificationDataset, build_dataloader, build_yolo_dataset, image_cache, labels
from ultralytics.data.image_files import list_images
from ultralytics.data.labels import layout_of, load_labels, read_arrays
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError

DATA = {"names": {0: "a", 1: "b"}}
PLAIN = {"mosaic": 0.0, "imgsz": 64}
posix = pytest.mark.skipif(os.name != "posix", reason="processes are forked")


@pytest.fixture
def log(tmp_path: Path):
    """A function that returns the warnings since it was called last, also those of processes that load data."""
    handler = logging.FileHandler(tmp_path / "warnings.log", encoding="utf-8")
    handler.setLevel(logging.WARNING)
    LOGGER.addHandler(handler)
    with open(handler.baseFilename, encoding="utf-8") as f:
        yield lambda: f.read().splitlines()
    LOGGER.removeHandler(handler)
    handler.close()


@pytest.fixture(autouse=True)
def enough_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_set(tmp_path / "set", 10)


def build(folder: Path, mode: str = "train", batch: int = 4, **overrides):
    args = settings(**{**PLAIN, **overrides})
    return build_yolo_dataset(args, str(folder), batch, DATA, mode=mode, rect=mode == "val")


def epoch(dataset, workers: int = 0, batch: int = 4, epochs: int = 1, shuffle: bool = True) -> list[dict]:
    loader = build_dataloader(dataset, batch, workers, shuffle)
    assert loader.num_workers == workers
    try:
        return [b for _ in range(epochs) for b in loader]
    finally:
        loader.close()


def by_file(batches: list[dict]) -> dict[str, int]:
    """Return a mark of each image's pixels by the name of its file."""
    pairs = ((os.path.basename(f), img) for b in batches for f, img in zip(b["im_file"], b["img"]))
    return {name: zlib.crc32(img.contiguous().numpy().tobytes()) for name, img in pairs}


def names(batches: list[dict]) -> list[str]:
    return [os.path.basename(f) for b in batches for f in b["im_file"]]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil(file: Path) -> None:
    """Leave as many bytes as there were."""
    file.write_bytes(bytes(file.stat().st_size))


CHANGES = {
    "deleted": (Path.unlink, "does not exist"),
    "replaced": (lambda file: write_image(file, np.full((50, 90, 3), 9, np.uint8)), "was changed: it had"),
    "cut": (cut, "was changed: it had"),
    "spoiled": (spoil, "cannot be decoded"),
    "a folder now": (lambda file: (file.unlink(), file.mkdir()), "p3.png"),
}


# Images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_another_image_takes_the_place_of_one_that_changed(folder, log, change, reason):
    before = epoch(build(folder))
    dataset = build(folder)
    change(folder / "p3.png")
    after = epoch(dataset, epochs=3)
    assert [len(b["img"]) for b in after] == [4, 4, 2] * 3
    order = names(before)
    places = [i for i, name in enumerate(order) if name == "p3.png"]
    assert len(places) == 1 and "p3.png" not in names(after)
    assert [i for i, (a, b) in enumerate(zip(order, names(after))) if a != b] == places
    marks = by_file(before)
    same = [b for b in after[:3] if not set(names([b])) & {names(after)[places[0]]}]
    assert same and all(marks[name] == mark for name, mark in by_file(same).items())  # as if nothing had happened
    (line,) = log()
    assert "p3.png" in line and reason in line and "takes its place" in line
    assert dataset.left_out == 1


def test_the_substitute_brings_its_own_labels(folder):
    for i in range(10):
        write_labels(folder.parents[1] / "labels" / "train" / f"p{i}.txt", np.array([[i, i, i + 20, i + 20]]), (96, 96))
    dataset = build(folder, mosaic=0.0)
    expected = {os.path.basename(f): dataset.get_image_and_label(i)["bboxes"] for i, f in enumerate(dataset.im_files)}
    dataset = build(folder)
    for i in range(5):
        (folder / f"p{i}.png").unlink()
    found = [dataset.get_image_and_label(i) for i in range(10)]
    for i, sample in enumerate(found):
        name = os.path.basename(sample["im_file"])
        assert (name == f"p{i}.png") == (i not in range(5))
        np.testing.assert_array_equal(sample["bboxes"], expected[name])
    assert len({found[i]["im_file"] for i in range(5)}) > 1  # not one image for all


@posix
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_worker_processes_skip_the_same_and_name_it_once(folder, log, mosaic):
    seen = []
    for workers in (0, 1, 2):
        dataset = build(folder, mosaic=mosaic)
        moved = [(folder / f"p{i}.png") for i in (3, 4)]
        for file in moved:
            file.rename(file.with_suffix(".away"))
        batches = epoch(dataset, workers, epochs=3)
        seen.append([(names([b]), zlib.crc32(b["img"].numpy().tobytes()), b["bboxes"].tolist()) for b in batches])
        assert dataset.left_out == 2  # known to this process, whichever found it
        for file in moved:
            file.with_suffix(".away").rename(file)
        assert sorted(line.partition("image '")[2].partition("'")[0] for line in log()) == [str(f) for f in moved]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_validation_leaves_out_what_changed(folder, log, change, reason, batch):
    before = by_file(epoch(build(folder, "val", batch), batch=batch, shuffle=False))
    dataset = build(folder, "val", batch)
    dataset.images.keep_recent = False
    change(folder / "p3.png")
    batches = epoch(dataset, batch=batch, epochs=2, shuffle=False)
    assert len(batches) == 2 * -(-10 // batch)
    assert [b for b in batches if not b] == ([{}] * 2 if batch == 1 else [])
    after = [b for b in batches if b]
    assert len(names(after)) == 18 and by_file(after) == {k: v for k, v in before.items() if k != "p3.png"}
    assert all(len(b["img"]) == len(b["im_file"]) == len(b["ratio_pad"]) for b in after)
    assert all(b["batch_idx"].max() < len(b["img"]) for b in after)
    (line,) = log()
    assert reason in line and "left out of validation" in line
    with pytest.raises((DataError, OSError), match=r"p3\.png"):
        dataset[dataset.im_files.index(str(folder / "p3.png"))]


def test_an_image_that_is_back_is_used_again(folder, log):
    before = by_file(epoch(build(folder)))
    dataset = build(folder)
    dataset.images.keep_recent = False
    (folder / "p3.png").rename(folder / "away")
    assert by_file(epoch(dataset)) != before
    (folder / "away").rename(folder / "p3.png")
    assert by_file(epoch(dataset)) == before and len(log()) == 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=posix)])
def test_nothing_left_is_one_sentence(folder, workers):
    dataset = build(folder, mosaic=1.0)
    for file in folder.glob("*.png"):
        file.unlink()
    with pytest.raises(DataError) as caught:
        epoch(dataset, workers)
    text = str(caught.value)
    assert text.startswith("None of the 10 training images can be used any more. The image '") and "\n" not in text
    dataset = build(make_set(folder.parents[2] / "other", 2), "val")
    for file in dataset.im_files:
        os.unlink(file)
    assert epoch(dataset, workers, batch=2) == [{}]  # the validator says the sentence


def test_many_lost_images_do_not_fill_the_log(tmp_path, log, monkeypatch):
    monkeypatch.setattr(image_cache, "NAMED", 3)
    dataset = build(make_set(tmp_path / "set", 10))
    for i in range(8):
        (tmp_path / "set/images/train" / f"p{i}.png").unlink()
    epoch(dataset, epochs=2)
    lines = log()
    assert len(lines) == 4 and "are counted, but not named" in lines[3] and dataset.left_out == 8


@posix
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_copies_and_any_kind_of_process_know_the_count(folder, method, monkeypatch):
    """What processes share can be handed to new ones alone; copies and pickles have their own."""
    dataset = build(folder)
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        other.images.name_once(0, DataError("Gone."), "So be it.")
        assert other.left_out == 1 and dataset.left_out == 0
    context = multiprocessing.get_context(method)
    monkeypatch.setattr(dataset.images, "lock", context.Lock())
    process = context.Process(target=dataset.images.name_once, args=(3, DataError("Gone."), "So be it."))
    process.start()
    process.join(120)
    assert process.exitcode == 0 and dataset.left_out == 1


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_an_image_lost_before_it_was_cached(folder, log, monkeypatch, cache):
    original = image_cache.ImageCache._fill_memory if cache == "ram" else image_cache.ImageCache._fill_disk

    def lose_and_fill(self):
        for i in (0, 3):
            (folder / f"p{i}.png").unlink()
        return original(self)

    monkeypatch.setattr(image_cache.ImageCache, original.__name__, lose_and_fill)
    dataset = build(folder, cache=cache)
    assert dataset.images.mode == cache
    assert not {"p0.png", "p3.png"} & set(names(epoch(dataset, epochs=2))) and dataset.left_out == 2
    assert len(log()) == 2


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=posix)])
def test_classification_skips_too(tmp_path, log, workers):
    for c in "ab":
        for i in range(4):
            write_image(tmp_path / "train" / c / f"{c}{i}.png", np.full((40, 40, 3), 40 * i + 9, np.uint8))
    args = settings("classify", imgsz=32)
    train, val = (ClassificationDataset(tmp_path / "train", args, augment=augment) for augment in (True, False))
    (tmp_path / "train" / "a" / "a1.png").unlink()
    write_image(tmp_path / "train" / "b" / "b2.png", np.zeros((9, 99, 3), np.uint8))
    batches = epoch(train, workers, epochs=2)
    assert [len(b["img"]) for b in batches] == [4] * 4 and train.left_out == 2
    batches = epoch(val, workers, epochs=2, shuffle=False)
    assert [b["cls"].tolist() for b in batches] == [[0] * 3, [1] * 3] * 2 and val.left_out == 2
    assert len(log()) == 4
    for file in (tmp_path / "train").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"^None of the 8 training images can be used any more\. [^\n]*$"):
        epoch(train, workers)


# A disk cache ---------------------------------------------------------------------------------------------------------


def test_disk_cache_notices_an_older_image_in_the_place_of_another(folder):
    build(folder, cache="disk")
    write_image(folder / "p2.png", np.full((128, 96, 3), 50, np.uint8))
    os.utime(folder / "p2.png", (1e9, 1e9))  # moved here from a backup: older than the array
    dataset = build(folder, "val", cache="disk")
    i = dataset.im_files.index(str(folder / "p2.png"))
    assert dataset.load_image(i)[0].max() == 50 and dataset.load_image(i)[1] == (128, 96)


# Labels ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list:
    """The calls that read an image and its labels."""
    calls, original = [], labels.verify_image_label
    monkeypatch.setattr(labels, "verify_image_label", lambda *a: calls.append(a) or original(*a))
    return calls


def test_an_edit_that_keeps_size_and_time_is_noticed(folder, scans):
    label = folder.parents[1] / "labels" / "train" / "p0.txt"
    files = list_images(folder)
    assert load_labels(files, 2)[0].rows[:, 0].tolist() == [0, 1]
    before = label.stat()
    label.write_text(label.read_text().replace("\n1 ", "\n0 "))
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (label.stat().st_size, label.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert load_labels(files, 2)[0].rows[:, 0].tolist() == [0, 0] and len(scans) == 20
    os.utime(label)  # touched, not edited
    assert load_labels(files, 2)[0].rows[:, 0].tolist() == [0, 0] and len(scans) == 20


def test_runs_of_other_settings_keep_their_own_cache(folder, scans):
    """Each of them would otherwise scan anew whenever another had run: train.txt and val.txt over the same labels."""
    for i in range(10):
        (folder.parents[1] / "labels" / "train" / f"p{i}.txt").write_text("0 .5 .5 .4 .4 .5 .5 1 .4 .4 1\n")
    lists = {}
    for name, part in (("train", range(7)), ("val", range(7, 10))):
        lists[name] = folder.parents[1] / f"{name}.txt"
        lists[name].write_text("\n".join(f"images/train/p{i}.png" for i in part))
    runs = [
        lambda: build(folder),
        lambda: build(lists["train"]),
        lambda: build(lists["val"]),
        lambda: build(folder, fraction=0.5),
        lambda: build(folder, single_cls=True),
        lambda: load_labels(list_images(folder), 7),
        *(lambda shape=shape: load_labels(list_images(folder), 2, layout=layout_of("pose", shape))
          for shape in ((3, 2), (2, 3))),
    ]  # fmt: skip
    for run in runs:
        before = len(scans)
        run()
        assert len(scans) > before
    first = len(scans)
    for run in runs * 2:
        run()
    assert len(scans) == first


def test_classification_parts_of_one_folder_have_a_cache_each(tmp_path, monkeypatch):
    from ultralytics.data import classify_dataset
    from ultralytics.data.utils import check_cls_dataset

    for i in range(20):
        write_image(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", np.full((40, 40, 3), 9 * i, np.uint8))
    found, calls, original = check_cls_dataset(tmp_path / "set"), [], classify_dataset._fault
    monkeypatch.setattr(classify_dataset, "_fault", lambda file: calls.append(file) or original(file))
    for _ in range(3):
        for part in ("train", "val"):
            ClassificationDataset(found[part], settings("classify", imgsz=32))
    assert len(calls) == 20  # each once


def test_labels_edited_during_the_scan_do_not_get_into_the_cache(folder, monkeypatch):
    files, original = list_images(folder), labels.verify_image_label
    label = folder.parents[1] / "labels" / "train" / "p0.txt"
    text = label.read_text()

    def edit_and_read(*args):
        label.write_text("")
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "verify_image_label", edit_and_read)
        assert not len(load_labels(files, 2)[0].rows)
    label.write_text(text)  # back to what the fingerprint was taken of
    assert len(load_labels(files, 2)[0].rows) == 2


@posix
def test_another_user_can_read_the_cache(folder):
    load_labels(list_images(folder), 2)
    (cache,) = folder.parents[1].rglob("*.cache.npz")
    assert stat.S_IMODE(cache.stat().st_mode) & 0o444 == 0o444


def _run(folder: Path, start, results) -> None:
    """Stand for a training: read the labels, the cache of which is written and read all the time."""
    files, counts = list_images(folder), set()
    start.wait(600)
    for _ in range(12):
        counts |= {tuple(len(e.rows) for e in load_labels(files, 2))}
        dataset = build_yolo_dataset(settings(imgsz=64, cache="disk"), str(folder), 4, DATA)
        counts |= {int(dataset.load_image(0)[0].max())}
        for file in (*folder.glob("*.npy"), *(folder.parents[1] / "labels").glob("*.npz")):
            file.unlink(missing_ok=True)  # so that there is something to write
    results.put(counts)


@posix
def test_two_runs_started_together_do_not_spoil_each_others_caches(tmp_path):
    folder = make_set(tmp_path / "set", 4)
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_run, args=(folder, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join(600)
    assert [p.exitcode for p in processes] == [0, 0] and found == [{(2, 2, 2, 2), 255}] * 2
    assert not list((tmp_path / "set").rglob("*.tmp"))


def _write(cache: Path, start) -> None:
    start.wait(600)
    for i in range(60):
        labels.write_arrays(cache, "", key=np.array("k"), numbers=np.full(20_000, i))


@posix
def test_a_reader_never_sees_half_a_file(tmp_path):
    cache = tmp_path / "a.cache.npz"
    labels.write_arrays(cache, "", key=np.array("k"), numbers=np.full(20_000, 0))
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    writers = [context.Process(target=_write, args=(cache, start)) for _ in range(2)]
    for writer in writers:
        writer.start()
    start.wait(600)
    seen = set()
    while any(writer.is_alive() for writer in writers):
        numbers = read_arrays(cache, "k")["numbers"]
        assert len(numbers) == 20_000 and len(np.unique(numbers)) == 1
        seen.add(int(numbers[0]))
    assert len(seen) > 1 and all(writer.exitcode == 0 for writer in writers)
    assert [f.name for f in tmp_path.iterdir()] == [cache.name]
