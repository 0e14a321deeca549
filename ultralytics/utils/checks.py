"""Checks of arguments (files, sizes, versions, names) and of the machine; they report, and never install."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ultralytics.utils import LOGGER, ROOT, colorstr
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError, MissingPackageError, did_you_mean
from ultralytics.utils.hostile.names import LONGEST, clean_name

if TYPE_CHECKING:
    import torch


PYTHON_MINIMUM = "3.10"
IS_PYTHON_MINIMUM_3_10, IS_PYTHON_3_12 = (sys.version_info >= (3, 10), sys.version_info[:2] == (3, 12))
PCI = Path("/sys/bus/pci/devices")
REQUIRED = ("torch", "torchvision", "opencv-python", "numpy", "pyyaml", "matplotlib", "pandas", "pillow", "tqdm")
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_OPERATORS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "~=": lambda a, b: a >= b and a[: len(b) - 1] == b[:-1],
}


# Sizes and names ------------------------------------------------------------------------------------------------------


def check_imgsz(
    imgsz: int | str | Sequence[int],
    stride: int | torch.Tensor = 32,
    min_dim: int = 1,
    max_dim: int = 2,
    floor: int = 0,
) -> int | list[int]:
    """Round the image size up to a multiple of the stride.

    Args:
        imgsz: side, or [height, width], in pixels.
        stride: largest stride of the model; of a tensor of strides, the maximum.
        min_dim: 2 returns [height, width] even for one number.
        max_dim: 1 takes the longer side of [height, width].
        floor: smallest side in pixels.

    Raises:
        ConfigError: the size is not one or two whole numbers of at least 1.
    """
    stride = int(stride.max() if hasattr(stride, "max") else stride)
    sides: list[int] = []
    try:
        given = ast.literal_eval(imgsz) if isinstance(imgsz, str) else imgsz
        sides = list(given) if isinstance(given, Iterable) else [given]
        good = 0 < len(sides) <= 2 and all(int(s) == s and s >= 1 for s in sides)
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError, OverflowError):
        good = False
    if not good:
        raise ConfigError(
            f"'imgsz={imgsz}' is not possible: a whole number of at least 1, or [height, width], is wanted."
        )
    if len(sides) > max_dim:
        LOGGER.warning(f"One side is wanted here, so 'imgsz={imgsz}' becomes 'imgsz={max(sides)}'.")
        sides = [max(sides)]
    fitted = [max(math.ceil(int(side) / stride) * stride, floor) for side in sides]
    if fitted != sides:
        LOGGER.warning(f"'imgsz={imgsz}' must be a multiple of the stride {stride}; {fitted} is used.")
    if len(fitted) == 1:
        return fitted * 2 if min_dim == 2 else fitted[0]
    return fitted


def check_class_names(names: dict | Sequence[str]) -> dict[int, str]:
    """Return class names as {index: name}, from a list or from a dict whose indices may be text.

    Raises:
        DataError: the indices are not 0 to n - 1, or a name is too long or has odd characters.
    """
    try:
        if any(isinstance(k, float) and k != int(k) for k in names if isinstance(names, dict)):
            raise ValueError
        pairs = {int(k): str(v) for k, v in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (ValueError, TypeError, OverflowError):
        raise DataError(
            f"The class indices {str(list(names))[:200]} are not whole numbers. Write them as 0, 1, 2 ..."
        ) from None
    if len(pairs) < len(names):
        raise DataError(
            f"Of the class indices {str(list(names))[:200]} two are the same number. Give each name its own."
        )
    if sorted(pairs) != list(range(len(pairs))):
        given = sorted(pairs)
        raise DataError(f"{len(pairs)} class names want the indices 0 to {len(pairs) - 1}, but {given} were given.")
    odd = next((k for k, name in pairs.items() if clean_name(name) != name), None)
    if odd is not None:
        raise DataError(
            f"The name of class {odd}, {ascii(pairs[odd])[:100]}, has more than {LONGEST} characters or some that "
            "cannot be seen, such as line ends. Write it again."
        )
    return dict(sorted(pairs.items()))


# Files ----------------------------------------------------------------------------------------------------------------


def check_suffix(
    file: str | Path | Iterable = "yolo11n.pt", suffix: str | Sequence[str] = ".pt", msg: str = ""
) -> None:
    """Raise ConfigError if a file, or one of several, does not have an allowed suffix."""
    allowed = (suffix,) if isinstance(suffix, str) else tuple(suffix)
    for one in [file] if isinstance(file, (str, Path)) else file:
        ending = Path(str(one).strip()).suffix.lower()
        if any(allowed) and ending and ending not in allowed:
            raise ConfigError(f"{msg}'{one}' must end in {' or '.join(allowed)}, not in {ending}.")


def check_file(
    file: str | Path,
    suffix: str | Sequence[str] = "",
    download: bool = False,
    download_dir: str | Path = ".",
    hard: bool = True,
) -> str:
    """Find a file by its path or, in the package's cfg folder, by its name.

    Args:
        file: path or bare name.
        suffix: endings allowed.
        download: fetch the file of an address, unless it is here.
        download_dir: where to.
        hard: raise if there is no such file or more than one; else return ''.
    """
    check_suffix(file, suffix)
    file = str(file).strip()
    if download and "://" in file:
        from ultralytics.utils.downloads import safe_download

        return str(safe_download(file, dir=download_dir, unzip=False))
    if file and os.path.exists(file):  # not Path.exists, which raises for names that are too long
        return file
    bundled = {path.relative_to(ROOT / "cfg"): path for path in sorted((ROOT / "cfg").rglob("*.yaml"))}
    wanted = Path(file)
    found = [p for rel, p in bundled.items() if file and rel.parts[-len(wanted.parts) :] == wanted.parts]
    if len(found) == 1:
        return str(found[0])
    if not hard:
        return ""
    if found:
        raise ConfigError(f"'{file}' is the name of several files: {', '.join(map(str, found))}. Give the path of one.")
    hint = did_you_mean(wanted.name, _names_near(wanted, suffix, bundled))
    if "://" in file:
        hint = " Addresses are not fetched by themselves: download the file and give its path, or pass download=True."
    raise MissingFileError(
        f"The file '{file}' does not exist in '{Path.cwd()}' nor in the package's cfg folder."
        f"{hint or ' Check the spelling, or give the full path.'}"
    )


def check_yaml(file: str | Path, suffix: str | Sequence[str] = (".yaml", ".yml"), hard: bool = True) -> str:
    """Find a YAML file by its path or, in the package's cfg folder, by its name."""
    return check_file(file, suffix, hard=hard)


