"""Labels of other formats turned into YOLO's: the same objects come out, and nothing of the user's is lost."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scenes import write_image

from ultralytics.data import converter
from ultralytics.data.converter import (
    coco80_to_coco91_class,
    coco91_to_coco80_class,
    convert_coco,
    convert_dota_to_yolo_obb,
    convert_segment_masks_to_yolo_seg,
    convert_visdrone,
    convert_voc,
    merge_multi_segment,
    min_index,
    read_classes,
    rle_to_mask,
)
from ultralytics.data.labels import read_label
from ultralytics.data.utils import autosplit
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError


def rows(file) -> np.ndarray:
    return np.array([[float(v) for v in line.split()] for line in file.read_text().splitlines()])


def names_in(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# COCO -----------------------------------------------------------------------------------------------------------------


def coco(folder, *annotations, name="instances_train2017.json", ids=(1, 18), **changes):
    """Write a COCO file of two images of 200 x 100 pixels, the second without objects unless one says so."""
    data = {
        "images": [{"id": i, "file_name": f"p{i}.jpg", "width": 200, "height": 100} for i in (7, 8)],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [20, 10, 40, 50], **a} for a in annotations],
        "categories": [{"id": i, "name": f"name {i}"} for i in ids],
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder


def test_coco_boxes(tmp_path, caplog):
    source = coco(
        tmp_path / "annotations",
        {},
        {"category_id": 18, "bbox": [190, -10, 30, 40]},  # leaves the image
        {"bbox": [20, 10, 40, 50]},  # stands twice
        {"iscrowd": 1},
        {"bbox": [50, 50, 0, 10]},
        {"bbox": [300, 50, 10, 10]},
        {"category_id": 12},
        {"image_id": 99},
    )
    folder = convert_coco(source, tmp_path / "out")
    assert names_in(folder) == ["labels/train2017/p7.txt", "labels/train2017/p8.txt"]
    expected = [[0, 0.2, 0.35, 0.2, 0.5], [16, 0.975, 0.15, 0.05, 0.3]]
    np.testing.assert_allclose(rows(folder / "labels/train2017/p7.txt"), expected, atol=1e-6)
    assert (folder / "labels/train2017/p8.txt").read_text() == ""
    assert read_label(folder / "labels/train2017/p7.txt", 80)[0].shape == (2, 5)
    for reason in ("2 degenerate boxes", "1 crowds", "1 of an unknown class", "1 duplicates", "1 of images that are"):
        assert reason in caplog.text


def test_coco_never_writes_into_a_folder_that_is_there(tmp_path):
    source = coco(tmp_path / "annotations", {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert convert_coco(source, tmp_path / "out") == tmp_path / "out2"
    assert names_in(tmp_path / "out") == ["mine.txt"]


def test_coco_classes():
    to80 = coco91_to_coco80_class()
    assert len(to80) == 91 and [c for c in to80 if c is not None] == list(range(80))
    assert (to80[0], to80[11], to80[12], to80[17], to80[89], to80[90]) == (0, None, 11, 16, 79, None)
    assert [to80[i - 1] for i in coco80_to_coco91_class()] == list(range(80))


@pytest.mark.parametrize(("ids", "cls"), [((1, 2), [0, 1]), ((0, 1), [0, 1]), ((3, 300), [2, 299])])
def test_own_classes_keep_their_numbers(tmp_path, ids, cls):
    annotations = [{"category_id": i, "bbox": [10 * k, 0, 10, 10]} for k, i in enumerate(ids)]
    folder = convert_coco(coco(tmp_path / "a", *annotations, ids=ids), tmp_path / "out", cls91to80=False)
    assert rows(folder / "labels/train2017/p7.txt")[:, 0].tolist() == cls


def test_coco_outlines(tmp_path):
    left, right = [20, 10, 40, 10, 40, 30, 20, 30], [60, 10, 80, 10, 80, 30, 60, 30]
    source = coco(
        tmp_path / "annotations",
        {"segmentation": [left]},
        {"segmentation": [right, left], "category_id": 18},
        {"segmentation": [], "bbox": [100, 20, 50, 40]},  # none: its box
    )
    folder = convert_coco(source, tmp_path / "out", use_segments=True)
    lines = [np.array(line.split(), float) for line in (folder / "labels/train2017/p7.txt").read_text().splitlines()]
    np.testing.assert_allclose(lines[0][1:].reshape(-1, 2) * (200, 100), np.reshape(left, (-1, 2)), atol=1e-3)
    both = lines[1][1:].reshape(-1, 2) * (200, 100)
    assert filled(both, 100, 200)[15, 30] and filled(both, 100, 200)[15, 70] and not filled(both, 100, 200)[20, 50]
    np.testing.assert_allclose(lines[2][1:], [0.5, 0.2, 0.75, 0.2, 0.75, 0.6, 0.5, 0.6])
    found, _ = read_label(folder / "labels/train2017/p7.txt", 80)
    np.testing.assert_allclose(found[1], [16, 0.25, 0.2, 0.3, 0.2], atol=1e-6)


def filled(outline, h, w):
    return cv2.fillPoly(np.zeros((h, w), np.uint8), [np.round(outline).astype(np.int32)], 1)


def test_parts_are_joined_without_changing_the_area():
    rng = np.random.default_rng(0)
    squares = [
        np.array([[0, 0], [9, 0], [9, 9], [0, 9]]) + rng.integers(0, 10, 2) + (30 * i, 40 * (i % 2)) for i in range(4)
    ]
    (outline,) = merge_multi_segment([s.ravel().tolist() for s in squares])
    x, y = outline.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(4 * 81)  # a bridge is walked there and back, and encloses nothing
    assert {tuple(p) for p in outline} == {tuple(p) for s in squares for p in s}
    assert len(merge_multi_segment([squares[0].ravel()])) == 1 and merge_multi_segment([]) == []


def test_nearest_points():
    a, b = np.array([[0.0, 0], [5, 5], [9, 0]]), np.array([[20.0, 20], [6, 6]])
    assert min_index(a, b) == (1, 1)


def packed(counts) -> str:
    """Pack run lengths as COCO does (Lin et al., cocoapi's LEB128-like text), to check the reader against."""
    text = ""
    for i, count in enumerate(counts):
        value, more = int(count) - (int(counts[i - 2]) if i > 2 else 0), True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 * more))
    return text


