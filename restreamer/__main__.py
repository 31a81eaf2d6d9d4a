"""`python -m restreamer`."""

from restreamer.main import cli

cli(prog_name="python -m restreamer", help_option_names=["-h", "--help"])
