"""What importing the package costs: next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "cv2", "matplotlib", "numpy", "pandas", "PIL", "yaml", "tqdm")

# Runs in a fresh process: an audit hook sees every socket and every file opened for writing.
PROBE = """
import sys

def watch(event, args):
    if event.startswith("socket."):
        raise SystemExit(f"socket: {event} {args}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") or event == "os.mkdir":
        raise SystemExit(f"written: {args}")

sys.dont_write_bytecode = True
sys.addaudithook(watch)
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", PROBE + code], cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    "code",
    [
        "import ultralytics",
        "import ultralytics.cfg, ultralytics.utils, ultralytics.cli",
        "from ultralytics.cli import main; main(['version'])",
        "from ultralytics import settings, ASSETS; settings['runs_dir']",
    ],
)
def test_import_is_light_and_leaves_no_trace(code, tmp_path):
    done = run(f"{code}\nprint('heavy:', sorted(set(sys.modules) & set({HEAVY!r})))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert list(tmp_path.iterdir()) == []


def test_probe_sees_sockets_and_files(tmp_path):
    assert "socket" in run("import socket; socket.socket()", tmp_path).stderr
    assert "written" in run("open('x', 'w')", tmp_path).stderr


def test_public_names():
    import ultralytics
    from ultralytics.utils import ROOT, SETTINGS

    assert ultralytics.settings is SETTINGS
    assert ultralytics.ASSETS == ROOT / "assets"
    assert callable(ultralytics.checks) and callable(ultralytics.download)
    assert {"YOLO", "settings", "checks", "download", "ASSETS", "__version__"} <= set(dir(ultralytics))


def test_modules_are_there_after_a_plain_import(tmp_path):
    code = "import ultralytics; print(ultralytics.nn.tasks.DetectionModel, ultralytics.utils.ops.xywh2xyxy)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert "ultralytics.nn.tasks.DetectionModel" in done.stdout, done.stderr


def test_the_version_can_be_compared_as_scripts_do():
    import ultralytics

    assert [int(part) for part in ultralytics.__version__.split(".")] == [8, 3, 0]
    assert ultralytics.__build__.partition("+")[0] == ultralytics.__version__


def test_model_class_is_public():
    from ultralytics import YOLO
    from ultralytics.models.yolo.model import YOLO as defined

    assert YOLO is defined


@pytest.mark.parametrize("name", ["SAM", "FastSAM", "RTDETR", "NAS", "YOLOWorld", "Explorer", "hub", "solutions"])
def test_names_of_other_products_say_so(name):
    import ultralytics

    with pytest.raises(AttributeError, match="not part of this package"):
        getattr(ultralytics, name)


def test_unknown_name():
    import ultralytics

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ultralytics.nothing
