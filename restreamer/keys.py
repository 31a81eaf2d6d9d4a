"""What the application carries from its composition to its handlers."""

from aiohttp import web

from common.sidecar import FactsStore
from common.store import Store
from restreamer.answers import Flights
from restreamer.live import LiveLists
from restreamer.prober import Prober
from restreamer.rates import MeasuredHours
from restreamer.rendered import RenderedHours
from restreamer.templates import Templates

STORE = web.AppKey("store", Store)
LIVE = web.AppKey("live", LiveLists)
FLIGHTS = web.AppKey("flights", Flights)
RENDERED = web.AppKey("rendered", RenderedHours)
FACTS = web.AppKey("facts", FactsStore)
RATES = web.AppKey("rates", MeasuredHours)
PROBER = web.AppKey("prober", Prober)
TEMPLATES = web.AppKey("templates", Templates)

# The location at which a server in front has the store, if it sends segments for us.
ACCEL_PREFIX: web.AppKey[str | None] = web.AppKey("accel_prefix")
