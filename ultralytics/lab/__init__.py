"""Tools about models: what they cost, and what lightening changed."""

from ultralytics import modules_of

__getattr__ = modules_of(__name__)
