from __future__ import annotations

import os
import random
import re

import numpy as np
import pytest
from scenes import make_set, scene, write_image, write_labels

from ultralytics.data import label_text
from ultralytics.data import labels as module
from ultralytics.data.image_files import verify_image
from ultralytics.data.labels import img2label_paths, layout_of, load_labels, read_label, verify_image_label
from ultralytics.data.utils import list_images
from ultralytics.utils.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a/images/train/x.jpg", "a/labels/train/x.txt"),
        ("images/b/images/x.y.png", "images/b/labels/x.y.txt"),
        ("a/my_images/x.jpg", "a/my_images/x.txt"),
        ("图片 集/images/火 1.jpg", "图片 集/labels/火 1.txt"),
        ("x.jpg", "x.txt"),
    ],
)
def test_label_path_swaps_the_last_images_folder(image, label):
    image, label = image.replace("/", os.sep), label.replace("/", os.sep)
    assert img2label_paths([image]) == [label]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0 0.5 0.5 0.2", "wrong columns: line 1 has 4"),
        ("0 .5 .5 .2 .2 .9", "wrong columns: line 1 has 6"),
        ("0 .5 .5 .2 .2\n0 -0.1 .5 .2 .2", "out of range: line 2 holds -0.1"),
        ("0 .5 1.5 .2 .2", "out of range: line 1 holds 1.5"),
        ("3 .5 .5 .2 .2", "wrong class: line 1 has class 3"),
        ("-1 .5 .5 .2 .2", "wrong class"),
        ("0.5 .5 .5 .2 .2", "wrong class"),
        ("0 nan .5 .2 .2", "not a number"),
        ("0 .5 .5 .2 inf", "not a number"),
        ("fire .5 .5 .2 .2", "not a number: line 1 reads 'fire"),
        ("0,.5,.5,.2,.2", "wrong columns"),
    ],
)
def test_bad_label_says_line_and_reason(tmp_path, text, kind):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=kind):
        read_label(tmp_path / "a.txt", nc=3)


def test_duplicates_are_removed_in_order(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeff1 .5 .5 .2 .2\n\n0 .1 .1 .1 .1\n1 .5 .5 .2 .2\n", encoding="utf-8")
    rows, duplicates = read_label(tmp_path / "a.txt", nc=2)
    assert duplicates == 1
    np.testing.assert_allclose(rows, [[1, 0.5, 0.5, 0.2, 0.2], [0, 0.1, 0.1, 0.1, 0.1]], rtol=1e-6)


def test_polygon_becomes_its_box(tmp_path):
    (tmp_path / "a.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.8\n0 .5 .5 .2 .2")
    rows, _ = read_label(tmp_path / "a.txt", nc=2)
    np.testing.assert_allclose(rows[0], [1, 0.3, 0.5, 0.4, 0.6], rtol=1e-6)


def test_single_class_takes_any_class(tmp_path):
    (tmp_path / "a.txt").write_text("7 .5 .5 .2 .2")
    assert read_label(tmp_path / "a.txt", nc=1, single_cls=True)[0][0, 0] == 0


def test_empty_label_and_missing_label_are_background(tmp_path):
    img, _ = scene(40, 50, 1, 0)
    write_image(tmp_path / "a.png", img)
    entry = verify_image_label(str(tmp_path / "a.png"), str(tmp_path / "a.txt"), 1)
    assert entry.shape == (40, 50) and entry.rows.shape == (0, 5) and not entry.found and not entry.fault
    (tmp_path / "a.txt").write_text("\n")
    assert verify_image_label(str(tmp_path / "a.png"), str(tmp_path / "a.txt"), 1).found


def test_classes_txt_is_no_label(tmp_path):
    write_image(tmp_path / "images" / "classes.png", scene(40, 50, 1, 0)[0])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "classes.txt").write_text("fire\nsmoke\n")
    (entry,) = load_labels(list_images(tmp_path / "images"), 2)
    assert not entry.fault and not len(entry.rows)


