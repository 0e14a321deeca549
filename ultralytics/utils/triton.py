"""The client of Triton Inference Server in 8.3.0, which this package does not have."""

from __future__ import annotations

from ultralytics.utils.errors import ConfigError


class TritonRemoteModel:
    """Stands for the model on a server; says what to use instead."""

    def __init__(self, url: str, endpoint: str = "", scheme: str = ""):
        raise ConfigError(
            f"'{url}' cannot be called: this package has no client for Triton servers. Such a server runs files that "
            "`yolo export format=onnx` writes; call it with the package tritonclient (see docs/serving for the boxes "
            "in its output), or run the file here with YOLO('best.onnx')."
        )
