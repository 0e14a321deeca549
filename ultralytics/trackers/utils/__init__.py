"""What trackers compute with: Kalman filters, matching, and the movement of the camera."""
