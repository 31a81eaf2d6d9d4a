"""Profiles of a running process: what they see, that they disturb nothing, and who gets them."""

import asyncio
import json
import logging
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import chromium
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from common import metrics, profiling
from common.flames import Cost, Profile, folded, page
from common.sampling import Sampler
from common.web import answer_errors, serving

PATIENCE_SECONDS = 60.0


@contextmanager
def running(name: str, work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Have a thread of that name do the work until the event that it is given is set."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def calculate(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(number * number for number in range(1000))


def hang_about(stop: threading.Event) -> None:
    stop.wait()


@asynccontextmanager
async def served() -> AsyncIterator[ClientSession]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application(middlewares=[answer_errors])
    app.add_routes([web.get("/hello", hello), *profiling.routes()])
    with capture_logs():
        async with (
            serving(app, "127.0.0.1", 0) as port,
            ClientSession(f"http://127.0.0.1:{port}") as session,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            yield session


def test_all_threads_are_seen() -> None:
    """Each thread is seen with its functions, outermost first; CPU time is told of those that take it."""
    with running("calculator_7", calculate), running("waiter_1", hang_about), running("waiter_2", hang_about):
        profile = Sampler().run(0.4)
    assert profile.looks > 0
    busy, idle = ({s: c for s, c in profile.stacks.items() if s[0] == name} for name in ("calculator", "waiter"))
    # a look may meet a thread before it has begun with its own
    assert any(
        any(name.startswith("calculate (") and "tests/common/test_profiling.py:" in name for name in stack)
        for stack in busy
    )
    assert any(any(name.startswith("hang_about (") for name in stack) for stack in idle)
    # two threads of the same kind are shown as one
    assert sum(cost.looks for cost in idle.values()) == 2 * sum(cost.looks for cost in busy.values())
    taken, waited = (sum(cost.cpu_seconds for cost in each.values()) for each in (busy, idle))
    assert profile.cpu_seconds > taken > 10 * waited
    assert not any("sampling.py" in name for stack in profile.stacks for name in stack if stack[0] == "profiler")


def test_no_lock_of_the_program_is_waited_for() -> None:
    """A profile is taken while others hold the locks of threads, logs and metrics, and while processes are started."""
    handler = logging.StreamHandler()
    assert handler.lock is not None
    counter = metrics.counter("test_profiling_locked", "Locked.", "by")
    ready, go, ended = threading.Event(), threading.Event(), threading.Event()

    def take() -> None:
        ready.set()
        go.wait()
        assert Sampler().run(0.2).looks > 0
        ended.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    ready.wait()
    with threading._active_limbo_lock, logging._lock, handler.lock, counter._lock:  # type: ignore[attr-defined]
        go.set()
        taken = ended.wait(PATIENCE_SECONDS)
    thread.join()
    assert taken
    with running("sampler", lambda _: Sampler().run(0.2)):
        subprocess.run(["true"], check=True, timeout=PATIENCE_SECONDS)


def test_deep_stacks_and_many_of_them_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a deep recursion the innermost functions are kept, and of too many stacks only their threads."""

    def dive(stop: threading.Event, depth: int = 400) -> None:
        if depth:
            dive(stop, depth - 1)
        else:
            stop.wait()

    with running("diver", dive):
        profile = Sampler().run(0.1)
        [deep] = [stack for stack in profile.stacks if stack[0] == "diver"]
        assert len(deep) == 201
        assert deep[-1].startswith("Condition.wait (")
        monkeypatch.setattr("common.sampling._MOST_STACKS", 0)
        assert ("diver",) in Sampler().run(0.1).stacks


async def test_others_are_answered_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a profile is taken other requests are answered, and another profile is refused."""
    begun, answered = threading.Event(), threading.Event()
    run = Sampler.run

    def run_until_answered(sampler: Sampler, seconds: float) -> Profile:
        begun.set()
        answered.wait(PATIENCE_SECONDS)
        return run(sampler, seconds)

    monkeypatch.setattr(Sampler, "run", run_until_answered)
    async with served() as session:
        taking = asyncio.create_task(session.get("/debug/profile?seconds=0.2&form=folded&waiting=true"))
        await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        async with session.get("/debug/profile?seconds=0.1") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]
        answered.set()
        count = 0
        while not taking.done():
            async with session.get("/hello") as answer:
                assert await answer.text() == "hello"
            count += 1
        async with await taking as answer:
            assert re.search(r"^MainThread;.* [0-9]+$", await answer.text(), re.MULTILINE)
        assert count > 0


async def test_who_leaves_makes_room() -> None:
    """When whoever asked has left, the profile ends, and the next one is taken."""
    async with served() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await session.get("/debug/profile?seconds=60")
        status = 503
        while status == 503:
            async with session.get("/debug/profile?seconds=0.1&form=folded") as answer:
                status = answer.status
        assert status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "rebound.example"},
        {"Host": "192.0.2.1:8000"},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids="-".join,
)
async def test_strangers_are_refused(headers: dict[str, str]) -> None:
    """A request that comes through a proxy, by another name, or from a page of another origin gets no profile."""
    async with served() as session, session.get("/debug/profile?seconds=0.1", headers=headers) as answer:
        assert answer.status == 403
        assert "this machine" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("peer", "let_in"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_only_this_machine_is_let_in(peer: str, *, let_in: bool) -> None:
    """Who is let in is told by the address of the other end, whatever the request says."""

    class Transport(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
            return (peer, 50000) if name == "peername" and peer else default

    request = make_mocked_request("GET", profiling.PATH, {"Host": "localhost:8000"}, transport=Transport())
    assert profiling._is_from_here(request) is let_in


@pytest.mark.parametrize("query", ["seconds=0", "seconds=61", "seconds=nan", "form=svg", "waiting=1", "s=1"])
async def test_bad_requests_are_told(query: str) -> None:
    """What is asked for wrongly is answered with a sentence."""
    async with served() as session, session.get(f"/debug/profile?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"].endswith(".")


PROFILE = Profile(
    2.0,
    100,
    0.5,
    {
        ("one", "f (a.py:1)", "g (a.py:9)"): Cost(40, 0.3),
        ("one", "f (a.py:1)"): Cost(60, 0.1),
        ("two", "</script>;<b> (b.py:1)"): Cost(100, 0.0),
    },
)


def test_text_is_one_line_for_each_stack() -> None:
    """The text has a line for each stack that cost anything; a semicolon only separates."""
    assert folded(PROFILE) == "one;f (a.py:1) 100000\none;f (a.py:1);g (a.py:9) 300000\n"
    assert folded(PROFILE, waiting=True).endswith("two;</script>:<b> (b.py:1) 100\n")


def test_page_has_the_whole_tree() -> None:
    """The page's data is a tree in which each has at least what those within it have; nothing can end its script."""
    text = page(PROFILE, "<script>__DATA__</script>", "restreamer")
    assert text.count("</script>") == 1
    data = json.loads(text.removeprefix("<script>").removesuffix("</script>"))
    number, looks, microseconds, threads = data["root"]
    assert (data["names"][number], looks, microseconds) == ("all threads", 200, 400_000)
    assert [(data["names"][each[0]], each[1], each[2]) for each in threads] == [("one", 100, 400_000), ("two", 100, 0)]
    assert threads[0][3][0][1:3] == [100, 400_000]


async def test_page_in_a_browser() -> None:
    """The page draws the threads and functions; one that is clicked fills the width, and the whole comes back."""
    if chromium.executable() is None:
        pytest.skip(chromium.MISSING)
    with running("calculator", calculate):
        async with served() as session, chromium.chromium() as browser:
            shown = await browser.new_page()
            faults: list[object] = []
            shown.on("pageerror", lambda error: faults.append(str(error)))
            shown.on("console", lambda message: faults.append(message.text))
            await shown.goto(str(session._base_url) + "/debug/profile?seconds=0.5")
            flames = shown.locator(".flame")
            calculated = flames.filter(has_text=re.compile(r"^calculate \(")).first
            await calculated.click()
            wide, whole = await calculated.bounding_box(), await shown.locator("#graph").bounding_box()
            assert wide
            assert whole
            assert wide["width"] == pytest.approx(whole["width"], abs=1)
            assert "calculate (" in await shown.locator("#told").inner_text()
            await shown.locator("#whole").click()
            await shown.locator("#all").click()
            assert await flames.filter(has_text="MainThread").count() == 1
            assert "looks" in await shown.locator("#told").inner_text()
            assert faults == []
