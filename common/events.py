"""Events as values: what a row of `events` says, read from any mapping of its columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from common.cuts import CutType, VideoRange


class State(StrEnum):
    """Where an event stands; which follows which is the database's table `event_transitions`."""

    UNEDITED = "UNEDITED"
    EDITED = "EDITED"
    CLAIMED = "CLAIMED"
    FINALIZING = "FINALIZING"
    TRANSCODING = "TRANSCODING"
    DONE = "DONE"
    MODIFIED = "MODIFIED"


class ThumbnailMode(StrEnum):
    """What the thumbnail of a video shows."""

    NONE = "NONE"
    BARE = "BARE"
    TEMPLATE = "TEMPLATE"
    CUSTOM = "CUSTOM"


@dataclass(frozen=True, slots=True)
class Joint:
    """A transition as the row has it: any name, and how long both ranges are seen."""

    kind: str
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What an event says of its thumbnail, without the custom image; boxes are x, y, width, height."""

    mode: ThumbnailMode = ThumbnailMode.NONE
    time: datetime | None = None
    template: str | None = None
    crop: tuple[int, int, int, int] | None = None
    position: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Spooled:
    """A finished file that waits for its delivery: in which spool (of the node, by the folder's own name) it lies.

    `said` tells, as a hash, what the location is told of the video; empty as long as it was told nothing.
    """

    node: str
    folder: str
    name: str
    size: int
    sha256: str
    made_as: str
    said: str = ""

    def to_json(self) -> str:
        """Write it as the column `spool` has it."""
        return json.dumps(
            {
                "node": self.node,
                "folder": self.folder,
                "name": self.name,
                "bytes": self.size,
                "sha256": self.sha256,
                "made_as": self.made_as,
            }
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `events`. Texts that an operator has not filled in yet are empty; times are aware UTC.

    `lacking` tells by node why it cannot cut the event now. `upload_session` may hold a secret address: never logged.
    """

    id: str
    state: State
    revision: int = 0
    channel: str = ""
    quality: str = ""
    ranges: tuple[VideoRange, ...] = ()
    transitions: tuple[Joint | None, ...] = ()
    title: str = ""
    video_description: str = ""
    tags: tuple[str, ...] = ()
    public: bool = True
    upload_location: str = ""
    cut_type: CutType | None = None
    allow_holes: bool = False
    uploader_allowlist: tuple[str, ...] | None = None
    priority: int = 0
    thumbnail: Thumbnail = Thumbnail()
    uploader: str | None = None
    error: str | None = None
    attempts: int = 0
    made_as: str | None = None
    video_id: str | None = None
    video_link: str | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
    spool: Spooled | None = None
    upload_session: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def length(self) -> timedelta:
        """How long its video is, if nothing is missing."""
        shown = sum((each.end - each.start for each in self.ranges), timedelta(0))
        return shown - sum((each.duration for each in self.transitions if each), timedelta(0))


COLUMNS = (
    "id", "state", "revision", "channel", "quality", "ranges", "transitions", "title", "video_description", "tags",
    "public", "upload_location", "cut_type", "allow_holes", "uploader_allowlist", "priority", "thumbnail_mode",
    "thumbnail_time", "thumbnail_template", "thumbnail_crop", "thumbnail_position", "uploader", "error", "attempts",
    "made_as", "video_id", "video_link", "lacking", "spool", "upload_session",
)  # fmt: skip
"""What `event_of` reads."""


def event_of(row: Mapping[str, Any]) -> Event:
    """Read a row with (at least) COLUMNS, as asyncpg gives it: composite types by their names, JSON as text."""
    spool = _json(row["spool"])
    return Event(
        id=row["id"],
        state=State(row["state"]),
        revision=row["revision"],
        channel=row["channel"] or "",
        quality=row["quality"] or "",
        ranges=tuple(VideoRange(each["start"], each["end"]) for each in row["ranges"] or ()),
        transitions=tuple(_joint(each) for each in row["transitions"] or ()),
        title=row["title"] or "",
        video_description=row["video_description"] or "",
        tags=tuple(row["tags"]),
        public=row["public"],
        upload_location=row["upload_location"] or "",
        cut_type=None if row["cut_type"] is None else CutType(row["cut_type"]),
        allow_holes=row["allow_holes"],
        uploader_allowlist=None if row["uploader_allowlist"] is None else tuple(row["uploader_allowlist"]),
        priority=row["priority"],
        thumbnail=_thumbnail(row),
        uploader=row["uploader"],
        error=row["error"],
        attempts=row["attempts"],
        made_as=row["made_as"],
        video_id=row["video_id"],
        video_link=row["video_link"],
        lacking=_json(row["lacking"]) or {},
        spool=None if spool is None else _spooled(spool),
        upload_session=_json(row["upload_session"]),
    )


def _joint(each: Mapping[str, Any] | None) -> Joint | None:
    return None if each is None else Joint(each["type"], timedelta(seconds=each["duration"]))


def _thumbnail(row: Mapping[str, Any]) -> Thumbnail:
    crop, position = row["thumbnail_crop"], row["thumbnail_position"]
    return Thumbnail(
        ThumbnailMode(row["thumbnail_mode"]),
        row["thumbnail_time"],
        row["thumbnail_template"],
        None if crop is None else (crop[0], crop[1], crop[2], crop[3]),
        None if position is None else (position[0], position[1], position[2], position[3]),
    )


def _spooled(found: Mapping[str, Any]) -> Spooled:
    """Read the column `spool`; what an operator has left out of it is nothing that any cutter has."""
    return Spooled(
        str(found.get("node", "")),
        str(found.get("folder", "")),
        str(found.get("name", "")),
        int(found.get("bytes", 0)),
        str(found.get("sha256", "")),
        str(found.get("made_as", "")),
        str(found.get("said", "")),
    )


def _json(text: str | None) -> Any:  # noqa: ANN401 - JSON
    return None if text is None else json.loads(text)