def run_lengths(mask) -> list[int]:
    flat = np.concatenate([[0], mask.T.ravel(), [2]])
    edges = np.flatnonzero(np.diff(flat) != 0)
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    return runs if mask.T.ravel()[0] == 0 else [0, *runs[1:]] if runs[0] == 0 else [0, *runs]


@pytest.mark.parametrize("form", [list, packed], ids=["list", "text"])
@pytest.mark.parametrize("seed", range(4))
def test_run_lengths(form, seed):
    mask = (np.random.default_rng(seed).random((37, 53)) < (0.5, 0.1, 0.9, 0.01)[seed]).astype(np.uint8)
    np.testing.assert_array_equal(rle_to_mask({"size": [37, 53], "counts": form(run_lengths(mask))}), mask)


def test_text_of_cocoapi_is_read():
    """The mask of two columns of 3 pixels, whose text was worked out by hand: 3 off, 3 on, 3 off gives '333'."""
    mask = rle_to_mask({"size": [3, 3], "counts": "333"})
    np.testing.assert_array_equal(mask, [[0, 1, 0]] * 3)


def test_coco_masks_become_outlines(tmp_path):
    mask = np.zeros((100, 200), np.uint8)
    cv2.ellipse(mask, (60, 40), (30, 20), 0, 0, 360, 1, -1)
    cv2.rectangle(mask, (120, 50), (150, 80), 1, -1)
    segmentation = {"size": [100, 200], "counts": run_lengths(mask)}
    source = coco(tmp_path / "annotations", {"segmentation": segmentation})
    folder = convert_coco(source, tmp_path / "out", use_segments=True)
    (row,) = rows(folder / "labels/train2017/p7.txt")
    drawn = filled(row[1:].reshape(-1, 2) * (200, 100), 100, 200)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.97


def test_coco_keypoints(tmp_path, caplog):
    points = [40, 50, 2, 0, 0, 0, 100, 20, 1, 250, 20, 2]
    source = coco(tmp_path / "a", {"keypoints": points}, {}, name="person_keypoints_val2017.json")
    folder = convert_coco(source, tmp_path / "out", use_keypoints=True)
    (row,) = rows(folder / "labels/person_keypoints_val2017/p7.txt")
    np.testing.assert_allclose(row, [0, 0.2, 0.35, 0.2, 0.5, 0.2, 0.5, 2, 0, 0, 0, 0.5, 0.2, 1, 0, 0, 0])
    assert "1 without keypoints" in caplog.text


