"""YouTube as an upload location: Google's resumable uploads, and what follows them.

An upload is a session with an address of its own, which is on the event's row before the first byte goes. At any time
the session tells how much it has got, and when it has got all, the video that it has become: as often as it is asked.
What a session tells no more when it has ended, the list of the channel's uploads does, by the name of the file. Before
the last piece goes, the row has `whole`: without it, a session that is gone has certainly left nothing.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import structlog

from common.limits import Limits
from common.web import client_session
from cutter.locations import (
    Delivered,
    Keep,
    LocationAwayError,
    LocationError,
    LocationRefusedError,
    Progress,
    Session,
    SessionLostError,
    Settings,
    Video,
)
from cutter.locations.google_api import Credentials, GoogleApi, read_credentials
from cutter.locations.keys import Secret, flag, key, one_line, secret, web_address, whole
from cutter.locations.names import safe_event
from cutter.locations.sending import Forwards, check_spool
from cutter.locations.youtube_said import resource_of, small_enough, thumbnail_type, with_said
from cutter.locations.youtube_upload import Patience, Upload

log = structlog.get_logger()

# What YouTube takes at the most: 256 GB, 12 hours; and of texts as the resource "video" of its documentation says.
_MOST_BYTES: Final = 256_000_000_000
_MOST_SECONDS: Final = 12 * 3600
_TEXTS: Final = Limits(title_characters=100, description_bytes=5_000, tag_characters=500, forbidden="<>")

# So long after its end may a video be missing in lists.
_SETTLING: Final = timedelta(minutes=15)

# Lists are read back to a day before the upload began, and no further than this.
_MOST_PAGES: Final = 40
_MARGIN: Final = timedelta(days=1)

_VIDEO_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a location of this type."""

    credentials: Secret = secret()
    category: int = key(whole(1, 99), 22)
    language: str | None = key(one_line, None)
    made_for_kids: bool = key(flag, default=False)
    notify_subscribers: bool = key(flag, default=True)
    wait_for_processing: bool = key(flag, default=True)
    piece_bytes: int = key(whole(256 << 10, 256 << 20, multiple_of=256 << 10), 16 << 20)
    address: str = key(web_address, "https://www.googleapis.com")


