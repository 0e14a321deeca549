"""Process-wide state of a run that repeats bit for bit: restored afterwards, with non-deterministic operators named."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ultralytics.utils import LOGGER

_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED")

_PHRASE = " does not have a deterministic implementation"  # follows an operator's name in torch's warning


@contextmanager
def process_restored() -> Iterator[None]:
    """Restore the random states, switches, warnings and environment variables of the process after this block.

    A run seeds and switches what belongs to the whole process, and its caller may rely on that.
    """
    numbers = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a module's property
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            random.setstate(numbers[0])
            np.random.set_state(numbers[1])
            torch.set_rng_state(numbers[2])
            if gpus:
                torch.cuda.set_rng_state_all(gpus)
            torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
            torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def name_operators() -> None:
    """Log each operator without a deterministic kernel once from now on, instead of torch's warning at every call.

    Torch warns when such an operator runs, so a training names them in its first batch. Other warnings stay.
    """
    shown = warnings.showwarning
    warnings.showwarning = _Namer(shown.otherwise if isinstance(shown, _Namer) else shown)
    warnings.filterwarnings("always", message=f".*{_PHRASE}")  # the log decides what was said already


class _Namer:
    """Replaces `warnings.showwarning`.

    Args:
        otherwise: shows all other warnings.
    """

    def __init__(self, otherwise: Callable[..., None]):
        self.otherwise = otherwise
        self.named: set[str] = set()

    def __call__(self, message: Warning | str, *args, **kwargs) -> None:
        operator, found, _ = str(message).partition(_PHRASE)
        if not found:
            self.otherwise(message, *args, **kwargs)
        elif operator not in self.named:
            self.named.add(operator)
            LOGGER.warning(
                f"WARNING ⚠️ The operator '{operator}' is not deterministic on this device, so that another run of the "
                "same seed may end with slightly other weights (deterministic=True repeats all the others)."
            )
