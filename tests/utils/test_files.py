"""Names that do not clash and writing that never leaves half a file."""

from __future__ import annotations

import os
import re
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ultralytics.utils import files
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import (
    RunFolder,
    append,
    atomic_write,
    file_age,
    file_date,
    file_size,
    get_latest_run,
    increment_path,
    read_json,
    read_text,
)


def test_increment_path_counts_from_two(tmp_path):
    exp = tmp_path / "runs" / "exp"
    assert [increment_path(exp, mkdir=True).name for _ in range(3)] == ["exp", "exp2", "exp3"]
    assert increment_path(exp).name == "exp4"
    assert not (tmp_path / "runs" / "exp4").exists()  # only asked, not made
    assert increment_path(exp, sep="-").name == "exp-2"


def test_increment_path_exist_ok_returns_the_path(tmp_path):
    assert increment_path(tmp_path, exist_ok=True, mkdir=True) == tmp_path


def test_increment_path_keeps_the_suffix_of_a_file_but_not_of_a_folder(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "v1.5").mkdir()
    assert increment_path(tmp_path / "a.txt").name == "a2.txt"
    assert increment_path(tmp_path / "v1.5").name == "v1.52"


def test_increment_path_gives_each_of_many_at_once_a_folder_of_its_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: increment_path(tmp_path / "exp", mkdir=True), range(24)))
    assert len(set(paths)) == 24


def test_increment_path_exist_ok_on_a_file_is_an_error(tmp_path):
    (tmp_path / "exp").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        increment_path(tmp_path / "exp", exist_ok=True, mkdir=True)


def test_run_folders_chosen_at_once_are_made_apart(tmp_path):
    """All choose the same free name; each that makes it then gets one of its own."""
    folders = [RunFolder(tmp_path / "runs" / "exp") for _ in range(24)]
    assert {f.path.name for f in folders} == {"exp"} and not (tmp_path / "runs").exists()
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda f: f.make(), folders))
    assert len({*paths}) == 24 and all(f.path.is_dir() for f in folders)
    assert folders[3].make() == paths[3], "made once"


def test_a_run_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with RunFolder(tmp_path / "a" / "b" / "exp") as empty:
        assert empty.is_dir()
    assert not (tmp_path / "a").exists()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "a" / "exp") as full:
        (full / "x.txt").write_text("kept")
        raise ZeroDivisionError
    assert (tmp_path / "a" / "exp" / "x.txt").read_text() == "kept"
    with RunFolder(tmp_path / "a" / "exp", numbered=False) as same:
        assert same == full
    assert full.is_dir(), "it was there before"


def test_a_run_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert RunFolder(tmp_path / "link").make().name == "link2"
    for wanted in (RunFolder(tmp_path / "file", numbered=False), RunFolder(tmp_path / "file" / "exp")):
        with pytest.raises(ConfigError, match=r"The run folder '.*file.*' cannot be written: .*project=FOLDER"):
            wanted.make()
    with pytest.raises(ConfigError, match="cannot be written"):
        RunFolder(tmp_path / "a\0b").make()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        RunFolder("exp").make()


class Full:
    """A disk that takes a few bytes and is full then, as a file object."""

    def __init__(self, file):
        self.file, self.left = file, 7

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        if not self.left:
            raise OSError(28, "No space left on device")
        n = self.file.write(data[: self.left])
        self.left -= n
        return n


def test_text_is_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "labels" / "a.txt"
    append(file, "one\n")
    append(file, "two\n")
    assert file.read_bytes() == b"one\ntwo\n"
    monkeypatch.setattr(files, "open", lambda *args, **kw: Full(open(*args, **kw)), raising=False)  # noqa: SIM115
    for path in (file, tmp_path / "new.txt"):
        with pytest.raises(DataError, match=rf"{path.name}' cannot be written: No space left on device\. Make room"):
            append(path, "three and more\n")
    assert file.read_bytes() == b"one\ntwo\n" and not (tmp_path / "new.txt").exists()


def test_atomic_write_replaces_the_old_file_at_the_end_only(tmp_path):
    path = tmp_path / "new folder" / "权重 1.bin"
    with atomic_write(path) as f:
        f.write(b"old")
    with atomic_write(path) as f:
        f.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_write_keeps_the_old_file_when_the_block_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path, "w", encoding="utf-8") as f:
        f.write("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_keeps_the_old_file_when_the_rename_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no"), atomic_write(path) as f:
        f.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_atomic_write_keeps_permissions_and_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_write(link) as f:
        f.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_sizes_and_dates(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    (tmp_path / "sub" / "b").write_bytes(bytes(1 << 19))
    assert file_size(tmp_path / "a") == 1.0
    assert file_size(tmp_path) == 1.5
    assert file_size(tmp_path / "none") == 0
    os.utime(tmp_path / "a", (1727700000, 1727700000))
    assert re.fullmatch(r"2024-9-30|2024-10-1", file_date(tmp_path / "a"))  # by time zone
    assert file_age(tmp_path / "sub" / "b") == 0


def test_latest_run_is_the_newest_last_pt(tmp_path):
    assert get_latest_run(tmp_path) == ""
    for i, run in enumerate(("train", "train3", "train2")):
        weights = tmp_path / run / "weights"
        weights.mkdir(parents=True)
        (weights / "last.pt").touch()
        os.utime(weights / "last.pt", (1000 + i, 1000 + i))
    assert get_latest_run(tmp_path) == str(tmp_path / "train2" / "weights" / "last.pt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb18030"])
def test_text_is_read_in_the_encodings_that_tools_write(tmp_path, encoding, caplog):
    (tmp_path / f"{encoding}.json").write_bytes('{"名称": "火灾"}'.encode(encoding))
    for _ in range(2):
        assert read_json(tmp_path / f"{encoding}.json") == {"名称": "火灾"}
    assert caplog.text.count("was read as GBK") == encoding.startswith("gb")


@pytest.mark.parametrize("data", [b"caf\xe9\n", b"\xc3(\x00", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00"])
def test_what_is_no_text_is_refused_or_replaced(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match="is not text in UTF-8"):
        read_text(tmp_path / "a.txt")
    assert "\ufffd" in read_text(tmp_path / "a.txt", errors="replace")