def test_lvis_images_are_named_by_their_address(tmp_path):
    images = [{"id": 7, "width": 200, "height": 100, "coco_url": "http://images.cocodataset.org/val2017/0039.jpg"}]
    folder = convert_coco(coco(tmp_path / "a", {"category_id": 1000}, images=images), tmp_path / "out", lvis=True)
    assert rows(folder / "labels/val2017/0039.txt")[0, 0] == 999


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ids": (1, 95)}, "category id 95 is none of COCO's 1 to 91"),
        ({"images": [{"id": 7, "file_name": "../../evil.jpg", "width": 9, "height": 9}]}, "leads out of the folder"),
        ({"images": [{"id": 7, "file_name": "/evil.jpg", "width": 9, "height": 9}]}, "leads out of the folder"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}]}, "lacks one of id, file_name, height and width"),
        ({"annotations": {}}, "the lists `images` and `annotations`"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": ["a", 0, 1, 1]}]}, "cannot be read"),
    ],
)
def test_faults_of_coco_leave_nothing_behind(tmp_path, change, sentence):
    source = coco(tmp_path / "a", {}, **change)
    with pytest.raises(DataError, match=sentence):
        convert_coco(source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_other_faults_of_coco(tmp_path):
    with pytest.raises(MissingFileError, match="no JSON file"):
        convert_coco(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="not both"):
        convert_coco(tmp_path, use_segments=True, use_keypoints=True)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        convert_coco(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("runs", [[5], [5, -1, 5], "~~~~", ["x"]])
def test_masks_that_do_not_fill_the_image_are_refused(runs):
    with pytest.raises(DataError, match=r"run.length"):
        rle_to_mask({"size": [3, 3], "counts": runs})


# Pascal VOC -----------------------------------------------------------------------------------------------------------


def voc(folder, name, *objects, size=(640, 480), head=""):
    things = "".join(
        f"<object><name>{n}</name><difficult>{hard}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for n, hard, a, b, c, d in objects
    )
    folder.mkdir(exist_ok=True, parents=True)
    size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (folder / f"{name}.xml").write_text(f"{head}<annotation>{size}{things}</annotation>", encoding="utf-8")
    return folder


def test_voc(tmp_path):
    cells = (
        ("RBC", 0, 1, 164, 89, 257),
        ("WBC", 0, 600, 400, 650, 490),
        ("RBC", 0, 50, 50, 50, 60),
        ("?", 0, 1, 1, 9, 9),
    )
    source = voc(tmp_path / "xml", "a", *cells, ("WBC", 1, 1, 1, 65, 49))
    result = convert_voc(source, tmp_path / "labels", names=["RBC", "WBC"])
    expected = [
        [0, 0.070312, 0.438542, 0.1375, 0.19375],
        [1, 620 / 640, 440 / 480, 40 / 640, 80 / 480],
        [1, 33 / 640, 25 / 480, 0.1, 0.1],
    ]
    np.testing.assert_allclose(rows(tmp_path / "labels" / "a.txt"), expected, atol=2e-6)
    assert result.left_out == {"degenerate boxes": 1, "of an unknown class": 1}
    assert result.files == 1 and result.objects == 3 and result.names == {0: "RBC", 1: "WBC"}


@pytest.mark.parametrize("declared", ["", "utf-8", "gbk", "GB2312", "big5", "utf-16"])
def test_voc_in_other_encodings(tmp_path, declared):
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    file = voc(tmp_path / "xml", "a", ("火山", 0, 64, 48, 320, 240), head=head) / "a.xml"
    file.write_bytes(file.read_text(encoding="utf-8").encode(declared.replace("utf-8", "gbk") or "gbk"))
    assert convert_voc(tmp_path / "xml", tmp_path / "out").names == {0: "火山"}


def test_voc_finds_the_names_itself(tmp_path):
    source = voc(tmp_path / "xml", "a", ("b", 0, 0, 0, 64, 48), ("a", 1, 0, 0, 64, 48))
    result = convert_voc(source, tmp_path / "labels", difficult=False)
    assert result.names == {0: "a", 1: "b"} and result.left_out == {"difficult": 1}
    np.testing.assert_allclose(rows(tmp_path / "labels" / "a.txt"), [[1, 0.05, 0.05, 0.1, 0.1]])


def test_labels_that_are_there_are_kept(tmp_path):
    source = voc(voc(tmp_path / "xml", "a", ("b", 0, 0, 0, 64, 48)), "b")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "b.txt").write_text("mine")
    with pytest.raises(DataError, match=r"1 files are in .*b\.txt.* nothing was written.*exist_ok"):
        convert_voc(source, tmp_path / "labels")
    assert names_in(tmp_path / "labels") == ["b.txt"] and (tmp_path / "labels" / "b.txt").read_text() == "mine"
    convert_voc(source, tmp_path / "labels", exist_ok=True)
    assert names_in(tmp_path / "labels") == ["a.txt", "b.txt"] and (tmp_path / "labels" / "b.txt").read_text() == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels", "xml"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": (0, 0)}, "says that its image is 0 x 0"),
        ({"head": "<!DOCTYPE a [<!ENTITY b 'c'>]>"}, "defines entities"),
        ({"head": "<"}, "no annotation of Pascal VOC"),
    ],
)
def test_faults_of_voc_leave_nothing_behind(tmp_path, changes, sentence):
    source = voc(voc(tmp_path / "xml", "a", ("b", 0, 0, 0, 64, 48)), "z", **changes)
    with pytest.raises(DataError, match=sentence):
        convert_voc(source, tmp_path / "labels", names=["b"])
    assert [p.name for p in tmp_path.iterdir()] == ["xml"]


