"""Sizes told from headers are those that a decoder tells; what is not whole is left to the decoder."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from scenes import make_set, settings

from ultralytics.data import build_yolo_dataset, image_files
from ultralytics.data.image_files import list_images, read_image, verify_image
from ultralytics.data.image_headers import whole_size
from ultralytics.data.labels import load_labels
from ultralytics.utils.errors import DataError

W, H = 61, 40
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation=\"6\"/></x:xmpmeta>"


def save(file: Path, mode: str = "RGB", **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(file, **options)
    return file.read_bytes()


def size(file: Path) -> tuple[int, int] | None:
    return whole_size(file, file.stat().st_size)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "RGB", {}),
        ("a.jpg", "L", {"progressive": True}),
        ("a.jpg", "CMYK", {"comment": b"text", "icc_profile": bytes(70_000)}),
        *[("a.jpg", "RGB", {"exif": oriented(i)}) for i in range(9)],
        ("a.jpg", "RGB", {"exif": b"Exif\0\0rubbish"}),
        *[("a.png", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[("a.webp", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)],
        ("a.webp", "RGB", {"icc_profile": bytes(301)}),
        *[("a.bmp", mode, {}) for mode in ("L", "P", "RGB", "RGBA")],
    ],
)
def test_the_header_says_what_the_decoder_says(tmp_path, name, mode, options):
    file = tmp_path / name
    save(file, mode, **options)
    found = size(file)
    if options.get("exif") == b"Exif\0\0rubbish":
        assert found is None  # it may be understood by another reader
    else:
        assert found == verify_image(file, deep=True) == read_image(file).shape[:2]
    assert verify_image(file) == verify_image(file, deep=True)


def test_what_may_turn_an_image_otherwise_is_left_to_the_decoder(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode().partition("\0")[2])
    save(tmp_path / "xmp.png", pnginfo=info)
    save(tmp_path / "exif.png", exif=oriented(6))
    data = save(tmp_path / "xmp.jpg")
    (tmp_path / "xmp.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(XMP) + 2).to_bytes(2, "big") + XMP + data[2:])
    save(tmp_path / "exif.webp", exif=oriented(6))
    save(tmp_path / "a.tif")
    save(tmp_path / "1.bmp", "1")
    for file in tmp_path.iterdir():
        assert size(file) is None and verify_image(file) == verify_image(file, deep=True), file


def test_what_is_not_whole_is_left_to_the_decoder(tmp_path):
    files = [save(tmp_path / f"a.{form}") for form in ("jpg", "png", "webp", "bmp")]
    jpg, png = files[:2]
    wrong = bytearray(png)
    wrong[16 + 3] += 1  # a width that the checksum does not fit
    for data in (
        *[whole[:n] for whole in files for n in (1, 9, 30, 33, 300, len(whole) - 1)],
        *[whole + b"\0" for whole in files],
        b"", jpg[:2] + jpg[-2:], png[:33] + png[-12:], bytes(wrong), jpg[:30] + b"\xff\xd9", png[:400] + png[-12:],
    ):  # fmt: skip
        (tmp_path / "b").write_bytes(data)
        assert size(tmp_path / "b") is None
        if data:
            try:
                assert verify_image(tmp_path / "b") == verify_image(tmp_path / "b", deep=True) == (H, W)
            except DataError as e:
                with pytest.raises(DataError) as deep:
                    verify_image(tmp_path / "b", deep=True)
                assert str(e) == str(deep.value)


def test_what_is_whole_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_decoded_size", None)
    assert len(load_labels(list_images(make_set(tmp_path)), 2)) == 6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 128 - 1)
    with pytest.raises(DataError, match="unreadable image: 'NoneType'"):  # too large to be believed
        verify_image(tmp_path / "images/train/p0.png")


def test_damage_in_the_middle_is_named_at_the_first_use(tmp_path, caplog):
    folder = make_set(tmp_path, 4)
    data = bytearray((folder / "p1.png").read_bytes())
    start = data.index(b"IDAT") + 4
    body = zlib.compress(b"\x09" * 90)  # a filter that PNG does not have
    n = int.from_bytes(data[start - 8 : start - 4], "big")
    data[start : start + n] = body.ljust(n, b"\0")
    (folder / "p1.png").write_bytes(data)
    assert verify_image(folder / "p1.png") == (128, 96)
    with pytest.raises(DataError, match=r"(unreadable|truncated) image"):
        verify_image(folder / "p1.png", deep=True)
    for mode, said in (("train", "Another image takes its place"), ("val", "It is left out of validation")):
        dataset = build_yolo_dataset(settings(imgsz=64, mosaic=0.0), str(folder), 4, {"names": {0: "a", 1: "b"}}, mode)
        samples = dataset.__getitems__([(0, i) for i in range(4)])
        assert len(samples) == (4 if mode == "train" else 3) and not any("p1" in s["im_file"] for s in samples)
        assert "p1.png' cannot be decoded" in caplog.text and said in caplog.text
        caplog.clear()
