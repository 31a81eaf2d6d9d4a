import contextlib
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader import playlist_media
from downloader.playlist import parse, start_times
from downloader.playlist_values import (
    ByteRange,
    Cue,
    Key,
    Map,
    MediaPlaylist,
    MultivariantPlaylist,
    PlaylistError,
    PlaylistSegment,
    Rendition,
    ServerControl,
    Variant,
)

URL = "https://origin.example/live/list.m3u8?token=1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEDIA = Path(__file__).parents[2].parent / "shared" / "media"


def media(*lines: str, head: str = "#EXT-X-TARGETDURATION:4") -> MediaPlaylist:
    found = parse("\n".join(["#EXTM3U", head, *lines, ""]), URL)
    assert isinstance(found, MediaPlaylist)
    return found


def multivariant(*lines: str) -> MultivariantPlaylist:
    found = parse("\n".join(["#EXTM3U", *lines, ""]), URL)
    assert isinstance(found, MultivariantPlaylist)
    return found


def secs(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


# Media playlists


def test_a_live_playlist_is_read_entry_by_entry() -> None:
    """An ordinary live playlist gives its segments with resolved addresses, numbers, times and titles."""
    found = media(
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-DISCONTINUITY-SEQUENCE:2",
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:00.000Z",
        "#EXTINF:2.000,live",
        "a.ts",
        "#EXT-X-DISCONTINUITY",
        "#EXTINF:1.966667,Advertisement, the second",
        "/other/b.ts?x=1",
    )
    assert found == MediaPlaylist(
        target_duration=secs(4),
        media_sequence=7,
        discontinuity_sequence=2,
        segments=(
            PlaylistSegment("https://origin.example/live/a.ts", secs(2), 7, "live", NOON),
            PlaylistSegment(
                "https://origin.example/other/b.ts?x=1",
                secs(1.966667),
                8,
                "Advertisement, the second",
                discontinuity=True,
            ),
        ),
    )


def test_what_makes_a_stream_unsupported_can_be_seen() -> None:
    """Map, key, byte range, gap and I-frames stand on the segments and the playlist that they apply to."""
    found = media(
        "#EXT-X-I-FRAMES-ONLY",
        "#EXTINF:2,",
        "plain.ts",
        '#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@10"',
        '#EXT-X-KEY:METHOD=AES-128,URI="k?id=1,2",IV=0x1F',
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:100@5",
        "all.mp4",
        "#EXT-X-KEY:METHOD=NONE",
        "#EXT-X-GAP",
        "#EXT-X-BYTERANGE:50",
        "#EXTINF:2,",
        "all.mp4",
    )
    init = Map("https://origin.example/live/init.mp4", ByteRange(720, 10))
    key = Key("AES-128", "https://origin.example/live/k?id=1,2", bytes(15) + b"\x1f")
    assert found.i_frames_only
    assert [(s.map, s.key, s.byterange, s.gap) for s in found.segments] == [
        (None, None, None, False),
        (init, key, ByteRange(100, 5), False),
        (init, None, ByteRange(50, 105), True),
    ]


def test_a_map_has_the_key_that_applied_where_it_stands() -> None:
    """An init section may be encrypted with another key than its segments, or with none."""
    found = media(
        *('#EXT-X-MAP:URI="i0"', '#EXT-X-KEY:METHOD=AES-128,URI="k1"', "#EXTINF:2,", "a.mp4"),
        *('#EXT-X-MAP:URI="i1"', '#EXT-X-KEY:METHOD=AES-128,URI="k2"', "#EXTINF:2,", "b.mp4"),
    )
    keys = [(s.map and s.map.key and s.map.key.uri[-2:], s.key and s.key.uri[-2:]) for s in found.segments]
    assert keys == [(None, "k1"), ("k1", "k2")]


def test_a_key_of_an_unknown_version_cannot_be_fetched() -> None:
    """What another version of the identity format would be is not known, so nothing is decrypted with it."""
    found = media('#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMATVERSIONS="2/5"', "#EXTINF:2,", "a.ts")
    assert found.segments[0].key == Key("AES-128", "")
    known = media('#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMATVERSIONS="1/2"', "#EXTINF:2,", "a.ts")
    assert known.segments[0].key == Key("AES-128", "https://origin.example/live/k")


def test_what_a_reload_is_planned_by_is_told() -> None:
    """Server control, the length of parts, and how much of the next segment is out; parts themselves are no entries."""
    found = media(
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,HOLD-BACK=12,PART-HOLD-BACK=3.012",
        "#EXT-X-PART-INF:PART-TARGET=1.004",
        '#EXT-X-PART:DURATION=1,URI="a.0.ts"',
        '#EXT-X-PART:DURATION=1,URI="a.1.ts",INDEPENDENT=YES',
        *("#EXTINF:2,", "a.ts"),
        '#EXT-X-PART:DURATION=1.004,URI="b.0.ts"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="b.1.ts"',
    )
    control = ServerControl(
        can_block_reload=True, can_skip_until=secs(24), hold_back=secs(12), part_hold_back=secs(3.012)
    )
    assert (found.server_control, found.part_target, found.pending) == (control, secs(1.004), secs(1.004))
    assert [s.uri[-4:] for s in found.segments] == ["a.ts"]
    assert media().server_control == ServerControl()


def test_prefetch_entries_follow_the_segments() -> None:
    """Addresses told ahead of their time have the next numbers, the newest duration, and the map and key in force."""
    found = media(
        *("#EXT-X-MEDIA-SEQUENCE:7", '#EXT-X-MAP:URI="i"', "#EXTINF:2,live", "a.mp4", "#EXTINF:2.5,live", "b.mp4"),
        "#EXT-X-TWITCH-PREFETCH:https://edge.example/c.mp4",
        *("#EXT-X-DISCONTINUITY", '#EXT-X-MAP:URI="j"', "#EXT-X-TWITCH-PREFETCH:d.mp4"),
        "#EXT-X-TWITCH-PREFETCH:file:///etc/passwd",
    )
    base = "https://origin.example/live/"
    assert [s.sequence for s in found.segments] == [7, 8]
    assert found.prefetch == (
        PlaylistSegment("https://edge.example/c.mp4", secs(2.5), 9, map=Map(base + "i"), prefetch=True),
        PlaylistSegment(base + "d.mp4", secs(2.5), 10, discontinuity=True, map=Map(base + "j"), prefetch=True),
        PlaylistSegment("", secs(2.5), 11, gap=True, map=Map(base + "j"), prefetch=True),
    )


def test_what_is_listed_after_a_prefetch_takes_its_place() -> None:
    """An address that is followed by segments was not ahead of its time, and their numbers do not count it."""
    found = media("#EXT-X-DISCONTINUITY", "#EXT-X-TWITCH-PREFETCH:a.ts", "#EXTINF:2,", "a.ts")
    assert found.prefetch == ()
    assert [(s.sequence, s.discontinuity) for s in found.segments] == [(0, True)]


def test_bit_rates_apply_until_the_next_but_not_to_byte_ranges() -> None:
    """EXT-X-BITRATE is kilobits per second of the files after it."""
    found = media(
        *("#EXTINF:2,", "a.ts", "#EXT-X-BITRATE:800", "#EXTINF:2,", "b.ts"),
        *("#EXTINF:2,", "#EXT-X-BYTERANGE:5@0", "c.ts", "#EXTINF:2,", "d.ts", "#EXT-X-BITRATE:x", "#EXTINF:2,", "e.ts"),
    )
    assert [s.bitrate for s in found.segments] == [None, 800_000, None, 800_000, None]


@pytest.mark.parametrize(
    ("tag", "cue"),
    [
        ("#EXT-X-CUE-OUT", Cue(out=True)),
        ("#EXT-X-CUE-OUT:30.0", Cue(out=True, duration=secs(30))),
        ('#EXT-X-CUE-OUT:"19.5"', Cue(out=True, duration=secs(19.5))),
        ("#EXT-X-CUE-OUT:DURATION=15", Cue(out=True, duration=secs(15))),
        ('#EXT-X-CUE-OUT:DURATION="19.0"', Cue(out=True, duration=secs(19))),
        ("#EXT-X-CUE-OUT-CONT:8/30", Cue(out=True, duration=secs(22))),
        ("#EXT-X-CUE-OUT-CONT:ElapsedTime=8,Duration=30,SCTE35=/DA=", Cue(out=True, duration=secs(22))),
        ("#EXT-X-CUE-OUT-CONT:ElapsedTime=40,Duration=30", Cue(out=True, duration=secs(0))),
        ("#EXT-X-CUE-IN", Cue(out=False)),
        ('#EXT-X-CUE:DURATION="15.0",ID="0",TYPE="SpliceOut",TIME="414.171"', Cue(out=True, duration=secs(15))),
        ("#EXT-X-SCTE35:TYPE=0x34,DURATION=15.0,CUE-OUT=YES", Cue(out=True, duration=secs(15))),
        ("#EXT-X-SCTE35:TYPE=0x35,CUE-IN=YES", Cue(out=False)),
        ("#EXT-X-SCTE35:TYPE=0x10", None),
        ('#EXT-SCTE35: CUE="/DAIAAAAAAAAAAAQAAZ"', None),
    ],
)
def test_cues_are_read_in_all_their_dialects(tag: str, cue: Cue | None) -> None:
    """A cue stands on the segment before which it is written, and on no other."""
    found = media(tag, "#EXTINF:2,", "a.ts", "#EXTINF:2,", "b.ts")
    assert [s.cue for s in found.segments] == [cue, None]


# Variables


def test_variables_are_put_into_addresses_and_attributes() -> None:
    """Given values, those of the playlist's own address (decoded) and imported ones are known from their tag on."""
    text = "\n".join([
        *("#EXTM3U", '#EXT-X-DEFINE:NAME="host",VALUE="https://cdn.example"', '#EXT-X-DEFINE:QUERYPARAM="token"'),
        *('#EXT-X-DEFINE:IMPORT="auth"', '#EXT-X-MAP:URI="{$host}/i{$auth}"', "#EXTINF:2,", "a.mp4?t={$token}"),
    ])  # fmt: skip
    found = parse(text, "https://origin.example/l.m3u8?x=1&token=a%2Fb#y", {"auth": "?z"})
    assert isinstance(found, MediaPlaylist)
    assert found.segments[0].uri == "https://origin.example/a.mp4?t=a/b"
    assert found.segments[0].map == Map("https://cdn.example/i?z")


def test_variables_of_a_multivariant_playlist_are_handed_on() -> None:
    """What it defines may be imported by the media playlists that it leads to."""
    found = multivariant('#EXT-X-DEFINE:NAME="a",VALUE="?b=c"', "#EXT-X-STREAM-INF:BANDWIDTH=1", "v.m3u8{$a}")
    assert (found.variants[0].uri, found.variables) == ("https://origin.example/live/v.m3u8?b=c", {"a": "?b=c"})


@pytest.mark.parametrize(
    "define",
    ["", '#EXT-X-DEFINE:IMPORT="v"', '#EXT-X-DEFINE:QUERYPARAM="v"', '#EXT-X-DEFINE:NAME="v"', "#EXT-X-DEFINE:",
     '#EXT-X-DEFINE:NAME="v w",VALUE="x"'],
)  # fmt: skip
def test_an_undefined_variable_is_no_address(define: str) -> None:
    """Where a variable has no value, the entry is a gap, and the reason is told."""
    found = media(define, "#EXTINF:2,", "{$v}.ts")
    assert found.segments[0].gap
    assert "uses a variable that is not defined" in found.warnings[-1]


def test_a_variable_is_defined_once() -> None:
    """What addresses before a second definition were made of stays what it is."""
    names = [f'#EXT-X-DEFINE:NAME="v",VALUE="{value}"' for value in "ab"]
    found = media(names[0], "#EXTINF:2,", "{$v}.ts", names[1], "#EXTINF:2,", "{$v}.ts")
    assert [s.uri[-4:] for s in found.segments] == ["a.ts", "a.ts"]


def test_a_variable_cannot_break_out_of_its_quotes() -> None:
    """A value that would end the attribute or the line is none."""
    found = parse('#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="v"\n#EXTINF:2,\n{$v}.ts', "https://h/?v=a%22%0A%23EXT-X-ENDLIST")
    assert isinstance(found, MediaPlaylist)
    assert (found.segments[0].gap, found.endlist) == (True, False)


def test_variables_cannot_make_a_playlist_endless() -> None:
    """What they are put in for is bounded as the playlist itself is."""
    with pytest.raises(PlaylistError, match="variables make more than 16777216 characters"):
        media(f'#EXT-X-DEFINE:NAME="v",VALUE="{"x" * 100_000}"', "#EXTINF:2,", "{$v}" * 200)


def test_an_end_and_a_type_are_told() -> None:
    """EXT-X-ENDLIST counts wherever it stands, and the type is one of the two that there are."""
    found = media("#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE:vod", "#EXTINF:2,", "a.ts")
    assert (found.endlist, found.playlist_type, len(found.segments)) == (True, "VOD", 1)
    assert media("#EXT-X-PLAYLIST-TYPE:LIVE").playlist_type is None


def test_skipped_segments_keep_their_numbers() -> None:
    """In a delta update the numbers go on after the segments that were left out."""
    found = media("#EXT-X-MEDIA-SEQUENCE:20", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3", "#EXTINF:2,", "a.ts")
    assert [s.sequence for s in found.segments] == [23]


def test_date_ranges_are_kept_with_all_their_attributes() -> None:
    """A date range tells its class, its start and whatever else the provider wrote."""
    found = media('#EXT-X-DATERANGE:ID="ad-1",CLASS="stitched-ad",START-DATE="2026-03-01T12:00:00Z",DURATION=30.5')
    (ad,) = found.dateranges
    assert (ad.id, ad.class_name, ad.start, ad.attributes["DURATION"]) == ("ad-1", "stitched-ad", NOON, "30.5")


def test_the_identity_key_is_preferred_among_formats() -> None:
    """Where keys of several formats apply, the one that can be fetched is given; rotation replaces it."""
    found = media(
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"',
        '#EXT-X-KEY:METHOD=AES-128,URI="k1"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,AAAA",KEYFORMAT="urn:uuid:x"',
        "#EXTINF:2,",
        "a.ts",
        '#EXT-X-KEY:METHOD=AES-128,URI="k2"',
        "#EXTINF:2,",
        "b.ts",
    )
    assert [s.key and s.key.uri.rpartition("/")[2] for s in found.segments] == ["k1", "k2"]


def test_a_key_of_a_foreign_format_is_seen_though_it_cannot_be_fetched() -> None:
    """An encrypted stream never looks like a plain one."""
    found = media('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="y"', "#EXTINF:2,", "a.ts")
    assert found.segments[0].key == Key("SAMPLE-AES", "", None, "y")
    assert not found.segments[0].gap


def test_a_key_with_an_unreadable_iv_cannot_be_fetched() -> None:
    """With a guessed IV it would decrypt into rubbish that looks recorded."""
    found = media('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=12', "#EXTINF:2,", "a.ts")
    assert found.segments[0].key == Key("AES-128", "")
    assert "IV '12'" in found.warnings[0]


# Tolerance


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:2,t\na.ts\n",
        "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXTINF:2,t\r\na.ts",
        "#EXTM3U\r#EXT-X-TARGETDURATION:4\r#EXTINF:2,t\ra.ts\r",
        "\n \r\n#EXTM3U\n\n\n  #EXT-X-TARGETDURATION: 4 \n\t#EXTINF: 2 , t \n  a.ts  \n\n",
        "# a comment first\n#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:2,t\n# between\n#EXT-X-NEW:1\na.ts\n",
        '#EXTM3U x-tvg="y"\n#EXT-X-TARGETDURATION:4\n#EXT-X-TARGETDURATION:4\n#EXTINF:9,\n#EXTINF:2,t\na.ts\n',
    ],
    ids=["bom", "crlf", "cr", "blanks", "comments and unknown tags", "attributes and repeated tags"],
)
def test_the_same_playlist_however_it_is_written(text: str) -> None:
    """A byte order mark, line ends, blanks, comments, unknown and repeated tags change nothing."""
    assert parse(text, URL) == media("#EXTINF:2,t", "a.ts")


