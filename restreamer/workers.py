"""Several processes on one port: the kernel gives each new connection to one of them."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from common import metrics
from common.children import supervise
from common.web import cannot_listen

# Less than a service has itself, of which this one is a part.
_STOP_SECONDS = 2.5


async def run_workers(count: int, arguments: list[str], stop: asyncio.Event) -> None:
    """Run so many processes of the restreamer until told to stop; one that dies is started again.

    Their metrics are added up in a folder of their own, so that any of them shows those of all.
    """
    with tempfile.TemporaryDirectory(prefix="respool-metrics-", ignore_cleanup_errors=True) as shared:
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
