"""Any store that speaks S3's protocol as an upload location.

An object appears when its upload is completed, whole or not at all. The SHA-256 of the video is in its metadata, and
each part is sent with a checksum of its own, which the store holds against what it got. What holds another video is
never written over.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self
from urllib.parse import quote

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from common.addresses import USER_AGENT
from common.waits import in_thread
from cutter.locations import (
    Delivered,
    Keep,
    LocationAwayError,
    LocationError,
    LocationRefusedError,
    Progress,
    Session,
    Settings,
    Video,
)
from cutter.locations.keys import Place, Secret, flag, key, name_template, one_line, secret, web_address
from cutter.locations.names import DEFAULT_TEMPLATE, candidates, companions, content_type, settled
from cutter.locations.sending import Forwards, check_spool, read_at

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

# S3 takes 10,000 parts of 5 MiB to 5 GiB; each is sent again as a whole if its connection breaks.
_PART_BYTES: Final = 8 << 20
_MOST_PARTS: Final = 9_000
_PARTS_AT_ONCE: Final = 4

# A part of 8 MiB takes that long at 70 KB/s.
_REQUEST_PATIENCE: Final = timedelta(seconds=120)
_CONNECT_PATIENCE: Final = timedelta(seconds=10)

# A cancelled upload gets so long to tell the store that its parts are not needed; a service has three seconds to stop.
_ABORT_SECONDS: Final = 1.0

_SHA256: Final = "respool-sha256"
_EVENT: Final = "respool-event"

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.ASCII | re.IGNORECASE)
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3}[ \w]*)")


def bucket_name(value: object, place: Place) -> str:
    """Read the name of a bucket."""
    name = one_line(value, place)
    if not _BUCKET.fullmatch(name):
        raise place.wrong("must be the name of a bucket: 3 to 63 letters, digits, dots, dashes and underscores")
    return name


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a location of this type."""

    bucket: str = key(bucket_name)
    access_key_id: str = key(one_line)
    secret_access_key: Secret = secret()
    endpoint: str | None = key(web_address, None)
    region: str = key(one_line, "us-east-1")
    template: str = key(name_template, DEFAULT_TEMPLATE)
    information: bool = key(flag, default=False)
    checksums: bool = key(flag, default=True)
    url: str | None = key(web_address, None)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what fails is tried again within one request: `retries` times, for so long at the most."""

    retries: int = 3
    total: timedelta = timedelta(seconds=60)
    request: timedelta = _REQUEST_PATIENCE


class S3:
    """A bucket to which videos are delivered."""

    def __init__(self, name: str, settings: Settings, keys: Keys, patience: Patience) -> None:
        """Ask nobody yet."""
        self.name = name
        self.settings = settings
        self._keys = keys
        self._patience = patience
        self._store: S3Store

    async def __aenter__(self) -> Self:
        """Set up the client; connections come with requests."""
        self._store = await in_thread(_store, self._keys, self._patience)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close nothing: idle connections end by themselves."""

    async def begin(self, video: Video) -> Session | None:
        """Settle the key: the title may change before the delivery is over."""
        return settled(self._keys.template, video)

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        """Upload it; see Location."""
        if session is None:
            session = settled(self._keys.template, video)
            await keep(session)
        report = Forwards(video.size, progress)
        names = candidates(str(session["name"]), video.sha256)
        held = [await self._held(name) for name in names]
        if video.sha256 in held:
            found = names[held.index(video.sha256)]
        elif None in held:
            found = names[held.index(None)]
            await self._upload(video, found, report)
        else:
            raise LocationRefusedError(f"Both names of {video.title!r} are taken by other objects at {self.name}.")
        report(video.size)
        return self._delivered(found)

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        """Look for an object of the name and with the checksum; see Location."""
        name = str(settled(self._keys.template, video, session)["name"])
        for candidate in candidates(name, video.sha256):
            if await self._held(candidate) == video.sha256:
                return self._delivered(candidate)
        return None

    async def finished(self, delivered: Delivered) -> bool:
        """There is nothing to be done to an object."""
        del delivered
        return True

    async def modify(self, delivered: Delivered, video: Video) -> None:
        """Write what is said of it anew; the video keeps its key, and so its link."""
        if await self._held(delivered.video_id) is None:
            raise LocationRefusedError(f"The video {delivered.video_id} is no more at {self.name}.")
        if self._keys.information:
            await self._put_companions(video, delivered.video_id)

    def _delivered(self, name: str) -> Delivered:
        base = self._keys.url or f"{_endpoint(self._keys)}/{self._keys.bucket}"
        return Delivered(name, f"{base}/{quote(name)}")

    async def _held(self, name: str) -> str | None:
        """Give the SHA-256 of the video under a key, empty if it holds something else; None if nothing is there."""
        with self._said():
            try:
                head = await obstore.get_async(self._store, name, options={"head": True})
            except FileNotFoundError:
                return None
        return head.attributes.get(_SHA256, "")

    async def _upload(self, video: Video, name: str, report: Forwards) -> None:
        await check_spool(video)
        with await in_thread(_open, video) as file:
            if self._keys.information:
                await self._put_companions(video, name)
            parts = _Parts(file, video, report)
            attributes = {"Content-Type": content_type(name), _SHA256: video.sha256, _EVENT: quote(video.event)}
            with self._said(parts):
                upload = asyncio.ensure_future(
                    obstore.put_async(
                        self._store,
                        name,
                        parts.read(),
                        attributes=attributes,
                        chunk_size=parts.part_bytes,
                        max_concurrency=_PARTS_AT_ONCE,
                    )
                )
                try:
                    await asyncio.shield(upload)
                except asyncio.CancelledError:
                    parts.stop()
                    await asyncio.wait({upload}, timeout=_ABORT_SECONDS)
                    upload.cancel()
                    raise

    async def _put_companions(self, video: Video, name: str) -> None:
        for beside, content in companions(name, video).items():
            with self._said():
                await obstore.put_async(self._store, beside, content, attributes={"Content-Type": content_type(beside)})

    @contextmanager
    def _said(self, parts: "_Parts | None" = None) -> Iterator[None]:
        """Turn what the store refuses into what a location raises; what the spooled file refuses is raised as it is."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if parts is not None and parts.failure is not None:
                raise parts.failure from None
            raise self._told(error) from error

    def _told(self, error: Exception) -> LocationError:
        """Say what is wrong. The text of the error is long, and shows addresses."""
        text = str(error)
        found = _CODE.search(text) or _STATUS.search(text)
        reason = found[1].strip() if found else "no answer"
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return LocationAwayError(
                f"{self.name} does not let us in ({reason}): check its keys, and what they may do in the bucket."
            )
        if reason == "NoSuchBucket":
            return LocationAwayError(f"{self.name} has no bucket {self._keys.bucket}: make it, or correct its name.")
        if reason in {"EntityTooLarge", "KeyTooLongError", "InvalidArgument"}:
            return LocationRefusedError(f"{self.name} does not take this video ({reason}).")
        return LocationAwayError(f"{self.name} cannot be reached or is busy ({reason}).")


class _Parts:
    """The parts of a video, as they are sent."""

    def __init__(self, file: BinaryIO, video: Video, report: Forwards) -> None:
        self.part_bytes = part_bytes(video.size)
        self.failure: OSError | None = None
        self._file = file
        self._video = video
        self._report = report
        self._stopped = False

    def stop(self) -> None:
        """Have the upload given up, in place of its next part."""
        self._stopped = True

    async def read(self) -> AsyncIterator[bytes]:
        """Give them in order. What was given before those that are sent at once is there."""
        for offset in range(0, self._video.size, self.part_bytes):
            self._report(offset - _PARTS_AT_ONCE * self.part_bytes)
            try:
                data = await read_at(self._file, offset, min(self.part_bytes, self._video.size - offset))
            except OSError as error:
                self.failure = error
                raise
            if self._stopped:
                break
            yield data
        if self._stopped:
            raise InterruptedError("The delivery was cancelled.")


def part_bytes(size: int) -> int:
    """Give the size of the parts in which so many bytes are sent."""
    return max(_PART_BYTES, -(-size // _MOST_PARTS))


def _open(video: Video) -> BinaryIO:
    return video.path.open("rb")


def _store(keys: Keys, patience: Patience) -> S3Store:
    # all of it is said here: what is not, the library would take from variables of the environment
    config: S3Config = {
        "region": keys.region,
        "aws_endpoint_url_s3": _endpoint(keys),
        "virtual_hosted_style_request": False,
        "skip_signature": False,
    }
    if keys.checksums:
        config["checksum_algorithm"] = "SHA256"
    credential: S3Credential = {
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key.reveal(),
        "expires_at": None,
    }
    client: ClientConfig = {
        "allow_http": _endpoint(keys).startswith("http:"),
        "timeout": patience.request,
        "connect_timeout": _CONNECT_PATIENCE,
        "user_agent": USER_AGENT,
    }
    retry: RetryConfig = {"max_retries": patience.retries, "retry_timeout": patience.total}
    return S3Store(
        keys.bucket,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=lambda: credential,
    )


def _endpoint(keys: Keys) -> str:
    return keys.endpoint or f"https://s3.{keys.region}.amazonaws.com"


def make(name: str, settings: Settings, keys: Keys, patience: Patience | None = None) -> S3:
    """Make a location."""
    return S3(name, settings, keys, patience or Patience())
