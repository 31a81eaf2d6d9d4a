"""Probing: what clips of our own making and those of other people's encoders are found to hold."""

import random
import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.facts import Facts, TrackKind, format_facts, joins, parse_facts, same_format
from common.media import examine, probe
from common.ticks import TICKS, WRAP

NTSC = Fraction(30_000, 1001)

VIDEO = ("-f", "lavfi", "-i", "testsrc=s=128x72:r=25")
SOUND = ("-f", "lavfi", "-i", "sine=r=48000")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-ac", "2")
FRAGMENTED = ("-movflags", "+empty_moov+default_base_moof+frag_keyframe", "-f", "mp4")

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a clip of a second with these arguments for ffmpeg; each is made once."""
    folder, made = tmp_path_factory.mktemp("clips"), dict[tuple[str, ...], Path]()

    def run(*arguments: str) -> Path:
        if arguments not in made:
            made[arguments] = folder / f"{len(made)}.ts"
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments, "-t", "1", "-threads", "1"]
            if "-f" not in arguments[-2:]:
                command += ["-f", "mpegts"]
            subprocess.run([*command, made[arguments]], check=True, capture_output=True)
        return made[arguments]

    return run


def lines(facts: Facts) -> list[tuple[object, ...]]:
    """Each track as (codec, size or rate and channels, frame rate, first, end)."""
    return [
        (
            t.format.codec,
            (t.format.width, t.format.height) if t.format.width else (t.format.sample_rate, t.format.channels),
            t.frame_rate,
            t.first,
            t.end,
        )
        for t in facts.tracks
    ]


# Clips of our own ---------------------------------------------------------------------------------------------------


def test_ts_is_told_from_its_packets(make: Make) -> None:
    """Of H.264 and AAC in MPEG-TS, codecs, sizes and times are exact; nothing is an init section."""
    path = make(*VIDEO, *SOUND, *X264, *AAC)
    facts = probe(path)
    assert facts.bytes == path.stat().st_size
    assert (facts.key_frame, facts.init_bytes, facts.init_hash, facts.error) == (True, None, None, None)
    picture, sound = facts.tracks
    assert (picture.format.kind, sound.format.kind) == (TrackKind.VIDEO, TrackKind.AUDIO)
    assert (picture.format.codec, picture.format.width, picture.format.height) == ("avc1.42c00a", 128, 72)
    assert picture.frame_rate == 25
    assert picture.end - picture.first == TICKS
    assert (sound.format.codec, sound.format.sample_rate, sound.format.channels) == ("mp4a.40.2", 48_000, 2)
    assert sound.frame_rate is None
    assert abs(sound.end - sound.first - TICKS) <= 2 * 1920


@pytest.mark.parametrize("rate", ["24", "30000/1001", "60000/1001", "60"])
def test_b_frames_change_neither_start_nor_end(make: Make, rate: str) -> None:
    """With frames out of order the first and last shown count, not the first and last stored."""
    video = ("-f", "lavfi", "-i", f"testsrc=s=128x72:r={rate}")
    plain = probe(make(*video, *X264)).tracks[0]
    reordered = probe(make(*video, *X264, "-bf", "3", "-b_strategy", "0")).tracks[0]
    assert plain.frame_rate == reordered.frame_rate == Fraction(rate)
    assert plain.format.codec != reordered.format.codec
    frames = round(Fraction(rate))  # as many as there are in a second, or the one that begins in it
    assert all(abs(t.end - t.first - frames * TICKS / Fraction(rate)) <= 1 for t in (plain, reordered))


@pytest.mark.parametrize(
    ("codec", "string"),
    [
        (("libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"), "hvc1.1.6.L30.90"),
        (("mpeg2video",), ""),
    ],
)
def test_other_video_in_ts(make: Make, codec: tuple[str, ...], string: str) -> None:
    """HEVC is named by its profile; what RFC 6381 has no name for is measured all the same."""
    facts = probe(make(*VIDEO, "-c:v", *codec, "-pix_fmt", "yuv420p"))
    [track] = lines(facts)
    assert track[:3] == (string, (128, 72), 25)
    assert facts.key_frame


@pytest.mark.parametrize(
    ("codec", "string", "frame"),
    [
        (("aac",), "mp4a.40.2", 1920),
        (("ac3",), "ac-3", 2880),
        (("eac3",), "ec-3", 2880),
        (("libmp3lame",), "mp4a.40.34", 2160),
        (("libopus",), "opus", 1800),
    ],
)
def test_sound_alone(make: Make, codec: tuple[str, ...], string: str, frame: int) -> None:
    """Sound alone has no key frame; it ends where its last frame does."""
    facts = probe(make(*SOUND, "-ac", "2", "-c:a", *codec))
    [(found, form, rate, first, end)] = lines(facts)
    assert (found, form, rate, facts.key_frame) == (string, (48_000, 2), None, None)
    assert isinstance(first, int)
    assert isinstance(end, int)
    assert abs(end - first - TICKS) <= 2 * frame
    assert (end - first) % frame == 0


def test_cropping_is_applied(make: Make) -> None:
    """A picture whose size is no multiple of a macroblock has the size that is shown."""
    [track] = lines(probe(make("-f", "lavfi", "-i", "testsrc=s=130x74:r=25", *X264)))
    assert track[1] == (130, 74)


@pytest.mark.parametrize(
    ("codec", "string"),
    [
        (X264, "avc1.42c00a"),
        (("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1", "-pix_fmt", "yuv420p"), "av01.0.00M.08"),
        (("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-tag:v", "hvc1"), "hvc1"),
        (("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-tag:v", "hev1"), "hev1"),
    ],
    ids=["h264", "av1", "hvc1", "hev1"],
)
def test_fragmented_mp4_has_an_init_section(make: Make, codec: tuple[str, ...], string: str) -> None:
    """Of fragmented MP4 the init section ends where the first fragment begins."""
    path = make(*VIDEO, *SOUND, *codec, *AAC, *FRAGMENTED)
    facts, data = probe(path), path.read_bytes()
    assert facts.init_bytes == data.index(b"moof") - 4
    assert facts.init_hash == examine(data).init_hash != examine(data[:8] + b"iso9" + data[12:]).init_hash
    picture, sound = facts.tracks
    assert picture.format.codec.startswith(string)
    assert (picture.format.width, picture.format.height) == (128, 72)
    assert picture.frame_rate == 25
    # this muxer shows the first frame a little longer, while AAC warms up
    assert TICKS <= picture.end - picture.first <= TICKS + 1930
    assert sound.format.codec == "mp4a.40.2"
    assert facts.key_frame


def test_mp4_that_is_not_fragmented_is_no_segment(make: Make) -> None:
    """No playlist can offer MP4 without fragments, or fragments without an init section."""
    whole = make(*VIDEO, *X264, "-movflags", "+faststart", "-f", "mp4").read_bytes()
    fragmented = make(*VIDEO, *SOUND, *X264, *AAC, *FRAGMENTED).read_bytes()
    start = fragmented.index(b"moof") - 4
    for data in (whole, fragmented[start:], fragmented[:start], fragmented[: start - 9]):
        assert examine(data) == Facts(len(data), error="It is MP4 without an init section and fragments after it.")


def test_the_clock_of_ts_may_begin_again_within(make: Make) -> None:
    """Where the 33-bit clock begins again within a segment, its end lies beyond, and the next one joins."""
    start = Fraction(WRAP, TICKS) - 3  # the muxer adds 1.4 seconds
    clips = [
        probe(make(*VIDEO, *SOUND, *X264, *AAC, "-output_ts_offset", f"{float(start + second):.6f}"))
        for second in range(3)
    ]
    before, within, after = (clip.tracks[0] for clip in clips)
    assert 0 < before.first < before.end < WRAP
    assert 0 < within.first < WRAP < within.end
    assert 0 < after.first < after.end < TICKS * 2
    assert all(clip.tracks[0].end - clip.tracks[0].first == TICKS for clip in clips)
    assert joins(*clips[:2]) is joins(*clips[1:]) is True
    assert joins(clips[0], clips[2]) is False
    assert same_format(*clips[:2])


def test_a_segment_that_cannot_be_entered_says_so(make: Make) -> None:
    """A segment whose first picture needs others before it does not begin with a key frame."""
    data = make(*VIDEO, *X264, "-g", "25", "-mpegts_flags", "pat_pmt_at_frames").read_bytes()
    packets = [data[start : start + 188] for start in range(0, len(data), 188)]
    starts = [n for n, packet in enumerate(packets) if packet[1] & 0x5F == 0x41 and packet[2] == 0]
    facts = examine(b"".join(packets[:3] + packets[starts[3] :]))
    assert facts.key_frame is False
    assert facts.tracks[0].end == examine(data).tracks[0].end


def test_a_file_that_is_gone_raises(tmp_path: Path) -> None:
    """What cannot be read from disk is an OSError, not a fact."""
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "gone.ts")
    with pytest.raises(IsADirectoryError):
        probe(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file larger than any segment is refused unread."""
    path = tmp_path / "huge.ts"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert probe(path) == Facts(1 << 40, error="It is larger than 256 MiB.")


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    """A file that names other files does not make us open them."""
    secret = tmp_path / "secret.ts"
    text = f"#EXTM3U\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    for data in (text, b"ffconcat version 1.0\nfile " + str(secret).encode()):
        assert examine(data).error is not None


