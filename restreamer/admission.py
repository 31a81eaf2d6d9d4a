"""Who may ask for what: nodes that need a token show it as RFC 6750 has it (`Authorization: Bearer TOKEN`)."""

import time
from enum import StrEnum

from aiohttp import web

from common import profiling
from common.tokens import TokenFile
from common.web import Handler, error_response
from restreamer.disk import off_loop_quickly

# How soon, in seconds, a change of the file of tokens is seen.
_LOOK_SECONDS = 1.0

# What tells nothing of recordings, and what watches over services asks for. Profiles are for this machine alone anyway.
OPEN = frozenset({"/health", "/metrics", "/openapi.json", profiling.PATH})

# What only other nodes ask for: with it, all that there is can be found and copied. So are the files of extra folders.
_FOR_NODES = ("/files/{channel}/{quality}/{hour}", "/digests", "/extras/", "/histories/", "/status")
_FILES = "/segments/"


class Guard(StrEnum):
    """What a token is needed for: all that is recorded, or what other nodes ask for, so that viewers need none."""

    ALL = "all"
    NODES = "nodes"


class Admission:
    """Lets requests pass that need no token or have one."""

    def __init__(self, tokens: TokenFile | None, guard: Guard, extras: frozenset[str]) -> None:
        """Admit by these tokens; without them everybody. Of the store's folders, `extras` hold no recordings."""
        self._tokens = tokens
        self._guard = guard
        self._extras = extras
        self._looked = time.monotonic()

    @property
    def asks_for_tokens(self) -> bool:
        """Whether there is anything that needs one."""
        return self._tokens is not None

    def _guards(self, request: web.Request) -> bool:
        resource = request.match_info.route.resource
        if self._tokens is None or resource is None or resource.canonical in OPEN:
            return False
        if self._guard is Guard.ALL or resource.canonical.startswith(_FOR_NODES):
            return True
        folder = request.match_info.get("directory") or request.match_info.get("channel")
        return resource.canonical.startswith(_FILES) and folder in self._extras

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 to who needs a token and has none that is known."""
        if self._tokens is None or not self._guards(request):
            return await handler(request)
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            await off_loop_quickly(self._tokens.tokens)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        if is_bearer and self._tokens.admits(token.strip()):
            return await handler(request)
        answer = error_response(401, "This node asks for a token: one of its own, as Authorization: Bearer TOKEN.")
        answer.headers["WWW-Authenticate"] = 'Bearer realm="respool"' + (', error="invalid_token"' if is_bearer else "")
        return answer

    async def keep_private(self, request: web.Request, response: web.StreamResponse) -> None:
        """Keep caches from giving what needs a token to others; to be called before an answer is sent."""
        if self._guards(request) and "Cache-Control" in response.headers:
            response.headers["Cache-Control"] = response.headers["Cache-Control"].replace("public", "private")
