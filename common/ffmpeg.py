"""The one runner of ffmpeg: what is fed into it, what comes out of it, how far it is, and that nothing of it stays.

Every run, however it ends (done, failed, too late, cancelled, its reader gone), leaves no process and no descriptor.
Should we die ourselves, even by kill -9, the ends of its pipes make ffmpeg end too: what it is fed is over, and what it
writes finds no reader.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from common.encoding import input_url
from common.errors import UserError
from common.metrics import counter, seconds
from common.waits import in_thread

log = structlog.get_logger()

# Recording and serving come first. Linux derives the I/O priority from the niceness where none was set.
_NICENESS: Final = 10
# SVT-AV1 asks nobody what to log: errors and warnings are enough.
_QUIET: Final = {"SVT_LOG": "2"}
_TAIL_BYTES: Final = 4096
_READ_BYTES: Final = 1 << 18
# As much as Linux lets anyone have; the fewer turns of the loop per megabyte.
_PIPE_BYTES: Final = 1 << 20

_runs = counter("ffmpeg_runs", "Runs of ffmpeg by what for and how they ended.", "purpose", "outcome")
_run_seconds = seconds("ffmpeg_run", "How long runs of ffmpeg took.", "purpose")
_cpu_seconds = counter("ffmpeg_cpu_seconds", "CPU time that runs of ffmpeg took.", "purpose")


class FfmpegError(Exception):
    """A run of ffmpeg that failed; its text is one sentence, for a log rather than for who asked for the run."""

    def __init__(self, sentence: str, exit_code: int | None, tail: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        """None where it could not be started; negative for the number of the signal that ended it."""
        self.tail = tail
        """The last of what ffmpeg said, at most 4 KB."""
        if tail:
            self.add_note(tail)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    frames: int
    """Pictures written so far; 0 for sound alone."""
    position: timedelta
    """How much of the output is written."""
    speed: float | None
    """Seconds of output per second; None as long as it cannot be told."""
    fraction: float | None
    """From 0 to 1; None where the whole length is unknown, as is `left`."""
    left: timedelta | None


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run that went well took, and what ffmpeg had to say all the same."""

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    """The most memory that it held at once."""
    warnings: str
    """The last 4 KB at most; empty if there was nothing to say."""


def find_ffmpeg(named: str | None = None) -> str:
    """The path of the ffmpeg to use: the one named, else that of RESPOOL_FFMPEG, else the one that was installed along.

    Looks at the disk. Raises UserError if there is none where it was said to be.
    """
    wanted = named or os.environ.get("RESPOOL_FFMPEG")
    if wanted is None:
        import imageio_ffmpeg  # noqa: PLC0415 - a service that never runs ffmpeg does not load it

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    found = shutil.which(wanted)
    if found is None:
        raise UserError(f"There is no ffmpeg at {wanted}: name another one, or none to use the one that comes along.")
    return found


async def run(
    command: Sequence[str],
    *,
    inputs: Sequence[AsyncIterable[bytes]] = (),
    progress: Callable[[Progress], None] | None = None,
    duration: timedelta | None = None,
    timeout: float,  # noqa: ASYNC109 - what is too late is killed and reported, not cancelled
    purpose: str,
    output: Path | None = None,
) -> Finished:
    """Run ffmpeg until it ends. `command` begins with its path; its arguments `input_url(n)` are fed by `inputs`.

    `progress` is called about twice a second; with the expected `duration` of the output it learns the fraction and the
    time left. `purpose` is a fixed word for the log and the metrics. The file `output`, if named, is removed unless all
    went well. Raises FfmpegError if ffmpeg fails or takes longer than `timeout` seconds; what an input or `progress`
    raises ends the run and is raised here. An input that ffmpeg no longer wants is closed, and that is no error.
    """
    try:
        async with _running(purpose, command, inputs, _Watch(progress, duration), streamed=False) as running:
            timer = asyncio.get_running_loop().call_later(timeout, running.kill, _Late(timeout))
            try:
                await running.wait()
            finally:
                timer.cancel()
    except BaseException:
        if output is not None:
            await in_thread(partial(output.unlink, missing_ok=True))
        raise
    return running.finished()


async def stream(
    command: Sequence[str],
    *,
    inputs: Sequence[AsyncIterable[bytes]] = (),
    progress: Callable[[Progress], None] | None = None,
    duration: timedelta | None = None,
    timeout: float,  # noqa: ASYNC109 - as for `run`
    purpose: str,
) -> AsyncGenerator[bytes, None]:
    """Run ffmpeg and give what it writes to `pipe:1` as it comes; it waits while nobody asks for more.

    All is as for `run`, but that `timeout` is the longest time without a byte while one is waited for. Use it in
    `contextlib.aclosing`: a reader that has enough ends the run.
    """
    async with _running(purpose, command, inputs, _Watch(progress, duration), streamed=True) as running:
        while chunk := await running.read(timeout):
            yield chunk
        await running.wait()


