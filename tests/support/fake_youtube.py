"""YouTube on loopback: Google's resumable uploads and the few calls around them, with a switch for every fault.

It keeps to Google's documentation and holds what is sent to it against it: `violations` has what a client did wrong.
Nothing here takes time by itself.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

GRANULE = 256 << 10
JSON = dict[str, Any]

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass
class FakeSession:
    """An upload that was begun, and what of it has arrived."""

    resource: JSON
    file_name: str
    total: int
    received: bytearray = field(default_factory=bytearray)
    video: str | None = None
    gone: int | None = None  # the status of its answers: 404 or 410


@dataclass
class FakeVideo:
    """A video of the channel."""

    resource: JSON
    content: bytes
    file_name: str
    published: datetime
    polls: int
    thumbnail: bytes | None = None
    listed: bool = True


@dataclass
class Failure:
    """How the next requests of an operation fail: with a status and a reason of Google's, or none of it."""

    status: int
    reason: str
    times: int
    headers: dict[str, str]


@dataclass
class FakeYouTube:
    """A channel, its uploads and its faults. Operations: begin, put, ask, videos, update, thumbnail, lists, token."""

    address: str = ""
    server: "AppServer | None" = None
    videos: dict[str, FakeVideo] = field(default_factory=dict)
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refresh_token: str = "refresh"
    refreshed: int = 0
    # faults
    failures: dict[str, list[Failure]] = field(default_factory=dict)
    break_after: int | None = None  # once: the connection breaks when the session has so many bytes
    lose_answers: int = 0  # the next so many videos are made, and their answers are lost
    store_at_most: int | None = None  # once: of the next piece only so much is kept, and 308 says so
    hang: asyncio.Event | None = None  # pieces are not answered before it is set
    keep_finished: bool = True  # else a session is gone once it has become a video
    lists_lag: bool = False  # new videos are not in lists yet
    # processing
    polls: int = 0  # that say "uploaded" before one says "processed"
    outcome: JSON = field(default_factory=lambda: {"uploadStatus": "processed"})

    def fail(self, operation: str, status: int, reason: str = "", times: int = 1, **headers: str) -> None:
        """Have the next so many requests of an operation fail; status 0 breaks the connection."""
        fitting = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failures.setdefault(operation, []).append(Failure(status, reason, times, fitting))

    def expire_sessions(self, status: int = 404) -> None:
        for session in self.sessions.values():
            session.gone = status

    def credentials(self) -> str:
        """Give what Google gives to an application that a user has let in."""
        return json.dumps(
            {
                "type": "authorized_user",
                "client_id": "client",
                "client_secret": "s3cr3t-of-client",
                "refresh_token": self.refresh_token,
                "token_uri": f"{self.address}/token",
            }
        )

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/token", self._token)
        app.router.add_post("/upload/youtube/v3/videos", self._begin)
        app.router.add_put("/upload/youtube/v3/videos", self._put)
        app.router.add_post("/upload/youtube/v3/thumbnails/set", self._thumbnail)
        app.router.add_get("/youtube/v3/videos", self._list)
        app.router.add_put("/youtube/v3/videos", self._update)
        app.router.add_get("/youtube/v3/channels", self._channels)
        app.router.add_get("/youtube/v3/playlistItems", self._playlist)
        return app

    # Signing in ------------------------------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if (failed := self._failed(request, "token")) is not None:
            return failed
        if form.get("refresh_token") != self.refresh_token:
            return web.json_response(
                {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, status=400
            )
        self.refreshed += 1
        token = secrets.token_hex(8)
        self.tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _refused(self, request: web.Request, operation: str) -> web.StreamResponse | None:
        """What stands in the way of any call: a failure that was asked for, or a token that is none."""
        self.requests.append(operation)
        if (failed := self._failed(request, operation)) is not None:
            return failed
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "authError", "Invalid Credentials")
        return None

    def _failed(self, request: web.Request, operation: str) -> web.StreamResponse | None:
        waiting = self.failures.get(operation, [])
        if not waiting:
            return None
        failure = waiting[0]
        failure.times -= 1
        if failure.times <= 0:
            waiting.pop(0)
        if failure.status == 0:
            return _broken(request)
        return _error(failure.status, failure.reason, "As the <b>test</b> wants it.", failure.headers)

    # Uploads ---------------------------------------------------------------------------------------------------------

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        resource = await request.json()
        if (refused := self._refused(request, "begin")) is not None:
            return refused
        self._expect(request.query.get("uploadType") == "resumable", "uploadType is not resumable")
        self._expect(request.query.get("part") == "snippet,status", "part is not what the body holds")
        self._expect("X-Upload-Content-Type" in request.headers, "no X-Upload-Content-Type")
        title = resource["snippet"]["title"]
        if not title or len(title) > 100:
            return _error(400, "invalidTitle", "The request metadata specifies an invalid or empty video title.")
        number = secrets.token_hex(8)
        size = int(request.headers["X-Upload-Content-Length"])
        self.sessions[number] = FakeSession(resource, request.headers.get("Slug", "unknown"), size)
        url = f"{self.address}/upload/youtube/v3/videos?uploadType=resumable&upload_id={number}"
        return web.Response(headers={"Location": url})

    async def _put(self, request: web.Request) -> web.StreamResponse:
        found = _CONTENT_RANGE.fullmatch(request.headers.get("Content-Range", ""))
        operation = "ask" if found is not None and found[1] is None else "put"
        if (refused := self._refused(request, operation)) is not None:
            await request.read()
            return refused
        session = self.sessions.get(request.query["upload_id"])
        if session is None or session.gone is not None:
            return _error(session.gone or 404 if session else 404, "", "")
        if found is None or int(found[3]) != session.total:
            self._expect(good=False, fault=f"Content-Range {request.headers.get('Content-Range')}")
            return _error(400, "badContent", "Failed to parse Content-Range header.")
        if operation == "put" and session.video is None:
            first, last = int(found[1]), int(found[2])
            self._check_piece(request, session, first, last)
            if not await self._receive(request, session, first):
                return _broken(request)
            if self.hang is not None:
                await self.hang.wait()
        return self._state(request, session)

    def _check_piece(self, request: web.Request, session: FakeSession, first: int, last: int) -> None:
        size = last - first + 1
        self._expect(request.content_length == size, "Content-Length and Content-Range differ")
        self._expect(last + 1 == session.total or size % GRANULE == 0, f"a piece of {size} bytes in the middle")
        self._expect(first == len(session.received), f"a piece from {first} where {len(session.received)} are there")

    async def _receive(self, request: web.Request, session: FakeSession, first: int) -> bool:
        """Take in a piece; whether all of it came through."""
        most = None if self.store_at_most is None else first + self.store_at_most
        self.store_at_most = None
        at = first
        async for data in request.content.iter_any():
            if self.break_after is not None and at + len(data) >= self.break_after:
                session.received[at:] = data[: self.break_after - at]
                # only whole granules are sure to be kept
                kept = self.break_after if self.break_after == session.total else self.break_after // GRANULE * GRANULE
                del session.received[max(kept, first) :]
                self.break_after = None
                return False
            session.received[at:] = data
            at += len(data)
        if most is not None:
            del session.received[most:]
        return True

    def _state(self, request: web.Request, session: FakeSession) -> web.StreamResponse:
        if len(session.received) < session.total:
            kept = {"Range": f"bytes=0-{len(session.received) - 1}"} if session.received else {}
            return web.Response(status=308, headers=kept)
        if session.video is None:
            session.video = self._publish(session)
            if not self.keep_finished:
                session.gone = 410
        if self.lose_answers:
            self.lose_answers -= 1
            return _broken(request)
        return web.json_response(self._shown(session.video, "snippet,status"), status=201)

    def _publish(self, session: FakeSession) -> str:
        video = secrets.token_urlsafe(8)
        self.videos[video] = FakeVideo(
            session.resource,
            bytes(session.received),
            session.file_name,
            datetime.now(UTC),
            self.polls,
            listed=not self.lists_lag,
        )
        return video

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        image = await request.read()
        if (refused := self._refused(request, "thumbnail")) is not None:
            return refused
        if len(image) > 2 << 20:
            return _error(413, "mediaBodyTooLarge", "The thumbnail is too large.")
        self._expect(request.content_type in {"image/png", "image/jpeg"}, "a thumbnail of unknown type")
        self.videos[request.query["videoId"]].thumbnail = image
        return web.json_response({"items": []})

    # Videos ----------------------------------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._refused(request, "videos")) is not None:
            return refused
        part = request.query["part"]
        wanted = [video for video in request.query["id"].split(",") if video in self.videos]
        self._expect(len(request.query["id"].split(",")) <= 50, "more than 50 ids")
        for video in wanted:
            if "processingDetails" in part:
                self.videos[video].polls -= 1
        return web.json_response({"items": [self._shown(video, part) for video in wanted]})

    def _shown(self, video: str, part: str) -> JSON:
        found = self.videos[video]
        done = found.polls < 0
        parts: JSON = {
            "snippet": {**found.resource["snippet"], "publishedAt": found.published.isoformat(), "channelId": "UC"},
            "status": {
                **found.resource["status"],
                "license": "youtube",
                "embeddable": True,
                **(self.outcome if done else {"uploadStatus": "uploaded"}),
            },
            "processingDetails": {"processingStatus": "terminated" if done else "processing"},
            "fileDetails": {"fileName": found.file_name, "fileSize": str(len(found.content))},
        }
        return {"kind": "youtube#video", "id": video, **{name: parts[name] for name in part.split(",")}}

    async def _update(self, request: web.Request) -> web.StreamResponse:
        said = await request.json()
        if (refused := self._refused(request, "update")) is not None:
            return refused
        found = self.videos.get(said["id"])
        if found is None:
            return _error(404, "videoNotFound", "The video cannot be found.")
        self._expect("categoryId" in said["snippet"], "an update without categoryId")
        self._expect("publishedAt" not in said["snippet"], "an update of what cannot be set")
        found.resource = {part: said[part] for part in request.query["part"].split(",")}
        return web.json_response(self._shown(said["id"], "snippet,status"))

    async def _channels(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._refused(request, "lists")) is not None:
            return refused
        self._expect(request.query.get("mine") == "true", "channels of others")
        return web.json_response({"items": [{"contentDetails": {"relatedPlaylists": {"uploads": "UU"}}}]})

    async def _playlist(self, request: web.Request) -> web.StreamResponse:
        """List the uploads, the newest first, two a page: so few that pages are turned."""
        if (refused := self._refused(request, "lists")) is not None:
            return refused
        self._expect(request.query.get("playlistId") == "UU", "an unknown playlist")
        listed = [video for video in reversed(self.videos) if self.videos[video].listed]
        first = int(request.query.get("pageToken", "0"))
        items = [
            {
                "contentDetails": {"videoId": video},
                "snippet": {"publishedAt": self.videos[video].published.strftime("%Y-%m-%dT%H:%M:%SZ")},
            }
            for video in listed[first : first + 2]
        ]
        more = {"nextPageToken": str(first + 2)} if len(listed) > first + 2 else {}
        return web.json_response({"items": items, **more})

    def _expect(self, good: bool, fault: str) -> None:  # noqa: FBT001 - reads like assert
        if not good:
            self.violations.append(fault)


def _error(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error: JSON = {"code": status, "message": message}
    if reason:
        error["errors"] = [{"domain": "youtube.video", "reason": reason, "message": message}]
    body = {"error": error} if reason else {}
    return web.json_response(body, status=status, headers=headers)


def _broken(request: web.Request) -> web.Response:
    """Break the connection in place of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def serving_youtube() -> AsyncIterator[FakeYouTube]:
    """Run it, and hold the client to the protocol at the end."""
    fake = FakeYouTube()
    async with serving_app(fake.app()) as server:
        fake.address, fake.server = server.address, server
        yield fake
        assert not fake.violations, fake.violations


class AppServer:
    """A server that can go away and come back under its address."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self._port = port
        self._site: web.TCPSite | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections, and break those that are there."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        server = self._runner.server
        for connection in server.connections if server is not None else []:
            if connection.transport is not None:
                connection.transport.abort()


@asynccontextmanager
async def serving_app(app: web.Application) -> AsyncIterator[AppServer]:
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    server = AppServer(runner, 0)
    try:
        await server.start()
        yield server
    finally:
        await runner.cleanup()
