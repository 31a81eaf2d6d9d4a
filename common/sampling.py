"""Where a running process spends its time: the stacks of all its threads, looked at some hundred times a second.

A thread of its own looks, by `sys._current_frames`. A signal (setitimer, SIGPROF) would run its handler in the middle
of whatever the main thread does, locks held, and wait as long as that is inside a library; it would break off system
calls in libraries that do not expect it, wake the event loop each time, and see other threads only from there. The
thread needs nothing but its turn at the interpreter. It takes no lock that the program takes and calls nothing of the
program: as it looks, it copies numbers of code objects into dictionaries of its own, and names are looked up when all
is over. A child that is forked meanwhile has no such thread, and no timer. While nobody asks for a profile, there is
nothing: no thread, no timer, no hook.

It sees what there is when its turn comes, half a millisecond late at most (`common.service.tune`): a short function of
the thread that has just run may be over by then, and what gives up its turn, as all that waits does, is met more often.

How much CPU time a thread has taken since the last look tells its clock in the kernel; it counts for the stack that is
found. So what waits costs nothing, whatever it waits for.
"""

import os
import random
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FrameType

from common.flames import Cost, Profile, Stack

# A look at twenty threads takes some 50 microseconds: half a hundredth of the processor.
LOOKS_PER_SECOND = 100.0

# Of a deeper stack, which recursion makes, the innermost.
_MOST_FRAMES = 200

# Stacks that are told apart; one that comes later is counted as its thread alone.
_MOST_STACKS = 20_000


@dataclass(slots=True)
class Sampler:
    """Looks at this process, in the thread that calls `run`, until told to stop."""

    looks_per_second: float = LOOKS_PER_SECOND
    _stopped: threading.Event = field(default_factory=threading.Event)
    _codes: dict[int, CodeType] = field(default_factory=dict)
    _costs: dict[tuple[int, ...], Cost] = field(default_factory=dict)
    _threads: dict[int, str] = field(default_factory=dict)
    _clocks: dict[int, tuple[int, float]] = field(default_factory=dict)

    def stop(self) -> None:
        """Make `run` give what there is by now; from another thread."""
        self._stopped.set()

    def run(self, seconds: float) -> Profile:
        """Look for so many seconds at all threads but this one."""
        began, cpu, looks = time.perf_counter(), time.process_time(), 0
        self._look()
        self._costs.clear()  # what was before: now each thread has its clock
        while (left := began + seconds - time.perf_counter()) > 0:
            # at odd moments, so that what happens as regularly is met neither always nor never
            pause = random.uniform(0.5, 1.5) / self.looks_per_second
            if self._stopped.wait(min(left, pause)):
                break
            self._look()
            looks += 1
        took = time.perf_counter() - began
        return Profile(took, looks, time.process_time() - cpu, self._named())

    def _look(self) -> None:
        own = threading.get_ident()
        frames = sys._current_frames()  # noqa: SLF001 - documented, and the only way to other threads' stacks
        for ident, frame in frames.items():
            if ident != own:
                stack = self._stack(ident, frame)
                if stack not in self._costs and len(self._costs) >= _MOST_STACKS:
                    stack = (ident,)
                cost = self._costs.setdefault(stack, Cost())
                cost.looks += 1
                cost.cpu_seconds += self._cpu_since(ident)

    def _stack(self, ident: int, innermost: FrameType) -> tuple[int, ...]:
        """The numbers of a thread's code objects, innermost first, and last its own."""
        numbers: list[int] = []
        frame: FrameType | None = innermost
        while frame is not None and len(numbers) < _MOST_FRAMES:
            code = frame.f_code
            number = id(code)  # comparing them would read all of their code
            self._codes[number] = code
            numbers.append(number)
            frame = frame.f_back
        return (*numbers, ident)

    def _cpu_since(self, ident: int) -> float:
        """The CPU time that a thread has taken since this was last asked."""
        clock, before = self._clocks.get(ident) or self._clock(ident)
        with suppress(OSError):  # it may just have ended
            now = time.clock_gettime(clock)
            self._clocks[ident] = clock, now
            return max(0.0, now - before)
        return 0.0

    def _clock(self, ident: int) -> tuple[int, float]:
        """Find the kernel's clock of a thread, by the number that the kernel has for it; and its name."""
        # one look into a dictionary: `threading.enumerate` takes the lock under which threads are started
        thread: threading.Thread | None = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001
        native = None if thread is None else thread.native_id
        self._threads[ident] = "a thread" if thread is None else thread.name
        if native is None:
            return -1, 0.0
        # as clock_getcpuclockid(3) makes it of a thread: of one that has ended, the kernel says that there is none
        clock = ~native << 3 | 6
        try:
            return clock, time.clock_gettime(clock)
        except OSError:
            return -1, 0.0

    def _named(self) -> dict[Stack, Cost]:
        """Give the stacks by names; what has the same names is one."""
        names = {number: _name(code) for number, code in self._codes.items()}
        found: dict[Stack, Cost] = {}
        for (*numbers, ident), cost in self._costs.items():
            stack = (_kind(self._threads[ident]), *[names[each] for each in reversed(numbers)])
            found.setdefault(stack, Cost()).add(cost)
        return found


def _kind(thread: str) -> str:
    """The name of a thread, without the number that tells it from its like."""
    return thread.rstrip("0123456789").rstrip("_-") or thread


def _name(code: CodeType) -> str:
    """A function as people find it: `Store.sequence (common/store.py:262)`."""
    path = code.co_filename
    roots = [root for root in sys.path if root and path.startswith(root.rstrip(os.sep) + os.sep)]
    short = path[len(max(roots, key=len).rstrip(os.sep)) + 1 :] if roots else path
    return f"{code.co_qualname} ({short}:{code.co_firstlineno})"
