"""Notifications arrive, each at least once and in order, whatever receivers, cutters and the database do."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from aiohttp import ClientTimeout, web
from structlog.testing import capture_logs

from common import db
from common.web import client_session
from cutter import webhooks
from cutter.webhooks import deliver_forever

SECRET = "a secret of more than sixteen"
PATIENCE_SECONDS = 30
NOW = "UPDATE webhook_turns SET next_try = '-infinity'"
Pool = db.Pool
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A server that keeps what it gets, and answers by the event's name as it is told to; else with 204."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[int, str, str]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: dict[str, Answer] = {}
        self._changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        told = json.loads(body)
        async with self._changed:
            self.got.append((int(request.headers["Respool-Delivery"]), told["event"], told["state"]))
            self.requests.append((dict(request.headers), body))
            self._changed.notify_all()
        answer = self.answers.get(told["event"])
        return web.Response(status=204) if answer is None else await answer(request)

    async def has(self, *events: str) -> None:
        """Wait until it was sent just these, in this order, answered or not."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.got) >= len(events))
        assert [event for _, event, _ in self.got] == [*events]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on this machine, whose address has a token in it."""
    async with receiving() as found:
        yield found


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=hush"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def pool(postgres_dsn: str, receiver: Receiver) -> AsyncIterator[Pool]:
    """A database with one webhook."""
    pool = await db.pool(postgres_dsn, light=True)
    await add_webhook(pool, "hook", receiver.url)
    yield pool
    pool.terminate()


async def add_webhook(pool: Pool, name: str, url: str) -> None:
    await pool.execute("INSERT INTO webhooks (name, url, secret) VALUES ($1, $2, $3)", name, url, SECRET)


async def events(pool: Pool, *names: str) -> None:
    """Make events, of each of which there is then a notification."""
    for name in names:
        await pool.execute("INSERT INTO events (id) VALUES ($1)", name)


@asynccontextmanager
async def delivering(pool: Pool) -> AsyncIterator[asyncio.Event]:
    """Run what a cutter runs; gives its stop event, and sees that it ends well."""
    stop = asyncio.Event()
    async with client_session() as session:
        running = asyncio.create_task(deliver_forever(pool, session, stop, poll_seconds=0.02))
        yield stop
        stop.set()
        await asyncio.wait_for(running, PATIENCE_SECONDS)


async def until(pool: Pool, condition: str) -> None:
    """Wait until the database says that it is so, which it does not tell of by itself."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError):
                if await pool.fetchval(f"SELECT {condition}"):
                    return


EMPTY = "NOT EXISTS (SELECT FROM notifications)"


async def test_receiver_can_tell_whose_word_it_is(pool: Pool, receiver: Receiver) -> None:
    """The notification is JSON, signed with the secret over the time and the very bytes, and numbered."""
    began = int(time.time())
    await events(pool, "toss")
    async with delivering(pool):
        await until(pool, EMPTY)
    [(headers, body)] = receiver.requests
    assert json.loads(body).items() >= {"event": "toss", "state": "UNEDITED", "before": None}.items()
    assert began <= int(headers["Respool-Timestamp"]) <= time.time()
    signed = headers["Respool-Timestamp"].encode() + b"." + body
    expected = hmac.digest(SECRET.encode(), signed, hashlib.sha256).hex()
    assert headers["Respool-Signature"] == f"sha256={expected}"
    assert (headers["Content-Type"], headers["Respool-Delivery"]) == ("application/json", "1")


async def test_notifications_arrive_once_and_in_order_from_several_cutters(pool: Pool, receiver: Receiver) -> None:
    """However many cutters deliver, a receiver that is well gets each change once, in the order of the changes."""
    names = [f"event-{number:02}" for number in range(40)]
    async with delivering(pool), delivering(pool), delivering(pool):
        await events(pool, *names[:20])
        await pool.execute(
            "UPDATE events SET state = 'DONE', video_link = 'x', upload_time = now() WHERE id = 'event-00'"
        )
        await events(pool, *names[20:])
        await until(pool, EMPTY)
    await receiver.has(*names[:20], "event-00", *names[20:])
    assert [number for number, _, _ in receiver.got] == sorted(number for number, _, _ in receiver.got)


def answering(status: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="What I think of it.")

    return answer


