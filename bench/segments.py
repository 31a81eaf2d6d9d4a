"""How fast segments come over HTTP, against an nginx that sends the same files: both on this machine, in one run.

The client shares the cores with the servers. It receives as much at once as there is, to take little of them.
"""

import os
import random
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench.store import LASTS, START
from common.dateutil import hour_name
from common.segments import SegmentType, content_hash, make_segment

FILES = 64
FILE_BYTES = 1_000_000
CONNECTIONS = (1, 16, 64)
SECONDS = 2.0
RUNS = 5
REQUESTS = 300

# Of nginx: one process everywhere, two where there is more than one client.
TARGET_ONE, TARGET_TWO, TARGET_LATENCY = 0.55, 0.75, 1.5

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location /segments/ {{ alias {base}/; }} location = /health {{ return 200; }} }}
}}
"""


@dataclass(slots=True)
class Connection:
    """One client: it asks for a file, takes it, and asks for the next."""

    sock: socket.socket
    paths: Iterator[str]
    head: bytes = b""
    missing: int = 0

    def ask(self) -> None:
        self.sock.sendall(f"GET {next(self.paths)} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        self.head, self.missing = b"", -1

    def take(self, scratch: bytearray) -> bool:
        """Take what is there; tell whether an answer is complete."""
        if self.missing > 0:
            self.missing -= self.sock.recv_into(scratch, self.missing)
            return self.missing == 0
        self.head += self.sock.recv(4096)
        head, end, body = self.head.partition(b"\r\n\r\n")
        if not end:
            return False
        assert head.startswith(b"HTTP/1.1 200"), head
        self.missing = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
        return self.missing == 0


def main() -> None:
    """Print the tables."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        print("Segments over HTTP are not measured: there is no nginx here to compare with (apt install nginx-light).")
        return
    with ExitStack() as stack:
        base, paths = stack.enter_context(files())
        ports = {
            "nginx": stack.enter_context(running_nginx(nginx, base)),
            "one": stack.enter_context(running_restreamer(base, 1)),
            "two": stack.enter_context(running_restreamer(base, 2)),
        }
        print("| connections | nginx req/s | one process | of nginx | target | two | of nginx | target |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for connections in CONNECTIONS:
            runs = [{name: rate(port, paths, connections) for name, port in ports.items()} for _ in range(RUNS)]
            print(_row(connections, runs), flush=True)
        print("\n| keep-alive request | median ms | target |\n| --- | ---: | ---: |")
        for path in ("/files", "/health", paths[0].rpartition("/")[0].replace("segments", "files"), paths[0]):
            name = path if len(path) < 50 else "a segment of 1 MB"
            print(f"| {name} | {latency(ports['one'], path):.2f} | ≤ {TARGET_LATENCY:g} |", flush=True)
    print(f"\nLoad over the last minute: {os.getloadavg()[0]:.1f}.")


def _row(connections: int, runs: list[dict[str, float]]) -> str:
    cells = [str(connections), f"{median(run['nginx'] for run in runs):.0f}"]
    for name, target in (("one", f"≥ {TARGET_ONE}"), ("two", f"≥ {TARGET_TWO}" if connections > 1 else "")):
        cells += [f"{median(run[name] for run in runs):.0f}", f"{median(r[name] / r['nginx'] for r in runs):.2f}"]
        cells.append(target)
    return f"| {' | '.join(cells)} |"


@contextmanager
def files() -> Iterator[tuple[Path, list[str]]]:
    """A store of FILES segments, and their paths on a server."""
    dice = random.Random(2)
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        hour = Path("chan/source", hour_name(START))
        (Path(base) / hour).mkdir(parents=True)
        paths = []
        for index in range(FILES):
            data = dice.randbytes(FILE_BYTES)
            made = make_segment(START + index * LASTS, LASTS, SegmentType.FULL, content_hash(sha256(data).digest()))
            (Path(base) / hour / made.name).write_bytes(data)
            paths.append(f"/segments/{hour}/{made.name}")
        yield Path(base), paths


@contextmanager
def running_nginx(nginx: str, base: Path) -> Iterator[int]:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(NGINX.format(folder=folder, port=port, base=base, user=user))
        with running([nginx, "-p", folder, "-e", f"{folder}/error.log", "-c", str(config)], port):
            yield port


@contextmanager
def running_restreamer(base: Path, workers: int) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "restreamer", "--base-dir", str(base), "--port", str(port)]
    with running([*command, "--workers", str(workers), "--log-level", "warning"], port):
        yield port


@contextmanager
def running(command: list[str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            while not answers(port):
                assert process.poll() is None, command
            yield process
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health") as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def rate(port: int, paths: list[str], connections: int) -> float:
    """Give the requests per second that so many clients are answered."""
    counted = 0

    def another(_: Connection) -> None:
        nonlocal counted
        counted += 1

    began = time.perf_counter()
    drive(port, paths, connections, another, lambda: time.perf_counter() - began > SECONDS)
    return counted / (time.perf_counter() - began)


def latency(port: int, path: str) -> float:
    """Give the median milliseconds of a request on a connection that is kept."""
    times = [time.perf_counter()]
    drive(port, [path], 1, lambda _: times.append(time.perf_counter()), lambda: len(times) > REQUESTS)
    return 1000 * median(after - before for before, after in pairwise(times[1:]))


def drive(
    port: int, paths: list[str], connections: int, answered: Callable[[Connection], None], over: Callable[[], bool]
) -> None:
    scratch = bytearray(FILE_BYTES)
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for number in range(connections):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, cycle(paths, number))
            selector.register(sock, selectors.EVENT_READ, connection)
            connection.ask()
        while not over():
            for key, _ in selector.select():
                connection = key.data
                if connection.take(scratch):
                    answered(connection)
                    connection.ask()


def cycle(paths: list[str], start: int) -> Iterator[str]:
    while True:
        yield paths[start % len(paths)]
        start += 1


if __name__ == "__main__":
    main()
