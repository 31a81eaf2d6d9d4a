"""Notifications: what webhooks are still to be told goes out, signed, until it has certainly arrived.

A webhook is claimed by one cutter at a time, for as long as a lease, and told one thing after the other in the order of
their numbers. What the receiver answers with 2xx leaves the queue. A cutter that dies before it has written that down
leaves it to be sent again, under the same number. A receiver that is away is left alone for a while, with all that
waits for it; one that refuses a single notification gets those of other events meanwhile.
"""

import asyncio
import hashlib
import hmac
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import aiohttp
import structlog

from common import db, metrics
from common.db import Pool, cancellable
from common.timed import timed
from common.waits import backoff

log = structlog.get_logger()

POLL_SECONDS: Final = 10.0
"""How often is looked for something to send, unless woken or a pause of our own ends."""

# A receiver answers at once, and works afterwards.
_ANSWER = aiohttp.ClientTimeout(total=15.0, sock_connect=5.0)

# Renewed before each sending, and so much longer than one takes.
_LEASE: Final = timedelta(seconds=60)

# Of one webhook at a time; then it is another cutter's turn.
_MOST_NOTIFICATIONS: Final = 50
_MOST_SECONDS: Final = 30.0
_MOST_WEBHOOKS: Final = 8

# So many refusals in a row are no fault of single notifications.
_MOST_REFUSALS: Final = 3

# Of the two forms that RFC 9110 (10.2.3) has, the one that all use.
_SECONDS_TO_WAIT: Final = re.compile(r"[0-9]{1,9}")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 600.0

# What is under way when we are told to stop may end; what is cut off is sent again.
_GRACE_SECONDS: Final = 1.0

# A client that is to come later, and servers that are not well; all else below 500 is about what was sent.
_AWAY_STATUSES: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

_DELIVERIES = metrics.counter("webhook_deliveries", "Notifications that were sent, by how it ended.", "outcome")

# Whether a notification may be sent now: not before an earlier one of its event.
_IS_DUE: Final = """
    note.next_try <= now() AND NOT EXISTS (
        SELECT FROM notifications AS earlier
        WHERE earlier.webhook = note.webhook AND earlier.event = note.event AND earlier.number < note.number)
"""

# Takes up to $1 webhooks that nobody tells anything now, for as long as $2.
_CLAIM: Final = f"""
    UPDATE webhook_turns AS turn SET claim_token = gen_random_uuid(), lease_until = now() + $2::interval
    FROM webhooks AS hook
    WHERE hook.name = turn.webhook AND turn.webhook IN (
        SELECT free.webhook FROM webhook_turns AS free
        WHERE free.next_try <= now() AND free.lease_until <= now()
            AND EXISTS (SELECT FROM notifications AS note WHERE note.webhook = free.webhook AND {_IS_DUE})
        ORDER BY free.next_try, free.webhook LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING hook.name, hook.url, hook.secret, turn.attempts, turn.claim_token
"""  # noqa: S608 - our own text

# What is to be sent next, and the claim for as long as $3 from now; nothing if that is lost.
_NEXT: Final = f"""
    WITH held AS (
        UPDATE webhook_turns SET lease_until = now() + $3::interval WHERE webhook = $1 AND claim_token = $2
        RETURNING webhook)
    SELECT note.number, note.event, note.body::text AS body, note.attempts
    FROM held JOIN notifications AS note USING (webhook) WHERE {_IS_DUE} ORDER BY note.number LIMIT 1
"""  # noqa: S608 - our own text

# It has arrived, whoever has the claim by now.
_ARRIVED: Final = "DELETE FROM notifications WHERE number = $1"
_IS_THERE: Final = """
    UPDATE webhook_turns SET attempts = 0, error = NULL WHERE webhook = $1 AND claim_token = $2 AND attempts > 0
"""
_REFUSED: Final = """
    UPDATE notifications SET attempts = attempts + 1, error = $2, next_try = now() + $3::interval WHERE number = $1
"""
_IS_AWAY: Final = """
    UPDATE webhook_turns SET attempts = attempts + 1, error = $3, next_try = now() + $4::interval
    WHERE webhook = $1 AND claim_token = $2
"""
_RELEASE: Final = """
    UPDATE webhook_turns SET claim_token = NULL, lease_until = '-infinity' WHERE webhook = $1 AND claim_token = $2
"""


