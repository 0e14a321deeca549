"""Trackers: they give detections of one object in many frames one number."""

from ultralytics import modules_of
from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.trackers.track import register_tracker

__all__ = ("BOTSORT", "BYTETracker", "register_tracker")

__getattr__ = modules_of(__name__)
