from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.advertisements import Mark, Ranges, advertisements, marks, prefetch_advertisements
from downloader.playlist import parse
from downloader.playlist_values import Cue, DateRange, MediaPlaylist, PlaylistSegment

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO = timedelta(seconds=2)
LIVE = 'ID="s",CLASS="twitch-stream-source",START-DATE="2026-03-01T11:00:00Z",X-TV-TWITCH-STREAM-SOURCE="live"'


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


def stitched(start: float, text: str = "DURATION=4", number: int = 1) -> str:
    return f'ID="stitched-ad-{number}",CLASS="twitch-stitched-ad",START-DATE="{at(start)}",{text}'


def source(start: float, name: str) -> str:
    return (
        f'ID="source-{start}",CLASS="twitch-stream-source",START-DATE="{at(start)}",END-ON-NEXT=YES,'
        f'X-TV-TWITCH-STREAM-SOURCE="{name}"'
    )


def listing(*ranges: str, titles: str = "live live live live", extra: str = "", dated: bool = True) -> MediaPlaylist:
    """Entries of two seconds from noon on, one for each title (`-` is none, `!` before it a discontinuity)."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:6", *(f"#EXT-X-DATERANGE:{text}" for text in ranges)]
    for number, title in enumerate(titles.split()):
        lines += ["#EXT-X-DISCONTINUITY"] if title.startswith("!") else []
        lines += [f"#EXT-X-PROGRAM-DATE-TIME:{at(2 * number)}"] if dated else []
        lines += [f"#EXTINF:2.000,{title.strip('!-')}", f"https://edge.example/v1/segment/{number}.ts"]
    found = parse("\n".join([*lines, extra]), "https://h/l.m3u8")
    assert isinstance(found, MediaPlaylist)
    return found


def which(found: MediaPlaylist) -> str:
    """The first letter of each entry's mark, in capitals where it is skipped, `.` where there is none."""
    skipped = advertisements(found)
    letters = [mark.value[0] if mark else "." for mark in marks(found)]
    return "".join(letter.upper() if skip else letter for letter, skip in zip(letters, skipped, strict=True))


# What is skipped


def test_a_stream_without_marks_has_no_advertisements() -> None:
    """Plain playlists, and Twitch's date ranges that accompany every stream, make nothing an advertisement."""
    assert which(listing()) == "...."
    trigger = (
        f'ID="t",CLASS="twitch-trigger",START-DATE="{at(0)}",END-ON-NEXT=YES,X-TV-TWITCH-TRIGGER-URL="https://h/t"'
    )
    session = f'ID="n",CLASS="twitch-session",START-DATE="{at(0)}",END-ON-NEXT=YES,X-TV-TWITCH-SESSIONID="1"'
    quartile = f'ID="q",CLASS="twitch-ad-quartile",START-DATE="{at(0)}",DURATION=2,X-TV-TWITCH-AD-QUARTILE="0"'
    assert which(listing(LIVE, trigger, session, quartile)) == "...."
    assert which(MediaPlaylist(TWO)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (stitched(2), ".SS."),
        (stitched(2, "DURATION=2.234"), ".S.."),  # ranges run a little past what they stand for
        (stitched(2, "DURATION=0.9"), "...."),
        (stitched(2.1, "DURATION=4"), ".SS."),
        (stitched(-60, "DURATION=62"), "S..."),
        (stitched(60), "...."),  # announced
        (stitched(2, f'END-DATE="{at(4)}"'), ".S.."),
        (stitched(2, "PLANNED-DURATION=2"), ".S.."),
        (stitched(2, "DURATION=3600"), "...."),  # no single advertisement takes an hour
        (stitched(2, "DURATION=1e99"), "...."),
        (stitched(2, "DURATION=-5"), ".SSS"),  # as if it were not there
        (f'ID="stitched-ad-7",START-DATE="{at(2)}",DURATION=2', ".S.."),
        (f'ID="x",CLASS="other",START-DATE="{at(2)}",DURATION=2,X-TV-TWITCH-AD-URL="https://h"', ".S.."),
        ('ID="stitched-ad-1",CLASS="twitch-stitched-ad",DURATION=4', "...."),  # somewhere
        ('ID="stitched-ad-1",CLASS="twitch-stitched-ad",START-DATE="soon",DURATION=4', "...."),
    ],
)
def test_what_lies_in_the_range_of_a_stitched_advertisement_is_one(text: str, expected: str) -> None:
    """An entry whose middle lies within START-DATE and DURATION (or what stands for it) is skipped."""
    assert which(listing(text)) == expected


