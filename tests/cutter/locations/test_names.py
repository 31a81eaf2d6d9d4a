"""Names of delivered files: always the same, always safe, never of two videos."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutter.locations import Video
from cutter.locations.names import (
    DEFAULT_TEMPLATE,
    candidates,
    check_template,
    companions,
    content_type,
    render,
    safe_event,
    safe_title,
)
from delivery import NOON

VIDEO = Video("event-1", 3, Path("spool.MP4"), 7, "ab" * 32, "A title", "", (), True, NOON)  # noqa: FBT003 - public


@pytest.mark.parametrize(
    ("title", "safe"),
    [
        ("A title", "A title"),
        ("../../etc/passwd", "etc passwd"),
        ('a\\b:c*d?e"f<g>h|i', "a b c d e f g h i"),
        ("line\nbreak\ttab\0nul\x7f", "line break tab nul"),
        ("  ...hidden.  ", "hidden"),
        ("e\u0301", "é"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("👩‍🚀 ok", "👩‍🚀 ok"),
        ("\ud800 half", "half"),
        ("///", "untitled"),
        ("", "untitled"),
    ],
)  # fmt: skip
def test_titles_are_made_safe(title: str, safe: str) -> None:
    """What a disk or an address takes for something else is taken out of a title."""
    assert safe_title(title) == safe


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_title_makes_a_name(title: str) -> None:
    """Whatever the title, the name is one part, fits every disk and says the same when it is made safe again."""
    name = render(DEFAULT_TEMPLATE, replace(VIDEO, title=title))
    assert "/" not in name
    assert name == name.strip(" .")
    assert len(name.encode()) <= 240
    assert all(character.isprintable() or character == "\u200d" or ord(character) > 0x7F for character in name)
    assert safe_title(safe_title(title)) == safe_title(title)
    assert name.endswith(" event-1-3.mp4")


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text())
def test_events_never_share_a_name(one: str, other: str) -> None:
    """Two ids give two names, of a few safe characters."""
    assert (safe_event(one) == safe_event(other)) == (one == other)
    assert len(safe_event(one).encode()) <= 64
    assert not set(safe_event(one)) & set("/\\ .\0\n")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_long_ids_and_templates_still_fit(event: str) -> None:
    """However much a template asks for, each part of the name fits a disk, and tells the event."""
    template = "{year}/{title} {title} {title} {event}-{revision}"
    name = render(template, replace(VIDEO, event=event, title="ä" * 200))
    assert all(len(part.encode()) <= 240 for part in name.split("/"))
    assert f"{safe_event(event)}-3" in name


@pytest.mark.parametrize("device", ["CON", "nul", "COM1"])
def test_names_of_devices_are_avoided(device: str) -> None:
    """No part of a name is what Windows takes for a device."""
    name = render("{title}/{event}-{revision}", replace(VIDEO, title=device))
    assert name == f"_{device}/event-1-3.mp4"


def test_templates_hold_the_time_of_the_recording() -> None:
    """Folders by date and names with the time are possible."""
    name = render("{year}/{month}-{day}/{time} {title} {event}-{revision}", VIDEO)
    assert name == "2026/03-01/12-00-00 A title event-1-3.mp4"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{title}", r"must hold \{event\}"),
        ("{event}", r"must hold \{revision\}"),
        ("{event}-{revision} {who}", r"knows no \{who\}"),
        ("../{event}-{revision}", "begins with a dot"),
        ("/{event}-{revision}", "is empty"),
        ("{event}-{revision}/", "is empty"),
        ("a/ ./{event}-{revision}", "is empty"),
        (".{event}-{revision}", "begins with a dot"),
        ("{event}-{revision}?", "may hold"),
        ("{event}-{revision}{", "may hold"),
        ("{event.__class__}-{revision}", "knows no"),
        ("x" * 121 + "{event}-{revision}", "too long"),
    ],
)
def test_bad_templates_are_told(template: str, why: str) -> None:
    """A template that could lead elsewhere or give two videos one name is refused."""
    with pytest.raises(ValueError, match=why):
        check_template(template)


def test_a_taken_name_has_another() -> None:
    """The second name tells the content, and is always the same."""
    assert candidates("a/b c.mp4", VIDEO.sha256) == ("a/b c.mp4", "a/b c abababababab.mp4")


def test_information_is_all_that_is_said() -> None:
    """The file beside a video says what is said of it, in JSON, and has its thumbnail beside it."""
    said = companions("a/b.mp4", replace(VIDEO, tags=("x",), thumbnail=b"\x89PNG..."))
    assert [PurePosixPath(name).name for name in said] == ["b.json", "b.png"]
    assert json.loads(said["a/b.json"]) == {
        "title": "A title", "description": "", "tags": ["x"], "public": True, "recorded": "2026-03-01T12:00:00Z",
        "event": "event-1", "revision": 3, "file": "b.mp4", "bytes": 7, "sha256": VIDEO.sha256,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mp4", "video/mp4"), ("a.MKV", "video/x-matroska"), ("a.x", "application/octet-stream")]
)
def test_media_types_come_from_endings(name: str, kind: str) -> None:
    """A file's ending tells its media type."""
    assert content_type(name) == kind