def test_bad_images_are_named_by_kind(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    write_image(tmp_path / "cut.jpg", noise)
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    write_image(tmp_path / "tiny.png", noise[:5])
    for name, kind in (("cut", "truncated"), ("empty", "empty"), ("text", "unreadable"), ("tiny", "tiny")):
        file = next(tmp_path.glob(f"{name}.*"))
        with pytest.raises(DataError, match=kind):
            verify_image(file)


def test_image_of_another_format_is_refused(tmp_path):
    from PIL import Image

    Image.new("RGB", (50, 50)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="its content is 'gif'"):
        verify_image(tmp_path / "a.jpg")


def test_faulty_ones_are_listed_and_the_rest_stays(tmp_path, caplog):
    folder = make_set(tmp_path, 6)
    labels = tmp_path / "labels" / "train"
    (labels / "p0.txt").write_text("0 .5 .5 .2")
    (labels / "p1.txt").write_text("0 .5 .5 .2 nan")
    (folder / "p2.png").write_bytes(b"")
    (labels / "p3.txt").write_text("0 .5 .5 .2 .2\n0 .5 .5 .2 .2")
    for _ in range(2):  # read, and read from the cache
        caplog.clear()
        found = load_labels(list_images(folder), 2)
        assert [os.path.basename(e.im_file) for e in found] == ["p3.png", "p4.png", "p5.png"]
        assert "3 images, 0 backgrounds, 3 left out (1 wrong columns, 1 not a number, 1 empty image)" in caplog.text
        assert "1 duplicate labels removed" in caplog.text
        assert "p0.png" in caplog.text and "p2.png" in caplog.text


def test_labels_beside_images_are_said_to_be_passed_over(tmp_path, caplog):
    folder = make_set(tmp_path, 3)
    for name in ("p0", "p1"):
        (tmp_path / "labels" / "train" / f"{name}.txt").rename(folder / f"{name}.txt")
    load_labels(list_images(folder), 2)
    assert "2 label files lie beside their images and are not read" in caplog.text
    assert str(tmp_path / "labels" / "train" / "p0.txt") in caplog.text
    caplog.clear()
    (tmp_path / "images").rename(tmp_path / "photos")
    load_labels(list_images(tmp_path / "photos"), 2)  # beside them is where they belong
    assert "lie beside" not in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_in_other_encodings(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("1 .5 .5 .2 .2\r\n".encode(encoding))
    assert read_label(tmp_path / "a.txt", nc=2)[0].tolist() == [pytest.approx([1, 0.5, 0.5, 0.2, 0.2])]


def test_many_faults_are_cut_short(tmp_path, caplog):
    folder = make_set(tmp_path, 9)
    for i in range(8):
        (tmp_path / "labels" / "train" / f"p{i}.txt").write_text("0")
    assert len(load_labels(list_images(folder), 2)) == 1
    assert "left out 3 more" in caplog.text


def test_no_sound_image_raises(tmp_path):
    folder = make_set(tmp_path, 2)
    for i in range(2):
        (folder / f"p{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of the 2 images"):
        load_labels(list_images(folder), 2)


def test_no_labels_at_all_warns(tmp_path, caplog):
    write_image(tmp_path / "images" / "a.png", scene(40, 50, 1, 0)[0])
    assert len(load_labels(list_images(tmp_path / "images"), 1)) == 1
    assert "no labels found" in caplog.text


def test_cache_is_used_and_notices_changes(tmp_path, monkeypatch):
    folder = make_set(tmp_path, 4)
    files = list_images(folder)
    fresh = load_labels(files, 2)
    assert len(list((tmp_path / "labels").glob("train-*.cache.npz"))) == 1
    assert not list((tmp_path / "labels").glob("*.tmp"))

    calls = []
    original = module.verify_image_label
    monkeypatch.setattr(module, "verify_image_label", lambda *a: calls.append(a) or original(*a))
    cached = load_labels(files, 2)
    assert not calls
    for a, b in zip(fresh, cached):
        assert (a.im_file, tuple(a.shape), a.found) == (b.im_file, tuple(b.shape), b.found)
        np.testing.assert_array_equal(a.rows, b.rows)

    write_labels(tmp_path / "labels" / "train" / "p0.txt", np.array([[1, 1, 20, 30]]), (96, 128))
    assert len(load_labels(files, 2)[0].rows) == 1 and len(calls) == 4
    load_labels(files, 5)
    assert len(calls) == 8  # another number of classes, other faults
    monkeypatch.setattr(module, "CACHE_VERSION", 999)
    load_labels(files, 5)
    assert len(calls) == 12


def test_damaged_cache_is_read_anew(tmp_path):
    folder = make_set(tmp_path, 2)
    load_labels(list_images(folder), 2)
    (cache,) = (tmp_path / "labels").glob("train-*.cache.npz")
    cache.write_bytes(cache.read_bytes()[:100])
    assert len(load_labels(list_images(folder), 2)) == 2


@pytest.mark.skipif(os.name != "posix", reason="folder permissions")
def test_read_only_folder_costs_a_log_line(tmp_path, caplog):
    folder = make_set(tmp_path, 2)
    (tmp_path / "labels").chmod(0o555)
    try:
        assert len(load_labels(list_images(folder), 2)) == 2
    finally:
        (tmp_path / "labels").chmod(0o755)
    assert "label cache not saved" in caplog.text
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["train"]


def test_cache_without_any_label_row(tmp_path):
    write_image(tmp_path / "images" / "a.png", scene(40, 50, 1, 0)[0])
    (tmp_path / "labels").mkdir()
    for _ in range(2):
        assert load_labels(list_images(tmp_path / "images"), 1)[0].rows.shape == (0, 5)


# Labels of the other tasks -------------------------------------------------------------------------------------------

POSE = layout_of("pose", (2, 3))
TASK_ROWS = {
    "segment": (layout_of("segment"), "1 .1 .2 .5 .2 .3 .8 .2 .5"),
    "obb": (layout_of("obb"), "1 .1 .2 .5 .3 .4 .8 .0 .7"),
    "pose": (POSE, "1 .3 .5 .4 .6 .2 .3 2 0 0 0"),
}


def read(tmp_path, text, layout, nc=3):
    write_image(tmp_path / "a.png", scene(40, 50, 1, 0)[0])
    (tmp_path / "a.txt").write_text(text)
    return verify_image_label(str(tmp_path / "a.png"), str(tmp_path / "a.txt"), nc, layout=layout)


def test_polygons_are_kept_beside_their_boxes(tmp_path):
    entry = read(tmp_path, "1 .1 .2 .5 .2 .3 .8\n0 .1 .1 .2 .1 .2 .3 .1 .3 .05 .2\n", layout_of("segment"))
    assert not entry.fault and [len(s) for s in entry.segments] == [3, 5] and entry.keypoints is None
    np.testing.assert_allclose(entry.rows, [[1, 0.3, 0.5, 0.4, 0.6], [0, 0.125, 0.2, 0.15, 0.2]], rtol=1e-5)
    np.testing.assert_allclose(entry.segments[0], [[0.1, 0.2], [0.5, 0.2], [0.3, 0.8]], rtol=1e-6)


def test_keypoints_are_read_with_their_visibility(tmp_path):
    entry = read(tmp_path, TASK_ROWS["pose"][1], POSE)
    np.testing.assert_allclose(entry.keypoints, [[[0.2, 0.3, 2], [0, 0, 0]]], rtol=1e-6)
    np.testing.assert_allclose(entry.rows, [[1, 0.3, 0.5, 0.4, 0.6]], rtol=1e-6)
    plain = read(tmp_path, "1 .3 .5 .4 .6 .2 .3 0 0", layout_of("pose", (2, 2)))
    np.testing.assert_allclose(plain.keypoints, entry.keypoints)


@pytest.mark.parametrize(
    ("task", "text", "fault"),
    [
        ("segment", "0 .5 .5 .2 .2", r"wrong columns: line 1 has 5 columns; wanted are 7 or 9, 11, .* not boxes"),
        ("segment", "0 .1 .2 .5 .2 .3", "wrong columns: line 1 has 6"),
        ("segment", "0 .1 .2 .5 .2 .3 1.6", "out of range: line 1 holds 1.6.* half an image outside"),
        ("segment", "0 12 20 52 20 31 80", "out of range: line 1 holds 80;.* not pixels or percent"),
        ("segment", "0 1.1 .2 1.4 .2 1.3 .8", "out of range: line 1 has an object that lies outside"),
        ("obb", "0 .1 .2 .5 .2 .5 -.6 .1 -.6", "out of range: line 1 holds -0.6"),
        ("obb", "0 -.4 -.1 -.1 -.1 -.1 -.3 -.4 -.3", "out of range: line 1 has an object that lies outside"),
        ("segment", "5 .1 .2 .5 .2 .3 .2", "wrong class: line 1 has class 5"),
        ("obb", "0 .1 .2 .5 .2 .3 .8", "wrong columns: line 1 has 7 columns; wanted are 9"),
        ("obb", "0 .5 .5 .2 .2 .7", "wrong columns: line 1 has 6"),
        ("pose", "0 .5 .5 .2 .2", r"wrong columns: line 1 has 5 columns; wanted are 11 \(class x y w h, then x y vis"),
        ("pose", "0 .5 .5 .2 .2 .1 .1 3 0 0 0", "wrong visibility: line 1 holds 3"),
        ("pose", "0 .5 .5 .2 .2 .1 -.1 2 0 0 0", "out of range: line 1 holds -0.1"),
        ("pose", "0 .5 .5 .2 .2 .1 nan 2 0 0 0", "not a number"),
    ],
)
def test_fault_says_what_the_task_wants(tmp_path, task, text, fault):
    entry = read(tmp_path, text, TASK_ROWS[task][0])
    assert re.match(fault, entry.fault) and not len(entry.rows)


@pytest.mark.parametrize("task", TASK_ROWS)
def test_duplicate_objects_and_backgrounds_of_each_task(tmp_path, task):
    layout, row = TASK_ROWS[task]
    other = row.replace("1 ", "0 ", 1)
    entry = read(tmp_path, f"{row}\n{other}\n{row}\n", layout)
    assert entry.duplicates == 1 and entry.rows[:, 0].tolist() == [1, 0]
    assert len(entry.segments if layout.keeps_polygons else entry.keypoints) == 2
    empty = read(tmp_path, "", layout)
    assert not empty.fault and not len(empty.segments if layout.keeps_polygons else empty.keypoints)


def test_rotated_boxes_keep_corners_that_reach_out_of_the_image(tmp_path):
    entry = read(tmp_path, "0 .9 .1 1.0128 .2 .9 .5 .8 .4\n1 -.5 0 1.5 0 1.5 1 -.5 1", layout_of("obb"))
    assert not entry.fault
    np.testing.assert_allclose(entry.segments[0], [[0.9, 0.1], [1.0128, 0.2], [0.9, 0.5], [0.8, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(entry.rows[1], [1, 0.5, 0.5, 2, 1])


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_polygons_are_cut_at_the_border(tmp_path, task):
    layout = layout_of(task)
    entry = read(tmp_path, "0 -.2 .2 .2 .2 .2 .4 -.2 .4", layout)
    np.testing.assert_allclose(entry.rows, [[0, 0.1, 0.3, 0.2, 0.2]], rtol=1e-6)
    if layout.keeps_polygons:
        inside = [[0, 0.2], [0.2, 0.2], [0.2, 0.4], [0, 0.4]]
        np.testing.assert_allclose(sorted(entry.segments[0].tolist()), sorted(inside), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("0 .5 .5 1.000001 .3", [0, 0.5, 0.5, 1, 0.3]),
        ("0 -1e-6 .5 .2 .3", [0, 0, 0.5, 0.2, 0.3]),
        ("0 .5 1.0049 .2 .3", [0, 0.5, 1, 0.2, 0.3]),
        ("0 .98 .5 .2 .3", [0, 0.98, 0.5, 0.2, 0.3]),  # a box may reach out, if its centre does not
    ],
)
def test_what_rounding_puts_beyond_the_border_is_moved_there(tmp_path, text, row):
    (tmp_path / "a.txt").write_text(text)
    np.testing.assert_allclose(read_label(tmp_path / "a.txt", nc=1)[0], [row], rtol=1e-6)


@pytest.mark.parametrize("text", ["0 .5 .5 -.001 .3", "0 .5 .5 1.05 .3", "0 50 50 20 20", "0 320 200 64 48"])
def test_boxes_that_cannot_be_meant_are_faults(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match="out of range: line 1"):
        read_label(tmp_path / "a.txt", nc=1)


def test_keypoints_a_hair_outside_and_places_of_missing_ones(tmp_path):
    entry = read(tmp_path, "0 .5 .5 .2 .2 1.0002 .3 2 -1 -1 0", POSE)
    np.testing.assert_allclose(entry.keypoints, [[[1, 0.3, 2], [0, 0, 0]]], rtol=1e-6)


def test_polygons_with_the_same_box_are_no_duplicates(tmp_path):
    entry = read(tmp_path, "0 .1 .1 .9 .1 .9 .9\n0 .1 .1 .9 .9 .1 .9\n", layout_of("segment"))
    assert entry.duplicates == 0 and len(entry.segments) == 2 and np.array_equal(*entry.rows)


@pytest.mark.parametrize("task", TASK_ROWS)
def test_cache_of_each_task(tmp_path, task, monkeypatch):
    layout, row = TASK_ROWS[task]
    folder = make_set(tmp_path, 4, objects=0)
    reaching = "1 .9 .1 1.3 .2 .9 .5 .8 .4" if layout.keeps_polygons else row
    for i, text in enumerate((reaching, "", f"{row}\n{row.replace('1 ', '2 ', 1)}", "0 .5")):
        (tmp_path / "labels" / "train" / f"p{i}.txt").write_text(text)
    fresh = load_labels(list_images(folder), 3, layout=layout)
    with monkeypatch.context() as patch:
        patch.setattr(module, "verify_image_label", None)  # must not be called
        cached = load_labels(list_images(folder), 3, layout=layout)
    assert [len(e.rows) for e in fresh] == [1, 0, 2]
    for a, b in zip(fresh, cached):
        np.testing.assert_array_equal(a.rows, b.rows)
        assert (a.shape, a.duplicates, a.found) == (b.shape, b.duplicates, b.found)
        assert (a.segments is None) == (b.segments is None) and (a.keypoints is None) == (b.keypoints is None)
        for s, t in zip(a.segments or [], b.segments or []):
            np.testing.assert_array_equal(s, t)
        if a.keypoints is not None:
            np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_cache_of_another_task_is_not_used(tmp_path):
    folder = make_set(tmp_path, 2, objects=0)
    (tmp_path / "labels" / "train" / "p0.txt").write_text(TASK_ROWS["obb"][1])
    files = list_images(folder)
    for task in ("detect", "segment", "obb", "segment"):
        entry = load_labels(files, 3, layout=layout_of(task))[0]
        assert len(entry.rows) == 1 and (entry.segments is None) == (task == "detect")


def random_label(rng: random.Random, layout) -> bytes:
    """Return rows of a layout, few of them at fault."""
    odd = ("0", "1", "-0.0", "1.000001", "-1e-6", "-.3", "nan", "1e-60", "1e60", "1_0", ".5x")
    number = lambda: rng.choice(odd) if rng.random() < 0.02 else f"{rng.random():.{rng.randrange(1, 7)}f}"  # noqa: E731
    rows = []
    for _ in range(rng.randrange(6)):
        boxed = layout.boxes and (layout.kpt_shape or rng.random() < 0.7)
        row = [number() for _ in range(4 if boxed else 2 * rng.randrange(3, 7))]
        for _ in range(layout.kpt_shape[0] if layout.kpt_shape else 0):
            row += [number(), number(), rng.choice("012")][: layout.kpt_shape[1]]
        rows.append(" ".join([rng.choice(["0", "1", "2", "2.0", "1", "0", "7" * (rng.random() < 0.1) or "0"]), *row]))
    return "\n".join(rows + rows[: rng.randrange(2)]).encode()


@pytest.mark.parametrize("layout", [*map(layout_of, ("detect", "segment", "obb")), POSE, layout_of("pose", (2, 2)),
                                    module.Layout("detect", masks=True)], ids=lambda layout: layout.task)  # fmt: skip
def test_all_lines_at_once_are_what_they_are_one_by_one(layout, monkeypatch):
    rng, plain = random.Random(0), 0
    for _ in range(300):
        data, single_cls = random_label(rng, layout), rng.random() < 0.2
        results = []
        for one_by_one in (False, True):
            entry = label_text.Entry("", segments=[] if layout.keeps_polygons else None)
            with monkeypatch.context() as patch:
                patch.setattr(label_text, "_plain_objects" if one_by_one else "_row", lambda *_: None)
                try:
                    label_text.parse_objects(entry, data, "a.txt", 3, single_cls, layout)
                except DataError as e:
                    entry.fault = str(e)
                except TypeError:  # the lines have to be read one by one
                    break
            results.append(entry)
        else:
            a, b = results
            plain += 1
            assert (a.fault, a.duplicates, a.segments is None) == (b.fault, b.duplicates, b.segments is None)
            pairs = [
                (a.rows, b.rows),
                (a.keypoints, b.keypoints),
                *zip(a.segments or (), b.segments or (), strict=True),
            ]
            for x, y in pairs:
                assert (x is None) == (y is None)
                assert x is None or (x.dtype == y.dtype == np.float32 and np.array_equal(x, y))
    assert 100 < plain < 300


def test_each_file_is_opened_once(tmp_path, monkeypatch):
    files = list_images(make_set(tmp_path, 5))
    opened, original = [], os.open
    monkeypatch.setattr(os, "open", lambda file, *a: opened.append(file) or original(file, *a))
    load_labels(files, 2)
    assert sorted(file for file in opened if ".cache" not in str(file)) == sorted(files + img2label_paths(files))


def test_work_in_threads_is_in_order_and_not_far_ahead():
    begun: list[int] = []
    results = module.in_threads(lambda a, b: begun.append(a) or a + b, range(10_000), range(10_000), chunk=3)
    most = 3 * (4 * module.THREADS + 2)
    for i in range(100):
        assert next(results) == 2 * i and len(begun) <= i + most
    results.close()
    assert len(begun) <= 100 + most
    with pytest.raises(ZeroDivisionError):
        list(module.in_threads(lambda a: 1 // (5 - a), range(9), chunk=2))


def test_layout_needs_to_know_the_keypoints():
    with pytest.raises(DataError, match="no `kpt_shape`"):
        layout_of("pose")
    with pytest.raises(ConfigError, match="'classify' has no label files"):
        layout_of("classify")