@given(st.binary(max_size=2000) | st.binary(max_size=600).map(b"\0\0\0\x18ftypisom".__add__))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Whatever a file holds, there are facts with an error."""
    facts = examine(data)
    assert facts.bytes == len(data)
    assert facts.error
    assert not facts.tracks


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 300), st.booleans())
def test_damage_is_survived(make: Make, seed: int, flips: int, cut: bool) -> None:  # noqa: FBT001 - a property
    """Damaged segments have facts that can be written down, or an error; none fails or hangs."""
    dice = random.Random(seed)
    arguments = dice.choice([(*VIDEO, *SOUND, *X264, *AAC), (*VIDEO, *SOUND, *X264, *AAC, *FRAGMENTED)])
    data = bytearray(make(*arguments).read_bytes())
    for _ in range(flips):
        data[dice.randrange(len(data))] = dice.randrange(256)
    if cut:
        start, end = sorted(dice.choices(range(len(data)), k=2))
        del data[start:end]
    facts = examine(bytes(data))
    assert bool(facts.tracks) is (facts.error is None)
    assert parse_facts(format_facts(facts)) == facts


# Clips of others ----------------------------------------------------------------------------------------------------

A13 = "a13martin-L3_video/stream_2/data0"
STEREO = ("mp4a.40.2", (48_000, 2), None)
SMALL = ("avc1.64001e", (640, 360), 30)
BEE = ("avc1.64001f", (1280, 720), NTSC)
ANGEL = ("avc1.4d401e", (640, 360), 24)
TINY = ("avc1.42c01e", (640, 360), NTSC)

SAMPLES: dict[str, list[tuple[object, ...]]] = {
    # sound starts, and ends, before the picture
    A13 + "0.ts": [(*SMALL, 132_000, 708_000), (*STEREO, 130_080, 702_240)],
    A13 + "1.ts": [(*SMALL, 708_000, 1_284_000), (*STEREO, 702_240, 1_278_240)],
    A13 + "5.ts": [(*SMALL, 2_868_000, 3_336_000), (*STEREO, 2_862_240, 3_336_480)],
    # the last segment is one frame
    "flutter-assets/hls/bee1.ts": [(*BEE, 312_186, 492_366), (*STEREO, 306_726, 487_206)],
    "flutter-assets/hls/bee2.ts": [(*BEE, 492_366, 495_369), (*STEREO, 487_206, 494_886)],
    # timestamps rounded to milliseconds
    "shaka-player/hls-text-offset/video-069.ts": [(*ANGEL, 12_600_000, 12_779_970), (*STEREO, 12_601_740, 12_780_300)],
    "shaka-player/hls-text-offset/video-072.ts": [(*ANGEL, 277_470, 359_970), (*STEREO, 279_180, 361_740)],
    "shaka-player/hls-gap/2.ts": [("avc1.640020", (1280, 720), 2 * NTSC, 369_360, 729_720)],
    # sound is the first stream
    "http-streaming/utils/bipbop0.ts": [
        ("mp4a.40.2", (22_050, 1), None, 900_000, 1_798_612),
        ("avc1.42e00b", (192, 144), NTSC / 2, 900_000, 1_800_901),
    ],
    # the clock
    "http-streaming/test/segments/videoMinOffset.ts": [(*TINY, 0, 6006)],
    "http-streaming/test/segments/videoLargeOffset.ts": [(*TINY, 4_294_967_297, 4_294_973_303)],
    "http-streaming/test/segments/videoMaxOffset.ts": [(*TINY, 8_589_928_586, WRAP)],
    "http-streaming/test/segments/audioMaxOffset.ts": [(*STEREO, 8_589_923_072, WRAP)],
    "shaka-player/hls-interstitial/ad.ts": [
        (*ANGEL, 8_589_060_842, 8_589_240_842), (*STEREO, 8_589_060_984, 8_589_241_464),
    ],
    # one picture every half second
    "http-streaming/test/segments/videoOneSecond1.ts": [("avc1.64000a", (128, 96), 2, 90_000, 180_000)],
    # PAT and PMT come after the first packets of media
    "mux.js/test-middle-pat-pmt.ts": [
        ("avc1.42c01f", (864, 480), NTSC, 5_387_171_045, 5_387_216_090),
        ("mp4a.40.2", (44_100, 2), None, 5_387_160_282, 5_387_218_800),
    ],
    # what is declared and not there is no track
    "mux.js/test-no-audio-segment.ts": [("avc1.42c015", (388, 300), 15, 126_000, 930_000)],
    # a tag of data is all that there is
    "http-streaming/test/segments/zeroLength.ts": [("", (None, None), None, 900_000, 900_000)],
    "androidx-media/ts/sample_ac3.ts": [("ac-3", (48_000, 6), None, 0, 25_920)],
    "androidx-media/ts/sample_eac3joc.ts": [("ec-3", (48_000, 6), None, 0, 184_320)],
    "androidx-media/ts/sample_latm.ts": [("mp4a.40.5", (44_100, 2), None, 126_000, 146_897)],
    "androidx-media/ts/sample_h265.ts": [("hvc1.1.6.L90.90", (854, 480), 30, 132_000, 222_000)],
    "androidx-media/ts/sample_h264_iframes_only.ts": [("avc1.64101f", (854, 480), 30, 126_000, 216_000)],
    # a stream appears after the beginning
    "androidx-media/ts/sample_ait.ts": [("ec-3", (48_000, 2), None, 3_926_030_763, 3_926_088_363)],
    "androidx-media/ts/sample_scte35.ts": [
        ("", (640, 426), NTSC, 129_003, 138_012),
        ("mp4a.40.33", (44_100, 1), None, 128_021, 137_425),
        ("", (None, None), None, 63_000, 63_000),
    ],
    # the packets of MPEG-TS begin somewhere
    "derived-broken/00_good.ts": [(*SMALL, 1_860_000, 2_151_000), (*STEREO, 1_854_240, 2_142_240)],
    "derived-broken/06_junk_prefix_100B.ts": [(*SMALL, 1_860_000, 2_151_000), (*STEREO, 1_854_240, 2_142_240)],
    "derived-broken/01_truncated_mid_packet.ts": [(*SMALL, 1_860_000, 2_043_000), (*STEREO, 1_854_240, 2_023_200)],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_ts_of_others(media: Path, name: str) -> None:
    """Streams of other encoders are found to hold what they do."""
    facts = probe(media / name)
    assert lines(facts) == SAMPLES[name]
    assert facts.key_frame in {True, None}
    assert parse_facts(format_facts(facts)) == facts


LIVESIM = "livesim2/testpic_2s"
PARTS: dict[str, tuple[str, list[tuple[object, ...]]]] = {
    f"{LIVESIM}/V300/1.m4s": (f"{LIVESIM}/V300/init.mp4", [(*SMALL, 6000, 186_000)]),
    f"{LIVESIM}/V300/2.m4s": (f"{LIVESIM}/V300/init.mp4", [(*SMALL, 186_000, 366_000)]),
    f"{LIVESIM}/A48/2.m4s": (f"{LIVESIM}/A48/init.mp4", [(*STEREO, 180_480, 360_960)]),
    f"{LIVESIM}_av1/av1/2.m4s": (
        f"{LIVESIM}_av1/av1/init.mp4", [("av01.0.05M.08", (1280, 720), 25, 180_000, 360_000)],
    ),
    "mp4ff/hvc1_seg_1.m4s": ("mp4ff/hvc1_init.mp4", [("hvc1.1.6.L63.90", (640, 360), 24, 7500, 97_500)]),
    "androidx-media/cmaf/multi-segment/audio_2.m4s": (
        "androidx-media/cmaf/multi-segment/audio_init.mp4", [("mp4a.40.2", (44_100, 1), None, 22_988, 45_976)],
    ),
    # a clock of 1.7 billion seconds, which does not begin again
    "mux.js/test-webvtt.m4s": (
        "mux.js/test-webvtt-init.mp4", [("", (None, None), None, 155_409_910_740_000, 155_409_910_920_000)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_mp4_of_others(media: Path, name: str) -> None:
    """An init section and a part in one file are found to hold what they do."""
    init_name, expected = PARTS[name]
    init = (media / init_name).read_bytes()
    facts = examine(init + (media / name).read_bytes())
    assert lines(facts) == expected
    assert facts.init_bytes == len(init)


@pytest.mark.parametrize(
    "name",
    [
        "derived-broken/21_empty.ts", "derived-broken/22_html_error_page.ts", "flutter-assets/hls/encrypted_bee2.ts",
        "mux.js/test-stuffed-pes.ts", "shaka-player/hls-interstitial/main.m3u8", "androidx-media/ts/sample.adts",
        "livesim2/testpic_2s/V300/1.m4s", "livesim2/testpic_2s/V300/init.mp4", "mp4ff/init_truncated.mp4",
        "mp4ff/bbb_prog_10s.mp4",
    ],
)  # fmt: skip
def test_what_is_no_segment_says_why(media: Path, name: str) -> None:
    """What is empty, encrypted, another format or half of one has a sentence in place of tracks."""
    facts = probe(media / name)
    assert facts == Facts((media / name).stat().st_size, error=facts.error)
    assert facts.error is not None
    assert facts.error.startswith("It ")
    assert facts.error.endswith(".")


def test_real_segments_join_where_they_do(media: Path) -> None:
    """Segments cut from one stream join and share their format; where its clock was set back, they do not."""
    for name, numbers in ((A13 + "{}.ts", range(6)), ("flutter-assets/hls/bee{}.ts", range(3))):
        found = [probe(media / name.format(number)) for number in numbers]
        pairs = list(pairwise(found))
        assert all(joins(*pair) and same_format(*pair) for pair in pairs)
        assert joins(found[0], found[2]) is False
    found = [probe(media / f"shaka-player/hls-text-offset/video-0{number}.ts") for number in range(69, 74)]
    assert [joins(*pair) for pair in pairwise(found)] == [True, True, False, True]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_damage_to_real_segments_is_survived(media: Path, seed: int) -> None:
    """Real segments, damaged at random, have facts or an error; none fails or hangs."""
    dice = random.Random(seed)
    name = dice.choice([name for name in SAMPLES if "a13" not in name])
    data = bytearray((media / name).read_bytes())
    for _ in range(dice.randrange(200)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    facts = examine(bytes(data[dice.randrange(400) : dice.randrange(200, len(data) + 1)]))
    assert parse_facts(format_facts(facts)) == facts


def test_nothing_is_said_on_standard_error(media: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """FFmpeg's complaints about damaged media do not reach the terminal."""
    for path in sorted((media / "derived-broken").glob("*.ts")):
        probe(path)
    assert capfd.readouterr() == ("", "")
