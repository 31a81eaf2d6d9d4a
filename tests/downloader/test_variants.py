import contextlib
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.playlist import parse
from downloader.playlist_values import MultivariantPlaylist, PlaylistError, Rendition, Variant
from downloader.variants import Choice, choose

BASE = "https://origin.example/live/"


def multivariant(*lines: str) -> MultivariantPlaylist:
    found = parse("\n".join(["#EXTM3U", *lines, ""]), BASE + "list.m3u8")
    assert isinstance(found, MultivariantPlaylist)
    return found


def variants(*lines: str) -> MultivariantPlaylist:
    """One variant for each attribute list; variant n is v<n>.m3u8. Other tags stand as they are."""
    stream = [line if line.startswith("#") else f"#EXT-X-STREAM-INF:{line}\nv{n}.m3u8" for n, line in enumerate(lines)]
    return multivariant(*stream)


def chosen(found: MultivariantPlaylist, quality: str) -> str:
    return choose(found, [quality])[quality].uri.rpartition("/")[2]


# By name and by size


def test_source_is_the_best_variant() -> None:
    """A picture comes before sound only, then pixels, then frame rate, then bandwidth, then the order of the file."""
    found = variants(
        'BANDWIDTH=9000000,CODECS="mp4a.40.2"',
        "BANDWIDTH=8000000",
        "BANDWIDTH=500000,RESOLUTION=1280x720,FRAME-RATE=30",
        "BANDWIDTH=400000,RESOLUTION=1280x720,FRAME-RATE=60",
        "BANDWIDTH=450000,RESOLUTION=1280x720,FRAME-RATE=60",
        "BANDWIDTH=450000,RESOLUTION=1280x720,FRAME-RATE=60",
    )
    assert chosen(found, "source") == "v4.m3u8"
    assert chosen(replace(found, variants=found.variants[:3]), "source") == "v2.m3u8"
    assert chosen(replace(found, variants=found.variants[:2]), "source") == "v1.m3u8"
    assert chosen(replace(found, variants=found.variants[:1]), "Source") == "v0.m3u8"


TWITCH = (
    '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="chunked",NAME="1080p60 (source)"',
    '#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=1920x1080,VIDEO="chunked"',
    "v0.m3u8",
    '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="720p60",NAME="720p60"',
    '#EXT-X-STREAM-INF:BANDWIDTH=5,RESOLUTION=1280x720,VIDEO="720p60",FRAME-RATE=60.000',
    "v1.m3u8",
    '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="720p30",NAME="720p"',
    '#EXT-X-STREAM-INF:BANDWIDTH=3,RESOLUTION=1280x720,VIDEO="720p30",FRAME-RATE=29.970',
    "v2.m3u8",
    '#EXT-X-STREAM-INF:BANDWIDTH=99,RESOLUTION=2560x1440,FRAME-RATE=59.94,NAME="1440"',
    "v3.m3u8",
    '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="mp4a.40.2",VIDEO="audio_only"',
    "v4.m3u8",
)


@pytest.mark.parametrize(
    ("quality", "uri"),
    [
        ("source", "v0.m3u8"),  # what the provider calls source, though another one is larger
        ("chunked", "v0.m3u8"),
        ("720p60", "v1.m3u8"),
        ("720P", "v2.m3u8"),  # the name of the group's rendition, before the best of that height
        ("720p30", "v2.m3u8"),
        ("1080p", "v0.m3u8"),
        ("1080p60", "v0.m3u8"),  # its name, without the addition
        ("1440p60", "v3.m3u8"),
        ("1440", "v3.m3u8"),
        ("audio_only", "v4.m3u8"),
    ],
)
def test_qualities_are_found_by_name_then_by_size(quality: str, uri: str) -> None:
    """A name wins over a size, and a frame rate is rounded."""
    assert chosen(multivariant(*TWITCH), quality) == uri


def test_a_height_without_a_frame_rate_takes_the_best_of_it() -> None:
    """Where nothing is called so, `720p` is any variant of that height."""
    found = variants("BANDWIDTH=9,RESOLUTION=1280x720,FRAME-RATE=25", "BANDWIDTH=5,RESOLUTION=1280x720,FRAME-RATE=50")
    assert chosen(found, "720p") == "v1.m3u8"
    assert chosen(found, "720p25") == "v0.m3u8"


