"""Geometry of boxes, rotated boxes and masks: conversions, overlap, and non-maximum suppression."""