@pytest.mark.parametrize(
    ("extinf", "seconds", "title"),
    [
        ("3,040000,", 3.04, ""),  # a locale's decimal comma
        ("3,04,live", 3.04, "live"),
        ("10,0", 10, "0"),  # a title, not a fraction
        ("2.002,338559", 2.002, "338559"),
        ("3.2,hello,hello", 3.2, "hello,hello"),
        ("9.009", 9.009, ""),
        ("0,", 0, ""),
        ("6.00600,\t", 6.006, ""),
        ("7 tvg-id=1,x", 7, "x"),
        ("2,a\u2028b", 2, "a\u2028b"),  # ends a line for str.splitlines, not for RFC 8216
    ],
)
def test_durations_and_titles_as_encoders_write_them(extinf: str, seconds: float, title: str) -> None:
    """EXTINF is read with a decimal comma, without a comma, with a title that holds more commas."""
    (segment,) = media(f"#EXTINF:{extinf}", "a.ts").segments
    assert (segment.duration, segment.title) == (secs(seconds), title)


@pytest.mark.parametrize("extinf", ["-1,x", "nan,x", "inf,x", "86400,x", "1e9,x", ";asljasdfii11)))00,x", ",x"])
def test_a_duration_that_cannot_be_true_becomes_the_target_duration(extinf: str) -> None:
    """A negative duration, none at all or one of a day is told, and bounded by the target duration."""
    found = media(f"#EXTINF:{extinf}", "a.ts")
    assert [s.duration for s in found.segments] == [secs(4)]
    assert found.warnings == (f"Segment 0: its duration {extinf!r} cannot be true, so the target duration is taken.",)


