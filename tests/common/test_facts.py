"""What follows from facts: joins, formats, variants; and their text form."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.facts import (
    Facts,
    Format,
    Track,
    TrackKind,
    VariantAttributes,
    format_facts,
    joins,
    parse_facts,
    same_format,
    short_hash,
    variant_attributes,
)
from common.ticks import TICKS, WRAP

NTSC = Fraction(30_000, 1001)
PICTURE = Format(TrackKind.VIDEO, "avc1.64001f", 1280, 720, parameters="a1")
SOUND = Format(TrackKind.AUDIO, "mp4a.40.2", sample_rate=48_000, channels=2, parameters="b2")
ID3 = Format(TrackKind.DATA)
FRAME = 3003
SOUND_FRAME = 1920


def seg(first: int, end: int, sound: tuple[int, int] | None = None, picture: Format = PICTURE) -> Facts:
    tracks = [Track(picture, first, end, NTSC)]
    if sound:
        tracks.append(Track(SOUND, *sound))
    return Facts(1000, tuple(tracks), key_frame=True)


def heard(first: int, end: int) -> Facts:
    return Facts(1000, (Track(SOUND, first, end),))


def mp4(facts: Facts) -> Facts:
    return replace(facts, init_bytes=700, init_hash="c3")


@pytest.mark.parametrize(
    ("earlier", "later", "told"),
    [
        (seg(0, 180_180), seg(180_180, 360_360), True),
        (seg(0, 180_180), seg(180_180 + FRAME, 360_360), True),
        (seg(0, 180_180), seg(180_180 - FRAME, 360_360), True),
        (seg(0, 180_180), seg(180_180 + 2 * FRAME, 360_360), False),
        (seg(0, 180_180), seg(180_180 - 2 * FRAME, 360_360), False),
        (seg(0, 180_180), seg(0, 180_180), False),
        # half a frame's rounding and the sound's own end
        (seg(6000, 186_000, (0, 180_480)), seg(186_000, 366_000, (180_480, 360_960)), True),
        (seg(6000, 186_000, (0, 180_480)), seg(186_000, 366_000, (270_000, 360_960)), False),
        (seg(6000, 186_000, (0, 180_480)), seg(96_000, 276_000, (180_480, 360_960)), False),
        # one of them has no sound: the picture decides
        (seg(0, 180_180, (0, 180_480)), seg(180_180, 360_360), True),
        (heard(0, 180_480), heard(180_480, 360_960), True),
        (heard(0, 180_480), heard(180_480 + 3 * SOUND_FRAME, 360_960), False),
        (seg(0, 180_180), heard(180_180, 360_360), None),
        (seg(0, 180_180), Facts(5, error="It is empty."), None),
        (Facts(5, (Track(ID3, 0, 0),)), Facts(5, (Track(ID3, 0, 0),)), None),
    ],
)
def test_timestamps_tell_what_joins(earlier: Facts, later: Facts, told: bool | None) -> None:  # noqa: FBT001 - a case
    """Segments join where picture and sound, as far as both have them, go on within a frame."""
    assert joins(earlier, later) is told
    assert joins(mp4(earlier), mp4(later)) is told


def test_the_clock_of_ts_begins_again() -> None:
    """Across the end of the 33-bit clock segments join, with the same timestamps in MP4 they do not."""
    earlier, later = seg(WRAP - 180_180, WRAP), seg(0, 180_180)
    into, after = seg(WRAP - 90_090, WRAP + 90_090), seg(90_090, 270_270)
    assert joins(earlier, later) is joins(into, after) is True
    assert joins(mp4(earlier), mp4(later)) is joins(mp4(into), mp4(after)) is False


def test_different_containers_have_no_common_clock() -> None:
    """Whether MPEG-TS joins MP4 cannot be told, and it is another format."""
    assert joins(seg(0, 180_180), mp4(seg(180_180, 360_360))) is None
    assert not same_format(seg(0, 180_180), mp4(seg(0, 180_180)))


@given(st.integers(0, WRAP - 1), st.integers(1, 20 * TICKS), st.integers(-WRAP // 2 + 21 * TICKS, WRAP // 2 - 1))
def test_joins_do_not_depend_on_where_the_clock_stands(start: int, length: int, gap: int) -> None:
    """Only the distance from end to start decides."""
    later = (start + length + gap) % WRAP
    assert joins(seg(start, start + length), seg(later, later + length)) is (abs(gap) <= FRAME + 1 + 90)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (PICTURE, True),
        (replace(PICTURE, parameters="a9"), False),
        (replace(PICTURE, width=1920, height=1080), False),
        (replace(PICTURE, codec="avc1.640028"), False),
    ],
)
def test_a_change_of_format_is_told(change: Format, same: bool) -> None:  # noqa: FBT001 - a case
    """Codec, size or configuration of one track make another format."""
    assert same_format(seg(0, 1, (0, 1)), seg(9, 10, (9, 10), change)) is same


def test_tracks_make_a_format() -> None:
    """A track more is another format, their order or one of data is not; nothing known is no format."""
    both = seg(0, 1, (0, 1))
    assert not same_format(both, seg(0, 1))
    assert same_format(both, replace(both, tracks=(*reversed(both.tracks), Track(ID3, 0, 0))))
    broken = Facts(5, error="It is empty.")
    assert not same_format(broken, broken)
    assert not same_format(both, broken)


def test_a_variant_has_what_its_segments_have() -> None:
    """All codecs, the largest picture and the highest rate are named; unreadable segments are left out."""
    small = replace(PICTURE, codec="avc1.42c01e", width=640, height=360)
    slow = Facts(1, (Track(small, 0, 1, Fraction(15)),), key_frame=True)
    broken = Facts(5, error="It is empty.")
    assert variant_attributes([slow, seg(0, 1, (0, 1)), broken, slow]) == VariantAttributes(
        "avc1.64001f,avc1.42c01e,mp4a.40.2", (1280, 720), NTSC
    )
    assert variant_attributes([heard(0, 1)]) == VariantAttributes("mp4a.40.2", None, None)
    assert variant_attributes([broken]) == variant_attributes([]) == VariantAttributes(None, None, None)


def test_a_codec_that_is_not_known_hides_the_others() -> None:
    """A list of codecs that lacks one would be wrong, so there is none; text and data need not be named."""
    odd = replace(SOUND, codec="")
    assert variant_attributes([seg(0, 1), Facts(1, (Track(odd, 0, 1),))]).codecs is None
    assert variant_attributes([Facts(1, (*seg(0, 1).tracks, Track(ID3, 0, 1)))]).codecs == "avc1.64001f"


# The text form ------------------------------------------------------------------------------------------------------

counts = st.none() | st.integers()
rates = st.none() | st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=10**6)
formats = st.builds(Format, st.sampled_from(TrackKind), st.text(), counts, counts, counts, counts, st.text())
tracks = st.builds(Track, formats, st.integers(), st.integers(), rates)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=12),
    max_leaves=24,  # some tracks
)


@given(
    st.builds(
        Facts,
        st.integers(),
        st.lists(tracks, max_size=3).map(tuple),
        st.none() | st.booleans(),
        counts,
        st.none() | st.text(),
        st.none() | st.text(),
    )
)
def test_format_and_parse_are_inverse(facts: Facts) -> None:
    """What was written is read as it was, from one line of ASCII."""
    text = format_facts(facts)
    assert text.isascii()
    assert "\n" not in text
    assert parse_facts(text) == facts


@given(st.text() | anything.map(str) | st.lists(anything).map(lambda row: str([1, 2, None, None, None, None, *row])))
@example("[" * 100_000)
@example("[]")
@example("{}")
@example('[1,5,null,null,null,null,"0123456789"]')
@example('[1,5,null,null,null,null,[0,1,"1/0","video","",null,null,null,null,""]]')
@example('[1,5,null,null,null,null,[0,1,null,"smell","",null,null,null,null,""]]')
@example('[1,5,null,null,null,null,[0.5,1,null,"video","",null,null,null,null,""]]')
@example('[1,5,null,null,null,null,[0,1,null,"video","",[],null,null,null,""]]')
def test_other_text_is_no_facts(text: str) -> None:
    """Whatever stands there, reading it gives facts that can be written again, or none, and never fails."""
    facts = parse_facts(text.replace("None", "null"))
    assert facts is None or parse_facts(format_facts(facts)) == facts


def test_damaged_facts_are_none() -> None:
    """A line that was cut short, continued or written by another version is none."""
    text = format_facts(seg(0, 180_180, (0, 180_480)))
    assert parse_facts(text) is not None
    assert not any(parse_facts(text[:length]) for length in range(len(text)))
    assert parse_facts(text + "]") is None
    assert parse_facts(text.replace("[1,", "[2,", 1)) is None
    assert parse_facts(text.replace("180180", "18018.0")) is None


def test_formats_are_shared() -> None:
    """Two segments of one stream share what does not change, since there are hundred thousands of them."""
    first, second = (parse_facts(format_facts(seg(start, start + 9))) for start in (0, 9))
    assert first is not None
    assert second is not None
    assert first.tracks[0].format is second.tracks[0].format


def test_hashes_are_short() -> None:
    """Configurations are told apart by a few characters; none has none."""
    assert len(short_hash(b"x")) == 12
    assert short_hash(b"x") != short_hash(b"y")
    assert short_hash(b"") == ""
