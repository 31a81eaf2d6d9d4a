"""A claim: the work for an event goes on as long as the event is ours."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest

from common import db
from common.events import Event, State
from cutter.claims import Claim
from cutter.rows import Claimed, ClaimLostError, Rows

Answer = Callable[[], Awaitable[list[asyncpg.Record]]]


class Answers(Rows):
    """A database that answers as a test wants it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(cast("db.Pool", None), cast("db.Pool", None), "node", "folder")
        self.answer = answer

    async def _fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - as Rows
        del sql, args
        return await self.answer()


def claim(answer: Answer, lease: timedelta = timedelta(hours=1)) -> Claim:
    return Claim(Answers(answer), Claimed(Event("one", State.CLAIMED), "token", "said"), lease)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_ends_when_the_event_is_not_ours_any_more() -> None:
    """As soon as a renewal tells so, the work is stopped, and ClaimLostError says why."""

    async def nothing() -> list[asyncpg.Record]:
        return []

    with pytest.raises(ClaimLostError):
        await claim(nothing, timedelta(seconds=0.01)).work(forever())


async def test_what_is_wrong_with_the_database_is_told() -> None:
    """An error of the renewal that is not an absence of the database is raised as what it is."""

    async def refuse() -> list[asyncpg.Record]:
        raise asyncpg.InsufficientPrivilegeError("permission denied for table events")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await claim(refuse, timedelta(seconds=0.01)).work(forever())


async def test_claim_that_is_lost_as_the_work_ends_troubles_nobody() -> None:
    """Who has done the work does not hear from the renewal, at the same moment, that it is not ours any more."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    asked, answer = asyncio.Event(), asyncio.Event()

    async def too_late() -> list[asyncpg.Record]:
        asked.set()
        await answer.wait()
        return []

    async def work() -> None:
        ours.poked.set()
        await asked.wait()
        answer.set()

    ours = claim(too_late)
    await ours.work(work())
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
