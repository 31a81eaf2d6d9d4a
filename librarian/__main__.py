"""`python -m librarian`."""

from librarian.main import cli

cli(prog_name="python -m librarian", help_option_names=["-h", "--help"])