@pytest.mark.parametrize(
    ("found", "quality", "there"),
    [
        (multivariant(*TWITCH), "480p", "source, chunked, 720p60, 720p30, 1440, audio_only"),
        (variants("BANDWIDTH=1,RESOLUTION=2x240", "RESOLUTION=8x360,FRAME-RATE=25", "NAME="), "x",
         "source, 240p, 360p25"),
        (MultivariantPlaylist(), "source", "none"),
    ],
)  # fmt: skip
def test_a_missing_quality_names_those_that_exist(found: MultivariantPlaylist, quality: str, there: str) -> None:
    """The error tells the user what could be asked for instead."""
    with pytest.raises(PlaylistError) as raised:
        choose(found, [quality])
    assert str(raised.value) == f"The stream has no quality {quality!r}; it has: {there}."


@pytest.mark.parametrize(
    ("quality", "uri"),
    [("720p", "v0.m3u8"), ("1280p", "v0.m3u8"), ("source", "v0.m3u8"), ("audio_only", "v1.m3u8"), ("AUDIO", "v1.m3u8")],
)
def test_upright_pictures_and_sound_alone_are_found(quality: str, uri: str) -> None:
    """An upright picture is called by its width as by its height, and what has sound only by that."""
    found = variants("BANDWIDTH=2,RESOLUTION=720x1280", 'BANDWIDTH=9,CODECS="mp4a.40.2"')
    assert chosen(found, quality) == uri


def test_what_twitch_calls_the_streamer_s_own_is_source() -> None:
    """In its playlists without groups the source is marked, and names have attributes of their own."""
    found = variants(
        'BANDWIDTH=6,RESOLUTION=1280x720,STABLE-VARIANT-ID="720p60",IVS-NAME="720p60",IVS-VARIANT-SOURCE="source"',
        'BANDWIDTH=9,RESOLUTION=1920x1080,STABLE-VARIANT-ID="1080p60",IVS-NAME="1080p",IVS-VARIANT-SOURCE="transcode"',
        'BANDWIDTH=1,CODECS="mp4a.40.2",STABLE-VARIANT-ID="audio_only"',
    )
    assert [chosen(found, quality) for quality in ("source", "720p60", "1080p", "audio_only")] == [
        "v0.m3u8", "v0.m3u8", "v1.m3u8", "v2.m3u8",
    ]  # fmt: skip
    with pytest.raises(PlaylistError, match="it has: source, 720p60, 1080p, audio_only"):
        choose(found, ["480p"])


def test_a_picture_that_lies_is_preferred_to_one_that_stands() -> None:
    """Of a stream that is sent as both, the wide one is the source, whatever their sizes."""
    found = variants("BANDWIDTH=9,RESOLUTION=1080x1920", "BANDWIDTH=5,RESOLUTION=1280x720", "BANDWIDTH=99")
    assert chosen(found, "source") == "v1.m3u8"
    assert chosen(found, "1080p") == "v0.m3u8"
    assert chosen(replace(found, variants=(found.variants[0], found.variants[2])), "source") == "v0.m3u8"


def test_i_frame_playlists_are_no_variants() -> None:
    """A list of key frames is not recorded as a quality."""
    found = variants('#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9,RESOLUTION=1920x1080,URI="i.m3u8"', "RESOLUTION=640x360")
    assert chosen(found, "source") == "v1.m3u8"
    with pytest.raises(PlaylistError, match="it has: source, 360p"):
        choose(found, ["1080p"])


# Of equal pictures


