"""What work costs: wall and CPU time of each call of a function as histograms, also per piece of the work done.

    @timed("cut", "Making a cut.", labels={"type": "kind"}, per=("media_second", lambda made, *_: made.seconds))
    async def make(order: Order, kind: str) -> Made: ...

gives respool_cut_seconds and respool_cut_cpu_seconds and, of calls that did any work, what each second of video took:
respool_cut_per_media_second_seconds and respool_cut_per_media_second_cpu_seconds. All have the label `error`: the class
of what the call raised, empty if it raised nothing.

The CPU time of a function is that of its thread. That of a coroutine is what its own steps take, from one await that
waits to the next, and what threads take to which it hands work by `common.waits.in_thread` or otherwise `here`; what
is done in other tasks, and by ffmpeg, is not in it. A call within a call counts in both.
"""

import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import ContextVar, copy_context
from functools import cache, wraps
from operator import attrgetter
from time import perf_counter, thread_time
from types import MappingProxyType, coroutine
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from common.metrics import UNIT_SECONDS, WIDE_SECONDS, Durations, seconds

P = ParamSpec("P")
T = TypeVar("T")

# The name of an argument, or of something in it (`order.channel`); or a function of the same arguments.
Label: TypeAlias = str | Callable[..., object]

# What is counted as work, in the singular, and a function of the result and the arguments that counts it.
Work: TypeAlias = tuple[str, Callable[..., float]]

# A label from the result, where there is none.
_NOTHING = "none"

_NO_LABELS: Mapping[str, Any] = MappingProxyType({})


