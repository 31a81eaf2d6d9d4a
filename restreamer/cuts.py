"""The route that gives a piece of the recording away as a video."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

import structlog
from aiohttp import web

from common.clips import Piece, read
from common.coverage import ContainsHolesError
from common.cuts import CutType, NothingRecordedError, file_time
from common.cutting import DEFAULT_SETTINGS, Order, feeds, gather, joins, make_smart, prepare
from common.encode_slots import encode_slot
from common.encoding import Container, EncodingError
from common.ffmpeg import FfmpegError, stream
from common.full import Feed, full_cut, plan_full
from common.full_cut import Command
from common.pieces import CannotSpliceError
from common.preview import make_preview, plan_preview
from common.ranges import UnreadableSegmentError
from common.reading import Reading
from common.rough import plan_rough
from common.sample_cuts import splice_samples
from common.sample_files import Layout
from common.samples import is_sampled
from common.sidecar import FactsStore
from common.smart import splice
from common.store import Store
from common.transitions import TransitionError
from common.transport import Packets
from common.verify import VerificationError
from common.web import RequestError
from restreamer.disk import off_loop
from restreamer.files import send_file
from restreamer.keys import FACTS, STORE
from restreamer.limits import Taker, taking, while_there
from restreamer.params import CutRequest, parse_cut, parse_preview
from restreamer.spools import spool_folder

log = structlog.get_logger()

T = TypeVar("T")


_FORMS = {
    Container.MPEGTS: ("video/mp2t", "ts"),
    Container.MP4: ("video/mp4", "mp4"),
    Container.WEBM: ("video/webm", "webm"),
}

# An encoder that gives nothing for so long is stuck.
_PATIENCE_SECONDS = 120.0


async def cut(request: web.Request) -> web.StreamResponse:
    """Answer `GET /cut/C/Q.ts`: the ranges as one video; 406 if there are holes.

    `rough`: the segments of the ranges, one after the other. `fast`: exact to the frame, sent as it is made. `smart`:
    the same, checked before it is sent. `mpegts`, `webm`: encoded anew.
    """
    return await _cut(request, Container.MPEGTS)


async def cut_as_mp4(request: web.Request) -> web.StreamResponse:
    """Answer `GET /cut/C/Q.mp4`: the same as MP4, which carries what MPEG-TS does not."""
    return await _cut(request, Container.MP4)


async def _cut(request: web.Request, container: Container) -> web.StreamResponse:
    wanted = parse_cut(request.query.items())
    order = _order(request, wanted)
    match wanted.type:
        case Container():
            return await _send_full(request, order, wanted.type)
        case CutType.ROUGH:
            return await _send_rough(request, order, container)
        case CutType.FAST:
            return await _send_fast(request, order, container)
        case _:
            return await _send_smart(request, order, container)


def _order(request: web.Request, wanted: CutRequest) -> Order:
    recording = request.match_info["channel"], request.match_info["quality"]
    return Order(*recording, wanted.ranges, wanted.allow_holes, wanted.transitions)


def _headers(order: Order, container: Container) -> dict[str, str]:
    media_type, ending = _FORMS[container]
    name = f"{order.channel} {order.quality} {file_time(order.ranges[0].start)}.{ending}"
    return {
        "Content-Type": media_type,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "no-cache",
    }


async def _planned(work: Callable[[Store, FactsStore, Order], T], request: web.Request, order: Order) -> T:
    """Look up what a cut needs, with an answer for whatever is wrong with it."""
    with _answered():
        return await off_loop(lambda: work(request.app[STORE], request.app[FACTS], order))


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what is wrong with what is asked for into an answer that says so."""
    try:
        yield
    except ContainsHolesError as error:
        raise RequestError(f"{error} Add allow_holes=true to leave out what is missing.", status=406) from error
    except NothingRecordedError as error:
        raise RequestError(str(error), status=404) from error
    except UnreadableSegmentError as error:
        raise RequestError(f"{error} Add allow_holes=true to leave it out.", status=406) from error
    except TransitionError as error:
        raise RequestError(str(error), status=406) from error
    except FfmpegError as error:
        log.warning("video_not_made", reason=str(error))
        raise RequestError("The video could not be made; the log says why.", status=500) from error
    except VerificationError as error:
        raise RequestError(f"The video was made and thrown away. {error}", status=500) from error
    except (CannotSpliceError, EncodingError) as error:
        raise RequestError(f"{error} Ask for another type of cut.", status=406) from error