AWAY = {
    "500": answering(500),
    "503": answering(503, **{"Retry-After": "99"}),
    "429": answering(429, **{"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}),
}


@pytest.mark.parametrize("status", AWAY)
async def test_receiver_that_is_away_is_left_alone(pool: Pool, receiver: Receiver, status: str) -> None:
    """After one failure nothing is sent for a while; then it goes on with the same one, under the same number."""
    receiver.answers["one"] = AWAY[status]
    await events(pool, "one", "two")
    async with delivering(pool):
        await until(pool, "attempts = 1 AND claim_token IS NULL FROM webhook_turns")
        [row] = await pool.fetch(
            "SELECT error, extract(epoch FROM next_try - now())::float AS seconds FROM webhook_turns"
        )
        assert row["error"] == f"It answered with status {status}."
        assert (row["seconds"] > 60) == (status == "503")
        await receiver.has("one")
        receiver.answers.clear()
        await pool.execute(NOW)
        await until(pool, EMPTY)
    await receiver.has("one", "one", "two")
    assert receiver.got[0] == receiver.got[1]
    assert await pool.fetchval("SELECT attempts = 0 AND error IS NULL FROM webhook_turns")


async def test_pauses_grow(pool: Pool, receiver: Receiver) -> None:
    """The longer a receiver is away, the less often it is asked, but never less than every ten minutes."""
    receiver.answers["one"] = AWAY["500"]
    await events(pool, "one")
    await pool.execute("UPDATE webhook_turns SET attempts = 30")
    async with delivering(pool):
        await until(pool, "attempts = 31 FROM webhook_turns")
    assert await pool.fetchval(
        "SELECT next_try BETWEEN now() + '4 minutes' AND now() + '10 minutes' FROM webhook_turns"
    )


@pytest.mark.parametrize("status", [400, 302, 404])
async def test_refused_notification_does_not_hold_up_other_events(pool: Pool, receiver: Receiver, status: int) -> None:
    """What is refused is tried again later; other events go on, later changes of the same one wait for their turn."""
    receiver.answers["one"] = answering(status, Location="/hook")
    await events(pool, "one")
    await pool.execute("UPDATE events SET state = 'DONE', video_link = 'x', upload_time = now()")
    await events(pool, "two", "three")
    async with delivering(pool):
        await until(pool, "count(*) = 2 FROM notifications")
        await receiver.has("one", "two", "three")
        errors = await pool.fetch("SELECT error FROM notifications ORDER BY number")
        assert [row["error"] for row in errors] == [f"It answered with status {status}.", None]
        receiver.answers.clear()
        await pool.execute("UPDATE notifications SET next_try = '-infinity'")
        await until(pool, EMPTY)
    assert [(event, state) for _, event, state in receiver.got[3:]] == [("one", "UNEDITED"), ("one", "DONE")]


async def test_receiver_that_refuses_everything_is_away(pool: Pool, receiver: Receiver) -> None:
    """Of a queue that is refused one after the other, only the first few are tried before a pause."""
    names = [f"event-{number}" for number in range(9)]
    receiver.answers = dict.fromkeys(names, answering(401))
    await events(pool, *names)
    async with delivering(pool):
        await until(pool, "attempts = 1 AND claim_token IS NULL FROM webhook_turns")
    await receiver.has(*names[:3])


async def test_hanging_receiver_holds_up_no_other(
    pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One webhook that does not answer costs the others nothing, and stops nothing from stopping."""
    hanging = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await hanging.wait()
        return web.Response()

    monkeypatch.setattr(webhooks, "_GRACE_SECONDS", 0.01)
    receiver.answers["one"] = hang
    async with receiving() as other:
        await add_webhook(pool, "other", other.url)
        await events(pool, "one")
        async with delivering(pool):
            await receiver.has("one")
            await events(pool, "two")
            await other.has("one", "two")
        hanging.set()


async def test_late_answer_is_none(pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that takes too long for its answer is away."""

    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(webhooks, "_ANSWER", ClientTimeout(total=0.05))
    receiver.answers["one"] = hang
    await events(pool, "one")
    async with delivering(pool):
        await until(pool, "error = 'It did not answer within 0.05 seconds.' FROM webhook_turns")


async def test_answer_is_its_status(pool: Pool, receiver: Receiver) -> None:
    """With 2xx it has arrived, whatever the receiver goes on to write without end."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65_536)
        return response

    receiver.answers["one"] = endless
    await events(pool, "one")
    async with delivering(pool):
        await until(pool, EMPTY)


async def test_cutter_that_dies_leaves_the_rest_to_another(
    pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had arrived when a cutter was killed comes again, under the same number, once its lease has lapsed."""
    monkeypatch.setattr(webhooks, "_GRACE_SECONDS", 0.01)
    asked = asyncio.Event()

    async def kill(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answers["one"] = kill
    await events(pool, "one", "two")
    async with client_session() as session:
        dying = asyncio.create_task(deliver_forever(pool, session, asyncio.Event(), poll_seconds=0.02))
        await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
    receiver.answers.clear()
    async with delivering(pool):
        assert await pool.fetchval("SELECT lease_until > now() FROM webhook_turns")
        await pool.execute("UPDATE webhook_turns SET lease_until = now()")
        await until(pool, EMPTY)
    await receiver.has("one", "one", "two")
    assert receiver.got[0] == receiver.got[1]


async def test_lost_claim_ends_the_turn(pool: Pool, receiver: Receiver) -> None:
    """A cutter whose lease was taken over sends nothing more and releases nothing, but what has arrived has."""

    async def take_over(_: web.Request) -> web.Response:
        await pool.execute("UPDATE webhook_turns SET claim_token = gen_random_uuid(), lease_until = now() + '1 hour'")
        return web.Response()

    receiver.answers["one"] = take_over
    await events(pool, "one", "two")
    [hook] = await webhooks._claim(pool, 1)
    async with client_session() as session:
        await webhooks._tell(pool, session, hook, asyncio.Event(), asyncio.Event())
    await receiver.has("one")
    assert await pool.fetchval("SELECT count(*) FROM notifications") == 1
    assert await pool.fetchval("SELECT lease_until > now() + '30 minutes' FROM webhook_turns")


async def test_database_that_goes_away_is_waited_for(pool: Pool, receiver: Receiver, postgres_dsn: str) -> None:
    """Connections that break in the middle of a delivery cost nothing but a repetition."""
    name = await pool.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(postgres_dsn.replace(f"respool@/{name}", "postgres@/postgres"))

    cut = asyncio.Event()

    async def cut_off(_: web.Request) -> web.Response:
        receiver.answers.clear()
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        own = await asyncpg.connect(postgres_dsn)
        await own.execute("UPDATE webhook_turns SET lease_until = now()")  # which need not be waited for
        await own.close()
        cut.set()
        return web.Response()

    receiver.answers["one"] = cut_off
    await events(pool, "one", "two")
    async with delivering(pool):
        await asyncio.wait_for(cut.wait(), PATIENCE_SECONDS)
        await until(pool, EMPTY)
    await admin.close()
    assert [event for _, event, _ in receiver.got][-1] == "two"


async def test_full_disk_of_the_database_is_waited_for(pool: Pool, receiver: Receiver) -> None:
    """What cannot be written down for want of space is sent again when there is some."""
    await pool.execute(
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER full_disk BEFORE DELETE ON notifications EXECUTE FUNCTION full_disk()
        """
    )
    await events(pool, "one")
    async with delivering(pool):
        await receiver.has("one")
        await pool.execute("DROP TRIGGER full_disk ON notifications")
        await pool.execute("UPDATE webhook_turns SET lease_until = now()")  # which need not be waited for
        await until(pool, EMPTY)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/hook?token=hush",
        "http://[/hook?token=hush",
        "http://x:99999/?hush",
        "http://a..b/?hush",
        f"http://{'a' * 64}.example/?hush",
    ],
)
async def test_nothing_secret_is_told(pool: Pool, url: str) -> None:
    """What is logged and kept of a receiver that cannot be reached has neither its token nor its secret."""
    await pool.execute("UPDATE webhooks SET url = $1", url)
    await events(pool, "one")
    with capture_logs() as logs:
        async with delivering(pool):
            await until(pool, "attempts = 1 FROM webhook_turns")
    [event] = [entry for entry in logs if entry["event"] == "webhook_away"]
    assert event["reason"] == await pool.fetchval("SELECT error FROM webhook_turns")
    assert "hush" not in repr(logs)
    assert SECRET not in repr(logs)
