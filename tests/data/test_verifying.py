"""Verification with the arguments and results of 8.3.0; the expected values are what it returns for these files."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import write_image

from ultralytics.data.utils import verify_image, verify_image_label

LABELS = {  # rows, keypoints and their number and values; what comes back: boxes, polygons, keypoints, counts, message
    "box": ("1 .5 .5 .2 .2\n1 .5 .5 .2 .2", (False, 0, 0), [[1, 0.5, 0.5, 0.2, 0.2]], [], None, "0100", "1 duplicate"),
    "polygon": ("0 .1 .1 .5 .1 .5 .5", (False, 0, 0), [[0, 0.3, 0.3, 0.4, 0.4]], [3], None, "0100", ""),
    "points": (
        "0 .5 .5 .4 .4 .3 .3 2 .4 .4 1", (True, 2, 3), [[0, 0.5, 0.5, 0.4, 0.4]], [],
        [[[0.3, 0.3, 2], [0.4, 0.4, 1]]], "0100", "",
    ),
    "places": (
        "0 .5 .5 .4 .4 .3 .3 .4 .4", (True, 2, 2), [[0, 0.5, 0.5, 0.4, 0.4]], [],
        [[[0.3, 0.3, 1], [0.4, 0.4, 1]]], "0100", "",
    ),
    "outside": ("0 1.5 .5 .2 .2", (False, 0, 0), None, None, None, "0101", "ignoring corrupt"),
    "class": ("7 .5 .5 .2 .2", (False, 0, 0), None, None, None, "0101", "ignoring corrupt"),
    "empty": ("", (False, 0, 0), np.zeros((0, 5)), [], None, "0110", ""),
    "none": (None, (False, 0, 0), np.zeros((0, 5)), [], None, "1000", ""),
}  # fmt: skip


@pytest.fixture
def image(tmp_path) -> str:
    write_image(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
    return str(tmp_path / "a.png")


@pytest.mark.parametrize("name", LABELS)
def test_an_image_with_its_label(image, tmp_path, name):
    text, keypoints, boxes, polygons, points, counts, said = LABELS[name]
    label = tmp_path / f"{name}.txt"
    if text is not None:
        label.write_text(text)
    args = (image, str(label), "p: ", keypoints[0], 2, *keypoints[1:])
    file, rows, shape, segments, found, *numbers, message = verify_image_label(args)
    assert "".join(map(str, numbers)) == counts and said in message and message.startswith("p: " if said else "")
    if boxes is None:
        assert file is rows is shape is segments is found is None
        return
    assert file == image and shape == (20, 30) and [len(s) for s in segments] == polygons
    np.testing.assert_allclose(rows, boxes, atol=1e-6)
    assert (found is None) == (points is None)
    if points is not None:
        np.testing.assert_allclose(found, points, atol=1e-6)


def test_an_image_of_a_class(image, tmp_path):
    assert verify_image(((image, 3), "p: ")) == ((image, 3), 1, 0, "")
    (tmp_path / "b.png").write_bytes(b"junk")
    _, sound, corrupt, said = verify_image(((str(tmp_path / "b.png"), 3), "p: "))
    assert (sound, corrupt) == (0, 1) and said.startswith("p: WARNING") and "b.png" in said
    assert verify_image_label((str(tmp_path / "b.png"), "x.txt", "", False, 2, 0, 0))[5:9] == (0, 0, 0, 1)