def test_a_range_in_two_tags_is_one() -> None:
    """What a later tag of the same ID adds belongs to the range."""
    assert which(listing(stitched(2, "END-ON-NEXT=NO"), 'ID="stitched-ad-1",DURATION=2')) == ".S.."
    assert which(listing(stitched(2, "DURATION=2"), stitched(6, "DURATION=2"))) == ".S.."  # it cannot move


def test_a_range_without_an_end_ends_at_a_discontinuity() -> None:
    """Its own first entry may have one too; later ones than ten minutes are not skipped without an end in sight."""
    assert which(listing(stitched(1.9, "X=1"), titles="- !- - !- -")) == ".SS.."
    long = listing(stitched(2, "X=1"), titles="- " * 400)
    assert which(long) == "." + "S" * 300 + "." * 99


def test_a_range_that_ends_on_the_next_ends_there() -> None:
    """END-ON-NEXT means the next of the same class."""
    assert which(listing(stitched(0, "END-ON-NEXT=YES"), LIVE, stitched(2, "DURATION=2", number=2))) == "SS.."


def test_an_advertisement_that_is_broken_off_ends_when_the_source_is_live_again() -> None:
    """The programme that comes back early is recorded, also where its range goes on."""
    assert which(listing(stitched(0, "DURATION=8"), source(0, "Amazon|1"), source(4, "live"))) == "SS.."


@pytest.mark.parametrize("title", ["Amazon|2474283100494", "FT|1-2-3", "DCM,123", "stitched-ad"])
def test_titles_of_advertisements_are_known(title: str) -> None:
    """Such a title is enough in a playlist of Twitch's, dated or not."""
    assert which(listing(LIVE, titles=f"live {title} live")) == ".T."
    assert which(listing(LIVE, titles=f"live {title} live", dated=False)) == ".T."


def test_other_titles_are_advertisements_where_the_source_is_called_so() -> None:
    """A bare number is the title of an advertisement where Twitch names it as one, and of anything elsewhere."""
    titles = "live 1234567890 - rerun"
    assert which(listing(LIVE, stitched(60), source(60, "1234567890"), titles=titles)) == ".T.."
    assert which(listing(LIVE, stitched(60), titles=titles)) == "...."
    assert which(listing(LIVE, source(60, "1234567890"), titles=titles)) == "...."


def test_titles_of_other_streams_mean_nothing() -> None:
    """Only the form `Amazon|` is so odd that no programme of any stream is called so."""
    assert which(listing(titles="Amazon FT|1 DCM,5 stitched Amazon|1")) == "....T"


def test_a_source_that_is_an_advertisement_s_marks_what_has_no_title() -> None:
    """From one source to the next; a title that says `live` is believed more than the source."""
    ranges = (LIVE, source(2, "Amazon|1"), source(6, "live"))
    assert which(listing(*ranges, titles="- - - -")) == ".SS."
    assert set(marks(listing(*ranges, titles="- - - -"))) == {None, Mark.SOURCE}
    assert which(listing(*ranges)) == "...."
    assert which(listing(LIVE, source(2, "vod"), titles="- - - -")) == "...."


def test_the_folder_of_an_advertisement_is_known() -> None:
    """In a playlist of Twitch's only."""
    tail = "#EXTINF:2,live\nhttps://edge.example/adsquared/x.ts"
    assert which(listing(LIVE, titles="live", extra=tail)) == ".A"
    assert which(listing(titles="live", extra=tail)) == ".."


# What is only counted


