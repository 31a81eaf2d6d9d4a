"""Asking providers: every way to fail becomes one sentence, and one that hangs is left to itself."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from downloader.finder import Finder
from downloader.providers import Playlists, ProviderError

FOUND = Playlists("https://host/x.m3u8")


@dataclass
class Fake:
    """A provider that does as it is told."""

    answer: Callable[[], Playlists]
    address: str = "https://host/page?secret"
    threads: list[threading.Thread] = field(default_factory=list)

    def find(self) -> Playlists:
        self.threads.append(threading.current_thread())
        return self.answer()


def raising(error: BaseException) -> Callable[[], Playlists]:
    def answer() -> Playlists:
        raise error

    return answer


async def test_answer_comes_from_a_thread_of_its_own() -> None:
    """The provider is asked beside the loop, in a thread that does not keep the process from ending."""
    fake = Fake(lambda: FOUND)
    assert await Finder("chan", fake).find() == FOUND
    assert fake.threads[0] is not threading.main_thread()
    assert fake.threads[0].daemon


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ProviderError("The studio is not on air."), "The studio is not on air."),
        (
            ValueError("no\nsuch https://h/p?token=1"),
            "https://host/page could not be found (ValueError: no such https://h/p).",
        ),
        (KeyError("id"), "https://host/page could not be found (KeyError: 'id')."),
        (StopIteration(), "https://host/page could not be found (StopIteration: StopIteration)."),
        (SystemExit(2), "https://host/page could not be found (SystemExit: 2)."),
        (KeyboardInterrupt(), "https://host/page could not be found (KeyboardInterrupt: KeyboardInterrupt)."),
        (asyncio.CancelledError(), "https://host/page could not be found (CancelledError: CancelledError)."),
        (RecursionError("deep"), "https://host/page could not be found (RecursionError: deep)."),
    ],
)
async def test_every_exception_becomes_a_sentence(error: BaseException, sentence: str) -> None:
    """Whatever a provider raises is told as one sentence without secrets, and never ends the loop."""
    with pytest.raises(ProviderError) as raised:
        await Finder("chan", Fake(raising(error))).find()
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            Playlists("file:///etc/passwd"),
            "What was found is neither an http nor an https address: file:///etc/passwd.",
        ),
        (Playlists("https://h/", qualities={"a": "x"}), "What was found is neither an http nor an https address: x."),
        (Playlists("https://h/", {"A\r\nB": "x"}), "The header 'A\\r\\nB' that was found cannot be sent."),
        (Playlists("https://h/", {"A": "x\r\nB: y"}), "The header 'A' that was found cannot be sent."),
        (Playlists("https://h/", expires_in=timedelta()), "The address that was found has expired already."),
    ],
)
async def test_bad_answers_are_refused(found: Playlists, sentence: str) -> None:
    """What cannot be fetched or sent is never given on."""
    with pytest.raises(ProviderError) as raised:
        await Finder("chan", Fake(lambda: found)).find()
    assert str(raised.value) == sentence


async def test_those_who_ask_at_once_share_an_answer() -> None:
    """Several qualities of a channel cost one question, and one that stops waiting takes nothing from the others."""
    asked, gate = threading.Event(), threading.Event()

    def answer() -> Playlists:
        asked.set()
        gate.wait(20)
        return FOUND

    fake = Fake(answer)
    finder = Finder("chan", fake)
    first, second, third = (asyncio.ensure_future(finder.find()) for _ in range(3))
    assert await asyncio.to_thread(asked.wait, 20)
    first.cancel()
    await asyncio.wait({first})
    gate.set()
    assert [await second, await third] == [FOUND, FOUND]
    assert len(fake.threads) == 1
    await finder.find()
    assert len(fake.threads) == 2


async def test_hung_provider_is_abandoned() -> None:
    """After its time it is given up; a few may hang at once, and when one ends it is asked again."""
    gates = [threading.Event() for _ in range(5)]
    waiting = iter(gates)

    def hang() -> Playlists:
        next(waiting).wait(20)
        return FOUND

    fake = Fake(hang)
    finder = Finder("chan", fake, seconds=0.001)
    for _ in range(3):
        with pytest.raises(ProviderError, match=r"^https://host/page could not be found within 0 seconds\.$"):
            await finder.find()
    with pytest.raises(ProviderError, match=r"^3 attempts to find https://host/page hang;"):
        await finder.find()
    assert len(fake.threads) == 3
    assert await asyncio.to_thread(lambda: "the common threads are free") == "the common threads are free"
    for gate in gates:
        gate.set()
    for thread in fake.threads:
        await asyncio.to_thread(thread.join)
    finder.seconds = 20
    assert await finder.find() == FOUND