def test_the_folders_of_the_voc_kit(tmp_path):
    kit = tmp_path / "VOCdevkit" / "VOC2007"
    voc(kit / "Annotations", "1", ("dog", 0, 1, 1, 64, 48), ("cat", 1, 1, 1, 64, 48))
    voc(kit / "Annotations", "2", ("person", 0, 1, 1, 640, 480))
    (kit / "ImageSets" / "Main").mkdir(parents=True)
    (kit / "ImageSets" / "Main" / "train.txt").write_text("1\n")
    (kit / "ImageSets" / "Main" / "test.txt").write_text("2\n")
    for name in "12":
        write_image(kit / "JPEGImages" / f"{name}.jpg", np.zeros((48, 64, 3), np.uint8))
    converter.arrange_voc(tmp_path)
    assert names_in(tmp_path / "images") == ["test2007/2.jpg", "train2007/1.jpg"]
    np.testing.assert_allclose(rows(tmp_path / "labels/train2007/1.txt"), [[11, 0.05, 0.05, 0.1, 0.1]])
    np.testing.assert_allclose(rows(tmp_path / "labels/test2007/2.txt"), [[14, 0.5, 0.5, 1, 1]])


# VisDrone, DOTA, masks --------------------------------------------------------------------------------------


def test_visdrone(tmp_path):
    write_image(tmp_path / "images" / "a.jpg", np.zeros((100, 200, 3), np.uint8))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.txt").write_text(
        "20,10,40,50,1,4,0,0\n0,0,9,9,0,0,0,0\n0,0,9,9,1,11,0,0\n5,5,0,9,1,1,0,0,\n"
    )
    result = convert_visdrone(tmp_path)
    np.testing.assert_allclose(rows(tmp_path / "labels" / "a.txt"), [[3, 0.2, 0.35, 0.2, 0.5]])
    assert result.left_out == {"ignored regions and others": 2, "degenerate boxes": 1}


