"""A node that knows no digests, made of an origin: the routes that list, as the predecessor's answer them."""

import hashlib
import json

from common.segments import SegmentType, content_hash, make_segment
from hls_origin import NOON, Origin
from other_nodes import SECOND, Node

HOURS = "/files/chan/source"
HOUR = "/files/chan/source/2026-03-01T12"


def name_of(data: bytes, seconds: float = 0.0) -> str:
    """Name the segment of two seconds with this content that starts so many seconds after noon."""
    content = content_hash(hashlib.sha256(data).digest())
    return make_segment(NOON + seconds * SECOND, 2 * SECOND, SegmentType.FULL, content).name


def path_of(name: str) -> str:
    """Give the path under which a segment of the hour at noon is served."""
    return f"/segments/chan/source/2026-03-01T12/{name}"


def listing(origin: Origin, *names: str) -> Node:
    """Have the origin answer as a node that knows no digests and has these names in one hour."""
    origin.put("/files", '["chan"]')
    origin.put("/files/chan", '["source"]')
    origin.put(HOURS, '["2026-03-01T12"]')
    origin.put(HOUR, json.dumps(names))
    return Node.elsewhere(origin.base)
