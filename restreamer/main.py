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
from common.store import Store
from common.web import Handler, answer_errors, serving, show_metrics
from restreamer import cuts, listings, playlists
from restreamer.keys import STORE

log = structlog.get_logger()

# The page takes nothing from elsewhere; hls.js plays through blobs and works in a worker made from one.
_PAGE_POLICY = (
    "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


@dataclass(frozen=True, slots=True)
class Config:
    """What the restreamer serves, and where."""

    base_dir: Path
    host: str
    port: int


def make_app(store: Store) -> web.Application:
    """Make the application that serves this store."""
    app = web.Application(middlewares=[answer_errors])
    app[STORE] = store
    pages = Path(str(files("restreamer") / "web"))
    app.add_routes(
        [
            web.get("/files", listings.channels),
            web.get("/files/{channel}", listings.qualities),
            web.get("/files/{channel}/{quality}", listings.hours),
            web.get("/files/{channel}/{quality}/{hour}", listings.segments),
            web.get("/segments/{channel}/{quality}/{hour}/{name}", listings.segment),
            web.get("/playlist/{channel}.m3u8", playlists.multivariant),
            web.get("/playlist/{channel}/{quality}.m3u8", playlists.media),
            web.get("/cut/{channel}/{quality}.ts", cuts.cut),
            web.get("/metrics", show_metrics),
            web.get("/health", listings.health),
            web.get("/", _page(pages / "index.html")),
            web.static("/web", pages),
        ]
    )
    app.on_response_prepare.append(_add_headers)
    return app


def _page(path: Path) -> Handler:
    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"})

    return page


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    # recordings may be shown by pages of other origins; there is nothing to send with credentials
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/web/"):
        response.headers.setdefault("Cache-Control", "no-cache")


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