@pytest.mark.parametrize("head", ["", "#EXT-X-TARGETDURATION:", "#EXT-X-TARGETDURATION:-10", "#EXT-X-TARGETDURATION:0"])
def test_a_missing_target_duration_is_derived(head: str) -> None:
    """Without a usable target duration the longest segment, rounded as the RFC does, gives it."""
    found = media("#EXTINF:2.5,", "a.ts", "#EXTINF:-1,", "b.ts", "#EXTINF:1,", "c.ts", head=head)
    assert found.target_duration == secs(3)
    assert [s.duration for s in found.segments] == [secs(2.5), secs(3), secs(1)]


def test_an_empty_playlist_has_a_target_duration() -> None:
    """A stream that has not begun yet is polled at the recommended pace."""
    assert parse("#EXTM3U", URL) == MediaPlaylist(
        secs(6), warnings=("There is no usable EXT-X-TARGETDURATION, so 6 s are taken.",)
    )


@pytest.mark.parametrize("number", ["gobblegobble", "", "-11", "18446744073709551616", "9" * 5000, "1_0", "٣"])
def test_a_bad_media_sequence_counts_from_zero(number: str) -> None:
    """A media sequence that is no 64-bit number is told and ignored."""
    found = media(f"#EXT-X-MEDIA-SEQUENCE:{number}", "#EXTINF:2,", "a.ts")
    assert (found.media_sequence, found.segments[0].sequence, len(found.warnings)) == (0, 0, 1)