@dataclass(frozen=True, slots=True)
class _Late:
    """Why a run was killed: it took too long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class _Watch:
    """Who wants to know how far the run is, and how long its output will be."""

    callback: Callable[[Progress], None] | None
    duration: timedelta | None


class _End:
    """Our end of a pipe, read or written without blocking the loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._open = True
        os.set_blocking(descriptor, False)

    def widen(self) -> "_End":
        """Let the pipe hold more, for media."""
        with suppress(OSError):  # a user's pipes may hold only so much together
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self

    async def read(self) -> bytes:
        """What there is, as soon as there is something; empty at the end."""
        while True:
            await self._ready(self._loop.add_reader, self._loop.remove_reader)
            with suppress(BlockingIOError):
                return os.read(self._descriptor, _READ_BYTES)

    async def write(self, data: bytes) -> None:
        """Write it all. Raises BrokenPipeError once nobody reads any more."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
        await asyncio.sleep(0)  # a source that never waits would otherwise keep the loop to itself

    async def _ready(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        ready = self._loop.create_future()
        add(self._descriptor, _settle, ready)
        try:
            await ready
        finally:
            if self._open:
                remove(self._descriptor)

    def close(self) -> None:
        """Close it; a second time nothing happens."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@asynccontextmanager
async def _running(
    purpose: str, command: Sequence[str], inputs: Sequence[AsyncIterable[bytes]], watch: _Watch, *, streamed: bool
) -> AsyncIterator["_Run"]:
    """Start ffmpeg, and see to its end however the block is left; raises why it failed once the block is done."""
    running = _Run(purpose)
    try:
        await running.start(command, inputs, watch, streamed=streamed)
        yield running
    finally:
        await running.close()
    running.check()


