"""One resumable upload: pieces of a file into a session, and what the session says that it has.

Source: "Resumable Uploads" of Google's documentation of the YouTube Data API.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, BinaryIO, Final

import structlog

from common.waits import backoff, in_thread
from cutter.locations import Keep, LocationAwayError, Session, SessionLostError, Video
from cutter.locations.google_api import Answer, GoogleApi, UnreachableError
from cutter.locations.sending import Forwards, read_at

log = structlog.get_logger()

# "Resume Incomplete"; HTTP calls it a redirect.
_MORE: Final = HTTPStatus.PERMANENT_REDIRECT
_GONE: Final = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")

# The slowest line on which a piece may still come through.
_LEAST_BYTES_A_SECOND: Final = 32 << 10

State = int | dict[str, Any]
"""What a session has: so many bytes, or all of them and thus a video."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often in a row a piece may fail, the seconds before it is tried again, and the clock."""

    tries: int = 8
    pause: Callable[[int], float] = backoff
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Upload:
    """A session and the video that goes into it."""

    def __init__(
        self,
        api: GoogleApi,
        video: Video,
        session: Session,
        keep: Keep,
        patience: Patience,
    ) -> None:
        """Send nothing yet."""
        self.session = session
        self._api = api
        self._video = video
        self._keep = keep
        self._patience = patience
        self._told = False  # the row, that the last piece may have gone

    async def send(self, piece_bytes: int, report: Forwards) -> dict[str, Any]:
        """Send what the session lacks, and give the video that it has become.

        Raises LocationError: SessionLostError if the session is gone, LocationAwayError if nothing has gone on many
        times in a row, or will not for a while.
        """
        done, failures = -1, 0
        has: int | None = None  # not known
        with await in_thread(_open, self._video) as file:
            while True:
                before, trouble = has, LocationAwayError(f"{self._api.name} takes nothing more of the video.")
                try:
                    state = await self._step(file, has, piece_bytes)
                    if isinstance(state, dict):
                        return state
                    has = state
                except UnreachableError as error:
                    has, trouble = None, error
                if has is not None and has > done:
                    done, failures = has, 0
                    report(min(done, self._video.size - 1))
                elif before is not None or has is None or has >= self._video.size:  # else it was only asked
                    failures += 1
                    await self._wait(failures, trouble)

    async def _wait(self, failures: int, trouble: LocationAwayError) -> None:
        """Wait before the next try, or give up."""
        if failures > self._patience.tries or trouble.retry_after is not None:
            raise trouble
        log.info("upload_interrupted", location=self._api.name, of=self._video.event, reason=str(trouble))
        await asyncio.sleep(self._patience.pause(failures))

    async def ask(self) -> State:
        """Ask the session what it has. Raises LocationError."""
        return self._read(await self._api.request("PUT", self._url, headers={"Content-Range": f"bytes */{self._size}"}))

    async def _step(self, file: BinaryIO, has: int | None, piece_bytes: int) -> State:
        if has is None or has >= self._size:
            return await self.ask()
        size = min(piece_bytes, self._size - has)
        if has + size == self._size and not self._told:
            self._told = True
            self.session = {**self.session, "whole": self._patience.now().isoformat()}
            await self._keep(self.session)
        headers = {
            "Content-Range": f"bytes {has}-{has + size - 1}/{self._size}",
            "Content-Type": "application/octet-stream",
        }
        body = await read_at(file, has, size)
        seconds = size / _LEAST_BYTES_A_SECOND
        return self._read(await self._api.request("PUT", self._url, body=body, headers=headers, send_seconds=seconds))

    def _read(self, answer: Answer) -> State:
        if answer.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return answer.read()
        if answer.status == _MORE:
            found = _RANGE.fullmatch(answer.headers.get("Range", ""))
            return min(int(found[1]) + 1, self._size) if found else 0
        if answer.status in _GONE:
            raise SessionLostError(f"{self._api.name} knows nothing more of the upload.")
        raise self._api.error(answer)

    @property
    def _url(self) -> str:
        return str(self.session["url"])

    @property
    def _size(self) -> int:
        return int(str(self.session["size"]))


def _open(video: Video) -> BinaryIO:
    return video.path.open("rb")
