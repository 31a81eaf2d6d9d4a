"""The route that gives a piece of the recording away as a video."""

import asyncio
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from common.coverage import ContainsHolesError
from common.cuts import CutPlan, NothingRecordedError, plan_rough
from common.sidecar import FactsStore
from common.store import Store
from common.web import RequestError
from restreamer.disk import off_loop
from restreamer.keys import FACTS, STORE
from restreamer.limits import PIECE_BYTES, taking
from restreamer.params import CutRequest, parse_cut


async def cut(request: web.Request) -> web.StreamResponse:
    """Answer `GET /cut/C/Q.ts`: the segments of the range, one after the other; 406 if there are holes."""
    info = request.match_info
    wanted = parse_cut(request.query.items())
    store, facts = request.app[STORE], request.app[FACTS]
    plan, paths, size = await off_loop(lambda: _plan(store, facts, info["channel"], info["quality"], wanted))
    response = web.StreamResponse(
        headers={
            "Content-Type": "video/mp2t",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(plan.name, safe='')}",
            "Cache-Control": "no-cache",
        }
    )
    response.content_length = size
    await response.prepare(request)
    if request.method != "HEAD":
        for path in paths:
            await _send(request, response, path)
        await response.write_eof()
    return response


def _plan(
    store: Store, facts: FactsStore, channel: str, quality: str, wanted: CutRequest
) -> tuple[CutPlan, list[Path], int]:
    facts.settle(channel, quality, lambda: store.sequence(channel, quality, wanted.start, wanted.end))
    try:
        sequence = store.sequence(channel, quality, wanted.start, wanted.end, allow_holes=wanted.allow_holes)
        plan = plan_rough(channel, quality, sequence)
    except ContainsHolesError as error:
        raise RequestError(f"{error} Add allow_holes=true to leave out what is missing.", status=406) from error
    except NothingRecordedError as error:
        raise RequestError(str(error), status=404) from error
    paths = [store.segment_path(channel, quality, segment) for segment in plan.segments]
    return plan, paths, sum(path.stat().st_size for path in paths)


async def _send(request: web.Request, response: web.StreamResponse, path: Path) -> None:
    sent = 0
    while data := await asyncio.to_thread(_read, path, sent):
        async with taking(request):
            await response.write(data)
        sent += len(data)


def _read(path: Path, offset: int) -> bytes:
    # opened for each piece: whatever ends the request between two of them, nothing is left open
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(PIECE_BYTES)
