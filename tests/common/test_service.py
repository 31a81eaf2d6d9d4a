"""How services start, wait and stop: real processes, real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common import service

# What `respool up` promises for all processes together, and what a machine that is busy may add.
STOP_SECONDS = 5.0

SCRIPT = """
import asyncio, os, sys, time
from common import service
from common.waits import pause
from common.errors import UserError

def ready() -> None:
    print("ready", flush=True)

{body}

sys.exit(service.main(run, name="tested"))
"""


@contextmanager
def running(body: str, *, supervised: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Start a service with this `run` and wait until it says that it is ready."""
    environment = {**os.environ, **({service.SUPERVISED: "1"} if supervised else {})}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=textwrap.dedent(body))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def end(
    process: subprocess.Popen[str], number: signal.Signals | None = signal.SIGTERM
) -> tuple[int, list[dict[str, str]], float]:
    """Send a signal; give the exit code, what was logged, and the seconds that it took."""
    began = time.monotonic()
    if number is not None:
        process.send_signal(number)
    _, logged = process.communicate(timeout=20)
    return process.returncode, [json.loads(line) for line in logged.splitlines()], time.monotonic() - began


POLITE = """
    async def run(stop):
        ready()
        await stop.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_service(number: signal.Signals) -> None:
    """SIGTERM and SIGINT let a service end by itself, with exit code 0 and nothing to complain about."""
    with running(POLITE) as process:
        code, logged, seconds = end(process, number)
    assert (code, logged) == (0, [])
    assert seconds < STOP_SECONDS


def test_a_service_finishes_what_it_does() -> None:
    """After a signal a service has its time to put things in order."""
    body = """
        async def run(stop):
            ready()
            await stop.wait()
            await asyncio.sleep(0.2)
            print("in order", flush=True)
    """
    with running(body) as process:
        process.terminate()
        assert process.communicate(timeout=20)[0] == "in order\n"
    assert process.returncode == 0


def test_a_service_that_ends_by_itself() -> None:
    """A service that has nothing more to do ends with 0."""
    body = """
        async def run(stop):
            ready()
    """
    with running(body) as process:
        assert end(process, None)[:2] == (0, [])


@pytest.mark.parametrize(
    "hang",
    ["await asyncio.sleep(3600)", "await asyncio.to_thread(time.sleep, 3600)", "await never_mind()"],
    ids=["waiting", "a thread", "ignoring its cancellation"],
)
def test_a_stop_is_forced(hang: str) -> None:
    """What does not end by itself is gone soon nevertheless, and the log says so."""
    body = f"""
        async def never_mind():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        async def run(stop):
            ready()
            {hang}
    """
    with running(body) as process:
        _, logged, seconds = end(process)
    assert logged[0]["event"] == "stop_forced"
    assert seconds < STOP_SECONDS


def test_a_user_error_is_a_sentence() -> None:
    """What only the user can cure is logged as its sentence, without a trace, and the exit code is 1."""
    body = """
        async def run(stop):
            ready()
            raise UserError("The folder is not there; make it.")
    """
    with running(body) as process:
        code, [entry], _ = end(process, None)
    assert code == 1
    assert (entry["event"], entry["reason"]) == ("cannot_run", "The folder is not there; make it.")
    assert (entry["service"], entry["level"]) == ("tested", "error")
    assert "exception" not in entry


def test_user_errors_of_several_tasks() -> None:
    """The user errors of a group of tasks are sentences too, one for each."""
    body = """
        async def run(stop):
            ready()
            raise ExceptionGroup("tasks", [UserError("One."), ExceptionGroup("more", [UserError("Two.")])])
    """
    with running(body) as process:
        code, logged, _ = end(process, None)
    assert (code, [entry["reason"] for entry in logged]) == (1, ["One.", "Two."])


def test_a_failure_is_logged_once_with_its_chain() -> None:
    """A failure ends the service with 1 and is logged once, with what caused it."""
    body = """
        async def fail():
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise RuntimeError("no result") from error

        async def run(stop):
            ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
                tasks.create_task(asyncio.sleep(3600))
    """
    with running(body) as process:
        code, [entry], _ = end(process, None)
    assert (code, entry["event"]) == (1, "failed")
    assert "ZeroDivisionError" in entry["exception"]
    assert "RuntimeError: no result" in entry["exception"]


def test_a_failure_while_stopping_counts() -> None:
    """A service that fails while it stops ends with 1."""
    body = """
        async def run(stop):
            ready()
            await stop.wait()
            raise RuntimeError("not in order")
    """
    with running(body) as process:
        code, [entry], _ = end(process)
    assert (code, entry["event"]) == (1, "failed")


def test_a_supervised_service_ends_with_its_parent() -> None:
    """When the pipe to its standard input breaks, since its parent died, a supervised service stops."""
    with running(POLITE, supervised=True) as process:
        code, logged, seconds = end(process, None)  # closes the pipe, as a parent's death does
    assert (code, logged) == (0, [])
    assert seconds < STOP_SECONDS


def test_a_supervised_service_whose_parent_is_killed() -> None:
    """Killed with -9, a parent takes the service that it supervises along."""
    parent = f"""
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", {SCRIPT.format(body=textwrap.dedent(POLITE))!r}],
    stdin=subprocess.PIPE, env={{**os.environ, {service.SUPERVISED!r}: "1"}},
)
child.wait()
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        # the service holds the other end of our pipe: it ends when the service has ended
        began = time.monotonic()
        assert process.stdout.read() == ""
        assert time.monotonic() - began < STOP_SECONDS


def test_a_broken_pipe_does_not_busy_the_loop() -> None:
    """A supervised service whose parent is gone uses its last seconds for stopping, not for looking at the pipe."""
    body = """
        async def run(stop):
            ready()
            await stop.wait()
            before = time.process_time()
            await asyncio.sleep(0.5)
            print(time.process_time() - before, flush=True)
    """
    with running(body, supervised=True) as process:
        assert float(process.communicate(timeout=20)[0]) < 0.1


def test_an_unsupervised_service_does_not_care_for_its_input() -> None:
    """Without a supervisor, a standard input that ends stops nothing."""
    body = """
        async def run(stop):
            ready()
            sys.exit(9) if await pause(stop, 0.3) else print("still here", flush=True)
    """
    with running(body) as process:
        assert process.communicate(timeout=20)[0] == "still here\n"


# Waiting ------------------------------------------------------------------------------------------------------------


def test_a_service_measures_how_late_its_loop_is() -> None:
    """What keeps the event loop busy shows in the lag; and it says of which version it is."""
    body = """
        import platform
        from common import metrics

        async def run(stop):
            ready()
            await asyncio.sleep(0.15)
            time.sleep(0.35)  # over the moment of a look
            await asyncio.sleep(0.15)
            print(metrics.render().decode(), flush=True)
    """
    with running(body) as process:
        shown, _ = process.communicate(timeout=60)
    assert re.search(
        r'^respool_build_info{python="3[.0-9a-z]+",service="tested",version="[^"]+"} 1.0$', shown, re.MULTILINE
    )
    late = re.search(r"^respool_event_loop_lag_seconds_sum (.+)$", shown, re.MULTILINE)
    assert late is not None
    assert float(late[1]) > 0.1
