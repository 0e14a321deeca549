"""Fetching a file from a server on this machine."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path

import pytest

from ultralytics.utils.downloads import download, safe_download
from ultralytics.utils.errors import ConfigError, MissingFileError


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
