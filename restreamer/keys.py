"""What the application carries from its composition to its handlers."""

from aiohttp import web

from common.store import Store

STORE = web.AppKey("store", Store)

# The location at which a server in front has the store, if it sends segments for us.
ACCEL_PREFIX: web.AppKey[str | None] = web.AppKey("accel_prefix")
