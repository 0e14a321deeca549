"""Nothing is reported to the makers of packages: not at their import, nor by what is done with them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from tiny import tiny_model, write_tiny_data

from ultralytics.utils.system import telemetry
from ultralytics.utils.system.telemetry import KEPT_OUT, SWITCHES, quiet_import

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("ultralytics", "docs", "train", "tools", "benchmarks")
OWN_SWITCH = {"docs/serving/detect_onnx.py"}  # runs without this package, and flips the switch itself


def named_imports(file: Path) -> list[str]:
    """Return the packages that a file imports, be it by a statement or by a call with the name in it.

    What type checkers alone see is never imported.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = []
    for node in [node for node in ast.walk(tree) if node not in unseen]:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
        elif isinstance(node, ast.Call) and re.search(r"import(_module|__)$", ast.unparse(node.func)):
            found += [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
    return [name.partition(".")[0] for name in found]


def test_no_import_goes_past_the_switches():
    files = [f for folder in PLACES for f in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    past = {str(f.relative_to(ROOT)): {*named_imports(f)} & {*SWITCHES} for f in files}
    assert {name for name, packages in past.items() if packages} == OWN_SWITCH
    text = (ROOT / "docs/serving/detect_onnx.py").read_text(encoding="utf-8")
    assert text.index('setdefault("ORT_DISABLE_TELEMETRY", "1")') < text.index("import onnxruntime")


def test_the_walk_sees_every_spelling(tmp_path):
    file = tmp_path / "a.py"
    lines = [
        "import openvino.tools",
        "from wandb import init",
        "importlib.import_module('ray.tune')",
        "__import__('nncf')",
        "if TYPE_CHECKING:\n    import mlflow",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert named_imports(file) == ["openvino", "wandb", "ray", "nncf"]


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_come_before_the_import_and_users_stand(name, tmp_path, monkeypatch):
    """Each package is a file here that writes down what it finds as it is imported."""
    (tmp_path / f"{name}.py").write_text(
        "import os, sys\nseen = dict(os.environ)\nsender = 'openvino_telemetry' in sys.modules\n"
        "def disable_telemetry_events(): pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    for variable in SWITCHES[name]:
        monkeypatch.delenv(variable, raising=False)
    for loaded in (name, "openvino_telemetry"):  # set first, so that what was there, or nothing, comes back
        monkeypatch.setitem(sys.modules, loaded, None)
        del sys.modules[loaded]
    module = quiet_import(name)
    assert SWITCHES[name].items() <= module.seen.items() and module.sender == (name in KEPT_OUT)
    assert "openvino_telemetry" not in sys.modules  # nothing stays changed
    for variable in SWITCHES[name]:
        monkeypatch.setenv(variable, "as the user likes")
        quiet_import(name)
        assert os.environ[variable] == "as the user likes"


def test_a_sender_that_others_imported_is_muted(monkeypatch):
    sent = []
    sender, main = types.ModuleType("openvino_telemetry"), types.ModuleType("openvino_telemetry.main")
    main.TelemetrySender = type("TelemetrySender", (), {"send": lambda self, *args: sent.append(args)})
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sender)
    monkeypatch.setitem(sys.modules, "openvino_telemetry.main", main)
    with telemetry._kept_out("openvino_telemetry"), pytest.raises(ModuleNotFoundError):
        import openvino_telemetry  # noqa: F401
    assert sys.modules["openvino_telemetry"] is sender
    main.TelemetrySender().send("message")
    assert not sent


# Traced ---------------------------------------------------------------------------------------------------------------

LEFT_ON = """
import {package}
import time
time.sleep(2)
"""
QUIET = """
from ultralytics import YOLO
settings = dict(imgsz=64, verbose=False, threads=1, project=r"{folder}/runs")
file = YOLO(r"{folder}/tiny.yaml").export(format="{form}", imgsz=64, opset=12 if "{form}" == "onnx" else None)
model = YOLO(file)
model.predict(r"{folder}/images/val/val_0.jpg", save=False, **settings)
model.val(data=r"{folder}/data.yaml", plots=False, workers=0, batch=1, **settings)
"""


def traced(code: str, folder: Path) -> tuple[list[str], list[str]]:
    """Run code without CI in the environment and with an empty home; return what it sent and the files left there."""
    home, log = folder / "home", folder / "trace.txt"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    kept = {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "OMP_NUM_THREADS", "LANG"}
    env = {k: v for k, v in os.environ.items() if k in kept} | {"HOME": str(home)}
    words = ["strace", "-f", "-qq", "-e", "trace=network,openat", "-o", str(log), sys.executable, "-c", code]
    done = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr[-3000:]
    talk = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*(AF_INET|sin_addr|hosts\\0)")
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if talk.search(line)], sorted(str(f.relative_to(home)) for f in home.rglob("*"))


@pytest.fixture
def strace() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace, which shows what a process sends, is not installed")
    if subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace processes here")


@pytest.mark.slow
@pytest.mark.parametrize(("package", "form"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_runtimes_say_nothing(package, form, strace, tmp_path):
    for needed in (package, form, "onnx"):
        pytest.importorskip(needed)
    sent, left = traced(LEFT_ON.format(package=package), tmp_path)
    if not (sent or left):
        pytest.skip(f"this {package} says nothing by itself, so that its silence proves nothing")
    tiny_model(tmp_path)
    write_tiny_data(tmp_path, train=1, val=2)
    assert traced(QUIET.format(folder=tmp_path, form=form), tmp_path) == ([], [])
