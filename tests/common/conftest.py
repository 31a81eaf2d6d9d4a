"""Properties are tried on the same examples on each run: what fails on one machine fails on all."""

from hypothesis import settings

settings.register_profile("respool", derandomize=True, deadline=None)
settings.load_profile("respool")