def _names_near(wanted: Path, suffix: str | Sequence[str], bundled: Iterable[Path]) -> list[str]:
    """Return the names of files that may have been meant: those beside the wanted one, and the package's own."""
    endings = tuple(s for s in ((suffix,) if isinstance(suffix, str) else suffix) if s) or (wanted.suffix,)
    beside = wanted.parent.iterdir() if os.path.isdir(wanted.parent) else ()
    return [p.name for p in (*beside, *bundled) if p.name.endswith(endings)]


def check_model_file_from_stem(model: str | Path = "yolo11n") -> str | Path:
    """Return the weight file that a bare name of a model stands for: 'yolo11n' gives 'yolo11n.pt'."""
    from ultralytics.utils.downloads import GITHUB_ASSETS_STEMS

    path = Path(model)
    return path.with_suffix(".pt") if not path.suffix and path.stem in GITHUB_ASSETS_STEMS else model


def check_yolov5u_filename(file: str, verbose: bool = True) -> str:
    """Return the name of a weight file of YOLOv3 or v5 without anchors: 'yolov5n.pt' gives 'yolov5nu.pt'."""
    name = re.sub(r"^(.*yolov(?:5[nsmlx]6?|3(?:-tiny|-spp)?))(\.(?:pt|yaml))$", r"\1u\2", str(file))
    name = str(file) if str(file).endswith(".yaml") else name
    if name != str(file) and verbose:
        LOGGER.info(f"'{file}' is read as '{name}', the model of that name without anchors.")
    return name


def check_font(font: str = "Arial.ttf") -> str | None:
    """Return the path of a font: the file itself, or one of this system by its name; None if it is not here."""
    from ultralytics.utils.drawing.fonts import font_files

    if Path(font).is_file():
        return str(font)
    return next((str(file) for file in font_files() if file.name.lower() == Path(font).name.lower()), None)