def test_the_greatest_media_sequence_is_read() -> None:
    """The largest number that the RFC allows is one."""
    assert media("#EXT-X-MEDIA-SEQUENCE:18446744073709551615").media_sequence == 2**64 - 1


def test_a_media_sequence_after_a_segment_cannot_renumber() -> None:
    """Numbers that were given stand."""
    found = media("#EXT-X-MEDIA-SEQUENCE:5", "#EXTINF:2,", "a.ts", "#EXT-X-MEDIA-SEQUENCE:9", "#EXTINF:2,", "b.ts")
    assert [s.sequence for s in found.segments] == [5, 6]


def test_a_line_without_extinf_is_no_segment() -> None:
    """What players skip is skipped, and told."""
    found = media("a.ts", "#EXTINF:2,", "b.ts", "c.ts")
    assert [s.uri[-4:] for s in found.segments] == ["b.ts"]
    assert len(found.warnings) == 2


@pytest.mark.parametrize("value", ["", "x", "5@-1", "-5", "1" * 30])
def test_a_segment_with_an_unreadable_byte_range_is_a_gap(value: str) -> None:
    """The whole file is never taken for a part of it."""
    (segment,) = media("#EXTINF:2,", f"#EXT-X-BYTERANGE:{value}", "a.ts").segments
    assert segment.gap


