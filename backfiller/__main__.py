"""`python -m backfiller`."""

from backfiller.main import cli

cli(prog_name="python -m backfiller", help_option_names=["-h", "--help"])
