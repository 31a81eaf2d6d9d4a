"""`python -m downloader`."""

from downloader.main import cli

cli(prog_name="python -m downloader", help_option_names=["-h", "--help"])