def test_a_byte_range_without_an_offset_follows_only_on_the_same_file() -> None:
    """Where nothing precedes it, it begins at the start and says so."""
    lines = ["#EXTINF:2,", "#EXT-X-BYTERANGE:10@5", "a.ts", "#EXTINF:2,", "#EXT-X-BYTERANGE:10", "b.ts"]
    found = media(*lines)
    assert [s.byterange for s in found.segments] == [ByteRange(10, 5), ByteRange(10, 0)]
    assert "follows on none" in found.warnings[0]


@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "data:video/mp2t;base64,AAAA", "ftp://h/a.ts", "javascript:1", "https://", "http://h:99999/a",
     "http://[::1/a.ts", "a{$token}.ts", "https:///a.ts"],
)  # fmt: skip
def test_a_refused_address_becomes_a_gap(uri: str) -> None:
    """An entry that is not http or https is not fetched, and neither its time nor its number is lost."""
    found = media("#EXTINF:2,", "a.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:3,", uri, "#EXTINF:2,", "c.ts")
    refused = found.segments[1]
    assert refused == PlaylistSegment("", secs(3), 1, discontinuity=True, gap=True)
    assert [(s.sequence, s.gap) for s in found.segments] == [(0, False), (1, True), (2, False)]
    assert found.warnings[0].startswith("Segment 1 cannot be fetched: its address ")


def test_relative_to_a_file_is_refused() -> None:
    """A playlist that was read from a disk cannot point at the disk."""
    found = parse("#EXTM3U\n#EXTINF:2,\na.ts\n#EXTINF:2,\nhttps://h/b.ts\n", "file:///srv/list.m3u8")
    assert isinstance(found, MediaPlaylist)
    assert [s.uri for s in found.segments] == ["", "https://h/b.ts"]


