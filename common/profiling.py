"""`GET /debug/profile`: where this process spends its time in the next seconds, as a flame graph or as text.

It is for who runs Respool, on the machine itself. Whoever has a shell there may ask; a request from elsewhere, one that
a proxy passes on, and one that a page of another origin makes a browser send, are refused. One at a time, and not for
long, so that nobody can make load with it.
"""

import asyncio
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from common.flames import Profile, folded, page, policy
from common.sampling import Sampler
from common.waits import in_thread
from common.web import RequestError

PATH = "/debug/profile"

_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 10.0, 0.1, 60.0

# How soon it is noticed that whoever asked has left.
_LOOK_SECONDS = 0.25

# What a proxy adds, or may.
_PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")

_busy = threading.Lock()


def routes() -> list[web.RouteDef]:
    """Give the routes of a service that can be profiled."""
    # without HEAD, which would do all the work for nothing
    return [web.get(PATH, show_profile, allow_head=False)]


async def show_profile(request: web.Request) -> web.StreamResponse:
    """Answer `GET /debug/profile?seconds=10&form=page`; or `form=folded`, with `waiting=true` of all time."""
    if not _is_from_here(request):
        raise RequestError(
            f"Profiles are for this machine only: ask for http://127.0.0.1:PORT{PATH} there.", status=403
        )
    seconds, form, waiting = _asked(request)
    if not _busy.acquire(blocking=False):
        raise RequestError("A profile is being taken already; come back when it is done.", status=503)
    try:
        profile = await _taken(request, seconds)
    finally:
        _busy.release()
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if form == "folded":
        return web.Response(text=await in_thread(lambda: folded(profile, waiting=waiting)), headers=headers)
    template = await in_thread(_template)
    title = f"{_program()}, process {os.getpid()}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    headers["Content-Security-Policy"] = policy(template)
    text = await in_thread(page, profile, template, title)
    return web.Response(text=text, content_type="text/html", headers=headers)


def _is_from_here(request: web.Request) -> bool:
    """Tell whether it comes from this machine, by nobody's mediation."""
    if any(name in request.headers for name in _PASSED_ON):
        return False
    # a page elsewhere may have a name that leads here, or name us itself
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} or "Origin" in request.headers:
        return False
    named = request.url.host or ""
    return _is_loopback(request.remote or "") and (named == "localhost" or _is_loopback(named))


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        found = ip_address(address)
        inner = getattr(found, "ipv4_mapped", None)
        return (inner or found).is_loopback
    return False


def _asked(request: web.Request) -> tuple[float, str, bool]:
    query = request.query
    if unknown := {*query} - {"seconds", "form", "waiting"}:
        raise RequestError(f"There is no parameter {min(unknown)[:50]!r} here.")
    form, waiting = query.get("form", "page"), query.get("waiting", "false")
    if form not in {"page", "folded"} or waiting not in {"true", "false"}:
        raise RequestError("form is page or folded, waiting is true or false.")
    try:
        seconds = float(query.get("seconds", _SECONDS))
    except ValueError:
        seconds = 0.0
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise RequestError(f"seconds is a number from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g}.")
    return seconds, form, waiting == "true"


async def _taken(request: web.Request, seconds: float) -> Profile:
    """Take a profile, unless whoever asked leaves meanwhile; raises ConnectionResetError then."""
    sampler = Sampler()
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[Profile] = loop.create_future()

    def take() -> None:
        profile = sampler.run(seconds)
        with suppress(RuntimeError):  # the loop may be over, and whoever waited
            loop.call_soon_threadsafe(_give, taken, profile)

    # not one of those that work for requests: they may all hang, which a profile shows
    threading.Thread(target=take, name="profiler", daemon=True).start()
    try:
        while not taken.done():
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("The client has left.")
            await asyncio.wait({taken}, timeout=_LOOK_SECONDS)
        return taken.result()
    finally:
        sampler.stop()


def _give(taken: "asyncio.Future[Profile]", profile: Profile) -> None:
    if not taken.done():
        taken.set_result(profile)


@cache
def _template() -> str:
    return resources.files("common").joinpath("flames.html").read_text(encoding="utf-8")


def _program() -> str:
    """The name of this service, as it was called."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name
