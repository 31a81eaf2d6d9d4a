"""What the application carries from its composition to its handlers."""

import asyncio

from aiohttp import web

from common.digest_cache import Digests
from common.sidecar import FactsStore
from common.store import Store
from restreamer.admission import Admission
from restreamer.answers import Flights
from restreamer.live import LiveLists
from restreamer.node_status import NodeStatus
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
STATUS = web.AppKey("status", NodeStatus)
PROBER = web.AppKey("prober", Prober)
TEMPLATES = web.AppKey("templates", Templates)
ADMISSION = web.AppKey("admission", Admission)
DIGESTS = web.AppKey("digests", Digests)

# Digests that nobody has asked for yet may take long; what is worked out for one serves the next.
DIGESTS_TURN = web.AppKey("digests_turn", asyncio.Lock)

# The folders of the base that hold no recordings and are served all the same.
EXTRAS: web.AppKey[frozenset[str]] = web.AppKey("extras")

# The location at which a server in front has the store, if it sends segments for us.
ACCEL_PREFIX: web.AppKey[str | None] = web.AppKey("accel_prefix")