@pytest.mark.parametrize(
    ("lines", "best"),
    [
        (('BANDWIDTH=9,CODECS="hvc1.1"', 'BANDWIDTH=5,CODECS="avc1.4D401F"', 'BANDWIDTH=4,CODECS="av01.0"'), 1),
        (('BANDWIDTH=4,CODECS="av01.0"', 'BANDWIDTH=3,CODECS="hev1.1"', 'BANDWIDTH=9,CODECS="vp09.0"'), 1),
        (('BANDWIDTH=9,CODECS="dvh1.05"', 'BANDWIDTH=5,CODECS="vp09.0"', 'BANDWIDTH=9,CODECS="what.0"'), 1),
        (("BANDWIDTH=5", 'BANDWIDTH=9,CODECS="hvc1.1"'), 0),
        (('BANDWIDTH=5,CODECS="avc1.4D401F,mp4a.40.2"', "BANDWIDTH=9"), 1),
        (('BANDWIDTH=5,CODECS="avc1.4D401F"', 'BANDWIDTH=4,CODECS="avc1.4D401F,mp4a.40.2"'), 1),  # the first is mute
        (("BANDWIDTH=9,VIDEO-RANGE=PQ", "BANDWIDTH=5,VIDEO-RANGE=SDR", "BANDWIDTH=4"), 1),
        (("BANDWIDTH=9,FRAME-RATE=59.94", "BANDWIDTH=5,FRAME-RATE=60"), 0),
        (("BANDWIDTH=9,FRAME-RATE=30", "BANDWIDTH=5,FRAME-RATE=60"), 1),
    ],
)
def test_of_equal_pictures_the_one_that_is_most_use_is_source(lines: tuple[str, ...], best: int) -> None:
    """SDR, sound, H.264 and bandwidth decide, in this order, between variants of one size and frame rate."""
    found = variants(*(f"RESOLUTION=1920x1080,{line}" for line in lines))
    assert chosen(found, "source") == f"v{best}.m3u8"


def test_a_larger_picture_is_source_whatever_its_codec() -> None:
    """Where HEVC has more pixels, it is the source, and H.264 can be had by its size or name."""
    found = variants(
        'BANDWIDTH=6,RESOLUTION=1920x1080,FRAME-RATE=60,CODECS="avc1.64002A,mp4a.40.2",NAME="1080p60"',
        'BANDWIDTH=9,RESOLUTION=2560x1440,FRAME-RATE=60,CODECS="hvc1.1.6.L153,mp4a.40.2",NAME="1440p60"',
        'BANDWIDTH=5,RESOLUTION=1920x1080,FRAME-RATE=60,CODECS="hvc1.1.6.L123,mp4a.40.2"',
    )
    assert [chosen(found, quality) for quality in ("source", "1080p60", "1080p")] == ["v1.m3u8", "v0.m3u8", "v0.m3u8"]


# Backups


def test_variants_with_the_same_attributes_are_backups_of_each_other() -> None:
    """They come in the order of the file, each once, and what differs in anything is none."""
    found = variants(
        "BANDWIDTH=9,RESOLUTION=1920x1080",
        "BANDWIDTH=9,RESOLUTION=1920x1080,FRAME-RATE=30",
        "BANDWIDTH=9,RESOLUTION=1920x1080",
        "BANDWIDTH=8,RESOLUTION=1920x1080",
        "BANDWIDTH=9,RESOLUTION=1920x1080",
        "#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=1920x1080\nv0.m3u8",
    )
    found = replace(found, variants=(found.variants[0], *found.variants[2:]))
    assert choose(found, ["source"]) == {"source": Choice(BASE + "v0.m3u8", (BASE + "v2.m3u8", BASE + "v4.m3u8"))}


def test_variants_of_which_nothing_is_said_are_no_backups() -> None:
    """Without even a bandwidth, two variants may be two pictures."""
    assert choose(variants("", ""), ["source"])["source"] == Choice(BASE + "v0.m3u8")


def test_the_pathway_to_begin_with_comes_first() -> None:
    """Content steering names it; the others are backups."""
    found = variants(
        *(f"BANDWIDTH=9,PATHWAY-ID={name}" for name in "ABC"),
        '#EXT-X-CONTENT-STEERING:SERVER-URI="/s",PATHWAY-ID=B',
    )
    assert choose(found, ["source"])["source"] == Choice(BASE + "v1.m3u8", (BASE + "v0.m3u8", BASE + "v2.m3u8"))


# Sound

ENGLISH = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",URI="en.m3u8"'
GERMAN = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch, laut",LANGUAGE="de",DEFAULT=YES,URI="de.m3u8"'
APART = 'BANDWIDTH=9,RESOLUTION=1920x1080,CODECS="avc1.64002A,mp4a.40.2",AUDIO="a"'


