"""What work costs, as metrics: read back from the page that Prometheus reads."""

import asyncio
import inspect
import itertools
import threading
from collections.abc import Callable, Coroutine
from time import thread_time
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from common import metrics
from common.timed import Stopwatch, here, timed
from common.waits import in_thread

_names = (f"test_timed_{number}" for number in itertools.count())


@pytest.fixture
def name() -> str:
    """A name of a metric that no other test has."""
    return next(_names)


def shown(name: str, ending: str = "seconds_count") -> dict[tuple[tuple[str, str], ...], float]:
    """The values of a metric, by those of its labels that are not empty."""
    return {
        tuple(sorted((key, value) for key, value in sample.labels.items() if value)): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"respool_{name}_{ending}"
    }


def compute(seconds: float) -> None:
    """Keep the processor busy."""
    until = thread_time() + seconds
    while thread_time() < until:
        pass


def test_labels_come_from_arguments_and_result(name: str) -> None:
    """Labels are told by arguments, however they are given, by what is in them, by functions, and by the result."""

    class Box:
        size = "large"

    @timed(
        name,
        "Packing.",
        labels={"colour": "colour", "size": "box.size", "both": lambda colour, *_, **__: colour.upper()},
        results={"even": lambda result: result % 2 == 0},
    )
    def pack(colour: str, count: int = 1, *, box: Box) -> int:
        return count

    assert pack("red", 2, box=Box()) == 2
    assert pack(box=Box(), count=3, colour="red") == 3
    same = (("colour", "red"),)
    assert shown(name) == {
        (("both", "RED"), *same, ("even", even), ("size", "large")): 1.0 for even in ("True", "False")
    }
    assert shown(name, "cpu_seconds_count") == shown(name)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_errors_have_a_label(name: str, *, asynchronous: bool) -> None:
    """A call that raises is counted with the class of its error, and raises it."""

    def fail() -> None:
        raise KeyError("gone")

    async def fail_later() -> None:
        await asyncio.sleep(0)
        fail()

    decorate = timed(name, "Failing.", results={"given": str})
    if asynchronous:
        with pytest.raises(KeyError, match="gone"):
            await decorate(fail_later)()
    else:
        with pytest.raises(KeyError, match="gone"):
            decorate(fail)()
    assert shown(name) == {(("error", "KeyError"), ("given", "none")): 1.0}


def test_cost_of_each_piece(name: str) -> None:
    """The cost is told of each piece of work too, but not of calls that did none, or failed."""

    @timed(name, "Reading pages.", per=("page", lambda pages, *_: pages))
    def read(pages: int) -> int:
        if pages < 0:
            raise ValueError("There are no such pages.")
        compute(0.01)
        return pages

    read(1000)
    read(0)
    with pytest.raises(ValueError, match="no such"):
        read(-1)
    assert shown(name) == {(): 2.0, (("error", "ValueError"),): 1.0}
    assert shown(name, "per_page_seconds_count") == {(): 1.0}
    whole, each = shown(name, "cpu_seconds_sum")[()], shown(name, "per_page_cpu_seconds_sum")[()]
    assert 0.01 / 1000 <= each <= whole / 1000


async def test_coroutine_takes_what_it_does_itself(name: str) -> None:
    """A coroutine's CPU time is that of its own steps: not what others do while it waits, which its time has."""
    go, went = asyncio.Event(), asyncio.Event()

    @timed(name, "Waiting.")
    async def wait() -> str:
        compute(0.03)
        go.set()
        await went.wait()
        compute(0.03)
        return "done"

    async def others() -> None:
        await go.wait()
        compute(0.3)
        went.set()

    assert (await asyncio.gather(wait(), others()))[0] == "done"
    [wall], [cpu] = shown(name, "seconds_sum").values(), shown(name, "cpu_seconds_sum").values()
    assert 0.06 <= cpu < 0.3 < wall


async def test_threads_count_where_their_work_was_asked_for(name: str) -> None:
    """What a coroutine has done in threads is in its CPU time and in that of the call around it, once in each."""

    @timed(f"{name}_inner", "Working elsewhere.")
    async def inner() -> None:
        await asyncio.gather(in_thread(compute, 0.05), in_thread(compute, 0.05))

    @timed(f"{name}_outer", "Having it done.")
    async def outer() -> None:
        await inner()
        await in_thread(compute, 0.1)

    await outer()
    [small], [large] = (shown(f"{name}_{each}", "cpu_seconds_sum").values() for each in ("inner", "outer"))
    assert 0.1 <= small <= large - 0.1
    assert large < 0.3


async def test_cancellation_and_errors_reach_the_work(name: str) -> None:
    """What is thrown at a measured coroutine is thrown at the work, which may catch it and go on."""
    seen: list[str] = []
    begun = asyncio.Event()

    @timed(name, "Hanging on.")
    async def hang() -> str:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("tidied")
            raise
        return "never"

    task = asyncio.create_task(hang())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "tidied"]
    assert shown(name) == {(("error", "CancelledError"),): 1.0}


async def test_a_coroutine_that_is_closed_closes_the_work(name: str) -> None:
    """Closing a measured coroutine amid its work runs what the work does at its end."""
    closed: list[bool] = []

    @timed(name, "Being closed.")
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    running = work()
    assert isinstance(running, Coroutine)
    running.send(None)
    running.close()
    assert closed == [True]


async def test_what_is_decorated_stays_what_it_is(name: str) -> None:
    """A decorated function keeps its name, docstring and signature, and is still a method or a coroutine function."""

    class Shop:
        @timed(f"{name}_sync", "Selling.", labels={"what": "what"})
        def sell(self, what: str, *, pieces: int = 1) -> int:
            """Sell."""
            return pieces

        @timed(f"{name}_async", "Sending.", labels={"kind": "self.kind"})
        async def send(self) -> "Shop":
            return self

        kind = "corner"

    shop = Shop()
    assert shop.sell("bread", pieces=3) == 3
    assert await shop.send() is shop
    assert (Shop.sell.__name__, Shop.sell.__doc__) == ("sell", "Sell.")
    assert [*inspect.signature(Shop.sell).parameters] == ["self", "what", "pieces"]
    assert inspect.iscoroutinefunction(Shop.send)
    assert shown(f"{name}_async") == {(("kind", "corner"),): 1.0}


def test_mistakes_are_seen_at_once(name: str) -> None:
    """A label of an argument that there is not, and a generator, are refused where they are decorated."""

    def anything(*_: object, **__: object) -> None:
        pass

    def parts() -> Any:  # noqa: ANN401 - whatever a generator is
        yield 1

    before = set(REGISTRY._names_to_collectors)
    for function, labels in ((anything, {"gone": "gone"}), (anything, {"_": "_"}), (parts, {})):
        with pytest.raises(TypeError, match=r"has no argument|is a generator"):
            timed(name, "Nothing.", labels=labels)(function)
    assert set(REGISTRY._names_to_collectors) == before


async def test_threads_of_others_have_the_same_context() -> None:
    """Work made `here` sees the context of where it was made, in whatever thread it is done."""
    watch = Stopwatch()
    done: list[str | None] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        thread = threading.Thread(target=here(_noting(done)))
        thread.start()
        await asyncio.to_thread(thread.join)

    await watch.run(work())
    assert done == ["computed"]
    assert watch.cpu_seconds >= 0.05


def _noting(done: list[str | None]) -> Callable[[], None]:
    def note() -> None:
        compute(0.05)
        done.append("computed")

    return note
