"""What all tests share: no outside network, settings of their own, two threads, and a tiny dataset."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from tiny import write_tiny_data

ROOT = Path(__file__).resolve().parents[1]
# Before anything imports torch or the package; processes that tests start inherit them.
_CONFIG = tempfile.TemporaryDirectory(prefix="yolo-settings-")
os.environ["YOLO_CONFIG_DIR"] = _CONFIG.name
# tracing a model for TensorBoard takes longer than a tiny training; test_loggers.py switches it on
(Path(_CONFIG.name) / "settings.json").write_text('{"tensorboard": false}', encoding="utf-8")
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.getenv("PYTHONPATH")])])
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests import the runtimes by themselves, too
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # tiny tensors gain nothing from more, and tests repeat to the last bit


def _is_local(address: object) -> bool:
    """Tell whether a socket address stays on this machine."""
    if not isinstance(address, tuple):
        return True  # a Unix socket's path
    host = str(address[0])
    return host in {"localhost", "::1", ""} or host.startswith("127.")


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine, save in tests marked `network`."""
    if request.node.get_closest_marker("network"):
        return
    for method in ("connect", "connect_ex"):
        original = getattr(socket.socket, method)

        def guarded(self, address, original=original):
            if not _is_local(address):
                raise OSError(f"Tests may not reach {address}.")
            return original(self, address)

        monkeypatch.setattr(socket.socket, method, guarded)
    look_up = socket.getaddrinfo

    def guarded_look_up(host, *args, **kwargs):
        if host is not None and not _is_local((host,)):
            raise socket.gaierror(f"Tests may not look up {host}.")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Pytest's log, which gets the lines of the package's logger too; by itself that one hands them to nobody."""
    from ultralytics.utils import LOGGER

    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    return caplog


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All lines logged during the test."""
    from ultralytics.utils import LOGGER

    lines: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(LOGGER, level, lambda text, *args: lines.append(str(text)))
    return lines


@pytest.fixture
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often at the processes that load data, and end a stopped one soon."""
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    from ultralytics.data import workers

    for name, seconds in {"TICK": 0.05, "STOPPED": 0.3}.items():
        monkeypatch.setattr(workers, name, seconds)
    # PyTorch looks every 5 s whether the process that it waits for still lives
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data YAML of a tiny dataset that all tests share: read it, do not change it."""
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_data_copy(tiny_data: Path, tmp_path: Path) -> Path:
    """The data YAML of a copy of the tiny dataset, to be changed by one test."""
    folder = tmp_path / "tiny_data"
    shutil.copytree(tiny_data.parent, folder, ignore=shutil.ignore_patterns("*.cache*"))
    return folder / tiny_data.name
