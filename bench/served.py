"""Servers for benchmarks, each in a process of its own so that it does not share ours."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def served(serve: Callable[..., None], *arguments: object) -> Iterator[str]:
    """Run `serve(port, *arguments)` in a new process and give its address, as soon as it answers there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, *arguments), daemon=True)
    process.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                continue
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()
