"""The oldest versions that pyproject.toml allows: a job runs with them from end to end, and so do tests of each floor.

YOLO_OLDEST_PYTHON names the Python of an environment that has them; else one is made, which takes some GB and minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_model

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12")  # for which the oldest torch has wheels
TESTS = (
    "tests/utils/test_torch_utils.py", "tests/utils/test_ops.py", "tests/utils/test_metrics.py",
    "tests/utils/test_loss.py", "tests/utils/test_task_losses.py",
    "tests/nn/test_checkpoint.py", "tests/nn/test_forward.py", "tests/nn/test_task_models.py",
    "tests/data/test_build.py", "tests/data/test_augment.py", "tests/data/test_labels.py", "tests/data/test_loaders.py",
    "tests/engine/test_trainer.py", "tests/engine/test_guards.py", "tests/engine/test_resume.py",
    "tests/engine/test_predictor.py", "tests/engine/test_results.py", "tests/lab/test_distill.py",
)  # fmt: skip


def oldest() -> list[str]:
    """Return the requirements with their lower bounds as versions: 'torch>=2.3' becomes 'torch==2.3.*'."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    return [f"{name}=={version}.*" for name, version in re.findall(r'"([\w-]+)>=([\d.]+)"', listed)]


def run(*command: str, **kwargs) -> str:
    """Return what a command prints; a failing one fails the test with it."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **kwargs)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with the oldest versions."""
    if given := os.getenv("YOLO_OLDEST_PYTHON"):
        return given
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = (
        sys.executable
        if here in PYTHONS
        else next(filter(None, map(shutil.which, map("python{}".format, PYTHONS))), None)
    )
    if base is None:
        pytest.skip(f"the oldest torch needs Python {', '.join(PYTHONS)}")
    folder = tmp_path_factory.mktemp("oldest")
    if shutil.disk_usage(folder).free < 10 * 2**30:
        pytest.skip("the oldest torch needs 10 GB of disk")
    run(base, "-m", "venv", str(folder))
    made = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    install = [made, "-m", "pip", "install", "-q", *oldest(), "pytest==7.4.*"]
    done = subprocess.run(install, capture_output=True, text=True, errors="replace")
    if done.returncode and "resolve" not in done.stderr.lower():  # versions that contradict each other are a mistake
        pytest.skip(f"the oldest versions cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return made


def test_each_requirement_has_a_lower_bound():
    assert len(oldest()) == 9 and "torch==2.3.*" in oldest()


@pytest.mark.slow
def test_the_environment_has_the_oldest_versions(python: str):
    code = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"
    names = [line.partition("==")[0] for line in oldest()]
    found = run(python, "-c", code, *names).split()
    assert [f"{n}=={v}" for n, v in zip(names, found) if not f"{n}=={v}.".startswith(f"{n}=={_bound(n)}.")] == []


def _bound(name: str) -> str:
    return next(line for line in oldest() if line.startswith(f"{name}=="))[len(name) + 2 : -2]


@pytest.mark.slow
def test_a_job_from_end_to_end(python: str, tiny_data: Path, work_dir: Path):
    settings = f"data={tiny_data} imgsz=64 batch=4 workers=0 device=cpu project={work_dir / 'runs'}".split()
    yolo = (python, "-m", "ultralytics")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(*yolo, "train", f"model={tiny_model(work_dir)}", "epochs=2", *settings, env=environment)
    best = work_dir / "runs/train/weights/best.pt"
    assert "all" in run(*yolo, "val", f"model={best}", *settings, env=environment)
    images = tiny_data.parent / "images/val"
    said = run(
        *yolo, "predict", f"model={best}", f"source={images}", "imgsz=64", "conf=0.001", *settings[-1:], env=environment
    )
    assert said.count("val_") == 4 and len([*(work_dir / "runs/predict").iterdir()]) == 4


@pytest.mark.slow
def test_the_tests_of_each_floor(python: str):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=ROOT, env=environment)
    assert re.search(r"\d{3,} passed", said) and "failed" not in said