def test_segments_under_a_refused_map_are_gaps() -> None:
    """Without its init section a fragment is no video, so it is not recorded as one."""
    found = media('#EXT-X-MAP:URI="file:///i"', "#EXTINF:2,", "a.mp4", '#EXT-X-MAP:URI="i"', "#EXTINF:2,", "b.mp4")
    assert [s.gap for s in found.segments] == [True, False]
    assert media('#EXT-X-MAP:URI="i",BYTERANGE="x"', "#EXTINF:2,", "a.mp4").segments[0].gap


# Not HLS, and hostile


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The playlist is empty."),
        ("\ufeff \r\n", "The playlist is empty."),
        (
            "<!DOCTYPE html>\n<p>#EXTM3U",
            "This is not an HLS playlist: it begins with '<!DOCTYPE html>' and not with #EXTM3U.",
        ),
        ("G@\x00\x10\x00", "This is not an HLS playlist: it begins with 'G@\\x00\\x10\\x00' and not with #EXTM3U."),
        ("#EXTM3U8", "This is not an HLS playlist: it begins with '#EXTM3U8' and not with #EXTM3U."),
        (
            "#EXT-X-VERSION:3\n#EXTM3U",
            "This is not an HLS playlist: it begins with '#EXT-X-VERSION:3' and not with #EXTM3U.",
        ),
        (
            "#EXTM3U\n#EXTINF:2,\na.ts\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8",
            "The playlist has both segments and variants, so it is neither kind of HLS playlist.",
        ),
        (
            "#EXTM3U\n" + "#EXTINF:1,\na\n" * 100_001,
            "The playlist has more than 100000 entries, which no real stream has.",
        ),
        (
            "#EXTM3U\n" + "#EXT-X-STREAM-INF:\na\n" * 100_001,
            "The playlist has more than 100000 entries, which no real stream has.",
        ),
        ("#" * 16_777_217, "The playlist has 16777217 characters; more than 16777216 are not read."),
    ],
    ids=["empty", "blank", "html", "binary", "other tag", "no header", "both", "segments", "variants", "size"],
)
def test_what_is_no_playlist_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    """What cannot be used as HLS says what it is instead."""
    with pytest.raises(PlaylistError) as raised:
        parse(text, URL)
    assert str(raised.value) == sentence


def test_warnings_are_bounded() -> None:
    """A thousand bad entries do not make a thousand warnings, and a long one is cut."""
    found = media(*["#EXTINF:2,", "file:///" + "x" * 1000] * 1000)
    assert len(found.warnings) == 21
    assert found.warnings[-1] == "There are 980 more warnings."
    assert max(map(len, found.warnings)) < 200


# each of these took minutes, or did not end, in some form of the patterns
@pytest.mark.parametrize(
    "line",
    [
        "#EXT-X-MAP:" + "a" * 1_000_000,
        "#EXT-X-MAP:" + 'A="x,' * 200_000,
        "#EXT-X-PROGRAM-DATE-TIME:" + " " * 1_000_000 + "T",
        "#EXTINF:" + "1" * 1_000_000 + ",",
        "#EXT-X-BYTERANGE:" + "1" * 1_000_000,
        "a/" * 500_000 + "{",
    ],
)
def test_long_lines_take_no_more_than_their_length(line: str) -> None:
    """A line of a megabyte is read in one go."""
    assert isinstance(media(line, "#EXTINF:2,", "a.ts"), MediaPlaylist)


# Times


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00.000Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00z",
        "2026-03-01 12:00:00 UTC",
        "2026-03-01T12:00:00GMT",
        "2026-03-01T14:30:00+0230",
        "2026-03-01 14:00:00.000000000 +02:00",
        "2026-03-01T06:00:00-06",
        '"20260301T120000Z"',
    ],
)
def test_times_in_the_forms_that_origins_write(text: str) -> None:
    """A zone in any form is converted, and none means UTC."""
    (segment,) = media(f"#EXT-X-PROGRAM-DATE-TIME:{text}", "#EXTINF:2,", "a.ts").segments
    assert segment.program_date_time == NOON
    assert segment.program_date_time.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-03-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-12"],
)
def test_a_time_that_is_none_is_told_and_left_out(text: str) -> None:
    """An unreadable time never becomes a wrong one."""
    found = media(f"#EXT-X-PROGRAM-DATE-TIME:{text}", "#EXTINF:2,", "a.ts")
    assert found.segments[0].program_date_time is None
    assert len(found.warnings) == 1