class Outcome(StrEnum):
    """What became of one sending."""

    ARRIVED = "arrived"
    REFUSED = "refused"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said, or why it said nothing; `wait` is for how long it wants to be left alone."""

    outcome: Outcome
    reason: str = ""
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class _Hook:
    """A webhook whose claim is ours."""

    name: str
    url: str
    secret: str
    attempts: int
    claim: UUID


async def deliver_forever(
    pool: Pool,
    session: aiohttp.ClientSession,
    stop: asyncio.Event,
    *,
    wake: asyncio.Event | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Send what waits, until told to stop; whoever sets `wake` knows of something new, and it is cleared here.

    `pool` is a light one: each of our statements is whole by itself, and a serializable look at the queue would
    conflict with everybody who changes the state of an event; what is forgotten of it is sent again. A database that
    goes away is waited for. Any number of cutters may do this at once.
    """
    wake = wake or asyncio.Event()
    telling: set[asyncio.Task[None]] = set()
    failures = 0
    try:
        while not stop.is_set():
            seconds = poll_seconds * random.uniform(0.75, 1.25)
            wake.clear()
            try:
                hooks = await _claim(pool, _MOST_WEBHOOKS - len(telling))
                failures = 0
            except db.AWAY as error:
                failures += 1
                seconds = backoff(failures, first=min(poll_seconds, _FIRST_PAUSE_SECONDS), most=60.0)
                log.warning("webhooks_wait_for_database", reason=str(error) or type(error).__name__)
                hooks = []
            telling |= {asyncio.create_task(_tell(pool, session, hook, stop, wake)) for hook in hooks}
            telling -= await _first_of(telling, stop, wake, seconds)
    finally:
        if telling:
            _, late = await asyncio.wait(telling, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)