def test_an_overlay_is_recorded() -> None:
    """The entries under `twitch-maf-ad` are the programme."""
    overlay = f'ID="m",CLASS="twitch-maf-ad",START-DATE="{at(2)}",PLANNED-DURATION=2,X-TV-TWITCH-AD-ROLL-TYPE="MIDROLL"'
    assert which(listing(overlay, LIVE)) == ".o.."


def test_a_broadcaster_s_break_is_recorded() -> None:
    """SCTE-35, as date range or as cue, marks where others may put something else."""
    splice = f'ID="s",START-DATE="{at(2)}",PLANNED-DURATION=4,SCTE35-OUT=0xFC30'
    assert which(listing(splice)) == ".bb."
    cues = "#EXT-X-CUE-OUT:DURATION=4.05\n#EXTINF:2,\na.ts\n#EXTINF:2,\nb.ts\n#EXTINF:2,\nc.ts"
    assert which(listing(titles="live", extra=cues)) == ".bb."
    cues = "#EXT-X-CUE-OUT\n#EXTINF:2,\na.ts\n#EXTINF:2,\nb.ts\n#EXT-X-CUE-IN\n#EXTINF:2,\nc.ts"
    assert which(listing(titles="live", extra=cues)) == ".bb."


def test_interstitials_leave_the_entries_alone() -> None:
    """A player plays something else meanwhile; what is listed is the programme."""
    text = f'ID="i",CLASS="com.apple.hls.interstitial",START-DATE="{at(2)}",DURATION=2,X-ASSET-URI="https://h/a.m3u8"'
    assert which(listing(text)) == ".i.."


def test_placeholders_are_recorded() -> None:
    """Too little is known of them for anything to be lost by them."""
    tail = "#EXTINF:2,live\nhttps://edge.example/_404/x.ts\n#EXTINF:2,live\nhttps://edge.example/a/processing-1.ts?b"
    assert which(listing(LIVE, titles="live", extra=tail)) == ".pp"


# Prefetch

PREFETCH = "#EXT-X-TWITCH-PREFETCH:a.ts\n#EXT-X-TWITCH-PREFETCH:b.ts"


def test_what_is_told_ahead_is_the_programme_s_while_nothing_else_is_announced() -> None:
    """With marks for the present only, prefetch entries may be fetched."""
    assert prefetch_advertisements(listing(LIVE, extra=PREFETCH)) == [False, False]
    assert prefetch_advertisements(MediaPlaylist(TWO, prefetch=listing(extra=PREFETCH).prefetch)) == [False, False]
    assert prefetch_advertisements(listing()) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (listing(LIVE, stitched(10), extra=PREFETCH), [False, True]),  # the listed ones end at 8 s
        (listing(LIVE, titles="live Amazon|1", extra=PREFETCH), [True, True]),
        (listing(LIVE, extra=PREFETCH.replace("\n", "\n#EXT-X-DISCONTINUITY\n")), [False, True]),
        (listing(LIVE, stitched(8), extra=f"#EXT-X-PROGRAM-DATE-TIME:{at(30)}\n{PREFETCH}"), [False, False]),
    ],
)
def test_what_is_told_ahead_is_left_until_it_is_listed_where_sides_change(
    found: MediaPlaylist, expected: list[bool]
) -> None:
    """Near an advertisement only what is listed, with its title, is certain."""
    assert prefetch_advertisements(found) == expected


# Properties

