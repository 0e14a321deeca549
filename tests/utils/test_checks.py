"""Checks of sizes, files, versions and names, and the report on the machine."""

from __future__ import annotations

import sys

import pytest

from ultralytics.utils import ROOT, checks
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError, MissingPackageError


@pytest.mark.parametrize(
    "imgsz, options, expected",
    [
        (640, {}, 640),
        (641, {}, 672),
        (1, {}, 32),
        ("320", {}, 320),
        ([480, 630], {}, [480, 640]),
        ((480, 640), {}, [480, 640]),
        ("[480,640]", {}, [480, 640]),
        (640, {"min_dim": 2}, [640, 640]),
        ([480, 640], {"max_dim": 1}, 640),
        (32, {"floor": 64}, 64),
        (100, {"stride": 64}, 128),
    ],
)
def test_imgsz(imgsz, options, expected):
    assert checks.check_imgsz(imgsz, **options) == expected


def test_imgsz_with_a_tensor_of_strides():
    torch = pytest.importorskip("torch")
    assert checks.check_imgsz(40, stride=torch.tensor([8.0, 16.0, 32.0])) == 64


@pytest.mark.parametrize("imgsz", [0, -32, 1.5, "big", None, [], [1, 2, 3], [640, 0], ["a"]])
def test_impossible_imgsz(imgsz):
    with pytest.raises(ConfigError, match=r"'imgsz=.*at least 1"):
        checks.check_imgsz(imgsz)


def test_imgsz_says_when_it_changes(caplog):
    checks.check_imgsz(640)
    assert not caplog.records
    checks.check_imgsz(650)
    assert "'imgsz=650'" in caplog.text and "672" in caplog.text


@pytest.mark.parametrize("names", [["a", "b"], ("a", "b"), {0: "a", 1: "b"}, {"1": "b", "0": "a"}])
def test_class_names(names):
    named = checks.check_class_names(names)
    assert list(named.items()) == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("names", [{0: "a", 2: "b"}, {1: "a"}, {"x": "a"}])
def test_impossible_class_names(names):
    with pytest.raises(DataError, match="indices"):
        checks.check_class_names(names)


def test_suffix():
    checks.check_suffix("a.PT", ".pt")
    checks.check_suffix(["a.pt", "b.yaml"], (".pt", ".yaml"))
    checks.check_suffix("anything.x", "")
    with pytest.raises(ConfigError, match=r"'a.onnx' must end in .pt"):
        checks.check_suffix("a.onnx", ".pt")


def test_files_here_come_before_those_of_the_package(work_dir):
    assert checks.check_yaml("default.yaml") == str(ROOT / "cfg" / "default.yaml")
    assert checks.check_yaml("models/11/yolo11.yaml") == str(ROOT / "cfg" / "models" / "11" / "yolo11.yaml")
    (work_dir / "default.yaml").write_text("epochs: 1\n")
    assert checks.check_yaml("default.yaml") == "default.yaml"


def test_missing_file(work_dir):
    (work_dir / "火焰.yaml").write_text("")
    with pytest.raises(MissingFileError, match=r"'火灾焰.yaml' does not exist.*Did you mean '火焰.yaml'"):
        checks.check_yaml("火灾焰.yaml")
    with pytest.raises(MissingFileError, match=r"Did you mean 'default.yaml'"):
        checks.check_yaml("defalt.yaml")
    with pytest.raises(MissingFileError, match="not fetched by themselves"):
        checks.check_file("https://example.com/data.yaml")
    assert checks.check_file("nothing.yaml", hard=False) == ""
    assert checks.check_file("", hard=False) == ""


