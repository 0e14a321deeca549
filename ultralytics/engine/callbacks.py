"""Events of the engines, and the mixin by which users add functions to them."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import did_you_mean

EVENTS = (
    # training
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_fit_epoch_end",
    "on_model_save",
    "on_train_end",
    "on_params_update",
    "teardown",
    # validation
    "on_val_start",
    "on_val_batch_start",
    "on_val_batch_end",
    "on_val_end",
    # prediction
    "on_predict_start",
    "on_predict_batch_start",
    "on_predict_postprocess_end",
    "on_predict_batch_end",
    "on_predict_end",
    # export
    "on_export_start",
    "on_export_end",
)


default_callbacks: dict[str, list[Callable]] = {
    event: [] for event in EVENTS
}  # a user may add functions for all engines


class Functions(defaultdict):
    """A list of functions for each event.

    A copy for another process lacks functions that cannot be pickled, such as lambdas; a warning names them.
    """

    def __init__(self, table: Mapping[str, list[Callable]] = MappingProxyType({})):
        super().__init__(list, table)

    def __reduce__(self) -> tuple:
        return Functions, ({event: [f for f in fs if self._can_be_sent(event, f)] for event, fs in self.items()},)

    def __copy__(self) -> Functions:
        return Functions(self)

    def __deepcopy__(self, memo: dict) -> Functions:
        return Functions({event: [*functions] for event, functions in self.items()})

    @staticmethod
    def _can_be_sent(event: str, function: Callable) -> bool:
        try:
            pickle.dumps(function)
            return True
        except Exception:  # whatever a function may hold
            name = getattr(function, "__qualname__", repr(function))
            LOGGER.warning(
                f"WARNING: the callback '{name}' of '{event}' is not in the copy for another process, which can only "
                "receive functions defined at the top level of a module."
            )
            return False


def get_default_callbacks() -> Functions:
    """Return a list of functions for each event, empty unless `default_callbacks` has some."""
    return Functions({event: [*functions] for event, functions in default_callbacks.items()})


class Callbacks:
    """Mixin of trainer, validator, predictor, exporter and model: functions `fn(engine)` that run at named events."""

    callbacks: dict[str, list[Callable]]

    def add_callback(self, event: str, callback: Callable) -> None:
        """Append a function to an event; an unknown event is accepted with a warning, as it may be the user's own."""
        self._warn_if_unknown(event)
        self.callbacks.setdefault(event, []).append(callback)

    def set_callback(self, event: str, callback: Callable) -> None:
        """Replace all functions of an event by one."""
        self._warn_if_unknown(event)
        self.callbacks[event] = [callback]

    def run_callbacks(self, event: str) -> None:
        """Call the functions of an event in the order in which they were added."""
        for callback in self.callbacks.get(event, ()):
            callback(self)

    @staticmethod
    def _warn_if_unknown(event: str) -> None:
        if event not in EVENTS:
            LOGGER.warning(f"Callback event '{event}' is never fired by this package.{did_you_mean(event, EVENTS)}")
