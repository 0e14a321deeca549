"""The losses, a file for each task; `utils/loss.py` has all names."""
