"""Fetching a file from a server on this machine."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest

from ultralytics.utils.downloads import download, safe_download
from ultralytics.utils.errors import ConfigError, MissingFileError


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/broken.bin":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a b.txt").write_text("hello")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
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
