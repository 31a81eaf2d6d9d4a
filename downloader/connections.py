"""Where the downloader may connect to: an origin out in the world must not make it ask its own neighbours.

Checked is the address that a socket is about to connect to, so that literal addresses, names, redirects, addresses in
playlists and names that resolve differently from one moment to the next all come to the same gate.
"""

import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import ClientSession, CookieJar, DefaultResolver, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from common.web import client_session

# Origins use some; each of them may have some kilobytes.
_MOST_COOKIES = 50

# The form in which happy eyeballs (RFC 8305) hands over what getaddrinfo gave.
_AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


class PrivateAddressError(OSError):
    """An address that is not a public one, asked for by a channel that is."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "it leads to a private address, which only --allow-private permits")


def is_out_of_reach(error: BaseException) -> bool:
    """Tell whether a request failed because of its address."""
    return isinstance(getattr(error, "os_error", error), PrivateAddressError)


class Reach:
    """Whether one channel may reach addresses that are not public.

    It may if it is `allowed`, or if its own configured address is not public: an encoder in the local network. Where
    that is a name, the first answer of the resolver decides, for as long as the process runs.
    """

    def __init__(self, url: str = "", *, allowed: bool = False) -> None:
        """Take the channel's configured address; without one only `allowed` decides."""
        self._host = _host(url)
        self._allowed: bool | None = True if allowed else None
        if self._allowed is None and (not self._host or _is_literal(self._host)):
            self._allowed = bool(self._host) and not is_public(self._host)

    def resolved(self, host: str, addresses: list[str]) -> None:
        """Take in what a name stands for; that of the channel itself decides, once."""
        if self._allowed is None and addresses and host.casefold() == self._host:
            self._allowed = not any(map(is_public, addresses))

    def check(self, address: str) -> None:
        """Raise PrivateAddressError if the channel may not connect to this IP address."""
        if not self._allowed and not is_public(address):
            raise PrivateAddressError


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").casefold()
    except ValueError:
        return ""


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet's: not private, loopback, link-local, multicast or reserved."""
    ip = ip_address(address.partition("%")[0])
    # an IPv6 address may be an IPv4 one in disguise (RFC 4291 §2.5.5.2, RFC 3056, RFC 6052)
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if ip.version == 6 and ip.packed.startswith(_NAT64):  # noqa: PLR2004 - the version of IP
        inner = ip_address(ip.packed[12:])
    return ip.is_global and not ip.is_multicast and (inner is None or is_public(str(inner)))


_NAT64 = bytes.fromhex("0064ff9b0000000000000000")


class _Resolver(AbstractResolver):
    """The ordinary resolver, whose answers decide what a channel may reach."""

    def __init__(self, reach: Reach, inner: AbstractResolver) -> None:
        self._reach, self._inner = reach, inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._reach.resolved(host, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Connector(TCPConnector):
    """Connects to nothing that is out of reach."""

    def __init__(self, reach: Reach, resolver: AbstractResolver | None, *, reuse: bool) -> None:
        self.reach, self.resolver = reach, resolver
        super().__init__(
            limit=0,
            ttl_dns_cache=60,
            resolver=_Resolver(reach, resolver or DefaultResolver()),
            socket_factory=self._socket,
            force_close=not reuse,
        )

    def _socket(self, info: _AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        self.reach.check(str(address[0]))
        return socket.socket(family, kind, protocol)


class _FewCookies(CookieJar):
    """Keeps what an origin needs to know us again, and not all that a hostile one can think of."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        super().update_cookies_from_headers(headers, response_url)
        if len(self) > _MOST_COOKIES:
            self.clear()


def open_session(reach: Reach, *, resolver: AbstractResolver | None = None) -> ClientSession:
    """Open a session for one channel, within its reach; connections are reused."""
    return client_session(connector=_Connector(reach, resolver, reuse=True), cookies=_FewCookies())


def fresh_session(like: ClientSession) -> ClientSession:
    """Open a session with the reach and the cookies of another, but none of its connections; each is used once."""
    jar = like.cookie_jar if isinstance(like.cookie_jar, CookieJar) else None
    if isinstance(like.connector, _Connector):
        return client_session(
            connector=_Connector(like.connector.reach, like.connector.resolver, reuse=False), cookies=jar
        )
    return client_session(connector=TCPConnector(limit=0, force_close=True), cookies=jar)