def is_ascii(s: object) -> bool:
    """Check whether a text, or that of another value, is ASCII."""
    return str(s).isascii()


# Versions and packages ------------------------------------------------------------------------------------------------


def parse_version(version: str = "0.0.0") -> tuple[int, ...]:
    """Parse the release part of a version: '2.1.0+cpu' gives (2, 1, 0); (0, 0, 0) if there is none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", str(version).strip())
    return tuple(map(int, match[1].split("."))) if match else (0, 0, 0)


def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution, or None; any of OpenCV's distributions counts for OpenCV."""
    for name in _OPENCV if package in _OPENCV else (package,):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_version(
    current: str = "0.0.0",
    required: str = "0.0.0",
    name: str = "version",
    hard: bool = False,
    verbose: bool = False,
    msg: str = "",
) -> bool:
    """Check whether a version meets a requirement such as '>=2.1,<3' ('2.1' alone means at least 2.1).

    Args:
        current: a version, or the name of an installed package.
        required: conditions joined by commas.
        name: how to call it in the message.
        hard: raise MissingPackageError if it does not.
        verbose: warn if it does not.
        msg: words to add to the message.
    """
    if current and not current[0].isdigit():
        name, current = current, installed_version(current) or ""
    meets = bool(current) or not required
    for condition in filter(None, required.replace(" ", "").split(",")):
        match = re.match(r"([<>=!~]*)(.+)", condition)
        assert match  # any text but an empty one does
        have, want = parse_version(current), parse_version(match[2])
        have += (0,) * (len(want) - len(have))
        compatible = match[1] == "~="
        want_padded = want if compatible else want + (0,) * (len(have) - len(want))
        meets &= _OPERATORS[match[1] or ">="](have, want_padded)
    if not meets:
        text = f"{name} {required} is required, but {current or 'none'} is installed. {msg}".strip()
        if hard:
            raise MissingPackageError(text)
        if verbose:
            LOGGER.warning(text)
    return meets


def check_python(minimum: str = PYTHON_MINIMUM, hard: bool = True) -> bool:
    """Check whether this Python is new enough."""
    return check_version(platform.python_version(), minimum, name="Python", hard=hard)


def parse_requirements(file_path: str | Path, package: str = "") -> list[SimpleNamespace]:
    """Return `name` and `specifier` of each line of a requirements.txt, or of the needs of an installed `package`."""
    lines = importlib.metadata.requires(package) or [] if package else Path(file_path).read_text("utf-8").splitlines()
    lines = [line.split("#")[0].split(";")[0].strip() for line in lines if "extra ==" not in line]
    return [SimpleNamespace(name=name, specifier=condition) for name, condition in map(_parted, filter(None, lines))]


def _parted(requirement: str) -> tuple[str, str]:
    """Split a requirement such as 'onnx[extra]>=1.12; python_version<"3.13"' into its name and its condition."""
    match = re.match(r"([\w.-]+)(?:\[[^]]*])?\s*([^;]*)", requirement.strip())
    if match is None:
        raise ConfigError(f"'{requirement}' is not a requirement. Give the name of a package, as 'onnx>=1.12'.")
    return match[1], match[2].strip()


def check_requirements(
    requirements: str | Path | Sequence[str] = REQUIRED,
    exclude: Sequence[str] = (),
    install: bool = True,
    cmds: str = "",
) -> bool:
    """Check whether packages are installed in the versions wanted, and warn with a `pip install` line if they are not.

    Nothing is installed, whatever `install` says: that is left to the reader of the line.

    Args:
        requirements: one requirement such as 'onnx>=1.12', several, or the path of a requirements.txt; by default the
            packages that this one needs.
        exclude: names of packages to skip.
        install: False leaves the line out, for a caller who only asks.
        cmds: further words of the line, such as '--no-deps'.
    """
    if isinstance(requirements, Path):
        requirements = [f"{r.name}{r.specifier}" for r in parse_requirements(requirements)]
    missing = []
    for requirement in [requirements] if isinstance(requirements, str) else requirements:
        name, condition = _parted(requirement)
        version = installed_version(name)
        if name not in exclude and (version is None or not check_version(version, condition)):
            missing.append(requirement)
    if missing and install:
        line = " ".join(["pip install", *(f'"{m}"' for m in missing), *cmds.split()])
        LOGGER.warning(f"Missing: {', '.join(missing)}. Nothing is installed by itself; run `{line}`.")
    return not missing


