"""`respool dsn`."""

from pathlib import Path

import click

from respool.arguments import data_option, said_plainly
from respool.postgres import dsn


@click.command("dsn")
@data_option
def cli(data: Path) -> None:
    """Print the address of the embedded database that `up` runs."""
    with said_plainly():
        address = dsn(data)
    click.echo(address)
