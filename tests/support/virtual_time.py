"""An event loop whose clock stands still while anything happens, and jumps to the next timer when nothing does.

Hours of waiting pass in seconds, and nothing has to be replaced for it: sockets on loopback, threads and files are
real. What is on its way is waited for before the clock moves: jobs in threads are counted, and bytes between two
sockets of this machine arrive as soon as the kernel has gone through its queue, behind which a byte of our own is sent.
Sockets to elsewhere, and processes, live in another time: a loop with those needs a real clock.
"""

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What every virtual clock shows when its loop is made.
START = datetime(2026, 3, 1, 12, tzinfo=UTC)

# Real seconds without any event, while a thread works or no timer is set: then it hangs.
_PATIENCE_SECONDS = 60.0

# Real seconds in which the kernel sends on what a full buffer held back; it acknowledges within 40 ms.
_KERNEL_SECONDS = 0.05

# A packet may set off another (a window that opens lets the next through), so the queue is gone through so often.
_ROUNDS = 2


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, in seconds from zero on; `utc` tells it as a moment.

    Without `threads` the loop does what is for one itself, at once: the same happens each time in the same order, and
    nothing waits for the scheduler of a busy machine.
    """

    def __init__(self, *, threads: bool = True) -> None:
        self._now = 0.0
        self._real_threads = threads
        self._jobs = 0
        self._threads = ThreadPoolExecutor(thread_name_prefix="virtual")
        self._queue = _Queue()
        super().__init__(_Selector(self))
        self.set_default_executor(self._threads)

    def time(self) -> float:
        """Give the seconds that have passed on this loop's clock."""
        return self._now

    def utc(self) -> datetime:
        """Give the moment that it is on this loop's clock."""
        return START + timedelta(seconds=self._now)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run it in a thread; the clock stands still until it is done."""
        if executor is None and not self._real_threads:
            return self._done(func, *args)
        job = (executor or self._threads).submit(func, *args)
        self._jobs += 1
        wrapped = asyncio.wrap_future(job, loop=self)
        # after the callback of `wrap_future`: what waits for the result is ready before the clock may move
        job.add_done_callback(self._note_end)
        return wrapped

    def _done(self, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for whoever waits
            future.set_exception(error)
        return future

    def _note_end(self, _: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the loop is closed
            self.call_soon_threadsafe(self._count_end)

    def _count_end(self) -> None:
        self._jobs -= 1

    def close(self) -> None:
        """Close it as any loop."""
        super().close()
        self._queue.close()


class _Selector(selectors.EpollSelector):
    """Waits for no timer: it moves the clock."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self._loop._jobs or timeout is None:
            if not (found := super().select(_PATIENCE_SECONDS)):
                raise RuntimeError(f"Nothing happens: {self._loop._jobs} threads are at work, next timer: {timeout}.")
            return found
        for _ in range(_ROUNDS):
            self._loop._queue.pass_through()
            if found := super().select(0):
                return found
        if any(key.events & selectors.EVENT_WRITE for key in self.get_map().values()) and (
            found := super().select(_KERNEL_SECONDS)
        ):
            return found
        self._loop._now += timeout
        return []


class _Queue:
    """The kernel's queue of packets between sockets of this machine."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._in = socket.create_connection(listener.getsockname(), timeout=_PATIENCE_SECONDS)
            self._out, _ = listener.accept()
        self._in.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out.settimeout(_PATIENCE_SECONDS)

    def pass_through(self) -> None:
        """Wait until what was sent before this has been delivered: packets keep their order."""
        self._in.send(b"x")
        self._out.recv(1)

    def close(self) -> None:
        self._in.close()
        self._out.close()


def run_virtually(main: Coroutine[Any, Any, T], *, threads: bool = True) -> T:
    """Run a coroutine to its end as `asyncio.run` does, on a virtual clock."""
    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, threads=threads)) as runner:
        return runner.run(main)


def virtual_loop() -> VirtualTimeLoop:
    """Give the loop that runs; it must be a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop
