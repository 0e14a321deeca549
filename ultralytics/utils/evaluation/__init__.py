"""Evaluation: average precision as COCO computes it, and the confusion matrix."""
