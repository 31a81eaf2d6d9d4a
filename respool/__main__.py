"""`python -m respool`."""

from respool.main import cli

cli(prog_name="respool")