class _Run:
    """One ffmpeg: its process, the pipes to it and the tasks that serve them."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._ends: list[_End] = []
        self._output: _End | None = None
        self._feeders: list[asyncio.Task[None]] = []
        self._readers: list[asyncio.Task[None]] = []
        self._tail = b""
        self._cpu_seconds = 0.0
        self._memory_bytes = 0
        self._why_killed: BaseException | _Late | None = None
        self._abandoned = False
        self._ended = asyncio.Event()

    async def start(
        self, command: Sequence[str], inputs: Sequence[AsyncIterable[bytes]], watch: _Watch, *, streamed: bool
    ) -> None:
        """Start the process and what serves its pipes."""
        theirs: list[int] = []
        try:
            feeds = {input_url(number): self._pipe(theirs, written=True).widen() for number in range(len(inputs))}
            errors, reports = self._pipe(theirs), self._pipe(theirs)
            self._output = self._pipe(theirs).widen() if streamed else None
            urls = dict(zip(feeds, (f"pipe:{descriptor}" for descriptor in theirs), strict=False))
            ours = _with_our_options(command, theirs[len(feeds) + 1])
            full = [*ours, *(urls.get(each, each) for each in command[1:])]
            await in_thread(self._spawn, full, theirs, len(feeds), streamed)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
            if self._pidfd >= 0:
                self._loop.add_reader(self._pidfd, self._reap)
        self._readers = [self._task(self._listen(errors)), self._task(self._follow(reports, watch))]
        self._feeders = [self._task(_feed(end, source)) for end, source in zip(feeds.values(), inputs, strict=True)]

    async def read(self, limit: float) -> bytes:
        """The next of what it writes; empty at the end, and also when it has written nothing for `limit` seconds."""
        if self._output is None:
            raise AssertionError("its output is not read")
        try:
            async with asyncio.timeout(limit):
                return await self._output.read()
        except TimeoutError:
            self.kill(_Late(limit))
            return b""

    async def wait(self) -> None:
        """Wait until the process has ended."""
        await self._ended.wait()

    def kill(self, why: BaseException | _Late) -> None:
        """End it at once, for a reason that `check` gives; nothing happens if it has ended or is killed already."""
        if self._why_killed is None and not self._ended.is_set():
            self._why_killed = why
            self._send_kill()

    async def close(self) -> None:
        """See to it that the process has ended and that all of it is let go."""
        if not self._ended.is_set() and self._why_killed is None:
            self._abandoned = True
            self._send_kill()
        for task in self._feeders:
            task.cancel()
        try:
            if self._process is not None:
                await self._ended.wait()
            if self._feeders or self._readers:
                await asyncio.wait([*self._feeders, *self._readers])
        finally:
            for task in self._readers:
                task.cancel()
            for end in self._ends:
                end.close()
            self._report()

    def check(self) -> None:
        """Raise why the run failed, if it did."""
        code, tail = self._exit_code(), self._said()
        match self._why_killed:
            case _Late(limit):
                raise FfmpegError(f"ffmpeg ({self._purpose}) took longer than {limit:g} seconds.", code, tail)
            case BaseException() as error:
                raise error
        if code != 0:
            said = tail.rpartition("\n")[2] or "it did not say why"
            raise FfmpegError(f"ffmpeg ({self._purpose}) failed with exit code {code}: {said}", code, tail)

    def finished(self) -> Finished:
        """What the run has taken."""
        return Finished(self._loop.time() - self._began, self._cpu_seconds, self._memory_bytes, self._said())

    def _pipe(self, theirs: list[int], *, written: bool = False) -> _End:
        """Make a pipe: our end, while theirs is appended to those that the child gets."""
        reader, writer = os.pipe()
        theirs.append(reader if written else writer)
        self._ends.append(_End(writer if written else reader))
        return self._ends[-1]

    def _spawn(self, command: list[str], theirs: list[int], feeds: int, streamed: bool) -> None:  # noqa: FBT001 - for a thread
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=theirs[feeds + 2] if streamed else subprocess.DEVNULL,
                stderr=theirs[feeds],
                pass_fds=theirs,
                env={**os.environ, **_QUIET},
                start_new_session=True,  # Ctrl-C in the terminal is for us, who then end it
            )
        except OSError as error:
            raise FfmpegError(f"{command[0]} cannot be run: {error.strerror}.", None, "") from error
        self._pidfd = os.pidfd_open(self._process.pid)
        # before it has threads, which inherit it
        os.setpriority(os.PRIO_PROCESS, self._process.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS))

    def _send_kill(self) -> None:
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _reap(self) -> None:
        """Take the exit code of the process, and what it has used; called by the loop when it has ended."""
        if self._process is None:
            raise AssertionError("no process was started")
        _, status, usage = os.wait4(self._process.pid, 0)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_seconds = usage.ru_utime + usage.ru_stime
        self._memory_bytes = usage.ru_maxrss * 1024
        self._ended.set()

    def _task(self, work: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = self._loop.create_task(work)
        task.add_done_callback(self._served)
        return task

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._why_killed = self._why_killed or error
            self._send_kill()

    async def _listen(self, errors: _End) -> None:
        while said := await errors.read():
            self._tail = (self._tail + said)[-_TAIL_BYTES:]

    def _exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    def _said(self) -> str:
        return self._tail.decode(errors="replace").strip()

    async def _follow(self, reports: _End, watch: _Watch) -> None:
        reader = ProgressReader(watch.duration)
        while said := await reports.read():
            for progress in reader.read(said):
                if watch.callback is not None:
                    watch.callback(progress)

    def _report(self) -> None:
        """Write the canonical line of the run, and count it."""
        outcome = "done" if self._exit_code() == 0 else "failed"
        if self._why_killed is not None:
            outcome = "late" if isinstance(self._why_killed, _Late) else "failed"
        elif self._abandoned:
            outcome = "abandoned"
        took = self._loop.time() - self._began
        _runs.labels(self._purpose, outcome).inc()
        _run_seconds.labels(self._purpose).observe(took)
        _cpu_seconds.labels(self._purpose).inc(self._cpu_seconds)
        log.info(
            "ffmpeg_ended",
            purpose=self._purpose,
            outcome=outcome,
            exit_code=self._exit_code(),
            seconds=round(took, 3),
            cpu_seconds=round(self._cpu_seconds, 3),
            memory_bytes=self._memory_bytes,
        )


async def _feed(end: _End, source: AsyncIterable[bytes]) -> None:
    """Write all of the source, or as much as is wanted."""
    try:
        async with AsyncExitStack() as stack:
            if isinstance(source, AsyncGenerator):
                await stack.enter_async_context(aclosing(source))
            async for chunk in source:
                try:
                    await end.write(chunk)
                except BrokenPipeError:  # it has enough, or has failed: its exit code tells
                    return
    finally:
        end.close()


def _with_our_options(command: Sequence[str], reports: int) -> list[str]:
    """The head of the command: the program, then what every run has."""
    level = [] if "-loglevel" in command else ["-loglevel", "warning"]
    return [command[0], "-hide_banner", "-nostdin", "-nostats", *level, "-progress", f"pipe:{reports}"]


class ProgressReader:
    """Reads what ffmpeg writes to `-progress`: lines `key=value`, a block of them closed by the key `progress`."""

    def __init__(self, duration: timedelta | None = None) -> None:
        """With the expected `duration` of the output, it tells the fraction and the time left."""
        self._duration = duration
        self._rest = b""
        self._block: dict[str, str] = {}

    def read(self, said: bytes) -> Iterable[Progress]:
        """The blocks that are whole with this piece."""
        *lines, self._rest = (self._rest + said).split(b"\n")
        for line in lines:
            key, _, value = line.decode(errors="replace").partition("=")
            self._block[key.strip()] = value.strip()
            if key == "progress":
                yield self._progress(ended=value.strip() == "end")
                self._block = {}

    def _progress(self, *, ended: bool) -> Progress:
        # times and speed are N/A until something is written, and the first time may lie before zero
        position = timedelta(microseconds=max(0.0, _number(self._block.get("out_time_us")) or 0.0))
        speed = _number(self._block.get("speed", "").removesuffix("x"))
        frames = int(_number(self._block.get("frame")) or 0)
        if not self._duration:
            return Progress(frames, position, speed, None, None)
        fraction = 1.0 if ended else min(1.0, position / self._duration)
        missing = (1.0 - fraction) * self._duration
        return Progress(frames, position, speed, fraction, missing / speed if speed else None)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
