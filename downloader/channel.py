"""One quality of a channel, for as long as the service runs: find its playlist, follow it, begin anew when it fails."""

import asyncio
from dataclasses import dataclass

import structlog

from common import metrics
from common.waits import backoff, pause
from common.web import without_secrets
from downloader.origin import OriginError, media_playlist_url
from downloader.recorder import EndedError, Recorder, UnsupportedError

log = structlog.get_logger()

# A stream that is away may be back any second, and what it sends then is sent once.
_LONGEST_PAUSE = 10.0

_FOLLOWED = metrics.gauge(
    "stream_followed", "1 while the playlist of a quality is being followed.", "channel", "quality"
)


@dataclass(frozen=True, slots=True)
class Channel:
    """A live stream: the name that we give it, and its address (http or https)."""

    name: str
    url: str


async def record(channel: Channel, recorder: Recorder, stop: asyncio.Event) -> None:
    """Record one quality until `stop`; whatever is wrong with the stream is said once and tried again."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(recorder.fetch_forever()),
            group.create_task(_follow_forever(channel, recorder, stop)),
        ]
        await stop.wait()
        # what is under way is not waited for: an origin that hangs must not hold up the stop
        for task in tasks:
            task.cancel()


async def _follow_forever(channel: Channel, recorder: Recorder, stop: asyncio.Event) -> None:
    where = {"channel": channel.name, "quality": recorder.target.quality}
    following = _FOLLOWED.labels(*where.values())
    attempt, address, told = 0, "", ""
    while not stop.is_set():
        found = recorder.found
        try:
            url = await media_playlist_url(recorder.session, channel.url, recorder.target.quality)
            if address != without_secrets(url):
                address = without_secrets(url)
                log.info("stream_found", **where, url=address)
            following.set(1)
            await recorder.follow(url, stop)
        except EndedError:
            reason = "The stream has ended; it is recorded again as soon as it returns."
        except (OriginError, UnsupportedError) as error:
            reason = str(error)
        else:
            return
        finally:
            following.set(0)
        if recorder.found > found:
            # it was recorded in between: whatever is wrong now is news, and it may be back at once
            attempt, told = 0, ""
        attempt += 1
        if reason != told:
            told = reason
            log.error("stream_not_recorded", **where, reason=reason)
        await pause(stop, backoff(attempt, most=_LONGEST_PAUSE))