classes = st.sampled_from(
    ["twitch-stitched-ad", "twitch-stream-source", "twitch-maf-ad", "twitch-trigger", "com.apple.hls.interstitial", ""]
)
values = {
    "DURATION": st.sampled_from(["2", "30.235", "-1", "x", "9999999"]),
    "END-DATE": st.sampled_from([at(5), at(-5), "x"]),
    "END-ON-NEXT": st.just("YES"),
    "X-TV-TWITCH-STREAM-SOURCE": st.sampled_from(["live", "Amazon|1", ""]),
    "X-TV-TWITCH-AD-URL": st.just("x"),
    "SCTE35-OUT": st.just("0x0"),
}
AGES = [datetime(1900, 1, 1, tzinfo=UTC), datetime(2900, 12, 31, tzinfo=UTC)]  # between which the parser reads times
moments = st.integers(-30, 60).map(lambda n: NOON + timedelta(seconds=n)) | st.sampled_from(AGES)
dateranges = st.builds(
    DateRange,
    st.sampled_from(["", "a", "b", "stitched-ad-1"]),
    classes,
    st.none() | moments,
    st.fixed_dictionaries({}, optional=values),
)
entries = st.builds(
    PlaylistSegment,
    st.sampled_from(["https://h/a.ts", "https://h/adsquared/a.ts"]),
    st.integers(0, 10).map(lambda n: timedelta(seconds=n)),
    title=st.sampled_from(["live", "", "Amazon|1", "123"]),
    program_date_time=st.none() | moments,
    discontinuity=st.booleans(),
    cue=st.none() | st.builds(Cue, st.booleans(), st.none() | st.just(timedelta(seconds=3))),
)
playlists = st.builds(
    MediaPlaylist,
    st.just(TWO),
    st.lists(entries, max_size=12).map(tuple),
    dateranges=st.lists(dateranges, max_size=8).map(tuple),
    prefetch=st.lists(entries, max_size=3).map(tuple),
)


@given(playlists)
def test_each_entry_has_one_verdict(found: MediaPlaylist) -> None:
    """Whatever a playlist says, there is one answer for each entry, and only what has a certain mark is skipped."""
    assert advertisements(found) == [mark is not None and mark.certain for mark in marks(found)]
    assert len(advertisements(found)) == len(found.segments)
    assert len(prefetch_advertisements(found)) == len(found.prefetch)


@given(playlists)
def test_nothing_is_skipped_without_a_service_s_own_mark(found: MediaPlaylist) -> None:
    """Without Twitch's date ranges and titles, everything is recorded."""
    plain = tuple(r for r in found.dateranges if not r.class_name.startswith("twitch-") and "stitched" not in r.id)
    plain = tuple(r for r in plain if "X-TV-TWITCH-AD-URL" not in r.attributes)
    segments = tuple(entry for entry in found.segments if entry.title != "Amazon|1")
    assert not any(advertisements(MediaPlaylist(TWO, segments, dateranges=plain)))


@given(playlists, st.randoms())
def test_the_order_of_date_ranges_makes_no_difference(found: MediaPlaylist, dice: Random) -> None:
    """They may stand anywhere in the file; those of one ID are told apart by nothing, so they have one each here."""
    ranges = [DateRange(f"{r.id}{n}", r.class_name, r.start, r.attributes) for n, r in enumerate(found.dateranges)]
    ordered = MediaPlaylist(TWO, found.segments, dateranges=tuple(ranges))
    dice.shuffle(ranges)
    assert advertisements(MediaPlaylist(TWO, found.segments, dateranges=tuple(ranges))) == advertisements(ordered)


@dataclass(frozen=True)
class Stitched:
    """What a service makes of a stream and advertisements: all entries, whether each is one, and the date ranges."""

    segments: tuple[PlaylistSegment, ...]
    skipped: tuple[bool, ...]
    dateranges: tuple[DateRange, ...]