class Stopwatch:
    """What one piece of work has taken so far: `seconds`, and `cpu_seconds` of them at work."""

    __slots__ = ("_began", "_lock", "cpu_seconds", "seconds")

    def __init__(self) -> None:
        """Have measured nothing; `seconds` is set at the end."""
        self.seconds = self.cpu_seconds = 0.0
        self._began = perf_counter()
        self._lock = threading.Lock()

    def add(self, cpu_seconds: float) -> None:
        """Count what another thread has done for it."""
        with self._lock:
            self.cpu_seconds += cpu_seconds

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work and measure it."""
        outer = _RUNNING.get()
        token = _RUNNING.set(self)
        self._began = perf_counter()
        own = _Own()
        try:
            return await _stepped(work, own)
        finally:
            _RUNNING.reset(token)
            self.seconds = perf_counter() - self._began
            if outer is not None:  # it has counted our steps among its own
                outer.add(self.cpu_seconds)
            self.add(own.cpu_seconds)


class _Own:
    __slots__ = ("cpu_seconds",)

    def __init__(self) -> None:
        self.cpu_seconds = 0.0


# Whose work it is that is done now.
_RUNNING: ContextVar[Stopwatch | None] = ContextVar("running", default=None)


@coroutine
def _stepped(work: Coroutine[Any, Any, T], own: _Own) -> Generator[Any, Any, T]:
    """Do as `await work`, and count the CPU time between what it waits for."""
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        began = thread_time()
        try:
            awaited = step(given)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            own.cpu_seconds += thread_time() - began
        try:
            given = yield awaited
            step = work.send
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation, say: what is thrown at us is for the work
            given, step = error, work.throw


def here(work: Callable[P, T]) -> Callable[P, T]:
    """Make work for another thread that belongs to what is done here.

    It has the same context (the identifiers in log lines), and its CPU time counts where this one's does.
    """
    context, watch = copy_context(), _RUNNING.get()

    def there(*args: P.args, **kwargs: P.kwargs) -> T:
        began = thread_time()
        try:
            return context.run(work, *args, **kwargs)
        finally:
            if watch is not None:
                watch.add(thread_time() - began)

    return there


def timed(
    name: str,
    text: str,
    *,
    labels: Mapping[str, Label] = _NO_LABELS,
    results: Mapping[str, Callable[[Any], object]] = _NO_LABELS,
    per: Work | None = None,
    buckets: Sequence[float] = WIDE_SECONDS,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a decorator that measures each call of a function or coroutine function as `respool_<name>...`.

    `text` says what is done, as `Making a cut.` does. `labels` are told by the arguments, `results` by what is given
    (`none` if the call raises); all must be bounded. `per` tells how much work was done. Several functions may have the
    same name, if all else is the same. Raises TypeError for labels of arguments that there are not, and for generators,
    whose time is that of those who use them.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: its time is that of those who use it.")
        told = tuple(_from_arguments(function, label) for label in labels.values())
        names, found = (*labels, *results), tuple(results.values())
        tally = _Tally(name, text, labels=names, told=told, results=found, per=per, buckets=buckets)
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, T]", _measured_coroutine(function, tally))
        return _measured(function, tally)

    return decorate


class _Tally:
    """The metrics of one function."""

    def __init__(
        self,
        name: str,
        text: str,
        *,
        labels: tuple[str, ...],
        told: tuple[Callable[..., object], ...],
        results: tuple[Callable[[Any], object], ...],
        per: Work | None,
        buckets: Sequence[float],
    ) -> None:
        self._told, self._results = told, results
        what = text.removesuffix(".")
        self._whole = (
            _histogram(name, f"{what}: how long it took.", (*labels, "error"), buckets),
            _histogram(f"{name}_cpu", f"{what}: the CPU time that it took.", (*labels, "error"), buckets),
        )
        self._work = None if per is None else per[1]
        self._each: tuple[Durations, ...] = ()
        if per is not None:
            each, of = per[0].replace("_", " "), f"{name}_per_{per[0]}"
            self._each = (
                _histogram(of, f"{what}: how long each {each} took.", labels, UNIT_SECONDS),
                _histogram(f"{of}_cpu", f"{what}: the CPU time that each {each} took.", labels, UNIT_SECONDS),
            )
        self._known: dict[tuple[Durations, tuple[str, ...]], Durations] = {}

    def done(self, args: tuple[Any, ...], kwargs: dict[str, Any], watch: Stopwatch, result: object) -> None:
        """Count a call that gave a result."""
        values = (*self._values(args, kwargs), *[str(each(result)) for each in self._results])
        self._count(self._whole, (*values, ""), watch, 1.0)
        if self._work is not None and (amount := self._work(result, *args, **kwargs)) > 0:
            self._count(self._each, values, watch, amount)

    def failed(self, args: tuple[Any, ...], kwargs: dict[str, Any], watch: Stopwatch, error: BaseException) -> None:
        """Count a call that raised an error."""
        values = (*self._values(args, kwargs), *[_NOTHING] * len(self._results))
        self._count(self._whole, (*values, type(error).__name__), watch, 1.0)

    def _values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        return [str(each(*args, **kwargs)) for each in self._told]

    def _count(
        self, histograms: tuple[Durations, ...], values: tuple[str, ...], watch: Stopwatch, amount: float
    ) -> None:
        wall, cpu = histograms
        self._labelled(wall, values).observe(watch.seconds / amount)
        self._labelled(cpu, values).observe(watch.cpu_seconds / amount)

    def _labelled(self, histogram: Durations, values: tuple[str, ...]) -> Durations:
        found = self._known.get((histogram, values))
        if found is None:  # looking it up there takes longer than counting
            found = self._known[histogram, values] = histogram.labels(*values) if values else histogram
        return found


@cache
def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: Sequence[float]) -> Durations:
    return seconds(name, text, *labels, buckets=buckets)


def _measured(function: Callable[P, T], tally: _Tally) -> Callable[P, T]:
    @wraps(function)
    def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        watch = Stopwatch()
        began, cpu = perf_counter(), thread_time()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            watch.seconds, watch.cpu_seconds = perf_counter() - began, thread_time() - cpu
            tally.failed(args, kwargs, watch, error)
            raise
        watch.seconds, watch.cpu_seconds = perf_counter() - began, thread_time() - cpu
        tally.done(args, kwargs, watch, result)
        return result

    return measured


def _measured_coroutine(function: Callable[P, Coroutine[Any, Any, T]], tally: _Tally) -> Callable[P, Awaitable[T]]:
    @wraps(function)
    async def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        watch = Stopwatch()
        try:
            result = await watch.run(function(*args, **kwargs))
        except BaseException as error:
            tally.failed(args, kwargs, watch, error)
            raise
        tally.done(args, kwargs, watch, result)
        return result

    return measured


def _from_arguments(function: Callable[..., Any], label: Label) -> Callable[..., object]:
    """Make a function of the call's arguments that gives a label."""
    if callable(label):
        return label
    name, _, rest = label.partition(".")
    parameters = inspect.signature(function).parameters
    if name not in parameters or parameters[name].kind in {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }:
        raise TypeError(f"{function.__qualname__} has no argument {name!r}.")
    place, default = [*parameters].index(name), parameters[name].default
    inner = attrgetter(rest) if rest else None

    def told(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the function takes
        value = args[place] if place < len(args) else kwargs.get(name, default)
        return value if inner is None else inner(value)

    return told
