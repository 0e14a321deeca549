"""Unpacking archives from strangers."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.hostile import archives
from ultralytics.utils.hostile.archives import safe_join, unpack

EVIL = ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "C:evil", "\\\\host\\share\\evil", "a/.."]


def make_zip(file: str, *members: tuple[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # the constructor would mend some names
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return Path(file)


def make_tar(file: str, *members: tuple[str, bytes], mode: str = "w", kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(file, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return Path(file)


def files_in(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if not p.is_dir())


GOOD = (
    ("mini/a.txt", b"a"),
    ("mini/deep/b.txt", b"b" * 3_000_000),
    ("__MACOSX/mini/._a.txt", b"x"),
    ("mini/.DS_Store", b""),
)


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_unpack(work_dir, form):
    mode = {"tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(form, "w")
    file = make_zip("x.zip", *GOOD) if form == "zip" else make_tar(f"x.{form}", *GOOD, mode=mode)
    assert len(unpack(file, "plain")) == 2 and files_in("plain") == ["mini/a.txt", "mini/deep/b.txt"]
    unpack(file, "mini", strip="mini")
    assert files_in("mini") == ["a.txt", "deep/b.txt"] and Path("mini/deep/b.txt").read_bytes() == GOOD[1][1]
    assert sorted(p.name for p in work_dir.iterdir()) == ["mini", "plain", f"x.{form}"]


def test_what_is_there_is_kept(work_dir):
    Path("mini").mkdir()
    Path("mini/a.txt").write_text("mine")
    assert [p.name for p in unpack(make_zip("x.zip", *GOOD), "mini", strip="mini")] == ["b.txt"]
    assert Path("mini/a.txt").read_text() == "mine"


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar"])
@pytest.mark.parametrize("name", EVIL)
def test_paths_that_leave_the_folder_are_refused(work_dir, make, name):
    file = make("x.archive", ("good.txt", b"x"), (name, b"x"))
    with pytest.raises(DataError, match="leads out of the folder"):
        unpack(file, "out/deep")
    assert files_in(work_dir) == ["x.archive"] and not list(Path("out").iterdir())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(work_dir, kind):
    file = make_tar("x.tar", ("link", b""), kind=kind)
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(file, "out")
    assert files_in(work_dir) == ["x.tar"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(work_dir, kind):
    file = make_zip("x.zip", ("link", b"/etc/passwd"), mode=kind | 0o777)
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(file, "out")
    assert files_in(work_dir) == ["x.zip"]


def test_nothing_is_unpacked_through_a_link_that_is_there(work_dir):
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    try:
        os.symlink(work_dir / "elsewhere", "out/mini")
    except OSError:
        pytest.skip("links cannot be made here")
    with pytest.raises(DataError, match="is a link, through which nothing is unpacked"):
        unpack(make_zip("x.zip", *GOOD), "out")
    assert files_in("elsewhere") == []


def test_bombs_are_refused(work_dir, monkeypatch):
    file = make_zip("x.zip", ("zeros", bytes(5_000_000)))
    assert file.stat().st_size < 10_000
    with pytest.raises(DataError, match="unpack to more than 1000000"):
        unpack(file, "out", limit=1_000_000)
    monkeypatch.setattr(archives, "MIN_LIMIT", 1_000_000)
    with pytest.raises(DataError, match="it may be a bomb"):
        unpack(file, "out")
    assert files_in(work_dir) == ["x.zip"]
    unpack(file, "out", limit=5_000_000)
    assert files_in("out") == ["zeros"]


def test_names_that_stand_twice_are_refused(work_dir):
    with pytest.raises(DataError, match="It holds 'a' twice"):
        unpack(make_tar("x.tar", ("a", b"1"), ("a", b"2")), "out")
    with pytest.raises(DataError, match="a folder and a file of the same name"):
        unpack(make_tar("y.tar", ("a", b"1"), ("a/b", b"2")), "out")
    assert files_in(work_dir) == ["x.tar", "y.tar"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_damaged_archives_are_told(work_dir, damage, form):
    noise = (("a.bin", os.urandom(20_000)),)
    file = make_zip("x.zip", *noise) if form == "zip" else make_tar("x.tar.gz", *noise, mode="w:gz")
    content = bytearray(file.read_bytes())
    content[10_000] ^= 255
    file.write_bytes({"cut": content[:9_000], "flipped": content, "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match="damaged"):
        unpack(file, "out")
    assert files_in(work_dir) == [file.name]


def test_locked_archives_are_told(work_dir):
    file = make_zip("x.zip", ("a.txt", b"a"))
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption in the table of contents
    file.write_bytes(content)
    with pytest.raises(DataError, match="locked with a password"):
        unpack(file, "out")


def test_a_missing_archive(work_dir):
    with pytest.raises(MissingFileError, match="does not exist"):
        unpack("x.zip", "out")
    assert not Path("out").exists()


def test_safe_join():
    assert safe_join("root", "a/./b.txt") == Path("root/a/b.txt") and safe_join("root", ".") == Path("root")
    assert safe_join("root", "a\\b") == Path("root/a/b") and safe_join("root", "a..b/c...") == Path("root/a..b/c...")
    for name in [*EVIL, "a\0b"]:
        with pytest.raises(DataError):
            safe_join("root", name)


def test_folders_are_counted_too(work_dir):
    """A tar of 2 kB could make 90,000 of them; many small classes are fine."""
    deep = [(f"{k}/" + "d/" * 60 + "x", b"1") for k in range(3)]
    many = [(f"a{k}/b{k}/c{k}/d{k}/x", b"1") for k in range(600)]
    names = [(f"{k}/{j}/", b"") for k in range(40) for j in range(40)]
    for members, words in ((deep, "nested folders"), (many, "more than files"), (many[::-1], "more than files")):
        for file in (make_tar("x.tar.gz", *members, mode="w:gz"), make_zip("x.zip", *members)):
            with pytest.raises(DataError, match=words):
                unpack(file, "out")
            assert not Path("out").exists()
    assert len(unpack(make_zip("y.zip", *names, *[(f"c{k}/{k}.jpg", b"1") for k in range(1500)]), "fine")) == 1500


@pytest.mark.parametrize("name", ["", "."])
def test_a_member_without_a_name(work_dir, name):
    with pytest.raises(DataError, match="It holds a file without a name"):
        unpack(make_zip("x.zip", (name, b"x")), "out")
    assert len(unpack(make_zip("y.zip", ("./", b""), ("a", b"x")), "out")) == 1
