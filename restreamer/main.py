"""The restreamer's composition: its routes, its configuration, its command."""

import asyncio
import mimetypes
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import click
import structlog
from aiohttp import web

from common import profiling, service
from common.digest_cache import Digests
from common.disks import Disk, watch_disks
from common.options import base_dir_option, host_option, log_level_option, option, port_option
from common.sidecar import FactsStore
from common.store import BadPathError, Store, component
from common.tokens import TokenFile
from common.waits import in_thread
from common.web import Handler, answer_errors, serving, show_metrics
from restreamer import cuts, digests, extras, histories, listings, openapi, pictures, playlists, statuses
from restreamer.admission import Admission, Guard
from restreamer.answers import Flights
from restreamer.files import send_file
from restreamer.keys import (
    ACCEL_PREFIX,
    ADMISSION,
    DIGESTS,
    DIGESTS_TURN,
    EXTRAS,
    FACTS,
    FLIGHTS,
    LIVE,
    PROBER,
    RATES,
    RENDERED,
    STATUS,
    STORE,
    TEMPLATES,
)
from restreamer.limits import MOST_CUTS, MOST_PICTURES, MOST_PLAYLISTS, Slots
from restreamer.live import LiveLists
from restreamer.node_status import NodeStatus
from restreamer.prober import Prober
from restreamer.rates import MeasuredHours
from restreamer.rendered import RenderedHours
from restreamer.spools import sweep_spools
from restreamer.templates import Templates
from restreamer.workers import reserved, run_workers

log = structlog.get_logger()

# The page takes nothing from elsewhere; hls.js plays through blobs and works in a worker made from one.
_PAGE_POLICY = (
    "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


# Whatever a channel is called: aiohttp's own pattern for a part of a path excludes braces.
_C, _Q, _H, _NAME, _DAY, _DIR = (
    f"{{{part}:[^/]+}}" for part in ("channel", "quality", "hour", "name", "day", "directory")
)

PAGES = Path(str(files("restreamer") / "web"))


@dataclass(frozen=True, slots=True)
class Config:
    """What the restreamer serves, and where; a port may be shared with its like."""

    base_dir: Path
    host: str
    port: int
    accel_prefix: str | None = None
    shared: bool = False
    templates: Path | None = None
    extras: tuple[str, ...] = ()
    token_file: Path | None = None
    token_for: Guard = Guard.ALL


def make_app(
    store: Store,
    pages: Path = PAGES,
    accel_prefix: str | None = None,
    templates: Path | None = None,
    *,
    extra_folders: Collection[str] = (),
    tokens: TokenFile | None = None,
    guard: Guard = Guard.ALL,
) -> web.Application:
    """Make the application that serves this store, and the files below `pages`, index.html first.

    With an `accel_prefix`, segments are left to the server in front, which has the store at that location. `templates`
    is the folder of those for thumbnails. Of the base's folders without recordings, `extra_folders` are served, too.
    With `tokens`, one of them is needed for all that `guard` says.
    """
    extra = frozenset(extra_folders)
    admission = Admission(tokens, guard, extra)
    app = web.Application(middlewares=[answer_errors, admission.admit])
    app[ADMISSION] = admission
    app[STORE] = store
    app[FACTS] = FactsStore(store)
    app[LIVE] = LiveLists(store, app[FACTS])
    app[PROBER] = Prober(app[FACTS])
    app.cleanup_ctx.append(app[PROBER].running)
    app[RENDERED] = RenderedHours()
    app[RATES] = MeasuredHours(store, app[FACTS])
    app[FLIGHTS] = Flights()
    app[STATUS] = NodeStatus(store)
    app[ACCEL_PREFIX] = accel_prefix
    app[TEMPLATES] = Templates(templates)
    app[EXTRAS] = extra
    app[DIGESTS], app[DIGESTS_TURN] = Digests(store), asyncio.Lock()
    app.add_routes(_routes(pages))
    app.on_response_prepare.append(_add_headers)
    app.on_response_prepare.append(admission.keep_private)
    app.on_startup.append(_sweep)
    app.on_cleanup.append(_keep_digests)
    return app


def _routes(pages: Path) -> list[web.RouteDef]:
    lists, videos = Slots(MOST_PLAYLISTS, "playlists"), Slots(MOST_CUTS, "cuts")
    stills = Slots(MOST_PICTURES, "pictures")
    return [
        web.get("/files", listings.channels),
        web.get(f"/files/{_C}", listings.qualities),
        web.get(f"/files/{_C}/{_Q}", listings.hours),
        web.get(f"/files/{_C}/{_Q}/{_H}", listings.segments),
        web.get(f"/segments/{_C}/{_Q}/{_H}/{_NAME}", listings.segment),
        web.get(f"/segments/{_DIR}/{{path:.+}}", extras.extra),
        web.get(f"/extras/{_DIR}", extras.listing),
        web.get("/digests", digests.everything),
        web.get(f"/digests/{_C}/{_Q}", digests.days),
        web.get(f"/digests/{_C}/{_Q}/{_DAY}", digests.hours),
        web.get(f"/histories/{_C}/{_Q}", histories.hours),
        web.get(f"/histories/{_C}/{_Q}/{_H}", histories.names),
        web.get(f"/histories/{_C}/{_Q}/{_H}/{_NAME}", histories.playlist),
        web.get(f"/playlist/{_C}.m3u8", lists.limited(playlists.multivariant)),
        web.get(f"/playlist/{_C}/{_Q}.m3u8", lists.limited(playlists.media)),
        web.get(f"/cut/{_C}/{_Q}.ts", videos.limited(cuts.cut)),
        web.get(f"/cut/{_C}/{_Q}.mp4", videos.limited(cuts.cut_as_mp4)),
        web.get(f"/preview/{_C}/{_Q}.mp4", videos.limited(cuts.preview)),
        web.get(f"/frame/{_C}/{_Q}.png", stills.limited(pictures.frame)),
        web.get(f"/waveform/{_C}/{_Q}.png", stills.limited(pictures.waveform)),
        web.get("/thumbnails", pictures.templates),
        web.get(f"/thumbnail/{_C}/{_Q}.png", stills.limited(pictures.thumbnail)),
        web.post(f"/thumbnail/{_C}/{_Q}.png", stills.limited(pictures.compose_thumbnail)),
        web.get("/status", statuses.status),
        web.get(f"/coverage/{_C}/{_Q}/{_DAY}.png", statuses.coverage),
        web.get("/metrics", show_metrics),
        web.get("/health", listings.health),
        web.get("/openapi.json", openapi.show_document),
        web.get("/", _page(pages)),
        web.get("/web/{name:.+}", _assets(pages)),
        *profiling.routes(),
    ]


async def _sweep(_: web.Application) -> None:
    """Remove what restreamers that were killed have left."""
    await asyncio.to_thread(sweep_spools)


async def _keep_digests(app: web.Application) -> None:
    await in_thread(app[DIGESTS].flush)


def _page(pages: Path) -> Handler:
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _PAGE_POLICY,
        "Cache-Control": "no-cache",
    }

    async def page(request: web.Request) -> web.StreamResponse:
        return await send_file(request, pages / "index.html", headers)

    return page


