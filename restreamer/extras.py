"""Folders of the store that hold no recordings and are for other nodes all the same (`--extras DIR`).

Only those that the operator has named are listed and served. Below them nothing hidden is shown, no link followed.
"""

import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from common.store import BadPathError, component
from restreamer.answers import answer_json
from restreamer.disk import off_loop_quickly
from restreamer.files import send_file
from restreamer.keys import EXTRAS, STORE


async def listing(request: web.Request) -> web.Response:
    """Answer `GET /extras/DIR`: the paths of all files below it, such as `faces/one.png`; an unknown one has none."""
    directory = request.match_info["directory"]
    known = directory in request.app[EXTRAS]
    return await answer_json(request, lambda: sorted(_files(request.app[STORE].base / directory)) if known else [])


async def extra(request: web.Request) -> web.StreamResponse:
    """Answer `GET /segments/DIR/PATH`: one of these files, whole or by byte range."""
    return await serve(request, request.match_info["directory"], request.match_info["path"])


async def serve(request: web.Request, directory: str, rest: str) -> web.StreamResponse:
    """Answer with a file below an extra folder; 404 for everything else."""
    if directory not in request.app[EXTRAS]:
        raise web.HTTPNotFound
    path = await off_loop_quickly(lambda: _path(request.app[STORE].base / directory, rest))
    if path is None:
        raise web.HTTPNotFound
    headers = {
        "Content-Type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "Cache-Control": "no-cache",
        # whatever it is, it is not of our page
        "Content-Security-Policy": "sandbox",
    }
    return await send_file(request, path, headers)


def _files(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_shown(name)]
        for name in names:
            path = Path(root, name)
            if _is_shown(name) and path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def _is_shown(name: str) -> bool:
    try:
        component(name)
    except BadPathError:
        return False
    return True


def _path(folder: Path, rest: str) -> Path | None:
    """Give the path of a file below a folder; None if a part of it is hidden, leads out, or is a link."""
    if not all(map(_is_shown, rest.split("/"))):
        return None
    found = folder.resolve() / rest
    return found if found.resolve() == found else None
