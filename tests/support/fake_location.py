"""An upload location like a large platform: what is sent in a session is out once; another session, another video."""

import asyncio
import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from cutter.locations import (
    DamagedSpoolError,
    Delivered,
    Keep,
    LocationAwayError,
    LocationRefusedError,
    Progress,
    Session,
    SessionLostError,
    Settings,
    Video,
)


@dataclass
class Place:
    """What is at the location, and how it fails: `faults` are taken one by one by deliveries; `away` holds for all.

    `processing`: so many questions are answered with "not yet" after a delivery.
    """

    videos: list[tuple[str, int, str]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    told: dict[str, Video] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    away: bool = False
    find_away: bool = False
    processing: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    sessions: dict[str, str | None] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def reach(self, step: str) -> asyncio.Event:
        """Give what is set when a step is reached: `begin`, `deliver`, `hangs`, `published`."""
        return self.reached.setdefault(step, asyncio.Event())

    def of(self, event: str) -> list[tuple[str, int, str]]:
        """Give the videos of an event."""
        return [each for each in self.videos if each[0] == event]


class FakeLocation:
    """The door of one cutter to the place."""

    def __init__(self, place: Place, name: str = "fake", settings: Settings | None = None) -> None:
        self.place = place
        self.name = name
        self.settings = settings or Settings()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    async def begin(self, video: Video) -> Session | None:
        self._enter("begin")
        if self.place.faults[:1] == ["refuse at begin"]:
            raise LocationRefusedError(f"{self.place.faults.pop(0)}.")
        number = str(next(self.place.numbers))
        self.place.sessions[number] = None
        return {"number": number}

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        self._enter("deliver")
        fault = self.place.faults.pop(0) if self.place.faults else ""
        assert session is not None
        number = str(session["number"])
        if fault == "lost" and self.place.sessions.get(number) is None:
            self.place.sessions.pop(number, None)
        if number not in self.place.sessions:
            raise SessionLostError("The session is no more.")
        if fault == "refuse":
            raise LocationRefusedError("The place does not take this.")
        if fault == "away":
            raise LocationAwayError("The place broke off.")
        if fault == "hang":
            self.place.reach("hangs").set()
            await asyncio.Event().wait()
        progress(0.5)
        await asyncio.sleep(0)
        self._publish(video, number)
        if fault == "away after":
            raise LocationAwayError("The place did not say that it has it all.")
        if fault == "hang after":
            self.place.reach("hangs").set()
            await asyncio.Event().wait()
        if fault == "crash after":
            raise RuntimeError(fault)
        progress(1.0)
        return self._delivered(number)

    def _publish(self, video: Video, number: str) -> None:
        content = video.path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if (sha256, len(content)) != (video.sha256, video.size):
            raise DamagedSpoolError("The spooled file is not what it was when it was made.")
        before = self.place.sessions[number]
        if before is None:
            self.place.sessions[number] = sha256
            self.place.videos.append((video.event, video.revision, sha256))
            self.place.contents[sha256] = content
            self.place.told[number] = video
        else:
            assert before == sha256, "another file was sent into a session"
        self.place.reach("published").set()

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        self._enter("find")
        for _ in range(3):  # as one that looks around
            await asyncio.sleep(0)
        if self.place.find_away:
            raise LocationAwayError("The place cannot be asked.")
        number = "" if session is None else str(session["number"])
        return self._delivered(number) if self.place.sessions.get(number) else None

    async def finished(self, delivered: Delivered) -> bool:
        self._enter("finished")
        if self.place.faults[:1] == ["transcoding fails"]:
            raise LocationRefusedError(self.place.faults.pop(0))
        self.place.processing -= 1
        return self.place.processing < 0

    async def modify(self, delivered: Delivered, video: Video) -> None:
        self._enter("modify")
        if self.place.faults[:1] == ["refuse modify"]:
            raise LocationRefusedError(f"{self.place.faults.pop(0)}.")
        self.place.told[delivered.video_id] = video

    def _delivered(self, number: str) -> Delivered:
        return Delivered(number, f"https://place/{number}", self.place.processing > 0)

    def _enter(self, step: str) -> None:
        self.place.calls[step] += 1
        self.place.reach(step).set()
        if self.place.away:
            raise LocationAwayError("The place is away.")
