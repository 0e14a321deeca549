"""Trackers: they give the detections of one object in successive frames one id."""

from ultralytics import modules_of
from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.trackers.track import register_tracker

__all__ = ("BOTSORT", "BYTETracker", "register_tracker")

__getattr__ = modules_of(__name__)
