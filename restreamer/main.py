"""The restreamer's composition: its routes, its configuration, its command."""

import asyncio
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click
import structlog
from aiohttp import web

from common import service
from common.options import base_dir_option, host_option, log_level_option, port_option
from common.sidecar import FactsStore
from common.store import Store
from common.web import Handler, answer_errors, serving, show_metrics
from restreamer import cuts, listings, openapi, playlists
from restreamer.answers import Flights
from restreamer.disk import send_file
from restreamer.keys import FACTS, FLIGHTS, LIVE, PROBER, RENDERED, STORE
from restreamer.live import LiveLists
from restreamer.prober import Prober
from restreamer.rendered import RenderedHours

log = structlog.get_logger()

# The page takes nothing from elsewhere; hls.js plays through blobs and works in a worker made from one.
_PAGE_POLICY = (
    "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


# Whatever a channel is called: aiohttp's own pattern for a part of a path excludes braces.
_C, _Q, _H, _NAME = (f"{{{part}:[^/]+}}" for part in ("channel", "quality", "hour", "name"))

PAGES = Path(str(files("restreamer") / "web"))


@dataclass(frozen=True, slots=True)
class Config:
    """What the restreamer serves, and where."""

    base_dir: Path
    host: str
    port: int


def make_app(store: Store, pages: Path = PAGES) -> web.Application:
    """Make the application that serves this store, and the files below `pages`, index.html first."""
    app = web.Application(middlewares=[answer_errors])
    app[STORE] = store
    app[FACTS] = FactsStore(store)
    app[LIVE] = LiveLists(store, app[FACTS])
    app[PROBER] = Prober(app[FACTS])
    app.cleanup_ctx.append(app[PROBER].running)
    app[RENDERED] = RenderedHours()
    app[FLIGHTS] = Flights()
    app.add_routes(
        [
            web.get("/files", listings.channels),
            web.get(f"/files/{_C}", listings.qualities),
            web.get(f"/files/{_C}/{_Q}", listings.hours),
            web.get(f"/files/{_C}/{_Q}/{_H}", listings.segments),
            web.get(f"/segments/{_C}/{_Q}/{_H}/{_NAME}", listings.segment),
            web.get(f"/playlist/{_C}.m3u8", playlists.multivariant),
            web.get(f"/playlist/{_C}/{_Q}.m3u8", playlists.media),
            web.get(f"/cut/{_C}/{_Q}.ts", cuts.cut),
            web.get("/metrics", show_metrics),
            web.get("/health", listings.health),
            web.get("/openapi.json", openapi.show_document),
            web.get("/", _page(pages)),
            web.get("/web/{name:.+}", _assets(pages)),
        ]
    )
    app.on_response_prepare.append(_add_headers)
    return app


def _page(pages: Path) -> Handler:
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}

    async def page(request: web.Request) -> web.StreamResponse:
        return await send_file(request, pages / "index.html", headers)

    return page


def _assets(pages: Path) -> Handler:
    """Serve the files that lie below `pages` now; the names of requests are looked up here and never on the disk."""
    found = {path.relative_to(pages).as_posix(): path for path in pages.rglob("[!.]*") if path.is_file()}

    async def asset(request: web.Request) -> web.StreamResponse:
        path = found.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return await send_file(request, path, {"Cache-Control": "no-cache"})

    return asset


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    # recordings may be shown by pages of other origins; there is nothing to send with credentials
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


async def run(config: Config, stop: asyncio.Event) -> None:
    """Serve until told to stop. Raises UserError if the folder or the port cannot be used."""
    store = Store(config.base_dir)
    await asyncio.to_thread(store.check_readable)
    async with serving(make_app(store), config.host, config.port) as port:
        log.info("serving", url=f"http://{config.host}:{port}/", base_dir=str(config.base_dir))
        await stop.wait()


@click.command("restreamer")
@base_dir_option
@host_option
@port_option(8000)
@log_level_option
def cli(base_dir: Path, host: str, port: int, log_level: str) -> None:
    """Serve the store as playlists, segments and cuts over HTTP."""
    config = Config(base_dir, host, port)
    raise SystemExit(service.main(lambda stop: run(config, stop), name="restreamer", level=log_level))
