"""Networks of machines that are cut off and slowed down: namespaces of the kernel, else addresses of loopback.

Both have the same methods, so that what is tried in one is tried in the other by the same code.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network
from typing import Protocol

# For benchmarks of networks (RFC 2544), hence nobody's: a part of it for each process that makes one.
_ADDRESSES = list(IPv4Network("198.18.0.0/15").subnets(new_prefix=28))


class Network(Protocol):
    """Machines by their numbers, from 1; `host` is where they reach us."""

    @property
    def host(self) -> str:
        """Give our address."""

    def address(self, machine: int) -> str:
        """Give the address of a machine."""

    def port(self, machine: int) -> int:
        """Give a port that is free on a machine."""

    def command(self, machine: int) -> Sequence[str]:
        """Give what stands before a command that is to run on a machine."""

    def cut(self, machine: int) -> bool:
        """Let nothing reach a machine nor come from it any more; tell whether that can be."""

    def heal(self, machine: int) -> None:
        """Take back `cut`."""

    def slow(self, machine: int, bytes_per_second: int) -> bool:
        """Let no more than that reach a machine; tell whether that can be."""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Each machine in a network namespace of its own, all on one bridge."""

    name: str
    addresses: IPv4Network
    host: str

    def address(self, machine: int) -> str:
        return str(self.addresses[machine + 1])

    def port(self, machine: int) -> int:
        return 8000

    def command(self, machine: int) -> Sequence[str]:
        return ("ip", "netns", "exec", f"{self.name}m{machine}")

    def cut(self, machine: int) -> bool:
        _run("ip", "-n", self.name, "link", "set", f"to{machine}", "down")
        return True

    def heal(self, machine: int) -> None:
        _run("ip", "-n", self.name, "link", "set", f"to{machine}", "up")

    def slow(self, machine: int, bytes_per_second: int) -> bool:
        bucket = ("rate", f"{8 * bytes_per_second}bit", "burst", "32kb", "latency", "100ms")
        try:
            _run("tc", "-n", self.name, "qdisc", "add", "dev", f"to{machine}", "root", "tbf", *bucket)
        except (OSError, subprocess.CalledProcessError):  # not every kernel has it
            return False
        return True


@dataclass(frozen=True, slots=True)
class Loopback:
    """Each machine at an address of its own on this one; it cannot be cut off, and is as fast as it is."""

    host: str = "127.0.0.1"

    def address(self, machine: int) -> str:
        return f"127.0.0.{machine + 1}"

    def port(self, machine: int) -> int:
        with socket.create_server((self.address(machine), 0)) as server:
            found: int = server.getsockname()[1]
            return found

    def command(self, machine: int) -> Sequence[str]:
        return ()

    def cut(self, machine: int) -> bool:
        return False

    def heal(self, machine: int) -> None:
        pass

    def slow(self, machine: int, bytes_per_second: int) -> bool:
        return False


@contextmanager
def network(machines: int) -> Iterator[Network]:
    """Make a network of so many machines: namespaces where they can be made."""
    if not has_namespaces():
        yield Loopback()
        return
    addresses = _ADDRESSES[os.getpid() % len(_ADDRESSES)]
    made = Namespaces(f"respool{os.getpid()}", addresses, str(addresses[1]))
    try:
        _build(made, machines)
        yield made
    finally:
        for name in (made.name, *(f"{made.name}m{machine}" for machine in range(1, machines + 1))):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=30)


@cache
def has_namespaces() -> bool:
    """Tell whether namespaces, with a bridge between them, can be made and used here."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"respool{os.getpid()}try"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "bridge", "type", "bridge")
        _run("ip", "netns", "exec", name, "true")
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=30)
    return True


def _build(made: Namespaces, machines: int) -> None:
    """Build it: the bridge is in a namespace, too, where no firewall of this machine looks at it."""
    here, bits = f"rs{os.getpid()}", made.addresses.prefixlen
    numbers = range(1, machines + 1)
    there = {machine: f"{made.name}m{machine}" for machine in numbers}
    for name in (made.name, *there.values()):
        _run("ip", "netns", "add", name)
    lines = [
        f"link add to{number} netns {made.name} type veth peer name line netns {there[number]}" for number in numbers
    ]
    ours = f"link add {here} type veth peer name here netns {made.name}"
    _batch([*lines, ours, f"address add {made.host}/{bits} dev {here}", f"link set {here} up"])
    ports = [f"link set {port} master bridge up" for port in ("here", *(f"to{number}" for number in numbers))]
    _batch(["link add bridge type bridge", *ports, "link set bridge up"], made.name)
    for number in numbers:
        address = f"address add {made.address(number)}/{bits} dev line"
        _batch([address, "link set line up", "link set lo up"], there[number])


def _batch(lines: Sequence[str], name: str | None = None) -> None:
    _run("ip", *(("-n", name) if name else ()), "-batch", "-", told="\n".join(lines))


def _run(*command: str, told: str = "") -> None:
    subprocess.run(command, check=True, capture_output=True, input=told, text=True, timeout=30)
