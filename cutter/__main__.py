"""`python -m cutter`."""

from cutter.main import cli

cli(prog_name="python -m cutter", help_option_names=["-h", "--help"])
