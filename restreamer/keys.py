"""What the application carries from its composition to its handlers."""

from aiohttp import web

from common.store import Store

STORE = web.AppKey("store", Store)
