"""The document that describes the routes, and requests made from it: thousands, good and bad, at a real server."""

import io
import json
import re
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import CheckContext, CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from common import histories, profiling
from common.coverage_pictures import picture_path
from common.dateutil import hour_name
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from numbered import put_in_time, ts_segments
from restreamer.main import make_app
from restreamer.openapi import ROUTES, UPLOADS, document
from restreamer.params import (
    COMPOSE_PARAMETERS,
    CUT_PARAMETERS,
    DELTA_PARAMETER,
    FRAME_PARAMETERS,
    LISTING_PARAMETERS,
    PREVIEW_PARAMETERS,
    RANGE_PARAMETERS,
    THUMBNAIL_PARAMETERS,
    WAVEFORM_PARAMETERS,
)

CANARY = "CANARY-in-a-coal-mine"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXTRA = "faces"
TOKEN = "not-quite-a-secret"
ODD = '#1 ✓ it\'s "50%" a+b?c&d'


Place = dict[str, str]
Case = schemathesis.Case[Any]


class Served(NamedTuple):
    """A restreamer in a process of its own: its address, and where its segments are."""

    url: str
    places: list[Place]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Place]]:
    """Make a small store with all that a store can hold, canaries in and around it; give where its segments are."""
    folder = tmp_path_factory.mktemp("openapi")
    store = Store(folder / "base")
    recent = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    places: list[Place] = []
    for first, channel, quality in ((NOON, "chan", "source"), (NOON, ODD, ODD), (recent, "chan", "live")):
        for number in (0, 1, 2, 4):
            writer = SegmentWriter(store, channel, quality, first + number * timedelta(seconds=2), timedelta(seconds=2))
            writer.write(b"x" * (500 + number))
            segment = writer.commit(SegmentType.PARTIAL if number == 2 else SegmentType.FULL)
            places.append({"channel": channel, "quality": quality, "hour": segment.hour, "name": segment.name})
    film = put_in_time(store, NOON, ts_segments(folder, seconds=2.0, length=1.0), channel="film")
    places += [{"channel": "film", "quality": "source", "hour": each.hour, "name": each.name} for each in film]
    for recorded_at in places:
        picture = picture_path(store, recorded_at["channel"], recorded_at["quality"], recorded_at["hour"][:10])
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(picture)
    hour = store.base / "chan/source" / hour_name(NOON)
    (hour / places[0]["name"]).with_suffix(".tombstone").touch()
    (hour / "what is no segment").write_text(CANARY)
    kept = histories.path(store, "chan", "source", hour.name, histories.name_for(NOON, 1))
    kept.parent.mkdir()
    for path in (
        kept,
        store.base / EXTRA / "one.png",
        store.base / EXTRA / "a/b/two.html",
        store.base / EXTRA / "a/b/c/3",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("shown")
    (kept.parent / ".canary").write_text(CANARY)
    (store.base / EXTRA / "a/b/.canary").write_text(CANARY)
    (store.base / EXTRA / "canary").symlink_to(folder / "canary")
    (folder / "tokens").write_text(TOKEN)
    (folder / "canary").write_text(CANARY)
    for place in (store.base, store.base / "chan", store.base / "chan/source", hour):
        (place / ".canary").write_text(CANARY)
        (place / "canary.ts").symlink_to(folder / "canary")
    return store, places


@pytest.fixture(scope="module")
def served(recorded: tuple[Store, list[Place]]) -> Iterator[Served]:
    store, places = recorded
    command = [sys.executable, "-P", "-m", "restreamer", "--base-dir", str(store.base), "--port", "0"]
    command += ["--extras", EXTRA, "--token-file", str(store.base.parent / "tokens"), "--token-for", "nodes"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(rb"http://[0-9.:]+", said)
        assert found, said
        # somebody must go on reading: a full pipe would stop the server
        reader = threading.Thread(target=deque, args=(process.stderr, 0))
        reader.start()
        yield Served(found[0].decode(), places)
        process.terminate()
        reader.join()


def test_the_document_has_the_routes_that_there_are() -> None:
    """Each route of the service is in the document, and nothing else is; but for what is for those who run it."""
    app = make_app(Store(Path("/nonexistent")), Path("/nonexistent"))
    resources = {resource.canonical for resource in app.router.resources()}
    assert set(document()["paths"]) == resources - {profiling.PATH} == set(ROUTES)


def test_the_document_has_the_parameters_that_there_are() -> None:
    """Each query parameter that is read is in the document, with a sentence, where it is read."""
    found = {
        path if method == "get" else f"{method} {path}": [
            parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"
        ]
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }
    assert {path: names for path, names in found.items() if names} == {
        "/files/{channel}/{quality}/{hour}": [*LISTING_PARAMETERS],
        "/playlist/{channel}.m3u8": [*RANGE_PARAMETERS],
        "/playlist/{channel}/{quality}.m3u8": [*RANGE_PARAMETERS, DELTA_PARAMETER],
        "/cut/{channel}/{quality}.ts": [*CUT_PARAMETERS],
        "/cut/{channel}/{quality}.mp4": [*CUT_PARAMETERS],
        "/preview/{channel}/{quality}.mp4": [*PREVIEW_PARAMETERS],
        "/frame/{channel}/{quality}.png": [*FRAME_PARAMETERS],
        "/waveform/{channel}/{quality}.png": [*WAVEFORM_PARAMETERS],
        "/thumbnail/{channel}/{quality}.png": [*THUMBNAIL_PARAMETERS],
        "post /thumbnail/{channel}/{quality}.png": [*COMPOSE_PARAMETERS],
    }


def test_the_document_is_served(served: Served) -> None:
    """`/openapi.json` is the document, which is a valid one of version 3.1."""
    answer = requests.get(f"{served.url}/openapi.json", timeout=10)
    assert answer.json() == document()
    schemathesis.openapi.from_dict(answer.json()).validate()


def is_in_the_form_of_errors(context: CheckContext, answer: schemathesis.Response, case: Case) -> None:
    """Errors are one sentence in the one form; nothing shows what no recording is, or the inside of the service."""
    assert answer.status_code < 500
    assert CANARY.encode() not in answer.content
    assert b"Traceback" not in answer.content
    if answer.status_code < 400 or answer.status_code == 412:
        return
    error = json.loads(answer.content)
    assert list(error) == ["error"]
    assert error["error"].endswith(".")
    assert len(error["error"]) < 1000
    assert answer.headers["content-type"] == ["application/json; charset=utf-8"]
    assert answer.headers["cache-control"] == ["no-store"]


TIMES = [
    {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:00:02Z"},
    {"start": "2026-03-01T12:00:02Z", "end": "2026-03-01T12:00:03.5Z"},
    {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:00:09Z"},
    {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z"},
    {"start": "2026-03-01T12:00:02Z", "end": "2026-03-01T12:00:00Z"},
]
MOMENTS = ["2026-03-01T12:00:00Z", "2026-03-01T12:00:01.04Z", "2026-03-01T12:00:01.5", "1900-01-01T00:00:00Z"]
BOXES = ["0,0,64,36", "10,10,100,50", "0,0,0,0", "99999,0,1,1"]
DROPPED = ("template", "crop", "location")
PICTURES = [path for path in ROUTES if path.endswith(".png")]
ALIKE = [path for path in ROUTES if path.startswith(("/digests/", "/histories/", "/extras/", "/segments/{dir"))]
DEAR = [*PICTURES, "/cut/{channel}/{quality}.mp4", "/preview/{channel}/{quality}.mp4"]
PAGE_FILES: list[Place] = [{"name": "index.html"}, {"name": "names.js"}, {"name": ".canary"}, {"name": "../main.py"}]
HISTORIES: list[Place] = [
    {"channel": "chan", "quality": "source", "hour": hour_name(NOON), "name": histories.name_for(NOON, 1)},
    {"channel": "chan", "quality": "source", "hour": hour_name(NOON), "name": ".canary"},
    {"channel": "chan", "quality": "source", "hour": hour_name(NOON), "name": "../.canary"},
]
EXTRAS: list[Place] = [
    {"directory": directory, "path": path}
    for directory in (EXTRA, "chan", "no such")
    for path in ("one.png", "a/b/two.html", "a/b/c/3", "canary", "a/b/.canary", "../canary", "source/.canary")
]
RANGES = [
    "bytes=0-0",
    "bytes=-1",
    "bytes=400-",
    "bytes=600-",
    "bytes=5-2",
    "bytes=0-1,3-4",
    "bytes=--",
    "lines=1-2",
    "",
]

# That good requests succeed is not said: a name may be unknown, a range empty. That each bad one is refused, neither:
# any text is the name of a channel, and an unknown one is an empty list.
NOT_PROMISED: list[CheckFunction] = [positive_data_acceptance, negative_data_rejection]

GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


def png(width: int, height: int) -> bytes:
    """A transparent picture."""
    file = io.BytesIO()
    Image.new("RGBA", (width, height)).save(file, "PNG")
    return file.getvalue()


# What is sent: templates, and what is none.
schemathesis.openapi.media_type(
    "image/png",
    st.builds(png, st.integers(1, 64), st.integers(1, 64)) | st.binary(max_size=100) | st.just(png(64, 36)[:-20]),
)


def requests_at(path: str, most: int) -> int:
    """How many are made at a route: without parameters few differ, a picture takes its time, some routes are alike."""
    return 5 if "{" not in path else 15 if path in ALIKE else 40 if path in DEAR else most


# Where any text will do, none is bad.
KINDS = [
    *(("GET", path, GOOD, requests_at(path, 120)) for path in ROUTES),
    *(
        ("GET", path, BAD, requests_at(path, 50))
        for path, route in ROUTES.items()
        if route.query or ("{hour}" in path and path not in ALIKE)
    ),
    *(("POST", path, mode, 40) for path in UPLOADS for mode in (GOOD, BAD)),
]


def places_for(path: str, places: list[Place]) -> list[Place]:
    """What the parameters of a path can be."""
    if path.startswith("/histories"):
        return HISTORIES
    if "{directory}" in path:
        return EXTRAS
    if "{channel}" not in path:
        return PAGE_FILES
    days = [{**place, "day": place["hour"][:10]} for place in places]
    return [place for place in days if path not in PICTURES or place["channel"] == "film"]


def lead_somewhere(case: Case, places: list[Place], data: st.DataObject) -> None:
    """Put what is recorded into a request, here and there: of names made from nothing, nothing is known."""
    place = data.draw(st.sampled_from(places_for(case.path, places)))
    for name in case.path_parameters:
        if data.draw(st.integers(0, 9)):
            case.path_parameters[name] = quote(place[name], safe="")
    times = data.draw(st.sampled_from([{}, *TIMES]))
    if times and case.path.startswith("/cut") and data.draw(st.integers(0, 3)):
        # a cut has either one range or some; and what is recorded here is no media, except for "film"
        rest = {name: value for name, value in case.query.items() if name not in {"range", "transition"}}
        case.query = rest | times | data.draw(st.sampled_from([{}, {"type": "rough"}]))
    case.query.update((name, times[name]) for name in {*case.query} & {*times})
    for name, values in (("timestamp", MOMENTS), ("crop", BOXES), ("location", BOXES)):
        if name in case.query and data.draw(st.integers(0, 3)):
            case.query[name] = data.draw(st.sampled_from(values))
    for name in data.draw(st.sampled_from([(), DROPPED])):
        case.query.pop(name, None)
    if "Range" in case.headers:
        case.headers["Range"] = data.draw(st.sampled_from(RANGES))


@pytest.mark.parametrize(("method", "path", "mode", "count"), KINDS, ids=lambda each: getattr(each, "value", each))
def test_whatever_is_asked_is_answered_as_the_document_says(
    served: Served, method: str, path: str, mode: schemathesis.GenerationMode, count: int
) -> None:
    """No request made from the document, or against it, fails the service or is answered otherwise than it says."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operation = schema[path][method]
    asked = Counter[int]()

    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode), st.data())
    def ask(case: Case, data: st.DataObject) -> None:
        lead_somewhere(case, served.places, data)
        answer = case.call(session=session)
        asked[answer.status_code] += 1
        case.validate_response(answer, additional_checks=[is_in_the_form_of_errors], excluded_checks=NOT_PROMISED)

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        ask()
    # no good request is made by chance of previews, whose parts must fit each other; nor of cuts as MP4, since nothing
    # here was recorded so
    assert mode is BAD or asked[200] or path.endswith(".mp4")