def test_sound_apart_from_the_picture_is_a_quality_beside_it() -> None:
    """It is the default rendition, has the name of the quality with `-audio`, and cuts without sound are told of."""
    found = choose(variants(ENGLISH, GERMAN, APART), ["source"])
    assert found == {
        "source": Choice(
            BASE + "v2.m3u8",
            warning="The sound of source comes apart from its picture and is recorded beside it as source-audio; "
            "cuts of source have no sound.",
        ),
        "source-audio": Choice(BASE + "de.m3u8"),
    }


def test_a_variant_with_its_sound_in_it_is_preferred() -> None:
    """Of equal pictures, but not before a better one."""
    with_sound = APART.replace(',AUDIO="a"', "").replace("=9", "=5")
    assert choose(variants(ENGLISH, APART, with_sound), ["source"]) == {"source": Choice(BASE + "v2.m3u8")}
    smaller = with_sound.replace("1920x1080", "1280x720")
    assert [*choose(variants(ENGLISH, APART, smaller), ["source"])] == ["source", "source-audio"]


def test_of_the_kinds_of_sound_of_one_picture_aac_is_taken() -> None:
    """The same variant with AC-3 says that it needs more bandwidth; it has no better picture."""
    dearer = APART.replace("mp4a.40.2", "ac-3").replace("=9", "=10").replace('"a"', '"b"')
    found = variants(
        *(ENGLISH, ENGLISH.replace('"a"', '"b"').replace("en.m3u8", "en-ac3.m3u8"), APART),
        f"#EXT-X-STREAM-INF:{dearer}\nv2.m3u8",
    )
    assert choose(found, ["source"])["source-audio"] == Choice(BASE + "en.m3u8")


def test_without_a_resolution_the_bandwidth_tells_the_better_picture() -> None:
    """Sound in the variant is no reason to take a smaller picture."""
    lines = (
        ENGLISH,
        'BANDWIDTH=9,CODECS="avc1.64002A,mp4a.40.2",AUDIO="a"',
        'BANDWIDTH=2,CODECS="avc1.42e01e,mp4a.40.2"',
    )
    assert [*choose(variants(*lines), ["source"])] == ["source", "source-audio"]


@pytest.mark.parametrize(
    "codecs", ["mp4a.40.2", "avc1.64002A,mp4a.40.2"], ids=["condensed, as in RFC 8216 §8.6", "in full"]
)
def test_a_variant_that_is_sound_only_has_no_other_sound(codecs: str) -> None:
    """It is not recorded twice; but where all are called so, that is not to be believed."""
    found = variants(ENGLISH, f'BANDWIDTH=9,AUDIO="a",CODECS="{codecs}"', 'BANDWIDTH=1,AUDIO="a",CODECS="mp4a.40.5"')
    assert [*choose(found, ["source"])] == ["source", "source-audio"]
    alone = ["audio_only"] if "avc1" in codecs else ["audio_only", "audio_only-audio"]
    assert [*choose(found, ["audio_only"])] == alone


@pytest.mark.parametrize(
    "rendition",
    [
        ENGLISH.replace(',URI="en.m3u8"', ""),  # within the variant
        ENGLISH.replace("en.m3u8", "v1.m3u8"),  # the variant itself
        ENGLISH.replace('"a"', '"b"'),  # of another group
        ENGLISH.replace("AUDIO", "SUBTITLES"),
    ],
)
def test_sound_that_is_in_the_variant_is_not_recorded_twice(rendition: str) -> None:
    """Other languages beside the variant's own sound are had by asking for them only."""
    assert [*choose(variants(rendition, APART), ["source"])] == ["source"]


def test_sound_can_be_asked_for_alone_and_by_its_language_or_name() -> None:
    """What is asked for is given, without the picture."""
    found = variants(ENGLISH, GERMAN, APART)
    for quality, uri in {"source-audio": "de", "1080p-audio-en": "en", "Source-Audio-Deutsch-Laut": "de"}.items():
        assert choose(found, [quality]) == {quality: Choice(f"{BASE}{uri}.m3u8")}
    for quality in ("source-audio-fr", "720p-audio", "-audio", "audio"):
        with pytest.raises(PlaylistError, match="it has: source, 1080p"):
            choose(found, [quality])


def test_qualities_that_share_their_sound_have_it_once() -> None:
    """One download is enough; the warning names where it is."""
    found = choose(variants(ENGLISH, APART, APART.replace("1920x1080", "1280x720")), ["source", "720p"])
    assert [*found] == ["source", "source-audio", "720p"]
    assert "recorded beside it as source-audio; cuts of 720p have no sound" in found["720p"].warning


