"""Previews of transitions: the end of one range and the start of the next, small and made in a moment."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from typing import Final

from common.blend_commands import preview_command
from common.cuts import VideoRange
from common.cutting import Order, gather
from common.encode_slots import encode_slot
from common.ffmpeg import find_ffmpeg, stream
from common.full import Feed, fed, plan_full
from common.reading import Reading
from common.sidecar import FactsStore
from common.store import Store
from common.ticks import TICKS
from common.transitions import TransitionError

# So much is shown before and after the transition.
_AROUND: Final = timedelta(seconds=1)

# Enough for the pictures from which a decoder must begin.
_CONTEXT: Final = timedelta(seconds=10)

_PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class PreviewPlan:
    """A preview that can be made: its command, and what is fed into it."""

    reading: Reading
    command: list[str]
    feeds: tuple[Feed, Feed]


def plan_preview(store: Store, facts: FactsStore, order: Order) -> PreviewPlan:
    """Plan the preview of an order's first transition: of it, and of a second on each side. Blocks.

    Raises as `gather` and `plan_full` do, and TransitionError if there is no transition or it does not fit.
    """
    transition = next(iter(order.transitions), None)
    if transition is None:
        raise TransitionError("A preview needs two ranges and a transition between them.")
    (start, end), (start_after, end_after) = order.ranges[:2]
    length = transition.duration + _AROUND
    ranges = VideoRange(max(start, end - length), end), VideoRange(start_after, min(end_after, start_after + length))
    gathered = gather(store, facts, replace(order, ranges=ranges, transitions=()), _CONTEXT)
    before, after = plan_full(gathered.reading, gathered.ranges)
    feeds = before[-1], after[0]
    lengths = [Fraction(feed.source.end - feed.source.start, TICKS) for feed in feeds]
    sources = [feed.source for feed in feeds]
    command = preview_command(find_ffmpeg(), sources[0], sources[1], transition, (lengths[0], lengths[1]))
    return PreviewPlan(gathered.reading, command, feeds)


async def make_preview(planned: PreviewPlan) -> AsyncGenerator[bytes, None]:
    """Give a preview as fragmented MP4, as it comes. Raises FfmpegError, UnreadableSegmentError or OSError."""
    inputs = [fed(planned.reading, feed.piece) for feed in planned.feeds]
    chunks = stream(planned.command, inputs=inputs, timeout=_PATIENCE_SECONDS, purpose="preview")
    async with encode_slot("preview"), aclosing(chunks):
        async for chunk in chunks:
            yield chunk
