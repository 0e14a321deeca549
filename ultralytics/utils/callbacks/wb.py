"""The callbacks of Weights & Biases under their module name of 8.3.0; see `engine.integrations`."""

from ultralytics.utils.callbacks import of_logger

__getattr__ = of_logger("wandb")
