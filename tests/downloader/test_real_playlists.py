"""Real playlists, each with what must become of it written beside it, in `real_playlists.txt`.

A block there begins with the playlist's path. Of a media playlist it tells what was read, how many entries the planner
finds to record and when the first of them begins (`now` is the moment of the request, for playlists that tell no time),
and, with one letter for each entry, the marks of advertisements: `b` a break, `i` an interstitial; capitals are
skipped. Of a multivariant one it tells the media playlists chosen for some qualities. Warnings stand below.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from downloader.advertisements import marks, prefetch_advertisements
from downloader.playlist import parse
from downloader.playlist_values import MediaPlaylist, MultivariantPlaylist, PlaylistError
from downloader.timeline import Timeline
from downloader.variants import choose

URL = "https://origin.example/live/list.m3u8?token=1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEDIA = Path(__file__).parents[2].parent / "shared" / "media"
ABSENT = "The folder of real media, ../shared/media, is not there."


def real_names() -> list[str]:
    found = (path for path in MEDIA.rglob("*") if path.suffix == ".m3u8" or path.parent.name == "androidx-media")
    return sorted(str(path.relative_to(MEDIA)) for path in found if path.is_file())


def read(name: str) -> str:
    return (MEDIA / name).read_bytes().decode("utf-8", "replace")


def expected() -> dict[str, list[str]]:
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in Path(__file__).with_name("real_playlists.txt").read_text().splitlines():
        if line.startswith(" "):
            blocks[name].append(line.strip())
        elif line:
            name = line
            blocks[name] = []
    return blocks


def secs(duration: timedelta) -> str:
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + " s"


def outcome(name: str) -> list[str]:
    try:
        found = parse(read(name), URL)
    except PlaylistError as error:
        return [str(error)]
    lines = [", ".join(media_facts(found))] if isinstance(found, MediaPlaylist) else [*choices(found)]
    return [*lines, *(f"! {warning}" for warning in found.warnings)]


def media_facts(found: MediaPlaylist) -> Iterator[str]:
    yield f"{len(found.segments)} segments from {found.segments[0].sequence}" if found.segments else "no segments"
    yield f"of {secs(sum((entry.duration for entry in found.segments), timedelta(0)))}"
    yield f"target {secs(found.target_duration)}"
    yield from planned(found)
    counts = {
        "gaps": sum(entry.gap for entry in found.segments),
        "discontinuities": sum(entry.discontinuity for entry in found.segments),
        "fragments": sum(entry.map is not None for entry in found.segments),
        "encrypted": sum(entry.key is not None for entry in found.segments),
        "byte ranges": sum(entry.byterange is not None for entry in found.segments),
        "prefetch": prefetch_advertisements(found).count(False),
    }
    yield from (f"{count} {word}" for word, count in counts.items() if count)
    yield from (f"parts of {secs(found.part_target)} with {secs(found.pending)} out",) if found.part_target else ()
    flags = {
        "blocking reload": found.server_control.can_block_reload,
        "key frames only": found.i_frames_only,
        "ended": found.endlist,
    }
    yield from (word for word, flag in flags.items() if flag)
    letters = [
        mark.value[0].upper() if mark and mark.certain else mark.value[0] if mark else "." for mark in marks(found)
    ]
    yield from ("".join(letters),) if {*letters} - {"."} else ()


def planned(found: MediaPlaylist) -> Iterator[str]:
    new = Timeline().advance(found, NOW).new
    if new:
        first = new[0]
        ago = secs(NOW - first.start)
        yield f"{len(new)} new from " + (f"now - {ago}" if first.guessed else f"{first.start:%Y-%m-%dT%H:%M:%S.%fZ}")


def choices(found: MultivariantPlaylist) -> Iterator[str]:
    yield f"{len(found.variants)} variants, {len(found.renditions)} renditions"
    for quality in ("source", "720p", "audio_only"):
        try:
            chosen = choose(found, [quality])
        except PlaylistError as error:
            yield from (str(error),) if quality == "source" else ()
            continue
        for name, choice in chosen.items():
            uris = [uri.removeprefix("https://origin.example/live/") for uri in (choice.uri, *choice.backups)]
            yield f"{name}: {' or '.join(uris)}"


EXPECTED = expected()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_playlist_comes_out_as_it_should(name: str) -> None:
    """Parser, planner, marks of advertisements and choice of variants give what is written beside the playlist."""
    if not (MEDIA / name).is_file():
        pytest.skip(ABSENT)
    assert outcome(name) == EXPECTED[name]


def test_what_is_not_written_down_comes_out_somehow() -> None:
    """A playlist that was added since is read, or refused in a sentence."""
    if not MEDIA.is_dir():
        pytest.skip(ABSENT)
    assert all(outcome(name) for name in {*real_names()} - {*EXPECTED})


# where the two differ on purpose
OTHERS_WAY = {
    "negativeDurationMediaPlaylist.m3u8": "it keeps -1 s, we take the target duration",
    "media-variables.m3u8": "it keeps the unresolved variable in the address, we refuse it",
    "media-playlist-with-cue-out-in-without-oatcls.m3u8": "it makes a segment of a last EXTINF without an address",
}


def test_an_independent_parser_reads_the_same() -> None:
    """Number, addresses and durations of the segments are those that the m3u8 library reads."""
    m3u8 = pytest.importorskip("m3u8", reason="The m3u8 library, with which to compare, is not installed.")
    compared = 0
    for name in real_names():
        text = read(name)
        try:
            ours, theirs = parse(text, URL), m3u8.loads(text, URL)
        except (ValueError, TypeError, KeyError):
            # ours wants a header; theirs fails on bad numbers, unknown attributes and a missing BANDWIDTH
            continue
        if isinstance(ours, MediaPlaylist) and Path(name).name not in OTHERS_WAY:
            # it makes a segment without an address of the parts of one that is not complete yet
            complete = [segment for segment in theirs.segments if segment.uri]
            assert [s.uri for s in ours.segments] == [s.absolute_uri for s in complete], name
            assert [s.duration for s in ours.segments] == [timedelta(seconds=s.duration) for s in complete], name
            compared += 1
    if not compared:
        pytest.skip(ABSENT)
    assert compared > 200
