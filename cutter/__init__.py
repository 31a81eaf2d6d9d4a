"""Edited events into delivered videos, and the upload locations."""
