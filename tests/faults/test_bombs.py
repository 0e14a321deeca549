"""Small files that ask for all memory, all time or all of a disk."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ultralytics.data.converter import convert_coco, convert_voc
from ultralytics.data.image_files import read_image, resize_long_side, verify_image
from ultralytics.data.labels import fingerprint, read_label
from ultralytics.data.outlines import rle_to_mask
from ultralytics.nn.formats.job import from_text
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.utils import yaml_load
from ultralytics.utils.errors import ConfigError, DataError, ModelError
from ultralytics.utils.hostile import archives, limits, safe_yaml

# YAML -----------------------------------------------------------------------------------------------------------------


def doubling(first: str, line: str, n: int = 40) -> str:
    """Lines of which each uses the one before it twice."""
    return first + "".join(line.format(i, i - 1) + "\n" for i in range(1, n))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (doubling("a0: &a0 [x, x]\n", "a{0}: &a{0} [*a{1}, *a{1}]"), "more than 100000 values"),
        (doubling("a0: &a0 {x: 1}\n", "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}"), "more than 100000 values"),
        (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n", "more than 100000 values"),
        ("a: &a [*a]\n", "line 1 contains itself"),
        ("a: &a\n  b: *a\n", "line 1 contains itself"),
        ("a: " + "[" * 100_000, "more than 64 lists are nested"),
        ("- " * 5000 + "a\n", "more than 64 lists are nested"),
        ("a: " + "{b: " * 100 + "1", "more than 64 lists are nested"),
        ("a: 1\nb: 2\n\na: 3\n", "'a' appears twice, in line 1 and in line 4"),
        ("x: 1\na: 1" + ":1" * 500_000, "the number in line 2 has more than 100 characters"),  # to the base 60: hours
        ("a: 0x" + "f" * 10_000, "the number in line 1 has more than 100 characters"),
        ("a: {x: 1, y: 2, x: 3}\n", "'x' appears twice, in line 1 and in line 1"),
    ],
)
def test_yaml(tmp_path, text, words):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"a\.yaml' is not valid YAML: .*{words}"):
        yaml_load(tmp_path / "a.yaml")


def test_yaml_of_100_megabytes(tmp_path):
    with open(tmp_path / "a.yaml", "wb") as f:
        f.truncate(100 << 20)  # a file with a hole: no disk is written
    with pytest.raises(DataError, match=r"a\.yaml' has more than 2097152 bytes"):
        yaml_load(tmp_path / "a.yaml")


def test_yaml_that_is_fine():
    assert safe_yaml.load("a: &a {x: 1, y: [1]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n") == {
        "a": {"x": 1, "y": [1]}, "b": {"x": 2, "y": [1]}, "c": [{"x": 1, "y": [1]}] * 2,
    }  # fmt: skip
    assert safe_yaml.load("2024-05-01: 2024-05-01 10:00:00\n") == {"2024-05-01": "2024-05-01 10:00:00"}
    assert len(safe_yaml.load("names:\n" + "".join(f"  {i}: class {i}\n" for i in range(2000)))["names"]) == 2000
    assert safe_yaml.load("") is None


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([-1, 10**9, "Conv", [8, 3]], "repeats are not possible"),
        ([-1, 1, "Conv", [10**9, 3]], "beyond what a layer can have"),
        ([-1, 1, "Conv", [10**6, 10**3]], "parameters; allowed are 1000000000"),
        ([-1, 1, "nn.Linear", [10**6, 10**6]], "parameters; allowed are 1000000000"),
        ([-1, 1, "Conv", [float("nan"), 3]], "beyond what a layer can have"),
        ([-1, 1, "Conv", ["-" * 90_000 + "1", 3]], "cannot be built"),
        ([-1, 1, ["Conv"], [8, 3]], "a layer is written"),
    ],
)
def test_layers(line, words):
    d = {"nc": 2, "backbone": [line], "head": [[[0], 1, "Detect", ["nc"]]]}
    with pytest.raises(ModelError, match=words) as caught:
        parse_model(d, 3, verbose=False)
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nc": 10**9}, "from 1 to 100000"), ({"nc": "x"}, "from 1 to"), ({"ch": 0}, "from 1 to"),
        ({"scales": {"n": [1e9, 1, 8]}}, "largest number of channels"), ({"scales": [1]}, "no mapping of letters"),
        ({"scales": {"n": [1, "x"]}}, "largest number of channels"), ({"backbone": [], "head": []}, "no list of"),
        ({"activation": "Tensor(10000000000)"}, "not an activation"),
        ({"activation": "warnings.warn(1)"}, "not an activation"),
        ({"activation": "nn.MultiheadAttention(100000, 1)"}, "not an activation"), ({"head": 3}, "no list of layers"),
    ],
)  # fmt: skip
def test_model_keys(change, words):
    d = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3]]], "head": [[[0], 1, "Detect", ["nc"]]], **change}
    with pytest.raises(ModelError, match=words):
        parse_model(d, 3, verbose=False)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["Conv", [16, 353, 2]], "the kernel 353; allowed are 63"),
        (["SPPF", [8, 4001]], r"multiplications; allowed are 2e\+11"),
        (["Conv", [8, 3, 1, 9000]], r"values; allowed are 5e\+08"),
        (["nn.Upsample", ["None", 1000]], r"values; allowed are 5e\+08"),
        (["nn.ConvTranspose2d", [8, 2, 1000]], r"values; allowed are 5e\+08"),
    ],
)
def test_models_that_would_compute_for_hours(line, words):
    d = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, *line]], "head": [[[1], 1, "Detect", ["nc"]]]}
    with pytest.raises(ModelError, match=f"layer 1: .*{words}") as caught:
        DetectionModel(d, verbose=False)
    assert len(str(caught.value)) < 300


def test_metadata_of_exported_files():
    good = {"task": "detect", "names": ["a"], "stride": 32, "imgsz": [64, 64], "batch": 1, "channels": 3}
    assert from_text(json.dumps(good), "a.onnx")["imgsz"] == [64, 64]
    for change in ({"imgsz": [10**7, 64]}, {"imgsz": []}, {"imgsz": float("inf")}, {"batch": 10**9}, {"stride": 0},
                   {"channels": [1]}, {"names": {"x": "a"}}, {"names": 3}):  # fmt: skip
        with pytest.raises(ModelError, match=r"a\.onnx' cannot be understood"):
            from_text(json.dumps({**good, **change}), "a.onnx")
    with pytest.raises(ModelError, match="is not JSON"):
        from_text("[" * 100_000, "a.onnx")


# Images -------------------------------------------------------------------------------------------------------------


def png(w: int, h: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def encoded(form: str) -> bytearray:
    made = io.BytesIO()
    Image.new("P" if form == "GIF" else "RGB", (16, 16)).save(made, form)
    return bytearray(made.getvalue())


def jpeg(w: int, h: int) -> bytes:
    data = encoded("JPEG")
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", h, w)
    return bytes(data)


def gif(w: int, h: int) -> bytes:
    data = encoded("GIF")
    data[6:10] = struct.pack("<HH", w, h)
    return bytes(data)


def tiff(w: int, h: int) -> bytes:
    data = encoded("TIFF")
    for tag, value in ((256, w), (257, h)):  # the entries of its directory: tag, type, count, value
        at = data.index(struct.pack("<HH", tag, 4) + struct.pack("<I", 1)) if struct.pack("<HH", tag, 4) in data else -1
        at = at if at >= 0 else data.index(struct.pack("<HHI", tag, 3, 1))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


def bmp(w: int, h: int) -> bytes:
    data = encoded("BMP")
    data[18:26] = struct.pack("<ii", w, h)
    return bytes(data)


def ppm(w: int, h: int) -> bytes:
    return b"P6\n%d %d\n255\n" % (w, h) + bytes(100)


def pfm(w: int, h: int) -> bytes:
    return b"PF\n%d %d\n-1.0\n" % (w, h) + bytes(100)


@pytest.mark.parametrize("make", [png, jpeg, gif, tiff, bmp, ppm, pfm])
@pytest.mark.parametrize("size", [(60_000, 60_000), (30_000, 30_000)])
def test_images_that_claim_to_be_huge(tmp_path, monkeypatch, make, size):
    """No decoder is given them: one of 600 bytes took 5 GB and a minute."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**30 // 12)  # Pillow's own; sahi takes the limit away
    file = tmp_path / "a.jpg"
    file.write_bytes(make(*size))
    if make is not pfm:  # OpenCV reads these pixels one by one, and there are none
        monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(DataError, match="unreadable image"):
        verify_image(file)
    with pytest.raises(DataError, match=r"a\.jpg' (is too large|cannot be decoded)"):
        read_image(file)


