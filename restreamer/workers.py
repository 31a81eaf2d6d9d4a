"""Several processes on one port: the kernel gives each new connection to one of them."""

import asyncio
import errno
import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common import metrics
from common.children import supervise
from common.web import cannot_listen

# Less than a service has itself, of which this one is a part.
_STOP_SECONDS = 2.5

_METRICS = "respool-metrics-"

# A folder is made a moment before it is locked.
_DEAD_SECONDS = 60.0


async def run_workers(count: int, arguments: list[str], stop: asyncio.Event) -> None:
    """Run so many processes of the restreamer until told to stop; one that dies is started again.

    Their metrics are added up in a folder of their own, so that any of them shows those of all.
    """
    with metrics_folder() as shared:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(
                    supervise(
                        "restreamer",
                        arguments,
                        stop,
                        stop_seconds=_STOP_SECONDS,
                        environment={metrics.SHARED: shared},
                        ended=lambda process: metrics.forget(process, shared),
                    )
                )


@contextmanager
def metrics_folder() -> Iterator[str]:
    """Make a folder that is ours as long as we hold a lock on it, and remove those of others that are dead."""
    for left in Path(tempfile.gettempdir()).glob(f"{_METRICS}*"):
        with suppress(OSError), _locked(left):
            if time.time() - left.stat().st_mtime > _DEAD_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_METRICS, ignore_cleanup_errors=True) as shared, _locked(Path(shared)):
        yield shared


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder, which the kernel gives back however we end. Raises OSError if it is not to be had."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "It is another user's", str(folder))
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Give a port to processes that will share it (0 takes a free one, which nobody else is then given).

    Raises UserError if it is in use or may not be used.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as alone:
            # who shares a port shares it with anybody of the same user: another service there must be met before
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            found = alone.getsockname()
        keeper = socket.socket(family)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(found)
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    with keeper:  # it does not listen, so it gets no connection
        yield found[1]
