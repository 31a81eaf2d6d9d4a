"""RFC 6381 strings, from configurations of known streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec_strings import adts_config, codec_string, tidy_config

# As in MPEG-TS: parameter sets of two real streams.
AVC_SETS = "0000016764001eacd980a02ff970110000030001000003003ce04000f424001e84e4a38078b16cd00000000168e97b2c8b"
HEVC_SPS = "000001420101016000000300900000030000030000a00a080f1f7da0"


@pytest.mark.parametrize(
    ("codec", "config", "tag", "written"),
    [
        ("h264", AVC_SETS, "", "avc1.64001e"),
        ("h264", "0164001effe100196764001eacd940a02ff96100", "avc1", "avc1.64001e"),
        ("h264", "0142c01effe1", "avc3", "avc3.42c01e"),
        ("h264", "00000168e97b2c8b", "", ""),
        ("hevc", "0101600000009000000000003ff000", "hvc1", "hvc1.1.6.L63.90"),
        ("hevc", "0101600000009000000000003ff000", "hev1", "hev1.1.6.L63.90"),
        # the two examples of ISO/IEC 14496-15 annex E
        ("hevc", "010160000000" + "b00000000000" + "5d", "hev1", "hev1.1.6.L93.B0"),
        ("hevc", "016482000000" + "b02300000000" + "78", "hev1", "hev1.A4.41.H120.B0.23"),
        ("hevc", "012220000000" + "900000000000" + "99", "hvc1", "hvc1.2.4.H153.90"),
        ("hevc", HEVC_SPS, "", "hvc1.1.6.L0.90"),
        ("hevc", "0101", "", ""),
        ("av1", "81050c000a0b0000002d4cffb3c02f8004", "av01", "av01.0.05M.08"),
        ("av1", "814dcc00", "av01", "av01.2.13H.10"),
        ("av1", "814de000", "av01", "av01.2.13H.12"),
        ("av1", "0a0b0000002d4cff", "", ""),
        ("aac", "1190", "mp4a", "mp4a.40.2"),
        ("aac", "2b8a0800", "mp4a", "mp4a.40.5"),
        ("aac", "eb098800", "mp4a", "mp4a.40.29"),
        ("aac", "f94641c0", "mp4a", "mp4a.40.42"),
        ("aac", "", "", ""),
        ("ac3", "", "", "ac-3"),
        ("eac3", "", "", "ec-3"),
        ("opus", "4f707573", "Opus", "opus"),
        ("mp2", "", "", "mp4a.40.33"),
        ("mp3", "", "", "mp4a.40.34"),
        ("mpeg2video", "000001b3", "", ""),
    ],
)
def test_codecs_are_written_exactly(codec: str, config: str, tag: str, written: str) -> None:
    """Profile, tier and level stand in the string as the configuration has them; what is not sure is left empty."""
    assert codec_string(codec, bytes.fromhex(config), tag=tag) == written


def test_the_profile_that_a_decoder_found_counts() -> None:
    """HE-AAC that says nothing of itself in its header is named by what the decoder found."""
    assert codec_string("aac", bytes.fromhex("1310"), profile="HE-AAC") == "mp4a.40.5"
    assert codec_string("aac", bytes.fromhex("1310"), profile="HE-AACv2") == "mp4a.40.29"
    assert codec_string("aac", bytes.fromhex("1190"), profile="LC") == "mp4a.40.2"


@pytest.mark.parametrize(
    ("header", "config"), [("fff14c80", "1190"), ("fff15040", "1208"), ("47400011", ""), ("ff", "")]
)
def test_adts_headers_say_the_same_as_mp4(header: str, config: str) -> None:
    """The header of a frame becomes the configuration that MP4 has for the same sound."""
    assert adts_config(bytes.fromhex(header)).hex() == config


def test_chance_zeros_make_no_other_configuration() -> None:
    """Zeros before and after parameter sets are left out; a record of MP4 stays as it is."""
    tidy = bytes.fromhex("000001676400000168e97b")
    assert tidy_config(b"\0" + tidy.replace(b"\0\0\1h", b"\0\0\0\1h") + b"\0") == tidy_config(tidy) == tidy
    assert tidy_config(b"\x01d\0\0\1\0") == b"\x01d\0\0\1\0"


@given(st.sampled_from(["h264", "hevc", "av1", "aac", "opus", "x"]), st.binary() | st.binary().map(b"\0\0\1".__add__))
def test_any_configuration_is_survived(codec: str, config: bytes) -> None:
    """Whatever the configuration, there is a string."""
    assert codec_string(codec, tidy_config(config)).isascii()