def test_start_times_go_forward_and_backward_from_those_given() -> None:
    """Durations are added from the last time on, and taken away before the first; a discontinuity changes nothing."""
    found = media(
        *("#EXTINF:2,", "a.ts"),
        *("#EXTINF:3,", "file:///refused"),
        *("#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:00Z", "#EXTINF:4,", "c.ts"),
        *("#EXT-X-DISCONTINUITY", "#EXTINF:1,", "d.ts"),
        *("#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:01:00Z", "#EXTINF:1,", "e.ts"),
        *("#EXTINF:1,", "f.ts"),
    )
    assert start_times(found) == [NOON + secs(n) for n in (-5, -3, 0, 4, 60, 61)]


def test_start_times_are_unknown_without_any_time() -> None:
    """A playlist without a clock has none invented."""
    assert start_times(media("#EXTINF:2,", "a.ts", "#EXTINF:2,", "b.ts")) == [None, None]
    assert start_times(media()) == []


# Multivariant playlists


def test_variants_and_renditions_are_read() -> None:
    """Attributes are read in any case and order, quoted or not, with commas in quotes and blanks after commas."""
    found = multivariant(
        '#EXT-X-MEDIA:TYPE=AUDIO, group-id="aac",NAME="English, loud", DEFAULT=YES,LANGUAGE=en,URI="en.m3u8"',
        '#EXT-X-STREAM-INF:bandwidth=800000,AVERAGE-BANDWIDTH="700000",RESOLUTION=1280X720,FRAME-RATE=59.940,'
        'CODECS="avc1.4D401F, mp4a.40.2",AUDIO="aac",VIDEO="720p60",NAME=HD',
        "hd/list.m3u8",
    )
    audio = Rendition("AUDIO", "aac", "English, loud", "https://origin.example/live/en.m3u8", "en", default=True)
    assert found.renditions == (audio,)
    assert found.variants == (
        Variant(
            uri="https://origin.example/live/hd/list.m3u8",
            bandwidth=800_000,
            average_bandwidth=700_000,
            resolution=(1280, 720),
            frame_rate=59.94,
            codecs=("avc1.4D401F", "mp4a.40.2"),
            name="HD",
            video="720p60",
            audio="aac",
        ),
    )


def test_a_bad_variant_does_not_lose_the_others() -> None:
    """A refused address, an unreadable bandwidth and a stray line are told; the rest is there."""
    found = multivariant(
        "stray.m3u8",
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "file:///etc/passwd",
        '#EXT-X-STREAM-INF:BANDWIDTH="much",RESOLUTION=big,FRAME-RATE=nan',
        "b.m3u8",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="data:,"',
    )
    assert found.variants == (Variant("https://origin.example/live/b.m3u8"),)
    assert found.renditions == ()
    assert len(found.warnings) == 4


# Properties

words = st.text(string.ascii_letters + string.digits + " -_,é", max_size=12).map(str.strip)
names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
addresses = st.builds("https://origin.example/{}/{}.ts?x={}".format, names, names, names)
ranges = st.none() | st.builds(ByteRange, st.integers(0, 10**15), st.integers(0, 10**15))
micros = st.integers(0, 3_600_000_000).map(lambda n: timedelta(microseconds=n))
times = st.none() | st.integers(0, 10**15).map(lambda n: NOON + timedelta(microseconds=n))
segments = st.builds(
    PlaylistSegment,
    uri=addresses,
    duration=micros,
    # a title that begins with a digit and holds a comma is where the decimal comma cannot be told apart
    title=words.filter(lambda title: not title[:1].isdigit() and not title.startswith(",")),
    program_date_time=times,
    discontinuity=st.booleans(),
    gap=st.booleans(),
    byterange=ranges,
    map=st.none() | st.builds(Map, addresses, ranges),
    key=st.none()
    | st.builds(Key, st.sampled_from(["AES-128", "SAMPLE-AES"]), addresses, st.binary(min_size=16, max_size=16)),
)


def rendered(playlist: MediaPlaylist) -> str:
    return "\n".join(["#EXTM3U", *rendered_lines(playlist), ""])