async def _send_rough(request: web.Request, order: Order, container: Container) -> web.StreamResponse:
    recorded, parts, size = await _planned(_rough, request, order)
    if recorded is not container:
        raise _elsewhere(order, recorded, "It was recorded in another format")
    response = web.StreamResponse(headers=_headers(order, container))
    response.content_length = size
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            async for data in read(parts):
                async with taking(request):
                    await response.write(data)
        except FileNotFoundError as error:  # which ends the connection: nobody takes what was sent for whole
            log.warning("cut_broken_off", reason=f"{error.filename} was deleted meanwhile.")
            raise RequestError("A part of this was just deleted; ask again.", status=503) from error
        await response.write_eof()
    return response


def _rough(store: Store, facts: FactsStore, order: Order) -> tuple[Container, list[Piece], int]:
    gathered = gather(store, facts, order, context=timedelta(0))
    rough = plan_rough(gathered.reading, gathered.ranges)
    paths = [gathered.reading.path(segment) for wanted in gathered.ranges for segment in wanted.segments]
    parts = [Piece(path, rough.init_bytes if number else 0) for number, path in enumerate(paths)]
    return rough.container, parts, sum(part.path.stat().st_size - part.offset for part in parts)


def _elsewhere(order: Order, container: Container, why: str) -> RequestError:
    """Say where that type of cut can be asked for."""
    ending = _FORMS[container][1]
    return RequestError(f"{why}: ask for /cut/{order.channel}/{order.quality}.{ending}.", status=406)


async def _send_fast(request: web.Request, order: Order, container: Container) -> web.StreamResponse:
    reading, planned = await _planned(prepare, request, order)
    sampled = is_sampled(planned.pieces[0].stretch)
    if sampled and container is not Container.MP4:
        raise _elsewhere(order, Container.MP4, "MPEG-TS does not carry what was recorded")
    if not sampled and container is not Container.MPEGTS:
        raise _elsewhere(order, Container.MPEGTS, "A fast cut of what was recorded is MPEG-TS")
    made = splice_samples(reading, planned, Layout.FRAGMENTS) if sampled else _bytes(splice(reading, planned))
    return await _send_made(request, _headers(order, container), made)


async def _bytes(parts: AsyncGenerator[Packets, None]) -> AsyncGenerator[memoryview, None]:
    async with aclosing(parts):
        async for packets in parts:
            yield packets.data


async def _send_made(
    request: web.Request,
    headers: Mapping[str, str],
    made: AsyncGenerator[bytes, None] | AsyncGenerator[memoryview, None],
) -> web.StreamResponse:
    """Send a video while it is being made; what goes wrong before there is any of it is still an answer of its own."""
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()  # a video that breaks off has no last chunk
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    taker = Taker(request)
    async with aclosing(made):
        with _answered():
            data: bytes | memoryview | None = await while_there(request, _next(made))
        await response.prepare(request)
        while data is not None:
            async with taker.taking(memoryview(data).nbytes):
                await response.write(data)
            data = await anext(made, None)
    await response.write_eof()
    return response


async def _next(made: AsyncGenerator[bytes, None] | AsyncGenerator[memoryview, None]) -> bytes | memoryview | None:
    return await anext(made, None)


def _full(store: Store, facts: FactsStore, order: Order) -> tuple[Reading, list[list[Feed]]]:
    gathered = gather(store, facts, order)
    return gathered.reading, plan_full(gathered.reading, gathered.ranges)


async def _send_full(request: web.Request, order: Order, container: Container) -> web.StreamResponse:
    reading, planned = await _planned(_full, request, order)
    try:
        command = full_cut(planned, joins(order), DEFAULT_SETTINGS[container], "pipe:1")
    except (EncodingError, TransitionError) as error:
        raise RequestError(str(error), status=406) from error
    return await _send_made(request, _headers(order, container), _encoded(command, feeds(reading, planned)))


async def _encoded(command: Command, streams: list[AsyncIterator[bytes]]) -> AsyncGenerator[bytes, None]:
    made = stream(command.arguments, inputs=streams, timeout=_PATIENCE_SECONDS, purpose="full")
    async with encode_slot("full"), aclosing(made):
        async for data in made:
            yield data


async def preview(request: web.Request) -> web.StreamResponse:
    """Answer `GET /preview/C/Q.mp4`: a transition and a second on each side of it, small and quick."""
    planned = await _planned(plan_preview, request, _order(request, parse_preview(request.query.items())))
    headers = {"Content-Type": "video/mp4", "Cache-Control": "no-cache"}
    return await _send_made(request, headers, make_preview(planned))


async def _send_smart(request: web.Request, order: Order, container: Container) -> web.StreamResponse:
    gathered = await _planned(gather, request, order)
    headers = _headers(order, container)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    with spool_folder() as folder:
        path = folder / "cut"
        with _answered():
            made = await make_smart(gathered, order, container, path)
        return await send_file(request, path, {**headers, "X-Made-As": made.kind.value})
