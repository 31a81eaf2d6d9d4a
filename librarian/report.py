"""What a survey says, for people and for programs."""

from collections.abc import Iterator
from typing import Any

from common.dateutil import format_utc
from common.lifetimes import format_size
from librarian.expiry import Survey
from librarian.retention import Going, Staying


def describe(survey: Survey) -> Iterator[str]:
    """Write a line for each hour that goes or would, what of it is known, and the sums."""
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


def as_json(survey: Survey) -> dict[str, Any]:
    """Give the same as JSON has it."""
    plan, policy = survey.plan, survey.policy

    return {
        "needs_known": policy.known and format_utc(policy.known),
        "going": [_hour(each) for each in plan.going],
        "staying": [_hour(each) | {"stays_because": each.why} for each in plan.staying],
        "bytes_going": plan.freed(),
        "bytes_protected": plan.protected,
        "bytes_in_excess": plan.excess,
        "bytes_stored": survey.size,
    }


def _hour(each: Going | Staying) -> dict[str, Any]:
    return {"hour": each.hour.name, "bytes": each.hour.size, "reason": each.reason.value}