def rendered_lines(playlist: MediaPlaylist) -> Iterator[str]:
    yield f"#EXT-X-TARGETDURATION:{playlist.target_duration.total_seconds()}"
    yield f"#EXT-X-MEDIA-SEQUENCE:{playlist.media_sequence}"
    yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}"
    yield f"#EXT-X-PLAYLIST-TYPE:{playlist.playlist_type}" if playlist.playlist_type else ""
    last_map = None
    for segment in playlist.segments:
        if segment.map and segment.map != last_map:
            span = segment.map.byterange
            extra = f',BYTERANGE="{span.length}@{span.start}"' if span else ""
            yield rendered_key(segment.map.key)
            yield f'#EXT-X-MAP:URI="{segment.map.uri}"{extra}'
        last_map = segment.map
        yield rendered_key(segment.key)
        yield from rendered_segment(segment)
    yield "#EXT-X-ENDLIST" if playlist.endlist else ""


def rendered_key(key: Key | None) -> str:
    if key is None:
        return "#EXT-X-KEY:METHOD=NONE"
    iv = f",IV=0x{key.iv.hex()}" if key.iv else ""
    return f'#EXT-X-KEY:METHOD={key.method},URI="{key.uri}"{iv}'


def rendered_segment(segment: PlaylistSegment) -> Iterator[str]:
    yield "#EXT-X-DISCONTINUITY" if segment.discontinuity else ""
    yield "#EXT-X-GAP" if segment.gap else ""
    if segment.program_date_time:
        yield f"#EXT-X-PROGRAM-DATE-TIME:{segment.program_date_time.isoformat()}"
    if segment.byterange:
        yield f"#EXT-X-BYTERANGE:{segment.byterange.length}@{segment.byterange.start}"
    yield f"#EXTINF:{segment.duration.total_seconds():.6f},{segment.title}"
    yield segment.uri


@st.composite
def playlists(draw: st.DrawFn) -> MediaPlaylist:
    sequence = draw(st.integers(0, 2**63))
    entries: list[PlaylistSegment] = []
    for entry in draw(st.lists(segments, max_size=8)):
        # a map cannot be taken back, only replaced
        last = entries[-1].map if entries else None
        entries.append(replace(entry, sequence=sequence + len(entries), map=entry.map or last))
    return MediaPlaylist(
        target_duration=secs(draw(st.integers(1, 3600))),
        segments=tuple(entries),
        media_sequence=sequence,
        discontinuity_sequence=draw(st.integers(0, 2**63)),
        playlist_type=draw(st.sampled_from(["VOD", "EVENT", None])),
        endlist=draw(st.booleans()),
    )


@given(playlists())
def test_what_is_rendered_is_read_back(playlist: MediaPlaylist) -> None:
    """Reading is the inverse of writing, for every playlist."""
    assert parse(rendered(playlist), URL) == playlist


TAGS = [*playlist_media._MEDIA_TAGS, "#EXT-X-STREAM-INF", "#EXT-X-MEDIA", "# comment", "", "\ufeff#EXTM3U"]
rubbish = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(["", ":"]), st.text(max_size=30)))


@given(st.text() | rubbish.map(lambda lines: "#EXTM3U\n" + "\n".join(map("".join, lines))), st.text(max_size=20))
def test_no_text_raises_anything_else(text: str, url: str) -> None:
    """Whatever an origin answers is a playlist or a PlaylistError, and what comes out is http, https or nothing."""
    with contextlib.suppress(PlaylistError):
        check_invariants(parse(text, url or URL))


def check_invariants(found: MediaPlaylist | MultivariantPlaylist) -> None:
    if isinstance(found, MediaPlaylist):
        assert len(start_times(found)) == len(found.segments)
        assert all(segment.uri.startswith(("http://", "https://")) or segment.gap for segment in found.segments)
        assert all(timedelta(0) <= segment.duration <= timedelta(hours=1) for segment in found.segments)
        assert all(entry.uri.startswith(("http://", "https://")) or entry.gap for entry in found.prefetch)
        numbers = [entry.sequence for entry in (*found.segments, *found.prefetch)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    else:
        assert all(variant.uri.startswith(("http://", "https://")) for variant in found.variants)


@given(st.lists(segments, max_size=10))
def test_given_times_are_kept_and_the_others_join(entries: list[PlaylistSegment]) -> None:
    """A start is the given one, else the end of the segment before; before the first given one it joins the next."""
    starts = start_times(MediaPlaylist(secs(4), tuple(entries)))
    known = False
    for n, (entry, start) in enumerate(zip(entries, starts, strict=True)):
        if entry.program_date_time:
            assert start == entry.program_date_time
            known = True
        elif known:
            assert start == starts[n - 1] + entries[n - 1].duration  # type: ignore[operator]  # known, so not None
        elif start:
            assert start + entry.duration == starts[n + 1]
        else:
            assert set(starts) == {None}
