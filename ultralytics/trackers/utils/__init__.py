"""Computations of trackers: Kalman filters, matching, and camera motion."""
