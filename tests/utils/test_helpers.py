"""The small helpers and questions about the system that scripts import from `ultralytics.utils`."""

from __future__ import annotations

import logging
import socket
import threading
import time

import numpy as np
import pytest
import torch

from ultralytics import utils
from ultralytics.utils import checks, ops
from ultralytics.utils.drawing.feature_maps import feature_visualization
from ultralytics.utils.drawing.tuning import plot_tune_results
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.system import environment


def test_errors_are_caught_and_said(monkeypatch):
    said = []
    monkeypatch.setattr(utils.LOGGER, "warning", said.append)
    with utils.TryExcept("cleaning"):
        raise ValueError("no broom")
    assert said == ["cleaning: no broom"]

    @utils.TryExcept(verbose=False)
    def fails():
        raise OSError

    assert fails() is None and len(said) == 1
    with pytest.raises(KeyboardInterrupt), utils.TryExcept():
        raise KeyboardInterrupt


def test_calls_are_repeated(monkeypatch):
    waits, calls = [], []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(utils.LOGGER, "warning", lambda text: None)

    @utils.Retry(times=3, delay=2)
    def third_time(good: bool):
        calls.append(good)
        if not good or len(calls) < 3:
            raise OSError("busy")
        return "done"

    assert third_time(True) == "done" and waits == [2, 4]
    with pytest.raises(OSError, match="busy"):
        third_time(False)
    assert len(calls) == 6


def test_threads():
    seen = []

    @utils.threaded
    def note(value):
        seen.append((value, threading.current_thread() is threading.main_thread()))
        return value

    note(1).join()
    assert note(2, threaded=False) == 2 and seen == [(1, False), (2, True)]


def test_one_thread_at_a_time():
    inside, most = [], []

    @utils.ThreadingLocked()
    def work():
        inside.append(1)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert most == [1, 1, 1, 1]


def test_a_simple_class_prints_itself():
    class Box(utils.SimpleClass):
        def __init__(self):
            self.size, self._hidden = 3, 4

    assert str(Box()).endswith("Box object with attributes:\n\nsize: 3") and repr(Box()) == str(Box())
    with pytest.raises(AttributeError, match="'Box' object has no attribute 'colour'"):
        _ = Box().colour


def test_texts():
    assert utils.remove_colorstr(utils.colorstr("red", "bold", "hot")) == "hot"
    assert utils.url2file("https://a.b/c/d%20e.zip?auth=1") == "d e.zip"
    assert utils.get_default_args(lambda a, b=2, *, c=None: a) == {"b": 2, "c": None}
    assert "a" in utils.emojis("a 🚀")


def test_logger_of_ones_own():
    logger = utils.set_logging("my-logger", verbose=False)
    assert logger.level == logging.ERROR and utils.set_logging("my-logger").level == logging.INFO
    assert len(logger.handlers) == 1


def test_plt_settings_come_back():
    import matplotlib

    before = matplotlib.rcParams["font.size"], matplotlib.get_backend()

    @utils.plt_settings({"font.size": 3})
    def draw():
        return matplotlib.rcParams["font.size"], matplotlib.get_backend().lower()

    assert draw() == (3, "agg")
    assert (matplotlib.rcParams["font.size"], matplotlib.get_backend()) == before


def test_system(monkeypatch, tmp_path):
    assert utils.is_pytest_running() and utils.MACOS + utils.LINUX + utils.WINDOWS <= 1
    assert utils.TORCH_VERSION.split("+")[0] == torch.__version__.split("+")[0] and utils.NUM_THREADS >= 1
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert environment.is_colab() and environment.IS_COLAB
    assert utils.is_dir_writeable(tmp_path) and not utils.is_dir_writeable(tmp_path / "nothing")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "c"))
    assert utils.get_user_config_dir() == tmp_path / "c" and (tmp_path / "c").is_dir()
    assert str(environment.RUNS_DIR) == utils.SETTINGS["runs_dir"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = environment.nothing


def test_online_asks_only_when_called(monkeypatch):
    asked = []

    def connect(address, timeout):
        asked.append(address)
        if len(asked) == 1:
            raise OSError
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert utils.ONLINE is False and not asked
    assert utils.is_online() and len(asked) == 2


def test_paths_that_lead_out_are_not_safe(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("")
    assert checks.check_is_path_safe(tmp_path, "b") and checks.check_is_path_safe(tmp_path, "a/../b")
    assert not checks.check_is_path_safe(tmp_path / "a", "../b") and not checks.check_is_path_safe(tmp_path, "c")


def test_batches_become_images():
    batch = torch.tensor([[0.0, 0.5], [1.0, 2.0]]).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1)
    images = ops.convert_torch2numpy_batch(batch)
    assert images.dtype == np.uint8 and images[0, :, :, 2].tolist() == [[0, 127], [255, 255]]


def test_feature_maps_are_drawn_side_by_side(tmp_path):
    import cv2

    maps = torch.arange(10.0).view(1, 10, 1, 1) + torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    file = feature_visualization(maps, "ultralytics.nn.modules.conv.Conv", 3, n=9, save_dir=tmp_path)
    assert file == tmp_path / "stage3_Conv_features.png"
    sheet = cv2.imread(str(file), 0)
    tile = 2 * 32 + 2  # small maps are drawn larger, with a frame
    assert sheet.shape == (2 * tile, 8 * tile)
    assert sheet[5, 5] == 0 and sheet[60, 60] == 255 and sheet[tile + 5, 2 * tile :].max() == 0
    assert np.load(file.with_suffix(".npy")).shape == (10, 2, 2)
    assert feature_visualization([maps], "Detect", 4, save_dir=tmp_path) is None


def test_images_of_a_search(tmp_path):
    import cv2

    file = tmp_path / "tune_results.csv"
    with pytest.raises(MissingFileError, match="no table"):
        plot_tune_results(file)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'fitness'"):
        plot_tune_results(file)
    file.write_text("fitness,lr0,mosaic\n0.1,0.01,1\n0.3,0.02,0.5\n0.2,0.03,0.7\n")
    drawn = []
    plot_tune_results(file, on_plot=lambda path: drawn.append(path.name))
    assert drawn == ["tune_fitness.png", "tune_scatter_plots.png"]
    assert all(cv2.imread(str(tmp_path / name)).std() > 5 for name in drawn)