def check_torchvision() -> bool:
    """Check whether the installed torchvision fits the installed torch, and warn if not."""
    state = torchvision_state()
    fits = state[:1].isdigit() and "does not fit" not in state
    if not fits:
        LOGGER.warning(f"WARNING ⚠️ torchvision {state}.")
    return fits


def git_describe(path: str | Path = ROOT) -> str:
    """Return what `git describe` says of the repository at a path, such as 'v1.2-3-gabcdef0'; empty outside of one."""
    words = ["git", "-C", str(path), "describe", "--tags", "--long", "--always"]
    try:
        return subprocess.check_output(words, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# The machine ----------------------------------------------------------------------------------------------------------


def cuda_device_count() -> int:
    """Return the number of NVIDIA GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_amp(model: torch.nn.Module) -> bool:
    """Check whether mixed precision gives right results on the model's device; see `torch_utils.check_amp`."""
    from ultralytics.utils.torch_utils import check_amp

    return check_amp(model)


def check_is_path_safe(basedir: str | Path, path: str | Path) -> bool:
    """Check whether a path below a folder exists and does not lead out of it."""
    base, full = Path(basedir).resolve(), (Path(basedir) / path).resolve()
    return full.exists() and full.is_relative_to(base)


def cuda_is_available() -> bool:
    """Check whether torch can use a CUDA GPU."""
    import torch

    return torch.cuda.is_available()


def check_imshow(warn: bool = False) -> bool:
    """Check whether OpenCV can show images in a window."""
    shown = has_screen() and _opens_windows()
    if not shown and warn:
        why = "OpenCV opens no window here" if has_screen() else "There is no screen to show images on"
        LOGGER.warning(f"WARNING: {why}; use 'save=True' and look at the files.")
    return shown


def has_screen() -> bool:
    """Check whether this process was given a screen."""
    named = any(os.getenv(v) for v in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    return sys.platform in {"win32", "darwin"} or named


@functools.cache
def _opens_windows() -> bool:
    """Try it in a process of its own, as Qt ends the process where a screen is named that cannot be reached."""
    if sys.platform in {"win32", "darwin"} or getattr(sys, "frozen", False):
        return True
    code = "import cv2; cv2.namedWindow('.'); cv2.destroyAllWindows()"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([sys.executable, "-c", code], timeout=30, capture_output=True).returncode == 0
    return False


def memory_gb() -> float | None:
    """Return the machine's memory in GiB, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def torchvision_state() -> str:
    """Return the installed torchvision's version and, if it does not fit the installed torch, the consequence."""
    version = installed_version("torchvision")
    if version is None:
        return "not installed; NMS runs on OpenCV"
    try:
        import torch

        importlib.import_module("torchvision")
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return version
    except (ImportError, RuntimeError, AttributeError, OSError):
        return f"{version} does not fit this torch; NMS runs on OpenCV (reinstall torch and torchvision together)"


def _torch_info() -> dict[str, str]:
    """Describe torch and its GPUs, or why torch cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as e:
        return {"torch": f"cannot be imported: {e}"}
    cuda, gpus = torch.version.cuda, [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "torch": torch.__version__,
        "CUDA": f"{cuda}, {len(gpus)} GPU: {', '.join(gpus)}" if gpus else _why_no_gpu(cuda),
    }


def has_nvidia_card() -> bool:
    """Check whether an NVIDIA card or its driver is here, whatever torch thinks; no process is started for it."""
    if os.getenv("CUDA_VISIBLE_DEVICES") in {"", "-1"}:  # hidden on purpose
        return False
    if shutil.which("nvidia-smi") or os.path.isdir("/proc/driver/nvidia/gpus"):
        return True
    for device in PCI.glob("*"):
        with suppress(OSError):
            vendor, kind = ((device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
            if vendor == "0x10de" and kind.startswith("0x03"):  # NVIDIA; a display controller
                return True
    return False


def _why_no_gpu(cuda: str | None) -> str:
    """Explain why a torch that was built for this CUDA, or for none, finds no GPU."""
    if not has_nvidia_card():
        return "no GPU found"
    return f"{cuda}, but the NVIDIA card cannot be used" if cuda else "none in this torch, but there is an NVIDIA card"


def collect_system_info() -> dict[str, str]:
    """Describe the machine and its packages, and log it line by line."""
    import ultralytics

    memory = memory_gb()
    total, _, free = shutil.disk_usage(Path.cwd())
    info = {
        "ultralytics": ultralytics.__build__,
        "OS": platform.platform(),
        "Python": platform.python_version(),
        "folder": str(ROOT),
        "CPU": f"{os.cpu_count()} threads, {platform.machine()}",
        "memory": f"{memory:.1f} GB" if memory else "unknown",
        "disk": f"{free / 2**30:.1f} of {total / 2**30:.1f} GB free",
        **_torch_info(),
        "torchvision": torchvision_state(),
    }
    info.update({name: installed_version(name) or "not installed" for name in REQUIRED if name not in info})
    width = max(map(len, info))
    for key, value in info.items():
        LOGGER.info(f"{key:<{width}}  {value}")
    return info


def find_faults(info: dict[str, str]) -> list[str]:
    """Return a sentence for each fault in the report of `collect_system_info`."""
    faults = []
    if not check_python(hard=False):
        faults.append(f"Python {info['Python']} is too old; {PYTHON_MINIMUM} or newer is needed.")
    missing = [name for name in REQUIRED if installed_version(name) is None]
    if missing:
        faults.append(f"Not installed: {', '.join(missing)}. Run `pip install {' '.join(missing)}`.")
    if "cannot be imported" in info["torch"]:
        faults.append(f"torch {info['torch']}. Reinstall it as https://pytorch.org/get-started says.")
    if "NVIDIA card" in info.get("CUDA", ""):
        faults.append(
            "The NVIDIA card cannot be used: torch is of the kind for the CPU alone. Reinstall it with `pip install "
            "--force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu126`, or with the "
            "address that https://pytorch.org/get-started names for the card."
            if info["CUDA"].startswith("none")
            else f"The NVIDIA card cannot be used by a torch for CUDA {info['CUDA'].split(',')[0]}: is its driver new "
            "enough (`nvidia-smi` says for which CUDA), and in a container, was it let in (`--gpus all`)?"
        )
    if "does not fit" in info["torchvision"]:
        faults.append(f"torchvision {info['torchvision']}.")
    if float(info["disk"].split()[0]) < 2:
        faults.append(f"The disk is nearly full: {info['disk']}.")
    return faults


def report_faults(info: dict[str, str]) -> bool:
    """Log the faults in a report; return whether there are none."""
    faults = find_faults(info)
    for fault in faults:
        LOGGER.warning(f"Does not fit: {fault}")
    if not faults:
        LOGGER.info("Everything fits.")
    return not faults


def run_checks() -> bool:
    """Report Python, packages, GPU, memory and disk, and their faults; return whether there are none."""
    return report_faults(collect_system_info())


def check_yolo(verbose: bool = True, device: object = "") -> bool:
    """Report Python, packages, GPU, memory and disk as `run_checks` does, and the device that would be used."""
    from ultralytics.utils.torch_utils import select_device

    select_device(device, newline=False)
    return run_checks() if verbose else not find_faults(collect_system_info())


checks = run_checks  # `from ultralytics import checks`


def print_args(args: dict | None = None, show_file: bool = True, show_func: bool = False) -> None:
    """Log the arguments of the calling function, or the given ones."""
    frame = sys._getframe(1)
    if args is None:
        names, _, _, values = inspect.getargvalues(frame)
        args = {name: values[name] for name in names}
    place = [Path(frame.f_code.co_filename).stem] * show_file + [frame.f_code.co_name] * show_func
    LOGGER.info(colorstr(": ".join([*place, ""])) + ", ".join(f"{k}={v}" for k, v in args.items()))
