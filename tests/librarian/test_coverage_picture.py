"""The picture of a day: its colours are what the hours hold, and what would look alike is told without drawing."""

import io
from datetime import UTC, datetime, timedelta

from PIL import Image

from librarian.coverage_account import Kind, Span
from librarian.coverage_picture import DayPicture

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)

GREEN, AMBER, RED, DARK, GREY = (63, 164, 106), (232, 163, 61), (214, 51, 63), (125, 136, 150), (216, 221, 227)

SPANS = [
    Span(DAY - HOUR, DAY + HOUR, Kind.IDLE),
    Span(DAY + HOUR, DAY + 5 * HOUR, Kind.FULL),
    Span(DAY + 5 * HOUR, DAY + 6 * HOUR, Kind.PARTIAL),
    Span(DAY + 6 * HOUR, DAY + 7 * HOUR, Kind.INTERRUPTED),
    Span(DAY + 7 * HOUR, DAY + 8 * HOUR - SECOND, Kind.FULL),
    Span(DAY + 8 * HOUR - SECOND, DAY + 8 * HOUR, Kind.MISSING),
    Span(DAY + 8 * HOUR, DAY + 9 * HOUR, Kind.FULL),
]


def pixels(picture: DayPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png())).convert("RGB")


def at(image: Image.Image, hours: float) -> object:
    """The colour at a time of day."""
    return image.getpixel((44 + int(hours % 1 * 720), 62 + int(hours) * 17 + 7))


def test_hours_are_rows() -> None:
    """Each hour is a row, and each of its moments has the colour of what it is."""
    image = pixels(DayPicture("chan", "source", DAY, SPANS))
    expected = {0.5: GREY, 1.01: GREEN, 4.99: GREEN, 5.5: AMBER, 6.5: DARK, 7.5: GREEN, 8.5: GREEN}
    assert {hours: at(image, hours) for hours in expected} == expected
    assert at(image, 9.5) not in {GREY, GREEN, AMBER, RED, DARK}


def test_the_shortest_hole_is_seen() -> None:
    """A second that is missing is some pixels wide, and in the row of its hour."""
    image = pixels(DayPicture("chan", "source", DAY, SPANS))
    assert at(image, 8 - 1 / 720) == at(image, 8 - 3 / 720) == RED
    assert at(image, 8) == at(image, 8 - 5 / 720) == GREEN


def test_what_looks_alike_is_told_without_drawing() -> None:
    """Two pictures are drawn from the same if and only if the same is to be seen, by the second."""
    one, other = DayPicture("chan", "source", DAY, SPANS), DayPicture("chan", "source", DAY, SPANS[:])
    assert (one.drawn_from, one.png()) == (other.drawn_from, other.png())
    moved = [*SPANS[:4], *(Span(s, e - 30 * SECOND, k) for s, e, k in SPANS[4:5]), *SPANS[5:]]
    later = [*SPANS[:-1], Span(DAY + 8 * HOUR, DAY + 9 * HOUR + 10 * SECOND, Kind.FULL)]
    others = [DayPicture("chan", "720p", DAY, SPANS), DayPicture("chan", "source", DAY + 24 * HOUR, SPANS)]
    drawn = [DayPicture("chan", "source", DAY, spans) for spans in (SPANS, moved, later)] + others
    assert len({each.drawn_from for each in drawn}) == len(drawn)


def test_any_name_can_be_written() -> None:
    """Names in any script, and those that are no text, are no reason not to draw."""
    for name in ("会議室", '#1 ✓ it\'s "50%"', "\udcff", "x" * 200):
        assert pixels(DayPicture(name, "source", DAY, SPANS)).size[0] == 784
