"""The real commands end with their results and a right exit code on every console, also on none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_model

from ultralytics.utils import yaml_load

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="redirects by a POSIX shell")
INSTALLED = Path(sys.executable).with_name("yolo")
YOLO = [str(INSTALLED)] if INSTALLED.is_file() else [sys.executable, "-m", "ultralytics"]
TRAIN_PY = [sys.executable, str(ROOT / "train" / "train.py")]
C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Where a command's words go, and the environment. Each writes its exit code, for a pipe hides it.
CONSOLES: dict[str, tuple[str, dict[str, str]]] = {
    "LANG=C": ('"$@" >out 2>err', C_LOCALE),
    **{name: ('"$@" >out 2>err', {"PYTHONIOENCODING": name}) for name in ("ascii", "cp1252", "gbk", "cp437")},
    "terminal without colours": ('"$@" >out 2>err', {"NO_COLOR": "1", "TERM": "dumb"}),
    "closed stdout": ('"$@" >&- 2>err', {}),
    "closed stderr": ('"$@" >out 2>&-', {}),
    "all closed": ('"$@" <&- >&- 2>&-', {}),
    "| head -1": ('"$@" 2>err', {}),
    "2>&1 | head -1": ('"$@" 2>&1', {}),
    "ascii 2>&- | head -1": ('"$@" 2>&-', {"PYTHONIOENCODING": "ascii"}),
    "full disk": ('"$@" >/dev/full 2>/dev/full', {}),
}
if not Path("/dev/full").exists():
    del CONSOLES["full disk"]
USUAL = {"LANG=C", "closed stderr"}  # the quick tests see to these
SMALL = ("imgsz=64", "device=cpu")
FAST = (*SMALL, "batch=4", "workers=0", "plots=False")


def run(console: str, words: list[str], folder: Path) -> int:
    """Run a command in a folder on a console; return its exit code. What came out is in `out` and `err`."""
    line, environment = CONSOLES[console]
    line = f"{{ {line}; echo $? >code; }}" + (" | head -1 >out" if console.endswith("head -1") else "")
    usual = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING"}}
    subprocess.run(["sh", "-c", line, "sh", *words], cwd=folder, env={**usual, **environment}, timeout=3000, check=True)
    return int((folder / "code").read_text())


def words_of(folder: Path, name: str) -> str:
    """Return what came out as ASCII of the same length, having seen that it is text without escape sequences."""
    file = folder / name
    text = file.read_bytes() if file.exists() else b""
    assert b"\x1b" not in text and b"Traceback" not in text and b"Logging error" not in text, text.decode("latin-1")
    return text.decode("latin-1")


@pytest.mark.parametrize("console", [pytest.param(c, marks=[pytest.mark.slow] * (c not in USUAL)) for c in CONSOLES])
def test_help(console, tmp_path):
    assert run(console, [*TRAIN_PY, "--help"], tmp_path) == 0
    out = words_of(tmp_path, "out")
    assert out.startswith("usage: train.py") or ("out" not in CONSOLES[console][0] and "head" not in console)
    assert words_of(tmp_path, "err") == ""


def test_mistakes_keep_their_exit_code(tmp_path):
    assert run("all closed", [*YOLO, "train", "epoch=3"], tmp_path) == 2
    assert run("2>&1 | head -1", [*TRAIN_PY, "--data", "missing.yaml", "--device", "cpu"], tmp_path) == 2


def train_by_script(console: str, folder: Path, data: Path, device: str = "cpu") -> None:
    words = ["--model", tiny_model(folder), "--data", str(data), "--epochs", "1", "--imgsz", "64", "--batch", "4"]
    words += ["--device", device, "workers=0", "plots=False"]
    assert run(console, [*TRAIN_PY, *words], folder) == 0
    check_run(folder / "runs" / "detect" / "train")
    words_of(folder, "err")
    if "out" in CONSOLES[console][0]:
        assert "GFLOPs, fused" in words_of(folder, "out") and "reached mAP50" in words_of(folder, "out")


def check_run(folder: Path) -> None:
    """See that a training ended: its row is there, and its weights are those of a finished run."""
    from ultralytics.nn.checkpoint import load_checkpoint

    assert len((folder / "results.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert yaml_load(folder / "args.yaml")["epochs"] == 1
    assert all(load_checkpoint(folder / "weights" / name)["epoch"] == -1 for name in ("best.pt", "last.pt"))


@pytest.mark.slow
def test_training_where_the_reader_goes_and_errors_go_nowhere(tmp_path, tiny_data):
    train_by_script("ascii 2>&- | head -1", tmp_path, tiny_data)


@pytest.mark.slow
@pytest.mark.parametrize("console", CONSOLES)
def test_train_py(console, tmp_path, tiny_data):
    train_by_script(console, tmp_path, tiny_data)


@pytest.mark.slow
@pytest.mark.parametrize("console", CONSOLES)
def test_train_val_and_predict(console, tmp_path, tiny_data):
    words = ["train", f"model={tiny_model(tmp_path)}", f"data={tiny_data}", "epochs=1", *FAST]
    assert run(console, [*YOLO, *words], tmp_path) == 0
    best = tmp_path / "runs" / "detect" / "train" / "weights" / "best.pt"
    check_run(best.parents[1])
    words_of(tmp_path, "out"), words_of(tmp_path, "err")

    assert run(console, [*YOLO, "val", f"model={best}", f"data={tiny_data}", *FAST, "save_json"], tmp_path) == 0
    assert (tmp_path / "runs" / "detect" / "val" / "predictions.json").is_file()
    words_of(tmp_path, "out"), words_of(tmp_path, "err")

    images = tiny_data.parent / "images" / "val"
    assert run(console, [*YOLO, "predict", f"model={best}", f"source={images}", *SMALL], tmp_path) == 0
    assert len(list((tmp_path / "runs" / "detect" / "predict").glob("*.jpg"))) == 4
    words_of(tmp_path, "out"), words_of(tmp_path, "err")


@pytest.mark.slow
@pytest.mark.parametrize("console", CONSOLES)
def test_compare(console, tmp_path, tiny_data):
    first = tiny_model(tmp_path)
    second = tmp_path / "火.yaml"
    second.write_bytes(Path(first).read_bytes())
    words = ["compare", f"models={first},火.yaml", f"data={tiny_data}", "epochs=1", "seeds=1", *FAST]
    if console == "LANG=C":  # whose file names are ASCII
        words[1] = f"models={first},{second.rename(tmp_path / 'other.yaml').name}"
    assert run(console, [*YOLO, *words], tmp_path) == 0
    (folder,) = (tmp_path / "runs").rglob("compare")
    assert {"index.html", "table.md", "table.csv"} <= {f.name for f in folder.iterdir()}
    words_of(tmp_path, "out"), words_of(tmp_path, "err")


@pytest.mark.slow
@pytest.mark.parametrize("console", ["cp1252", "all closed", "2>&1 | head -1"])
def test_two_processes(console, tmp_path, tiny_data):
    train_by_script(console, tmp_path, tiny_data, "cpu,cpu")
