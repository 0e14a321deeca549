"""Engines: what trains, validates, predicts and exports, whatever the task."""

from ultralytics import modules_of

__getattr__ = modules_of(__name__)
