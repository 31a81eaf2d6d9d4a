"""Making the video of an event: a finished, checked file in the spool."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from common.coverage import ContainsHolesError
from common.cuts import CutType, NothingRecordedError
from common.cutting import Gathered, Order, gather, make_archive, make_full, make_rough, make_smart
from common.encoding import Container, EncodingError
from common.events import Event, Spooled
from common.ffmpeg import FfmpegError
from common.metrics import LONG_SECONDS, counter, ratio
from common.pieces import CannotSpliceError
from common.ranges import UnreadableSegmentError
from common.rough import plan_rough
from common.sidecar import FactsStore
from common.store import Store
from common.timed import timed
from common.transitions import TransitionError
from common.verify import VerificationError
from common.waits import in_thread
from cutter.examine import describe, kind_of, order_of
from cutter.locations import Settings
from cutter.outcomes import NotNowError, RefusedError
from cutter.spool import Spool

log = structlog.get_logger()

_ENDINGS: Final = {
    Container.MP4: "mp4",
    Container.MATROSKA: "mkv",
    Container.WEBM: "webm",
    Container.MPEGTS: "ts",
}

_CUTS = counter("event_cuts", "Cuts of events, by their type and how they ended.", "type", "outcome")
_WORK = ratio("event_cut_work", "Seconds of work for each second of video, of cuts that were done.", "type")
_MEDIA_SECONDS = counter("event_cut_media_seconds", "Seconds of video that were cut.", "type")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What cuts are made of, and where to: the store, what is known of its segments, the spool of the node."""

    store: Store
    facts: FactsStore
    spool: Spool
    node: str


@timed(
    "event_cut",
    "Making the video of an event.",
    labels={"type": lambda _, event, settings, **__: kind_of(event, settings).value},
    results={"made_as": lambda spooled: spooled.made_as},
    buckets=LONG_SECONDS,
)
async def make(
    shop: Workshop,
    event: Event,
    settings: Settings,
    *,
    named: Callable[[str], None],
    progress: Callable[[float], None],
) -> Spooled:
    """Make the video of an event in the spool; `named` hears its name before it is begun. Logs one line in the end.

    Raises NotNowError for what another try may cure, RefusedError for what only an operator can; it may be cancelled.
    """
    kind, began, outcome, spooled = kind_of(event, settings), time.monotonic(), "stopped", None
    try:
        gathered = await in_thread(_gathered, shop, order_of(event), kind)
        name = shop.spool.new_name(event.id, event.revision, await in_thread(_ending, gathered, kind, settings))
        named(name)
        made_as = await _made(gathered, event, settings, shop.spool.file(name), progress)
        spooled = await in_thread(shop.spool.finished, shop.node, name, made_as)
        outcome = "done"
        _measure(event, kind, time.monotonic() - began)
    except (TransitionError, EncodingError, CannotSpliceError) as error:
        outcome = "refused"
        raise RefusedError(str(error)) from error
    except RefusedError:
        outcome = "refused"
        raise
    except (ContainsHolesError, NothingRecordedError, UnreadableSegmentError) as error:
        outcome = "failed"
        raise NotNowError(f"{error} Allow holes to leave it out.", lacking=True) from error
    except (FfmpegError, VerificationError) as error:
        outcome = "failed"
        raise NotNowError(f"The video could not be made. {error}") from error
    except OSError as error:
        outcome = "failed"
        raise NotNowError(f"The video could not be made: {error.strerror or error} ({shop.node}).") from error
    finally:
        took = time.monotonic() - began
        _CUTS.labels(kind.value, outcome).inc()
        log.info(
            "event_cut",
            id=event.id,
            what=describe(event),
            type=kind.value,
            outcome=outcome,
            made_as=None if spooled is None else spooled.made_as,
            bytes=None if spooled is None else spooled.size,
            seconds=round(took, 3),
        )
    return spooled


def _measure(event: Event, kind: CutType, took: float) -> None:
    length = sum((each.end - each.start).total_seconds() for each in event.ranges)
    _WORK.labels(kind.value).observe(took / length)
    _MEDIA_SECONDS.labels(kind.value).inc(length)


def _ending(gathered: Gathered, kind: CutType, settings: Settings) -> str:
    """How the name of the file ends, which says what it holds."""
    if kind is CutType.ARCHIVE:
        return _ENDINGS[Container.MATROSKA]
    if kind is CutType.ROUGH:
        return _ENDINGS[plan_rough(gathered.reading, gathered.ranges).container]
    return _ENDINGS[settings.encoding.container]


async def _made(
    gathered: Gathered, event: Event, settings: Settings, output: Path, progress: Callable[[float], None]
) -> str:
    """Make the file, and tell as which type."""
    order, kind = order_of(event), kind_of(event, settings)
    if kind is CutType.ROUGH:
        return (await make_rough(gathered, output, progress)).kind.value
    if kind is CutType.ARCHIVE:
        files = await make_archive(gathered, output, progress)
        if len(files) > 1:
            for file in files:
                await in_thread(file.unlink)
            raise RefusedError(
                f"The recording breaks within that range, so that an archive of it would be {len(files)} files: "
                "choose another type, or make an event of each part."
            )
        return kind.value
    if kind is CutType.FULL:
        return (await make_full(gathered, order, settings.encoding, output, progress)).kind.value
    made = await make_smart(gathered, order, settings.encoding.container, output, progress)
    return made.kind.value


def _gathered(shop: Workshop, order: Order, kind: CutType) -> Gathered:
    """Find the segments; a cut of whole segments needs none around them."""
    if kind in {CutType.ROUGH, CutType.ARCHIVE}:
        return gather(shop.store, shop.facts, replace(order, transitions=()), context=timedelta(0))
    return gather(shop.store, shop.facts, order)