async def _first_of(
    telling: set[asyncio.Task[None]], stop: asyncio.Event, wake: asyncio.Event, seconds: float
) -> set[asyncio.Task[None]]:
    """Wait until one has told all, or stop or wake is set, or for so many seconds; give those that have ended."""
    signals = [asyncio.create_task(each.wait()) for each in (stop, wake)]
    try:
        await asyncio.wait({*telling, *signals}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in signals:
            each.cancel()
    ended = {task for task in telling if task.done()}
    for task in ended:
        task.result()
    return ended


async def _tell(
    pool: Pool, session: aiohttp.ClientSession, hook: _Hook, stop: asyncio.Event, wake: asyncio.Event
) -> None:
    """Tell a webhook what waits for it, as much as is its turn, and let go of it; when a pause is over, set `wake`."""

    def pauses(pause: timedelta) -> None:
        asyncio.get_running_loop().call_later(pause.total_seconds(), wake.set)

    try:
        await _tell_in_turn(pool, session, hook, stop, pauses)
        await _execute(pool, _RELEASE, hook.name, hook.claim)
    except db.AWAY as error:
        # its lease will lapse; what has arrived and could not be written down is sent again
        log.warning("webhooks_wait_for_database", webhook=hook.name, reason=str(error) or type(error).__name__)


async def _tell_in_turn(
    pool: Pool,
    session: aiohttp.ClientSession,
    hook: _Hook,
    stop: asyncio.Event,
    pauses: Callable[[timedelta], None],
) -> None:
    until = time.monotonic() + _MOST_SECONDS
    refusals, attempts = 0, hook.attempts
    for _ in range(_MOST_NOTIFICATIONS):
        if stop.is_set() or time.monotonic() > until:
            return
        note = await _fetchrow(pool, _NEXT, hook.name, hook.claim, _LEASE)
        if note is None:
            return
        answer = await send(session, hook.url, hook.secret, note["number"], note["body"].encode())
        _DELIVERIES.labels(answer.outcome.value).inc()
        if answer.outcome is Outcome.ARRIVED:
            await _execute(pool, _ARRIVED, note["number"])
            await _execute(pool, _IS_THERE, hook.name, hook.claim)
            refusals = attempts = 0
            continue
        if answer.outcome is Outcome.REFUSED:
            refusals += 1
            pause = _pause(note["attempts"], answer)
            log.warning("notification_refused", webhook=hook.name, event_id=note["event"], reason=answer.reason)
            await _execute(pool, _REFUSED, note["number"], answer.reason, pause)
            pauses(pause)
        if answer.outcome is Outcome.AWAY or refusals == _MOST_REFUSALS:
            pause = _pause(attempts, answer)
            log.warning(
                "webhook_away", webhook=hook.name, reason=answer.reason, seconds=round(pause.total_seconds(), 1)
            )
            await _execute(pool, _IS_AWAY, hook.name, hook.claim, answer.reason, pause)
            pauses(pause)
            return


def _pause(attempts: int, answer: Answer) -> timedelta:
    """For how long to wait after one more failure."""
    seconds = backoff(attempts + 1, first=_FIRST_PAUSE_SECONDS, most=_LONGEST_PAUSE_SECONDS)
    return max(timedelta(seconds=seconds), answer.wait)


@timed("webhook_delivery", "Telling a webhook.", results={"outcome": lambda answer: answer.outcome.value})
async def send(session: aiohttp.ClientSession, url: str, secret: str, number: int, body: bytes) -> Answer:
    """Send one notification, and say what became of it; its reason holds nothing of the URL or the secret."""
    now = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "Respool-Delivery": str(number),
        "Respool-Timestamp": now,
        "Respool-Signature": f"sha256={signature(secret, now, body)}",
    }
    try:
        # redirects are not followed: a signed body is for the receiver that was named
        async with session.post(url, data=body, headers=headers, timeout=_ANSWER, allow_redirects=False) as response:
            return _judge(response)
    except TimeoutError:
        return Answer(Outcome.AWAY, f"It did not answer within {_ANSWER.total:g} seconds.")
    except (aiohttp.InvalidURL, UnicodeError):  # the latter of a host name that cannot be one
        return Answer(Outcome.AWAY, "Its URL cannot be used; remove the webhook and add it anew.")
    except aiohttp.ClientConnectorError as error:
        return Answer(Outcome.AWAY, f"There is no connection to it ({error.os_error.strerror or 'it is not known'}).")
    except (aiohttp.ClientError, OSError) as error:
        # without their texts, in which the URL may stand
        return Answer(Outcome.AWAY, f"The connection to it broke ({type(error).__name__}).")


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The HMAC-SHA-256, in hexadecimal, of the timestamp, a dot and the body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _judge(response: aiohttp.ClientResponse) -> Answer:
    """Tell by the status alone: what the receiver writes below it is nobody's business."""
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(Outcome.ARRIVED)
    reason = f"It answered with status {status}."
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _AWAY_STATUSES:
        return Answer(Outcome.REFUSED, reason)
    after = _SECONDS_TO_WAIT.fullmatch(response.headers.get("Retry-After", ""))
    seconds = min(float(after[0]), _LONGEST_PAUSE_SECONDS) if after else 0.0
    return Answer(Outcome.AWAY, reason, timedelta(seconds=seconds))


async def _claim(pool: Pool, most: int) -> list[_Hook]:
    if most <= 0:
        return []
    with cancellable():
        rows = await pool.fetch(_CLAIM, most, _LEASE)
    return [_Hook(row["name"], row["url"], row["secret"], row["attempts"], row["claim_token"]) for row in rows]


async def _fetchrow(pool: Pool, statement: str, *values: object) -> Any:  # noqa: ANN401 - a row of any columns
    with cancellable():
        return await pool.fetchrow(statement, *values)


async def _execute(pool: Pool, statement: str, *values: object) -> None:
    with cancellable():
        await pool.execute(statement, *values)