def test_names_of_a_classes_file(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("fire\nsmoke\n\n", encoding="utf-8")
    assert read_classes(file) == {0: "fire", 1: "smoke"}
    file.write_text("fire\n\nsmoke")
    with pytest.raises(DataError, match="line 2 is empty"):
        read_classes(file)


def dota(root, text, split="train"):
    write_image(root / "images" / split / "P1.png", np.zeros((100, 200, 3), np.uint8))
    write_image(root / "images" / split / "P2.png", np.zeros((100, 200, 3), np.uint8))
    folder = root / "labels" / f"{split}_original"
    folder.mkdir(parents=True)
    (folder / "P1.txt").write_text(text)
    return root


def test_dota(tmp_path):
    text = (
        "imagesource:GoogleEarth\ngsd:0.1\n20 10 60 10 60 50 20 50 large-vehicle 0\n-20 10 60 10 60 50 20 50 ship 1\n"
    )
    text += "1 1 9 1 9 9 1 9 spaceship 0\n5 5 5 5 5 5 5 5 ship 0\n210 9 260 9 260 30 210 30 ship 0\n"
    (result,) = convert_dota_to_yolo_obb(dota(tmp_path, text))
    expected = [[9, 0.1, 0.1, 0.3, 0.1, 0.3, 0.5, 0.1, 0.5], [1, -0.1, 0.1, 0.3, 0.1, 0.3, 0.5, 0.1, 0.5]]
    np.testing.assert_allclose(rows(tmp_path / "labels/train/P1.txt"), expected)
    assert (tmp_path / "labels/train/P2.txt").read_text() == ""
    assert result.left_out == {"of an unknown class": 1, "degenerate or outside of the image": 2}
    with pytest.raises(DataError, match="already"):
        convert_dota_to_yolo_obb(tmp_path)


def test_dota_with_own_names(tmp_path):
    root = dota(tmp_path, "20 10 60 10 60 50 20 50 Large_Vehicle 0\n", split="val")
    convert_dota_to_yolo_obb(root, names={0: "ship", 1: "large vehicle"})
    assert rows(root / "labels/val/P1.txt")[0, 0] == 1
    with pytest.raises(MissingFileError, match="train_original"):
        convert_dota_to_yolo_obb(tmp_path / "images")


@pytest.mark.parametrize("palette", [False, True])
def test_masks(tmp_path, palette):
    from PIL import Image

    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:40], mask[40:50, 50:70], mask[40:50, 5:20], mask[0, 0], mask[55:, 75:] = 1, 3, 3, 1, 9
    image = Image.fromarray(mask)
    if palette:
        image = image.convert("P")
        image.putpalette(list(np.random.default_rng(0).integers(0, 255, 768)))
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks" / "a.png")
    result = convert_segment_masks_to_yolo_seg(tmp_path / "masks", tmp_path / "labels", classes=3)
    lines = [np.array(s.split(), float) for s in (tmp_path / "labels" / "a.txt").read_text().splitlines()]
    drawn = np.zeros_like(mask)
    for line in lines:
        drawn += filled(line[1:].reshape(-1, 2) * (80, 60), 60, 80) * int(line[0] + 1)
    wanted = np.where(mask == 9, 0, mask)
    wanted[0, 0] = 0
    np.testing.assert_array_equal(drawn, wanted)
    assert result.left_out == {"areas with the unknown value 9": 1, "areas too thin for an outline": 1}


def test_masks_with_colours_are_refused(tmp_path):
    write_image(tmp_path / "masks" / "a.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match="3 channels; one is wanted"):
        convert_segment_masks_to_yolo_seg(tmp_path / "masks", tmp_path / "labels", classes=1)
    assert not (tmp_path / "labels").exists()


# Splits ---------------------------------------------------------------------------------------------------------------


def test_autosplit(tmp_path):
    for i in range(20):
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "a" / f"{i}.jpg").touch()
    (tmp_path / "autosplit_test.txt").write_text("of an earlier time")
    assert autosplit(tmp_path / "images", weights=(0.8, 0.2, 0)) == {"train": 16, "val": 4, "test": 0}
    files = [(tmp_path / f"autosplit_{s}.txt").read_text().splitlines() for s in ("train", "val")]
    assert sorted(files[0] + files[1]) == sorted(f"./images/a/{i}.jpg" for i in range(20))
    assert not (tmp_path / "autosplit_test.txt").exists()
    autosplit(tmp_path / "images", weights=(0.8, 0.2, 0))
    assert [(tmp_path / f"autosplit_{s}.txt").read_text().splitlines() for s in ("train", "val")] == files
    with pytest.raises(MissingFileError, match="no images with labels"):
        autosplit(tmp_path / "images", annotated_only=True)
    (tmp_path / "labels" / "a").mkdir(parents=True)
    (tmp_path / "labels" / "a" / "3.txt").touch()
    assert autosplit(tmp_path / "images", annotated_only=True) == {"train": 1, "val": 0, "test": 0}
    with pytest.raises(ConfigError, match="three numbers"):
        autosplit(tmp_path / "images", weights=(1, -1, 0))