def test_the_sound_of_backups_is_a_backup() -> None:
    """The rendition of the same name in the group of each."""
    again = ENGLISH.replace('"a"', '"b"').replace("en.m3u8", "en-b.m3u8").replace("English", "ENGLISH")
    found = variants(ENGLISH, GERMAN, again, APART, APART.replace('"a"', '"b"'))
    assert choose(found, ["source-audio-en"])["source-audio-en"] == Choice(BASE + "en.m3u8", (BASE + "en-b.m3u8",))


# Properties

names = st.text(string.ascii_letters + string.digits + " ()-_", max_size=8)
addresses = st.sampled_from([f"https://h/{name}.m3u8" for name in "abcde"])
renditions = st.builds(
    Rendition,
    st.sampled_from(["AUDIO", "VIDEO", "SUBTITLES"]),
    st.sampled_from(["a", "b", ""]),
    names,
    st.just("") | addresses,
    names,
    st.booleans(),
)
offers = st.builds(
    Variant,
    addresses,
    st.integers(0, 3),
    resolution=st.none() | st.sampled_from([(1280, 720), (720, 1280), (1920, 1080)]),
    frame_rate=st.none() | st.sampled_from([29.97, 30.0, 60.0]),
    codecs=st.lists(st.sampled_from(["avc1.4D401F", "hvc1", "mp4a.40.2", "?"]), max_size=2).map(tuple),
    name=names,
    video=st.sampled_from(["a", "chunked", ""]),
    audio=st.sampled_from(["a", "b", ""]),
    video_range=st.sampled_from(["SDR", "PQ"]),
    pathway=st.sampled_from(["", "A", "B"]),
)
playlists = st.builds(
    MultivariantPlaylist,
    st.lists(offers, max_size=6).map(tuple),
    st.lists(renditions, max_size=6).map(tuple),
    pathway=st.sampled_from(["", "A"]),
)


@given(playlists, st.lists(names | st.sampled_from(["source", "720p", "audio", "source-audio"]), max_size=4))
def test_a_choice_is_of_what_is_offered_or_an_error(found: MultivariantPlaylist, qualities: list[str]) -> None:
    """Every quality asked for is there, what comes with it is its sound, and every address is the playlist's own."""
    with contextlib.suppress(PlaylistError):
        chosen = choose(found, qualities)
        offered = {variant.uri for variant in found.variants} | {rendition.uri for rendition in found.renditions}
        assert {*qualities} <= {*chosen}
        assert all(name.endswith("-audio") for name in {*chosen} - {*qualities})
        for choice in chosen.values():
            uris = (choice.uri, *choice.backups)
            assert offered.issuperset(uris)
            assert len({*uris}) == len(uris)


@given(playlists)
def test_there_is_a_source_wherever_there_is_a_variant(found: MultivariantPlaylist) -> None:
    """The best is always found, and nothing as wide has more pixels, unless something is called the source."""
    if found.variants and not any("source" in v.name.casefold() or v.video == "chunked" for v in found.variants):
        found = replace(found, variants=tuple(replace(v, uri=f"https://h/{n}") for n, v in enumerate(found.variants)))
        source = found.variants[int(chosen(replace(found, renditions=()), "source"))]
        pictures = [v for v in found.variants if not v.audio_only]
        sizes = [v.resolution or (0, 0) for v in pictures]
        lying = [(w, h) for w, h in sizes if w >= h > 0]
        most = max((w * h for w, h in lying or sizes), default=0)
        width, height = source.resolution or (0, 0)
        assert width * height == most
        assert not source.audio_only or not pictures


def test_thousands_of_variants_and_renditions_are_looked_at_once() -> None:
    """A hostile playlist of tens of thousands of each is judged in one go."""
    group = tuple(Rendition("AUDIO", "a", "n", f"https://h/{n}.m3u8") for n in range(20_000))
    many = tuple(Variant(f"https://h/v{n}.m3u8", 9, audio="a") for n in range(20_000))
    found = choose(MultivariantPlaylist(many, group), ["source"])
    assert len(found["source"].backups) == len(found["source-audio"].backups) == 19_999
