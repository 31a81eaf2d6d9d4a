"""`respool expire`: what the limits of age and space would delete, and what of it stays and why."""

import asyncio
import json
from pathlib import Path

import click
from click.core import ParameterSource

from common.errors import UserError
from common.lifetimes import AgeLimit, Limits, Protection, format_size
from common.options import base_dir_option, limit_options, option
from common.store import Store
from respool.arguments import said_plainly
from respool.database import database_options, json_option
from respool.postgres import dsn


@click.command("expire")
@limit_options
@option("--dry-run", is_flag=True, help="Only show what would go.")
@option("--yes", is_flag=True, help="Do not ask.")
@option("--without-database", is_flag=True, help="There are no events and no keeps: nothing but the limits decides.")
@json_option
@base_dir_option
@database_options
@click.pass_context
def cli(
    context: click.Context,
    *,
    max_age: tuple[AgeLimit, ...],
    max_size: int | None,
    min_free: int | None,
    dry_run: bool,
    yes: bool,
    without_database: bool,
    as_json: bool,
    base_dir: Path,
    database: str | None,
    data: Path,
) -> None:
    """Show which hours go for their age or for space, and which of them stay and why; then delete them.

    Without limits of its own it takes those of the librarian that looks after the store. The store is --base-dir, else
    that of --data.
    """
    from librarian.expiry import Expiry
    from librarian.report import as_json as to_json
    from librarian.report import describe

    named = context.get_parameter_source("base_dir") is not ParameterSource.DEFAULT
    store, said = Store(base_dir if named else data / "segments"), Limits(max_age, max_size, min_free)
    if as_json and not (dry_run or yes):
        raise click.UsageError("With --json say --dry-run or --yes: a program is not asked.")
    with said_plainly():
        store.check_readable()
        expiry = Expiry(store)
        limits = _limits(said, expiry.expired.policy().limits)
        needed = () if without_database else _needed(database, data)
        survey = expiry.survey(limits, needed)
        if survey is None:  # it is only broken off where somebody asks for that
            return
        click.echo(json.dumps(to_json(survey), indent=2) if as_json else "\n".join(describe(survey)))
        if dry_run or not survey.plan.going:
            return
        if not yes:
            click.confirm(f"Delete {len(survey.plan.going)} hours?", abort=True)
        plan, done = expiry.delete_now(limits, needed)
        if not done:
            raise UserError("Some of it could not be deleted; the log says why.")
        if not as_json:
            click.echo(f"{len(plan.going)} hours, {format_size(plan.freed())}, are deleted.")


def _limits(said: Limits, last: Limits) -> Limits:
    """Give the limits that hold, those of the librarian that was here `last` if none are said. Raises UserError."""
    limits = last if said == Limits() else said
    if limits == Limits():
        raise UserError(
            "Say what is to go, with --max-age, --max-size or --min-free: no librarian here has any limits."
        )
    return limits


def _needed(database: str | None, data: Path) -> tuple[Protection, ...] | None:
    """Ask the database; None if it does not answer."""
    from librarian.needed import Needs

    try:
        address = database or dsn(data)
    except UserError:
        return None
    return asyncio.run(Needs(address).ask())
