"""The environment: operating system, notebook or container; found out when first asked for, and remembered."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ultralytics.utils import LOGGER, ROOT
from ultralytics.utils.settings import SETTINGS, user_config_dir

MACOS, LINUX, WINDOWS = (platform.system() == name for name in ("Darwin", "Linux", "Windows"))
ARM64 = platform.machine().lower() in {"arm64", "aarch64"}
PYTHON_VERSION = platform.python_version()
NUM_THREADS = min(8, max(1, (os.cpu_count() or 1) - 1))  # for work shared among threads
ARGV = sys.argv
VERBOSE = os.getenv("YOLO_VERBOSE", "true").lower() == "true"
LOGGING_NAME = LOGGER.name
AUTOINSTALL = ONLINE = False  # nothing is installed by itself, and nothing is asked of the network at import


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@lru_cache(maxsize=1)
def is_ubuntu() -> bool:
    """Check whether the system is Ubuntu."""
    return re.search(r"^ID=\"?ubuntu\b", _read("/etc/os-release"), re.MULTILINE) is not None


def is_colab() -> bool:
    """Check whether this is a Google Colab notebook."""
    return "COLAB_RELEASE_TAG" in os.environ or "COLAB_BACKEND_VERSION" in os.environ


def is_kaggle() -> bool:
    """Check whether this is a Kaggle notebook."""
    return os.getenv("PWD") == "/kaggle/working" and os.getenv("KAGGLE_URL_BASE") == "https://www.kaggle.com"


def is_jupyter() -> bool:
    """Check whether this is a notebook with widgets."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ in {"ZMQInteractiveShell", "Shell"}


def is_docker() -> bool:
    """Check whether this is a Docker container."""
    return Path("/.dockerenv").exists() or "docker" in _read("/proc/self/cgroup")


def get_ubuntu_version() -> str | None:
    """Return the version of Ubuntu, such as '22.04'; None on other systems."""
    found = re.search(r"^VERSION_ID=\"?([\d.]+)", _read("/etc/os-release"), re.MULTILINE) if is_ubuntu() else None
    return found[1] if found else None


@lru_cache(maxsize=1)
def read_device_model() -> str:
    """Return the model of a single-board computer, in lower case; empty on others."""
    return _read("/proc/device-tree/model").lower()


def is_raspberrypi() -> bool:
    """Check whether this is a Raspberry Pi."""
    return "raspberry pi" in read_device_model()


def is_jetson() -> bool:
    """Check whether this is a Jetson."""
    return "nvidia" in read_device_model()


def is_github_action_running() -> bool:
    """Check whether this is a GitHub Actions job."""
    return "GITHUB_ACTIONS" in os.environ and "GITHUB_WORKFLOW" in os.environ and "RUNNER_OS" in os.environ


def is_pytest_running() -> bool:
    """Check whether this runs under pytest."""
    return "PYTEST_CURRENT_TEST" in os.environ or "pytest" in sys.modules


def is_pip_package(filepath: str = __name__) -> bool:
    """Check whether a module is installed in site-packages."""
    spec = importlib.util.find_spec(filepath)
    return spec is not None and "site-packages" in str(spec.origin)


def is_dir_writeable(dir_path: str | Path) -> bool:
    """Check whether files can be created in a folder."""
    return os.access(str(dir_path), os.W_OK)


def get_git_dir() -> Path | None:
    """Return the folder of the Git repository that the package lies in, or None."""
    return next((d for d in Path(ROOT).parents if (d / ".git").exists()), None)


def is_git_dir() -> bool:
    """Check whether the package lies in a Git repository."""
    return get_git_dir() is not None


def _git(*words: str) -> str | None:
    """Return what git says in the repository of the package, or None without either."""
    folder = get_git_dir()
    if folder is None:
        return None
    try:
        text = subprocess.check_output(["git", *words], cwd=folder, stderr=subprocess.DEVNULL, text=True)
        return text.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def get_git_branch() -> str | None:
    """Return the branch of the Git repository that the package lies in, or None."""
    return _git("rev-parse", "--abbrev-ref", "HEAD")


def get_git_origin_url() -> str | None:
    """Return the address that this repository was cloned from, or None."""
    return _git("config", "--get", "remote.origin.url")


def is_online(timeout: float = 2.0) -> bool:
    """Check whether a public name server can be reached; nothing else here touches the network."""
    for host in ("1.1.1.1", "8.8.8.8"):
        try:
            socket.create_connection((host, 53), timeout=timeout).close()
            return True
        except OSError:
            continue
    return False


def get_user_config_dir(sub_dir: str = "") -> Path:
    """Return the folder for the user's settings, or one below it; it is created if needed."""
    folder = user_config_dir() / sub_dir if sub_dir and sub_dir != "Ultralytics" else user_config_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _environment() -> str:
    """Name the place this runs in, such as 'Colab' or 'Linux'."""
    places = {"Colab": is_colab, "Kaggle": is_kaggle, "Jupyter": is_jupyter, "Docker": is_docker}
    return next((name for name, here in places.items() if here()), platform.system())


# Constants of 8.3.0 that cost something to find out, and how they are found.
_LAZY: dict[str, Callable[[], object]] = {
    "IS_COLAB": is_colab,
    "IS_KAGGLE": is_kaggle,
    "IS_JUPYTER": is_jupyter,
    "IS_DOCKER": is_docker,
    "IS_RASPBERRYPI": is_raspberrypi,
    "IS_JETSON": is_jetson,
    "IS_VSCODE": lambda: os.environ.get("TERM_PROGRAM") == "vscode",
    "PROC_DEVICE_MODEL": read_device_model,
    "TESTS_RUNNING": lambda: is_pytest_running() or is_github_action_running(),
    "ENVIRONMENT": _environment,
    "SETTINGS_FILE": lambda: SETTINGS.file,
    "IS_PIP_PACKAGE": is_pip_package,
    "IS_GIT_DIR": is_git_dir,
    "GIT_DIR": get_git_dir,
    "USER_CONFIG_DIR": user_config_dir,
    "TORCH_VERSION": lambda: metadata.version("torch"),
    "TORCHVISION_VERSION": lambda: metadata.version("torchvision"),
}
_FOLDERS = {"DATASETS_DIR": "datasets_dir", "WEIGHTS_DIR": "weights_dir", "RUNS_DIR": "runs_dir"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return _LAZY[name]()
    if name in _FOLDERS:
        return Path(SETTINGS[_FOLDERS[name]])
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