def _assets(pages: Path) -> Handler:
    """Serve the files that lie below `pages` now; the names of requests are looked up here and never on the disk."""
    files = [path for path in pages.rglob("[!.]*") if path.is_file()]
    found = {path.relative_to(pages).as_posix(): (path, _media_type(path)) for path in files}

    async def asset(request: web.Request) -> web.StreamResponse:
        file = found.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        path, media_type = file
        return await send_file(request, path, {"Content-Type": media_type, "Cache-Control": "no-cache"})

    return asset


def _media_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    # recordings may be shown by pages of other origins; there is nothing to send with credentials
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


async def run(config: Config, stop: asyncio.Event) -> None:
    """Serve until told to stop. Raises UserError if the folder or the port cannot be used."""
    store = Store(config.base_dir)
    await asyncio.to_thread(store.check_readable)
    tokens = await asyncio.to_thread(TokenFile, config.token_file) if config.token_file else None
    app = make_app(
        store,
        accel_prefix=config.accel_prefix,
        templates=config.templates,
        extra_folders=config.extras,
        tokens=tokens,
        guard=config.token_for,
    )
    async with serving(app, config.host, config.port, shared=config.shared) as port:
        log.info("serving", url=f"http://{config.host}:{port}/", base_dir=str(config.base_dir))
        await watch_disks([Disk("store", store.base)], stop)


async def run_several(config: Config, count: int, level: str, stop: asyncio.Event) -> None:
    """Serve with so many processes until told to stop. Raises UserError if the folder or the port cannot be used."""
    await asyncio.to_thread(Store(config.base_dir).check_readable)
    with reserved(config.host, config.port) as port:
        arguments = ["--base-dir", str(config.base_dir), "--host", config.host, "--port", str(port)]
        arguments += ["--workers", "1", "--shared-port", "--log-level", level]
        arguments += ["--accel-prefix", config.accel_prefix] if config.accel_prefix else []
        arguments += ["--templates", str(config.templates)] if config.templates else []
        arguments += ["--token-file", str(config.token_file)] if config.token_file else []
        arguments += ["--token-for", config.token_for.value]
        arguments += [word for name in config.extras for word in ("--extras", name)]
        await run_workers(count, arguments, stop)


def _prefix(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise click.BadParameter("It is a path such as /protected, without a slash at its end.")
    return text


def _extras(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(component, names))
    except BadPathError as error:
        raise click.BadParameter("It is the name of a folder of the store.") from error


@click.command("restreamer")
@base_dir_option
@host_option
@port_option(8000)
@option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="How many processes share the port; as many as there are cores that nothing else needs.",
)
@option(
    "--accel-prefix",
    callback=_prefix,
    help="Leave segments to the nginx in front, which has the store at this internal location, such as /protected.",
)
@option(
    "--templates",
    type=click.Path(path_type=Path),
    help="The folder of templates for thumbnails: NAME.png, with NAME.toml for where the frame goes.",
)
@option(
    "--extras",
    multiple=True,
    callback=_extras,
    metavar="DIR",
    help="A folder of the store that holds no recordings and is for other nodes, too; may be repeated.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Give recordings only to who shows one of the tokens in this file, a line each; it may change at any time.",
)
@option(
    "--token-for",
    type=click.Choice([each.value for each in Guard]),
    default=Guard.ALL.value,
    help="What needs a token: all that is recorded, or what other nodes ask for, so that viewers need none.",
)
@option("--shared-port", is_flag=True, help="Let other processes with this flag have the port, too: the workers do.")
@log_level_option
def cli(
    *,
    base_dir: Path,
    host: str,
    port: int,
    workers: int,
    accel_prefix: str | None,
    templates: Path | None,
    extras: tuple[str, ...],
    token_file: Path | None,
    token_for: str,
    shared_port: bool,
    log_level: str,
) -> None:
    """Serve the store as playlists, segments and cuts over HTTP."""
    guard = Guard(token_for)
    config = Config(base_dir, host, port, accel_prefix, shared_port, templates, extras, token_file, guard)
    serve = partial(run, config) if workers == 1 else partial(run_several, config, workers, log_level)
    raise SystemExit(service.main(serve, name="restreamer", level=log_level))
