"""Fetching a file from a server on this machine."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile
from pathlib import Path

import pytest

from ultralytics.utils.checks import check_file
from ultralytics.utils.downloads import (
    attempt_download_asset,
    check_disk_space,
    download,
    is_url,
    safe_download,
    unzip_file,
    zip_directory,
)
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/big.bin":
            return self.send_part()
        if self.path != "/broken.bin":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)

    def send_part(self) -> None:
        """Send BIG, or what was asked of it; no more than `server.limit` bytes at once."""
        server, wanted = self.server, self.headers.get("Range", "")
        server.asked.append((wanted, self.headers.get("If-Range", "")))
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        if wanted and self.headers.get("If-Range") != server.etag:
            start = 0
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : start + server.limit])


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a b.txt").write_text("hello")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.asked, httpd.etag, httpd.content, httpd.limit = [], '"one"', bytes(range(256)) * 40, 4000
    Handler.httpd = httpd
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def test_download(server, work_dir, capsys):
    (file,) = download(f"{server}/a%20b.txt", dir="new")
    assert file.as_posix() == "new/a b.txt" and file.read_text() == "hello"
    file.write_text("mine")
    assert safe_download(f"{server}/a%20b.txt", dir="new").read_text() == "mine"  # what is there is kept


@pytest.mark.parametrize("name", ["missing.txt", "broken.bin"])
def test_a_failed_transfer_leaves_nothing(server, work_dir, name):
    with pytest.raises(MissingFileError, match=f"could not be fetched.*{name}"):
        safe_download(f"{server}/{name}")
    assert [p.name for p in work_dir.iterdir()] == ["served"]


@pytest.mark.parametrize("url", ["file:///etc/hosts", "a.txt", "ftp://x/y", "https://"])
def test_other_addresses_are_refused(url, work_dir):
    with pytest.raises(ConfigError, match="must begin with https"):
        safe_download(url)


def test_the_outside_cannot_be_reached_from_tests(work_dir):
    with pytest.raises(MissingFileError, match="may not"):
        safe_download("http://192.0.2.1/x", timeout=1)


# Going on with a transfer ---------------------------------------------------------------------------------------------


def test_a_broken_transfer_goes_on_where_it_broke(server, work_dir):
    httpd, url = Handler.httpd, f"{server}/big.bin"
    for _ in range(2):
        with pytest.raises(MissingFileError, match="bytes came"):
            safe_download(url, "big.bin", resume=True)
        assert not Path("big.bin").exists()
    assert safe_download(url, "big.bin", resume=True).read_bytes() == httpd.content
    assert httpd.asked == [("", ""), ("bytes=4000-", '"one"'), ("bytes=8000-", '"one"')]
    assert sorted(p.name for p in work_dir.iterdir()) == ["big.bin", "served"]


def test_another_file_under_the_same_address_is_fetched_anew(server, work_dir):
    httpd, url = Handler.httpd, f"{server}/big.bin"
    with pytest.raises(MissingFileError):
        safe_download(url, "big.bin", resume=True)
    httpd.etag, httpd.content, httpd.limit = '"two"', b"other" * 2000, 10**6
    assert safe_download(url, "big.bin", resume=True).read_bytes() == httpd.content


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_mark_of_the_file_it_is_fetched_anew(server, work_dir, etag):
    httpd, url = Handler.httpd, f"{server}/big.bin"
    httpd.etag = etag
    with pytest.raises(MissingFileError):
        safe_download(url, "big.bin", resume=True)
    httpd.limit = 10**6
    assert safe_download(url, "big.bin", resume=True).read_bytes() == httpd.content
    assert httpd.asked[-1] == ("", "")


def test_a_part_that_is_too_long_is_fetched_anew(server, work_dir):
    httpd, url = Handler.httpd, f"{server}/big.bin"
    with pytest.raises(MissingFileError):
        safe_download(url, "big.bin", resume=True)
    Path("big.bin.part").write_bytes(b"x" * 20000)
    httpd.limit = 10**6
    assert safe_download(url, "big.bin", resume=True).read_bytes() == httpd.content


@pytest.mark.parametrize("address", ["x/..%2f..", "x/..", ""])
def test_a_name_that_is_no_name_does_not_lead_out(work_dir, address):
    with pytest.raises(MissingFileError, match="new/deep/download' by hand"):
        safe_download(f"http://127.0.0.1:1/{address}", dir="new/deep")


# Archives -------------------------------------------------------------------------------------------------------------


def test_archives_are_unpacked_where_they_lie(server, work_dir):
    (work_dir / "set" / "images").mkdir(parents=True)
    (work_dir / "set" / "images" / "a.txt").write_text("a")
    zip_directory("set").rename(work_dir / "served" / "set.zip")
    kept = safe_download(f"{server}/set.zip", dir="kept", unzip=False)
    assert kept == Path("kept/set.zip") and kept.is_file()
    folder = safe_download(f"{server}/set.zip", dir="new", delete=True)
    assert folder == Path("new") and [p.as_posix() for p in folder.rglob("*.*")] == ["new/images/a.txt"]
    assert download([f"{server}/set.zip"] * 2, dir="two", threads=2) == [Path("two")] * 2
    assert check_file(f"{server}/set.zip", download=True, download_dir="third") == "third/set.zip"


@pytest.mark.parametrize(("retry", "done"), [(1, False), (2, True)])
def test_a_broken_transfer_is_tried_again_if_asked_to(server, work_dir, retry, done):
    url = f"{server}/big.bin"
    if done:
        assert safe_download(url, resume=True, retry=retry).read_bytes() == Handler.httpd.content
        return
    with pytest.raises(MissingFileError, match="bytes came"):
        safe_download(url, resume=True, retry=retry)


def test_a_file_that_is_too_short_is_none(server, work_dir):
    with pytest.raises(MissingFileError, match="fewer than 100 bytes"):
        safe_download(f"{server}/a%20b.txt", min_bytes=100)
    assert [p.name for p in work_dir.iterdir()] == ["served"]


def test_addresses_and_room(server, work_dir):
    assert is_url(f"{server}/a%20b.txt", check=True) and not is_url(f"{server}/missing", check=True)
    assert check_disk_space(f"{server}/a%20b.txt") and check_disk_space(f"{server}/missing")
    with pytest.raises(DataError, match="Make room"):
        check_disk_space(f"{server}/a%20b.txt", sf=1e15)
    assert not check_disk_space(f"{server}/a%20b.txt", sf=1e15, hard=False)


def test_a_zip_gets_a_folder_of_its_own(work_dir):
    for name in ("set/a.txt", "set/b/c.txt", "loose/a.txt", "loose/b.txt"):
        (work_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (work_dir / name).write_text(name)
    file = zip_directory("set", exclude=("c.txt",), compress=False)
    assert unzip_file(file, "new") == Path("new/set") and [p.name for p in Path("new/set").iterdir()] == ["a.txt"]
    with zipfile.ZipFile("one.zip", "w") as archive:
        archive.write("set/a.txt", "top/a.txt")
    assert unzip_file("one.zip") == Path("top") and Path("top/a.txt").is_file()
    with pytest.raises(DataError, match="is not a zip file"):
        unzip_file("set/a.txt")
    with pytest.raises(MissingFileError, match="no folder"):
        zip_directory("nothing")


def test_a_weight_file_is_looked_for_but_not_fetched(work_dir):
    with pytest.raises(MissingFileError, match=r"github\.com/ultralytics/assets/\S+/yolo11n\.pt"):
        attempt_download_asset("yolo11n.pt")
    Path("yolo11n.pt").write_bytes(b"x")
    assert attempt_download_asset("yolo11n.pt") == "yolo11n.pt"
