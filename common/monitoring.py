"""What a service without routes of its own is watched by, on a port beside its work: metrics, health, profiles."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiohttp import web

from common import profiling
from common.errors import UserError
from common.service import SUPERVISED
from common.web import answer_errors, serving, show_metrics

log = structlog.get_logger()


@asynccontextmanager
async def serving_metrics(
    host: str, port: int | None, checks: Mapping[str, Callable[[], object]]
) -> AsyncIterator[int | None]:
    """Serve `/metrics`, `/health` and, to this machine, profiles, and give the port; None: serve nothing.

    `checks` are what the service cannot do without, by name: each blocks, and raises UserError if it is not well. Then
    `/health` says so, with 503. Raises UserError if the port cannot be had; under a supervisor, which has chosen it for
    us, that is logged: no recording fails for want of its figures.
    """
    async with AsyncExitStack() as stack:
        served = None
        if port is not None:
            try:
                served = await stack.enter_async_context(serving(_app(checks), host, port, flag="--metrics-port"))
            except UserError as error:
                if not os.environ.get(SUPERVISED):
                    raise
                log.error("metrics_not_served", reason=str(error))  # noqa: TRY400 - the sentence says all
        yield served


def _app(checks: Mapping[str, Callable[[], object]]) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        found = {name: await asyncio.to_thread(_fault, check) for name, check in checks.items()}
        failing = any(fault is not None for fault in found.values())
        body = {"status": "failing" if failing else "ok"} | {name: fault or "ok" for name, fault in found.items()}
        return web.json_response(body, status=503 if failing else 200, headers={"Cache-Control": "no-store"})

    app = web.Application(middlewares=[answer_errors])
    app.add_routes([web.get("/metrics", show_metrics), web.get("/health", health), *profiling.routes()])
    return app


def _fault(check: Callable[[], object]) -> str | None:
    try:
        check()
    except UserError as error:
        return str(error)
    return None
