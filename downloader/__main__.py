"""`python -m downloader`."""

from downloader.main import cli

cli(prog_name="python -m downloader")