@pytest.mark.parametrize(
    "current, required, meets",
    [
        ("2.1.0", "2.1", True),
        ("2.1", "==2.1.0", True),
        ("2.13.0+cpu", ">=2.2,<3", True),
        ("1.10", ">1.9", True),
        ("1.9.9", ">=1.10", False),
        ("3.0", ">=2.0, <3.0", False),
        ("2.5.1", "!=2.5.1", False),
        ("1.4.5", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("1.5", "~=1.4.2", False),
    ],
)
def test_version(current, required, meets):
    assert checks.check_version(current, required) is meets


def test_version_of_a_package(caplog):
    assert checks.check_version("pytest", ">=1.0")
    with pytest.raises(MissingPackageError, match=r"pytest >=1000 is required, but \d"):
        checks.check_version("pytest", ">=1000", hard=True)
    assert not checks.check_version("no-such-package", ">=1", verbose=True)
    assert "none is installed" in caplog.text


def test_python():
    assert checks.check_python()
    assert not checks.check_python("99.0", hard=False)
    with pytest.raises(MissingPackageError, match=r"Python 99.0 is required"):
        checks.check_python("99.0")


def test_requirements_are_reported_and_never_installed(caplog, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *a, **k: pytest.fail("a process was started"))
    assert checks.check_requirements("pytest>=1")
    assert checks.check_requirements(["pytest[x]>=1", "no-such-package"], exclude=["no-such-package"])
    assert not checks.check_requirements(["pytest", "no-such-package>=2"])
    assert 'pip install "no-such-package>=2"' in caplog.text
    (tmp_path / "requirements.txt").write_text("# comment\npytest>=1  # more\n\n")
    assert checks.check_requirements(tmp_path / "requirements.txt")
    assert checks.check_requirements()  # what this package needs


def test_report_names_what_matters(caplog):
    info = checks.collect_system_info()
    assert {"Python", "torch", "torchvision", "CUDA", "opencv-python", "memory", "disk"} <= set(info)
    assert all(f"{key} " in caplog.text for key in info)


def test_report_says_what_does_not_fit(monkeypatch):
    good = {"Python": "3.11", "torch": "2.5", "torchvision": "0.20", "disk": "50.0 of 100.0 GB free"}
    monkeypatch.setattr(checks, "installed_version", lambda name: "1.0")
    assert checks.find_faults(good) == []
    bad = {
        **good,
        "torch": "cannot be imported: x",
        "torchvision": "0.1 does not fit this torch",
        "disk": "0.5 of 9.0 GB",
    }
    assert [text.split()[0] for text in checks.find_faults(bad)] == ["torch", "torchvision", "The"]
    monkeypatch.setattr(checks, "installed_version", lambda name: None)
    assert "pip install torch torchvision" in checks.find_faults(good)[0]


@pytest.mark.parametrize("by", ["nvidia-smi", "pci", "none", "another card", "hidden"])
@pytest.mark.parametrize("cuda", [None, "12.6"])
def test_an_nvidia_card_that_torch_cannot_use_is_named(by, cuda, monkeypatch, tmp_path):
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    vendor = "0x10de" if by in {"pci", "hidden"} else "0x8086"
    for name, text in (("vendor", vendor), ("class", "0x030200" if by != "none" else "0x020000")):
        (device / name).write_text(f"{text}\n", encoding="ascii")
    monkeypatch.setattr(checks, "PCI", tmp_path / "pci")
    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/usr/bin/{name}" if by == name else None)
    monkeypatch.setattr(checks.os.path, "isdir", lambda path: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if by == "hidden":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(checks, "installed_version", lambda name: "1.0")
    info = {"Python": "3.11", "torchvision": "0.20", "disk": "50.0 of 100.0 GB free", **checks._torch_info()}
    faults = checks.find_faults(info)
    if by in {"nvidia-smi", "pci"}:
        (fault,) = faults
        assert ("--index-url https://download.pytorch.org" in fault) == (cuda is None)
        assert ("driver" in fault) == (cuda is not None)
    else:
        assert faults == [] and info["CUDA"] == "no GPU found"


def test_a_torchvision_that_does_not_fit_is_seen(monkeypatch):
    def misfit(name, *args):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(checks, "installed_version", lambda name: "0.20")
    monkeypatch.setattr(checks.importlib, "import_module", misfit)
    assert "does not fit this torch" in checks.torchvision_state()
    monkeypatch.setattr(checks, "installed_version", lambda name: None)
    assert "not installed" in checks.torchvision_state()


@pytest.fixture
def no_screen(monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    checks._opens_windows.cache_clear()
    yield
    checks._opens_windows.cache_clear()


def test_imshow_without_a_screen(no_screen, caplog):
    assert not checks.check_imshow(warn=True)
    assert "no screen" in caplog.text


@pytest.mark.parametrize(("code", "shown"), [("pass", True), ("import os; os.abort()", False), ("1 / 0", False)])
def test_imshow_tries_where_a_screen_is_named(no_screen, monkeypatch, caplog, code, shown):
    """In another process, as Qt aborts on a screen that is not there."""
    run = checks.subprocess.run
    monkeypatch.setattr(
        checks.subprocess,
        "run",
        lambda command, **kw: run([command[0], "-c", code], **kw) if "cv2" in command[2] else 0,
    )
    monkeypatch.setenv("DISPLAY", ":77")
    assert checks.check_imshow(warn=True) is shown
    assert ("opens no window" in caplog.text) is not shown


def test_print_args(caplog):
    def caller(epochs, name="x"):
        checks.print_args(show_func=True)

    caller(3)
    assert "caller: " in caplog.text and "epochs=3, name=x" in caplog.text
