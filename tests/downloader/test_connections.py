"""Where the downloader may connect to: which addresses are public, and that no way leads around the gate."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientConnectorError, ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult

from common.web import client_session
from downloader.connections import PrivateAddressError, Reach, fresh_session, is_out_of_reach, is_public, open_session
from downloader.origin import OriginError, fetch_playlist
from hls_origin import Entry, Origin, playlist, redirect, typed

SENTENCE = "it leads to a private address, which only --allow-private permits."


class Names(AbstractResolver):
    """Knows the names that a test gives it; `answers` are taken in turn, the last one stays."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): given for name, given in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        given = self.answers[host]
        address = given.pop(0) if len(given) > 1 else given[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def reaching(reach: Reach, **names: list[str]) -> AsyncIterator[ClientSession]:
    async with open_session(reach, resolver=Names(**names)) as session:
        yield session


def named(origin: Origin, host: str, path: str = "/x.m3u8") -> str:
    return origin.url(path).replace("127.0.0.1", host)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens there
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:  # noqa: FBT001
    """Whatever is not one of the internet's is not public, also within an IPv6 address."""
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "allowed", "reaches"),
    [
        ("https://example.org/x.m3u8", False, False),
        ("https://example.org/x.m3u8", True, True),
        ("http://93.184.215.14/x.m3u8", False, False),
        ("http://127.0.0.1:8000/x.m3u8", False, True),
        ("http://[fd00::5]/x.m3u8", False, True),
        ("http://[::ffff:10.0.0.1]/x.m3u8", False, True),
        ("", False, False),
        ("http://[broken/", False, False),
    ],
)
def test_a_channel_of_the_local_network_reaches_it(url: str, allowed: bool, reaches: bool) -> None:  # noqa: FBT001
    """A channel whose own address is private may use private ones, any other only if it is allowed."""
    reach = Reach(url, allowed=allowed)
    reach.check("93.184.215.14")
    if reaches:
        reach.check("192.168.1.1")
    else:
        with pytest.raises(PrivateAddressError):
            reach.check("192.168.1.1")


async def test_a_literal_private_address_is_refused(origin: Origin) -> None:
    """An address in a public channel's playlist that is a private one is not connected to."""
    async with reaching(Reach("https://example.org/")) as session:
        with pytest.raises(OriginError, match=SENTENCE):
            await fetch_playlist(session, origin.url("/x.m3u8"))
    assert not origin.requests


async def test_a_name_that_leads_to_a_private_address_is_refused(origin: Origin) -> None:
    """Neither is a name that resolves to one, other than the channel's own."""
    async with reaching(Reach("https://example.org/"), inside_test=["127.0.0.1"]) as session:
        with pytest.raises(OriginError, match=SENTENCE):
            await fetch_playlist(session, named(origin, "inside.test"))
    assert not origin.requests


async def test_a_redirect_to_a_private_address_is_refused(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hop of a redirect comes to the same gate: the one public host there is leads inside, and is not followed."""
    monkeypatch.setattr("downloader.connections.is_public", lambda address: address == "127.0.0.1")
    origin.put("/x.m3u8", redirect(named(origin, "127.0.0.2", "/secret")))
    async with reaching(Reach("https://example.org/")) as session:
        with pytest.raises(OriginError, match=SENTENCE):
            await fetch_playlist(session, origin.url("/x.m3u8"))
    assert origin.requests == ["/x.m3u8"]


async def test_a_channel_in_the_local_network_needs_no_flag(origin: Origin) -> None:
    """A name that stands for a private address when it is first asked for makes its channel a local one."""
    origin.put("/x.m3u8", playlist(Entry("a.ts")))
    reach = Reach(named(origin, "encoder.test"))
    async with reaching(reach, encoder_test=["127.0.0.1"]) as session:
        await fetch_playlist(session, named(origin, "Encoder.test"))
    reach.check("192.168.1.1")


async def test_a_name_that_turns_inside_later_is_refused(origin: Origin) -> None:
    """A public channel's name that resolves to a private address later (DNS rebinding) is not connected to."""
    reach = Reach(named(origin, "example.test"))
    reach.resolved("example.test", ["93.184.215.14"])
    async with reaching(reach, example_test=["127.0.0.1"]) as session:
        with pytest.raises(OriginError, match=SENTENCE):
            await fetch_playlist(session, named(origin, "example.test"))
    assert not origin.requests


async def test_a_fresh_session_has_the_same_reach(origin: Origin) -> None:
    """What begins anew after a failure gets no further than before."""
    async with reaching(Reach("https://example.org/")) as session, fresh_session(session) as fresh:
        with pytest.raises(ClientConnectorError) as raised:
            await fresh.get(origin.url("/x.m3u8"))
    assert is_out_of_reach(raised.value)
    assert not origin.requests


async def test_cookies_are_kept_and_few(origin: Origin) -> None:
    """What an origin gives to be known by is sent back, also by a fresh session; a flood of it is thrown away."""
    origin.put("/x", typed(b"", "text/plain", Set_Cookie="a=1"), typed(b"", "text/plain", Set_Cookie="b=2"))
    async with reaching(Reach("", allowed=True), known_test=["127.0.0.1"]) as session, fresh_session(session) as fresh:
        for client in (session, session, fresh):
            await client.get(named(origin, "known.test", "/x"))
        assert [headers.get("Cookie") for headers in origin.headers] == [None, "a=1", "a=1; b=2"]
        for number in range(60):
            origin.put("/x", typed(b"", "text/plain", Set_Cookie=f"n{number}=1"))
            await client.get(named(origin, "known.test", "/x"))
        assert len(session.cookie_jar) <= 50


async def test_a_fresh_session_uses_each_connection_once(origin: Origin) -> None:
    """No connection of the old session, nor one of its own, is used again."""
    origin.put("/a", b"a")
    async with client_session() as session, fresh_session(session) as fresh:
        for client in (session, session, fresh, fresh):
            await (await client.get(origin.url("/a"))).read()
    assert len(set(origin.peers)) == 3
