"""Upload locations: what a place to which videos are delivered promises, and how it fails.

The order of calls for one video: `begin`, whose session goes on the event's row; `deliver`; after a crash `find`, and
`deliver` again with the session that is on the row, until it is out. A session is dropped for SessionLostError alone,
even if the video is cut anew: whoever goes on with it sends the same video, and whoever begins another one may send a
second.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from common.cuts import CutType
from common.encoding import EncodingSettings
from common.limits import Limits

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

Session = dict[str, JSON]
"""What a location needs to go on with a delivery, kept on the event's row; may hold a secret address: never logged."""

Keep = Callable[[Session], Awaitable[None]]
"""Writes a session to the row; when it has returned, the row has it."""

Progress = Callable[[float], None]
"""Told how much is delivered, from 0 to 1, never less than before."""


@dataclass(frozen=True, slots=True)
class Video:
    """A finished cut, and what is said of it.

    `event` and `revision` tell which video it is, `size` in bytes and `sha256` in 64 hexadecimal digits what is in it.
    `recorded` is the start of its first range, aware UTC. `thumbnail` is a PNG or JPEG.
    """

    event: str
    revision: int
    path: Path
    size: int
    sha256: str
    title: str
    description: str
    tags: tuple[str, ...]
    public: bool
    recorded: datetime
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """A video that a location has: its name there, where it is seen, and whether the location still works on it.

    `told`: it knows all that is said of the video; else `modify` is to be called when it is out.
    """

    video_id: str
    link: str
    processing: bool = False
    told: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """What any location says of its videos: how they are cut, how large they may be, how many go at once.

    `cut` is the type where the event names none; `encoding` holds the container for all types that have a choice, and
    how a `full` cut is encoded. `limits` are those that an event can be held to before it is cut; None: none.
    """

    cut: CutType = CutType.SMART
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    most_bytes: int | None = None
    limits: Limits = field(default_factory=Limits)
    at_once: int = 1


class LocationError(Exception):
    """A delivery that did not succeed; its text is one sentence for operators, without secrets."""


class LocationAwayError(LocationError):
    """The location cannot do it now: it is away, busy, over its quota or set up wrongly. Later it may; videos wait.

    What is wrong is not the video, so that the next one would fare no better. `retry_after`: not to be asked before, if
    the location tells.
    """

    def __init__(self, sentence: str, *, retry_after: timedelta | None = None) -> None:
        """Say why, and how long it will last if that is known."""
        super().__init__(sentence)
        self.retry_after = retry_after


class LocationRefusedError(LocationError):
    """The location does not take this video, however often it is asked; the sentence says what to change."""


class SessionLostError(LocationError):
    """The session is no more, and certainly nothing of it is out: begin anew."""


class DamagedSpoolError(OSError):
    """The spooled file is not what it was when it was made; nothing of it may go out."""


class Location(Protocol):
    """A place to which videos are delivered.

    An asynchronous context manager: entering it opens connections and asks nobody. Its methods raise LocationError and
    nothing else for what happens at the location; OSError, DamagedSpoolError among it, for the spooled file. All may be
    cancelled at any time, and called at once for several videos.
    """

    @property
    def name(self) -> str:
        """As the configuration calls it."""

    @property
    def settings(self) -> Settings:
        """What it says of its videos."""

    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close it."""

    async def begin(self, video: Video) -> Session | None:
        """Give what must be on the row before FINALIZING. Nothing can be seen of the video yet, whoever looks."""

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        """Send the video, or the rest of it; what is there already is not sent again.

        `session` is the one on the row; without one, a session is begun and kept before the first byte goes. `keep` may
        be called again later. Returns only when the location has certainly got the whole video. May raise
        SessionLostError.
        """

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        """Tell whether the video is there, whole; None if it is certainly not.

        The spooled file need not be here. Raises LocationAwayError if it cannot be told now.
        """

    async def finished(self, delivered: Delivered) -> bool:
        """Tell whether the location has finished its own work on the video. LocationRefusedError if that failed."""

    async def modify(self, delivered: Delivered, video: Video) -> None:
        """Tell the location the present title, description, tags, visibility and thumbnail; of these alone."""