class YouTube:
    """A channel to which videos are delivered."""

    def __init__(self, name: str, settings: Settings, keys: Keys, credentials: Credentials, patience: Patience) -> None:
        """Ask nobody yet."""
        self.name = name
        self.settings = settings
        self._keys = keys
        self._credentials = credentials
        self._patience = patience
        self._stack = AsyncExitStack()
        self._missing: dict[str, datetime] = {}
        self._api: GoogleApi

    async def __aenter__(self) -> Self:
        """Open a client session."""
        self._api = GoogleApi(self.name, await self._stack.enter_async_context(client_session()), self._credentials)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close it."""
        await self._stack.aclose()

    async def begin(self, video: Video) -> Session | None:
        """Begin an upload: what is said of the video goes first, and an address for its content comes back."""
        self._check(video)
        answer = await self._api.request(
            "POST",
            f"{self._keys.address}/upload/youtube/v3/videos",
            params={
                "uploadType": "resumable",
                "part": "snippet,status",
                "notifySubscribers": str(self._keys.notify_subscribers).lower(),
            },
            content=resource_of(video, self._keys.category, self._keys.language, kids=self._keys.made_for_kids),
            headers={
                "X-Upload-Content-Length": str(video.size),
                "X-Upload-Content-Type": "video/*",
                "Slug": _file_name(video),  # the name that the owner sees in fileDetails
            },
        )
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._api.error(answer)
        return {
            "url": self._trusted(answer.headers.get("Location", "")),
            "file": _file_name(video),
            "size": video.size,
            "begun": self._patience.now().isoformat(),
        }

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        """Send it, or the rest of it; see Location."""
        await check_spool(video)
        if session is None:
            session = await self.begin(video)
            assert session is not None, "there always is one"  # noqa: S101 - for the types
            await keep(session)
        elif session["file"] != _file_name(video):
            return await self._instead(video, session)
        report = Forwards(video.size, progress)
        upload = self._upload(video, session, keep)
        try:
            found = await upload.send(self._keys.piece_bytes, report)
        except SessionLostError:
            left = await self._after_the_session(upload.session)
            if left is None:
                raise
            found = left
        delivered = await self._delivered(found, video)
        report(video.size)
        return delivered

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        """Ask the session, and if it is gone, look through the channel's uploads; see Location."""
        if session is None:
            return None  # no byte goes before there is one
        try:
            state = await self._upload(video, session, _keep_nothing).ask()
        except SessionLostError:
            state = await self._after_the_session(session) or 0
        if state == session["size"]:
            raise LocationAwayError(f"{self.name} has all of the video, and has not yet said that it is one.")
        return await self._delivered(state, video) if isinstance(state, dict) else None

    async def finished(self, delivered: Delivered) -> bool:
        """Ask how far the processing is; see Location."""
        found = await self._video(delivered.video_id, "status,processingDetails")
        if found is None:
            since = self._missing.setdefault(delivered.video_id, self._patience.now())
            if self._patience.now() - since < _SETTLING:
                return False
            raise LocationRefusedError(f"The video {delivered.video_id} is no more at {self.name}.")
        self._missing.pop(delivered.video_id, None)
        status, processing = found.get("status", {}), found.get("processingDetails", {})
        state, work = status.get("uploadStatus"), processing.get("processingStatus")
        why = status.get("failureReason") or status.get("rejectionReason") or processing.get("processingFailureReason")
        if state in {"failed", "rejected", "deleted"} or work == "failed":
            raise LocationRefusedError(
                f"{self.name} does not show the video {delivered.video_id}: {state} ({why or 'no reason given'})."
            )
        # "terminated": nothing is known any more of how it went, and nothing more happens
        return bool(state == "processed" or work in {"succeeded", "terminated"})

    async def modify(self, delivered: Delivered, video: Video) -> None:
        """Change what is said of it, and leave all else of it as it is; see Location."""
        self._check(video)
        found = await self._video(delivered.video_id, "snippet,status")
        if found is None:
            raise LocationRefusedError(f"The video {delivered.video_id} is no more at {self.name}.")
        ours = resource_of(video, self._keys.category, self._keys.language, kids=self._keys.made_for_kids)
        changed = with_said(found, ours)
        await self._api.call("PUT", self._url("videos"), params={"part": "snippet,status"}, content=changed)
        await self._set_thumbnail(delivered.video_id, video)

    async def _instead(self, video: Video, session: Session) -> Delivered:
        """Give what the upload of an earlier file of the same cut has become. Raises SessionLostError for nothing."""
        found = await self.find(video, session)
        if found is None:
            raise SessionLostError(f"{self.name} has begun an upload of a file that is no more.")
        return found

    def _check(self, video: Video) -> None:
        """Return if title, description and tags are taken. Raises LocationRefusedError, which says what to change."""
        wrong = self.settings.limits.wrong_with(
            self.name, title=video.title, description=video.description, tags=video.tags
        )
        if wrong is not None:
            raise LocationRefusedError(wrong)

    def _url(self, collection: str) -> str:
        return f"{self._keys.address}/youtube/v3/{collection}"

    def _trusted(self, url: str) -> str:
        """Give an address of a session back if our token may go there: the row is open to others, too."""
        parts, ours = urlsplit(url), urlsplit(self._keys.address)
        same = (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc)
        if not same and not (parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com")):
            raise LocationAwayError(f"{self.name} has an upload at an address that is not Google's.")
        return url

    def _upload(self, video: Video, session: Session, keep: Keep) -> Upload:
        self._trusted(str(session["url"]))
        return Upload(self._api, video, session, keep, self._patience)

    async def _delivered(self, resource: dict[str, Any], video: Video) -> Delivered:
        video_id = str(resource.get("id", ""))
        if not _VIDEO_ID.fullmatch(video_id):
            raise LocationAwayError(f"{self.name} has taken the video and not said its id.")
        told = True
        try:
            await self._set_thumbnail(video_id, video)
        except LocationError as error:  # the video is out, whatever becomes of its picture
            log.warning("thumbnail_not_set", location=self.name, video=video_id, reason=str(error))
            told = False
        link = f"https://youtu.be/{video_id}"
        return Delivered(video_id, link, processing=self._keys.wait_for_processing, told=told)

    async def _set_thumbnail(self, video_id: str, video: Video) -> None:
        if video.thumbnail is None:
            return
        image = await small_enough(video.thumbnail)
        url = f"{self._keys.address}/upload/youtube/v3/thumbnails/set"
        headers = {"Content-Type": thumbnail_type(image)}
        answer = await self._api.request("POST", url, params={"videoId": video_id}, body=image, headers=headers)
        if self._api.is_forbidden(answer):  # of pictures alone: videos are taken from a channel without this right
            raise LocationRefusedError(
                f"{self.name} lets us set no thumbnail of {video_id}: look whether its channel is verified."
            )
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._api.error(answer)

    async def _video(self, video_id: str, part: str) -> dict[str, Any] | None:
        found = await self._api.call("GET", self._url("videos"), params={"part": part, "id": video_id})
        items = found.get("items") or [None]
        return items[0] if isinstance(items[0], dict) else None

    async def _after_the_session(self, session: Session) -> dict[str, Any] | None:
        """Find what a session that is gone has left; None if that is certainly nothing."""
        if "whole" not in session:
            return None
        wanted = (session["file"], session["size"])
        async for found in self._uploads_since(datetime.fromisoformat(str(session["begun"])) - _MARGIN):
            details = found.get("fileDetails", {})
            if (details.get("fileName"), int(details.get("fileSize", session["size"]))) == wanted:
                return found
        left = datetime.fromisoformat(str(session["whole"])) + _SETTLING - self._patience.now()
        if left > timedelta(0):
            raise LocationAwayError(
                f"{self.name} has ended the upload; whether the video is there shows in some minutes.",
                retry_after=left,
            )
        return None

    async def _uploads_since(self, begun: datetime) -> AsyncIterator[dict[str, Any]]:
        """Give the videos of the channel, the newest first, back to a time, with their fileDetails."""
        channels = await self._api.call("GET", self._url("channels"), params={"part": "contentDetails", "mine": "true"})
        for channel in channels.get("items", []):
            params = {
                "part": "contentDetails,snippet",
                "playlistId": str(channel["contentDetails"]["relatedPlaylists"]["uploads"]),
                "maxResults": "50",
            }
            for _ in range(_MOST_PAGES):
                page = await self._api.call("GET", self._url("playlistItems"), params=params)
                items = page.get("items", [])
                ids = ",".join(str(item["contentDetails"]["videoId"]) for item in items)
                if ids:
                    videos = await self._api.call("GET", self._url("videos"), params={"part": "fileDetails", "id": ids})
                    for found in videos.get("items", []):
                        yield found
                oldest = min((datetime.fromisoformat(item["snippet"]["publishedAt"]) for item in items), default=begun)
                if "nextPageToken" not in page or oldest < begun:
                    break
                params["pageToken"] = str(page["nextPageToken"])


async def _keep_nothing(session: Session) -> None:
    del session


def _file_name(video: Video) -> str:
    """Give the name of the uploaded file, by which it is told from all others."""
    return f"{safe_event(video.event)}-{video.revision}-{video.sha256[:16]}{video.path.suffix}"


def make(name: str, settings: Settings, keys: Keys, patience: Patience | None = None) -> YouTube:
    """Make a location. Raises UserError for credentials that are none."""
    limits = replace(
        settings,
        most_bytes=min(settings.most_bytes or _MOST_BYTES, _MOST_BYTES),
        limits=replace(_TEXTS, seconds=min(settings.limits.seconds or _MOST_SECONDS, _MOST_SECONDS)),
    )
    return YouTube(name, limits, keys, read_credentials(keys.credentials, name), patience or Patience())
