"""`respool expire`: what the limits of age and space would delete, and what of it stays and why."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from common.dateutil import format_utc
from common.errors import UserError
from common.lifetimes import AgeLimit, Limits, Protection, format_size
from common.options import base_dir_option, limit_options, option
from common.store import Store
from respool.arguments import said_plainly
from respool.database import database_options, json_option
from respool.postgres import dsn

if TYPE_CHECKING:
    from librarian.expiry import Expiry, Survey


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

    named = context.get_parameter_source("base_dir") is not ParameterSource.DEFAULT
    store = Store(base_dir if named else data / "segments")
    if as_json and not (dry_run or yes):
        raise click.UsageError("With --json say --dry-run or --yes: a program is not asked.")
    with said_plainly():
        store.check_readable()
        expiry = Expiry(store)
        limits = _limits(expiry, Limits(max_age, max_size, min_free))
        needed = () if without_database else _needed(database, data)
        _tell(expiry, limits, needed, as_json=as_json)
        if not dry_run:
            _expire(expiry, limits, needed, yes=yes, quiet=as_json)


def _limits(expiry: "Expiry", said: Limits) -> Limits:
    """Give the limits that hold. Raises UserError if there are none."""
    limits = expiry.expired.policy().limits if said == Limits() else said
    if limits == Limits():
        raise UserError(
            "Say what is to go, with --max-age, --max-size or --min-free: no librarian here has any limits."
        )
    return limits


def _needed(database: str | None, data: Path) -> tuple[Protection, ...] | None:
    """Ask the database, with the patience of somebody who waits; None if it does not answer."""
    from librarian.needed import Needs

    try:
        address = database or dsn(data)
    except UserError:
        return None
    return asyncio.run(Needs(address).ask())


def _tell(expiry: "Expiry", limits: Limits, needed: tuple[Protection, ...] | None, *, as_json: bool) -> None:
    survey = _survey(expiry, limits, needed)
    if as_json:
        click.echo(json.dumps(_as_json(survey), indent=2))
        return
    for line in _lines(survey):
        click.echo(line)


def _survey(expiry: "Expiry", limits: Limits, needed: tuple[Protection, ...] | None) -> "Survey":
    survey = expiry.survey(limits, needed)
    assert survey is not None, "it was not broken off"  # noqa: S101 - for the types
    return survey


def _expire(expiry: "Expiry", limits: Limits, needed: tuple[Protection, ...] | None, *, yes: bool, quiet: bool) -> None:
    """Delete what goes now, which may be a little more than what was shown, and wait until its files are gone."""
    survey = _survey(expiry, limits, needed)
    if not survey.plan.going:
        return
    if not yes:
        click.confirm(f"Delete {len(survey.plan.going)} hours, {format_size(survey.plan.freed())}?", abort=True)
    with expiry.expired.writing():
        survey = _survey(expiry, limits, needed)
        done = expiry.carry_out(survey)
    while expiry.queue.remove_some():
        pass
    if not done:
        raise UserError("Some of it could not be deleted; the log says why.")
    if not quiet:
        click.echo(f"{len(survey.plan.going)} hours, {format_size(survey.plan.freed())}, are deleted.")


def _lines(survey: "Survey") -> Iterator[str]:
    plan, policy = survey.plan, survey.policy
    if policy.known is None:
        yield "The database does not answer and never told what events need: nothing goes."
    elif policy.known != survey.situation.now:
        yield f"The database does not answer; what it told at {policy.known:%Y-%m-%d %H:%M} holds."
    rows = [("goes", each.hour, each.reason.value) for each in plan.going]
    rows += [("stays", each.hour, f"{each.reason.value}, but {each.why}") for each in plan.staying]
    width = max((len(hour.name) for _, hour, _ in rows), default=0)
    for verb, hour, why in sorted(rows, key=lambda row: row[1]):
        yield f"{verb:<5}  {hour.name:<{width}}  {format_size(hour.size):>8}  {why}"
    going = plan.freed()
    yield (
        f"{len(plan.going)} of {len(survey.situation.hours)} hours go, {format_size(going)} of "
        f"{format_size(survey.size)}; {format_size(plan.protected)} are needed by events or kept."
    )
    if plan.excess:
        yield f"That is {format_size(plan.excess)} less than the limits want."


def _as_json(survey: "Survey") -> dict[str, Any]:
    plan, policy = survey.plan, survey.policy

    def hours(found: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {
                "hour": each.hour.name,
                "bytes": each.hour.size,
                "reason": each.reason.value,
                **({"stays_because": each.why} if hasattr(each, "why") else {}),
            }
            for each in found
        ]

    return {
        "needs_known": policy.known and format_utc(policy.known),
        "going": hours(plan.going),
        "staying": hours(plan.staying),
        "bytes_going": plan.freed(),
        "bytes_protected": plan.protected,
        "bytes_in_excess": plan.excess,
        "bytes_stored": survey.size,
    }