@st.composite
def stitched_streams(draw: st.DrawFn) -> Stitched:
    """Stretches of programme and advertisements as Twitch joins them, with any of its three kinds of marks missing."""
    shown = draw(st.sampled_from([{"range"}, {"title"}, {"source"}, {"range", "title"}, {"range", "title", "source"}]))
    now, number, segments, skipped = NOON, 0, [], []
    ranges = [DateRange("n", "twitch-session", NOON, {"END-ON-NEXT": "YES", "X-TV-TWITCH-SESSIONID": "1"})]
    for is_ad, count in draw(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=8)):
        name = f"FT|{number}" if is_ad else "live"
        rest = draw(st.sampled_from([0.168, 0.9])) if is_ad and draw(st.booleans()) else 0.0
        over = 0.0 if rest else draw(st.sampled_from([0.0, 0.234]))
        length = 2 * count + rest
        if is_ad and "range" in shown:
            attributes = {"DURATION": f"{length + over:.3f}"}
            ranges.append(DateRange(f"stitched-ad-{number}", "twitch-stitched-ad", now, attributes))
        attributes = {"END-ON-NEXT": "YES", "X-TV-TWITCH-STREAM-SOURCE": name if "source" in shown else "live"}
        ranges.append(DateRange(f"source-{number}", "twitch-stream-source", now, attributes))
        if is_ad and "source" not in shown:
            ranges.pop()  # a service that says `live` of an advertisement would mean it
        for index, seconds in enumerate([2.0] * count + ([rest] if rest else [])):
            title = (
                (name if "title" in shown else "") if is_ad or "title" in shown else draw(st.sampled_from(["", "live"]))
            )
            lasts = timedelta(seconds=seconds)
            segments.append(PlaylistSegment("https://h/a", lasts, number, title, now, discontinuity=index == 0))
            skipped.append(is_ad)
            now, number = now + lasts, number + 1
    return Stitched(tuple(segments), tuple(skipped), tuple(ranges))


@given(stitched_streams(), st.integers(0, 40), st.integers(1, 20))
def test_in_every_window_of_a_stitched_stream_the_sides_are_told_apart(stream: Stitched, first: int, size: int) -> None:
    """Whatever part of it is in sight, no advertisement is recorded, and no programme is skipped."""
    window = slice(min(first, len(stream.segments)), first + size)
    shown = stream.segments[window]
    found = MediaPlaylist(TWO, shown, dateranges=stream.dateranges)
    assert advertisements(found) == [*stream.skipped[window]]


@given(stitched_streams(), st.integers(2, 6))
@settings(max_examples=40)
def test_the_range_of_an_advertisement_is_remembered(stream: Stitched, size: int) -> None:
    """Where a tag leaves the playlist with the entry that it stands before, what it covers is skipped all the same."""
    ranges, said = Ranges(), []
    for first in range(len(stream.segments)):
        shown = stream.segments[first : first + size]
        dated = [entry.program_date_time for entry in shown]
        tags = tuple(found for found in stream.dateranges if found.start in dated)
        session = (*stream.dateranges[:1], *tags)
        completed = ranges.complete(MediaPlaylist(TWO, shown, dateranges=session))
        assert advertisements(completed) == [*stream.skipped[first : first + size]]
        said.append(completed)
    assert all(len(found.dateranges) < 60 for found in said)


def test_what_two_tags_say_of_a_range_stays_together() -> None:
    """A later tag may tell only what is new, when the first has left already."""
    ranges = Ranges()
    ranges.complete(listing(stitched(2, "DURATION=60")))
    found = ranges.complete(listing('ID="stitched-ad-1",DURATION=2'))
    assert which(found) == ".S.."


def test_ranges_are_forgotten_when_they_are_past() -> None:
    """And so are those without an end, of which nobody could say when they are past; there are never many."""
    ranges = Ranges()
    ranges.complete(listing(stitched(-9, "DURATION=4"), stitched(2, "X=1", number=2), stitched(2, number=3)))
    assert [found.id for found in ranges.complete(listing()).dateranges] == ["stitched-ad-3"]
    assert ranges.complete(listing(dated=False)).dateranges == ()
    ranges.complete(listing(*(stitched(2, number=n) for n in range(1000))))
    assert len(ranges.complete(listing()).dateranges) == 200


def test_thousands_of_ranges_and_entries_are_held_against_each_other_once() -> None:
    """A hostile playlist of tens of thousands of each is judged in one go: pair by pair it would take minutes."""
    ranges = tuple(
        DateRange(str(n), "twitch-stitched-ad", NOON + n * TWO, {"DURATION": "1.5"}) for n in range(0, 30_000, 2)
    )
    segments = tuple(PlaylistSegment("https://h/a.ts", TWO, n, program_date_time=NOON + n * TWO) for n in range(30_000))
    found = advertisements(MediaPlaylist(TWO, segments, dateranges=ranges))
    assert found == [n % 2 == 0 for n in range(30_000)]
