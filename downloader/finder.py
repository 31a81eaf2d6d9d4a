"""Asking a provider without ever waiting for it too long: each attempt has a thread of its own, which may hang."""

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ParamSpec, TypeVar

from common import metrics
from common.addresses import without_secrets
from common.metrics import SECONDS
from common.timed import timed
from downloader.providers import Playlists, Provider, ProviderError, is_http, plainly

P = ParamSpec("P")
T = TypeVar("T")

# A page, an interface or two and a playlist for each quality, on a slow day.
_SECONDS = 40.0

# Attempts that were given up and still hang; beyond so many there is no use in another.
_MOST_HANGING = 3

# RFC 9110 §5.1 and §5.5: what can be sent as a header without becoming another one.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,8192}")

_ATTEMPTS = metrics.counter("provider_attempts", "Times that playlists were looked for.", "channel", "result")


@dataclass(slots=True)
class Finder:
    """Asks the provider of one channel. Those who ask at the same time get the same answer."""

    channel: str
    provider: Provider
    seconds: float = _SECONDS
    _asking: "asyncio.Task[Playlists] | None" = None
    _hanging: "set[Future[Playlists | ProviderError]]" = field(default_factory=set)

    async def find(self) -> Playlists:
        """Give where the playlists are now. Raises ProviderError, after `seconds` at the latest."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)  # another may be waiting for it too

    def _asked(self, asking: "asyncio.Task[Playlists]") -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # nobody may be left to hear of it

    @timed(
        "provider_attempt", "Finding the playlists of a channel.", labels={"channel": "self.channel"}, buckets=SECONDS
    )
    async def _ask(self) -> Playlists:
        try:
            found = await self._answer()
        except ProviderError:
            _ATTEMPTS.labels(self.channel, "failed").inc()
            raise
        _ATTEMPTS.labels(self.channel, "found").inc()
        return found

    async def _answer(self) -> Playlists:
        where = without_secrets(self.provider.address)
        self._hanging = {attempt for attempt in self._hanging if not attempt.done()}
        if len(self._hanging) >= _MOST_HANGING:
            raise ProviderError(f"{len(self._hanging)} attempts to find {where} hang; it is tried again when one ends.")
        thread = _OwnThread()
        try:
            async with asyncio.timeout(self.seconds):
                answer = await asyncio.get_running_loop().run_in_executor(thread, _find, self.provider)
        except TimeoutError:
            self._hanging |= thread.started
            raise ProviderError(f"{where} could not be found within {self.seconds:.0f} seconds.") from None
        if isinstance(answer, ProviderError):
            raise answer
        return answer


def _find(provider: Provider) -> Playlists | ProviderError:
    """Ask the provider; whatever it raises becomes the answer, since some of it could not be handed to the loop."""
    try:
        return _checked(provider.find())
    except ProviderError as error:
        return error
    except BaseException as error:  # noqa: BLE001 - the edge of others' libraries, which raise SystemExit too
        kind = type(error).__name__
        return ProviderError(f"{without_secrets(provider.address)} could not be found ({kind}: {plainly(error)}).")


def _checked(found: Playlists) -> Playlists:
    for url in (found.url, *found.qualities.values()):
        if not is_http(url):
            raise ProviderError(
                f"What was found is neither an http nor an https address: {without_secrets(url)[:200]}."
            )
    for name, value in found.headers.items():
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ProviderError(f"The header {name[:100]!r} that was found cannot be sent.")
    if found.expires_in is not None and found.expires_in <= timedelta():
        raise ProviderError("The address that was found has expired already.")
    return found


class _OwnThread(Executor):
    """Runs each piece of work in a thread of its own, which does not keep the process from ending."""

    def __init__(self) -> None:
        self.started: set[Future[Playlists | ProviderError]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # it cannot be cancelled any more, and is told its result in any case
        self.started.add(future)  # type: ignore[arg-type]  # whatever it gives, only its end matters
        threading.Thread(target=lambda: future.set_result(fn(*args, **kwargs)), daemon=True, name="provider").start()
        return future
