"""Lists of images as tools, people and Windows write them."""

from __future__ import annotations

import os

import pytest
from scenes import make_set

from ultralytics.data.dataset import find_images
from ultralytics.utils.errors import DataError, MissingFileError


@pytest.fixture
def root(tmp_path, monkeypatch):
    make_set(tmp_path / "集", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "集"


def found(root, text, name="train.txt"):
    """Return the names of the images that a list gives."""
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    files = find_images(root / name)
    assert all(os.path.isfile(f) and os.path.isabs(f) for f in files)
    return [os.path.basename(f) for f in files]


def test_repeated_lines_are_repeated_samples(root, caplog):
    text = "./images/train/p0.png\n" + "./images/train/p1.png\n" * 3
    assert found(root, text) == ["p0.png", *["p1.png"] * 3]
    assert "2 images are listed, some of them repeatedly: 2 more samples" in caplog.text
    folder = root / "images" / "train"
    assert len(find_images([folder, root / "train.txt"])) == 7
    caplog.clear()
    find_images(folder)
    assert "repeatedly" not in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "./images/train/p1.png",
        "images/train/p1.png",
        "集/images/train/p1.png",  # from the working folder
        "../集/images/train/p1.png",
        "{root}/images/train/p1.png",
        r".\images\train\p1.png",
        r"images\train/p1.png",
        "  images/train/p1.png \t",
        '"images/train/p1.png"',
    ],
)
def test_a_line_is_found_from_its_list_or_from_the_working_folder(root, line):
    assert found(root, line.format(root=root)) == ["p1.png"]


def test_a_line_with_a_dot_counts_from_its_list_alone(root):
    with pytest.raises(MissingFileError, match=r"None of the 1 images that .* lists is there"):
        found(root, "./集/images/train/p1.png")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk"])
def test_encodings_and_line_endings(root, ending, encoding, caplog):
    lines = ["# 注释", "", "集/images/train/p0.png", "   ", "#images/train/p2.png", "集/images/train/p1.png", ""]
    assert found(root, ending.join(lines).encode(encoding), f"{encoding}.txt") == ["p0.png", "p1.png"]
    assert ("was read as GBK" in caplog.text) == (encoding == "gbk")


def test_other_lines_are_counted_and_a_list_of_none_is_refused(root, caplog):
    assert found(root, "images/train/p0.png\nimages/train/p1.png 3\nnotes\n") == ["p0.png"]
    assert "2 lines of" in caplog.text and "such as 'images/train/p1.png 3'" in caplog.text
    with pytest.raises(DataError, match="There are no images in"):
        found(root, "a\nb\n")
    with pytest.raises(DataError, match="is not text"):
        found(root, b"a\xff\xfe\x00\x00")


def test_missing_images_of_a_list_are_counted_not_fatal(root, caplog):
    from ultralytics.data.labels import load_labels

    (root / "train.txt").write_text("./images/train/p0.png\n./images/train/gone.png\n./images/train/lost.png\n")
    assert len(load_labels(find_images(root / "train.txt"), 2)) == 1
    assert "1 images, 0 backgrounds, 2 left out (2 missing image)" in caplog.text
    assert "gone.png': missing image: there is no such file" in caplog.text