def test_who_has_huge_images_can_say_so(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(png(100, 100, bytes(301 * 100)))
    assert read_image(file).shape == (100, 100, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4999)
    with pytest.raises(DataError, match="is too large, or not what it claims to be"):
        read_image(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(file).shape == (100, 100, 3)


def test_what_pillow_does_not_know_is_not_given_to_opencv(tmp_path, monkeypatch):
    """OpenCV might see pixels in it that Pillow did not count."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    for data in (b"rubbish", b"\xff\xd8\xff\xe0", b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nENDHDR\n"):
        (tmp_path / "a.jpg").write_bytes(data)
        with pytest.raises(DataError, match=r"cannot be decoded \(not an image\)"):
            read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("w", "h"), [(1, 65_535), (65_535, 1)])
def test_an_image_as_thin_as_can_be(tmp_path, w, h):
    (tmp_path / "a.png").write_bytes(png(w, h, bytes((1 + 3 * w) * h)))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (h, w, 3)
    assert max(resize_long_side(image, 640).shape[:2]) == 640 and min(resize_long_side(image, 640).shape[:2]) == 1
    with pytest.raises(DataError, match="tiny image"):
        verify_image(tmp_path / "a.png")


def test_prediction_on_an_image_as_thin_as_can_be(work_dir):
    from tiny import tiny_model

    from ultralytics import YOLO

    Path("a.png").write_bytes(png(1, 65_535, bytes(4 * 65_535)))
    result = YOLO(tiny_model(Path("."))).predict("a.png", imgsz=64, verbose=False)[0]
    assert result.orig_shape == (65_535, 1)


def test_files_that_are_no_images(tmp_path, monkeypatch):
    import os

    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        for read in (verify_image, read_image):  # to open it would wait for ever
            with pytest.raises(DataError, match="it is not a regular file"):
                read(tmp_path / "pipe.jpg")
    (tmp_path / "a.jpg").write_bytes(jpeg(16, 16))
    monkeypatch.setattr(limits, "IMAGE_BYTES", 100)
    for read in (verify_image, read_image):
        with pytest.raises(DataError, match="large image: the file has"):
            read(tmp_path / "a.jpg")


def test_masks_that_claim_to_be_huge():
    with pytest.raises(DataError, match="is not possible"):
        rle_to_mask({"size": [60_000, 60_000], "counts": [60_000 * 60_000]})
    for bad in ({"size": [1e400, 2], "counts": []}, {"size": [2, 2], "counts": [[4]]}, {"size": [2, 2], "counts": 4}):
        with pytest.raises(DataError, match="mask"):
            rle_to_mask(bad)
    assert rle_to_mask({"size": [2, 2], "counts": [1, 2, 1]}).tolist() == [[0, 1], [1, 0]]


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no such device")
def test_labels_that_are_links_to_devices(tmp_path):
    """To read them would take all memory, or, as with a pipe, wait for ever."""
    zero, pipe = tmp_path / "zero.txt", tmp_path / "pipe.txt"
    zero.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    assert fingerprint([], [str(zero), str(pipe)]) != fingerprint([])


def test_label_file_without_end(tmp_path):
    with open(tmp_path / "a.txt", "wb") as f:
        f.truncate(limits.LABEL_BYTES + 1)
    with pytest.raises(DataError, match="large label: the file has more than 16777216 bytes"):
        read_label(tmp_path / "a.txt", 1)


XML = "<annotation><size><width>10</width><height>10</height></size>&lol9;</annotation>"
ENTITIES = '<!DOCTYPE a [<!ENTITY lol0 "lol">' + "".join(
    f'<!ENTITY lol{i} "{f"&lol{i - 1};" * 10}">' for i in range(1, 10)
)  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp037", "latin1"])
def test_xml_entities_in_any_encoding(tmp_path, encoding):
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    body = (ENTITIES + "]>" + XML).encode(encoding)
    head = head.encode(encoding if encoding.startswith("utf-16") and encoding != "utf-16" else "ascii")
    whole = (head.decode("ascii") + ENTITIES + "]>" + XML).encode("utf-16") if encoding == "utf-16" else head + body
    (tmp_path / "a.xml").write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.xml'"):
        convert_voc(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "defines entities"),
        ('<?xml version="1.0" encoding="none-such"?><a/>', "no annotation of Pascal VOC"),
        ("<a>" * 50_000, "no annotation of Pascal VOC"),
        ("<a><size><width>nan</width><height>9</height></size></a>", "nan x 9 pixels"),
    ],
)
def test_other_xml(tmp_path, text, words):
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        convert_voc(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "x\0.jpg", "n" * 300, ". ."],
)
def test_names_of_images_in_coco_stay_in_the_folder(work_dir, name):
    folder = Path("in")
    folder.mkdir()
    image = {"id": 1, "file_name": name, "width": 10, "height": 10}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    coco = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "a"}]}
    (folder / "a.json").write_text(json.dumps(coco), encoding="utf-8")
    with pytest.raises(DataError):
        convert_coco(folder, "out")
    assert sorted(p.name for p in Path(".").iterdir()) == ["in"]


@pytest.mark.parametrize(
    "change",
    [
        {"images": [1]}, {"images": [{"id": [], "file_name": "a", "width": "x", "height": 1}]}, {"annotations": ["x"]},
        {"images": [{"id": 1, "file_name": "a", "width": 0, "height": 1}]}, {"categories": [{"id": "x"}]},
        {"images": [{"id": 1, "file_name": "a", "width": 10**400, "height": 1}]}, {"categories": [7]},
        {"annotations": [{"image_id": 1, "category_id": 1, "bbox": {"a": 1}}]}, {"categories": [{}]},
        {"annotations": [{"image_id": 1, "category_id": [1], "bbox": [1, 1, 2, 2]}]},
    ],
)  # fmt: skip
def test_odd_coco(work_dir, change):
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    Path("a.json").write_text(json.dumps({**coco, **change}), encoding="utf-8")
    with pytest.raises(DataError):
        convert_coco("a.json", "out")
    Path("a.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match="is not valid JSON"):
        convert_coco("a.json", "out")


# Archives -------------------------------------------------------------------------------------------------------------


def test_zip_by_ratio_and_by_size(work_dir, monkeypatch):
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a", bytes(5_000_000))
    monkeypatch.setattr(archives, "MIN_LIMIT", 1_000_000)
    with pytest.raises(DataError, match="it may be a bomb"):
        archives.unpack("a.zip", "out")
    monkeypatch.setattr(archives, "MEMBERS", 3)
    with zipfile.ZipFile("b.zip", "w") as z:
        for i in range(5):
            z.writestr(f"{i}", b"")
    with pytest.raises(DataError, match="holds more than 3 files"):
        archives.unpack("b.zip", "out")
    assert sorted(p.name for p in work_dir.iterdir()) == ["a.zip", "b.zip"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_tar_with_endless_remarks(work_dir, kind):
    """`tarfile` reads them whole before it gives a member."""
    info = tarfile.TarInfo("remarks")
    info.type, info.size = kind, 50_000_000
    with tarfile.open("a.tar.gz", "w:gz") as t:
        t.fileobj.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size))
        t.addfile(tarfile.TarInfo("a"))
    assert Path("a.tar.gz").stat().st_size < 200_000
    with pytest.raises(DataError, match="remarks on a member of it have 50000000 bytes"):
        archives.unpack("a.tar.gz", "out")


def test_tar_with_a_hole(work_dir, monkeypatch):
    """A sparse member says how large it is in a few bytes."""
    monkeypatch.setattr(archives, "MIN_LIMIT", 1_000_000)
    info = tarfile.TarInfo("hole")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[483:495] = b"%011o\0" % 5_000_000  # its real size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    Path("a.tar").write_bytes(bytes(head) + bytes(1024))
    with pytest.raises(DataError, match=r"bomb|link or a device|damaged"):
        archives.unpack("a.tar", "out")


def test_names_longer_than_the_system_allows(work_dir):
    with zipfile.ZipFile("a.zip", "w") as z:
        z.writestr("n" * 300, b"x")
    with pytest.raises(DataError, match="longer than this system allows"):
        archives.unpack("a.zip", "out")
    assert [p.name for p in work_dir.iterdir()] == ["a.zip"]


def test_label_cache_that_unpacks_without_end(work_dir):
    from ultralytics.data.labels import read_arrays

    np.savez_compressed("a.npz", key=np.array("k"), rows=np.zeros(100 << 20, np.uint8))
    assert Path("a.npz").stat().st_size < 200_000
    assert read_arrays(Path("a.npz"), "k") is None
