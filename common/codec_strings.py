"""What a stream needs of its decoder, as RFC 6381 writes it in CODECS: `avc1.64001f`, `mp4a.40.2`.

`config` is the decoder's configuration as it stands in MP4 (avcC, hvcC, av1C, AudioSpecificConfig) or, from MPEG-TS,
parameter sets with start codes. `tag` is the sample entry's name in MP4, empty elsewhere.
"""

from common.nal import unescape, units

_START_CODE = b"\0\0\1"
_AVC_SPS = 7
_HEVC_SPS = 33

# Those that say all by their name; the MPEG audio layers have object types of their own (ISO/IEC 14496-3 table 1.17).
_PLAIN = {
    "ac3": "ac-3", "eac3": "ec-3", "opus": "opus", "flac": "fLaC", "alac": "alac",
    "mp1": "mp4a.40.32", "mp2": "mp4a.40.33", "mp3": "mp4a.40.34",
}  # fmt: skip

# What a decoder finds in the sound itself; the header of ADTS has no room for it.
_AAC_OBJECTS = {"HE-AAC": 5, "HE-AACv2": 29}

_ESCAPE_OBJECT = 31
_SPACES = ("", "A", "B", "C")
_TIERS = "LH"
_AV1_TIERS = "MH"


def codec_string(codec: str, config: bytes, *, tag: str = "", profile: str = "") -> str:
    """Write the string for `codec` (FFmpeg's name), or an empty one if it cannot be told exactly.

    `profile` is the one that an AAC decoder has found, if one was asked.
    """
    match codec:
        case "h264":
            return _avc(config, tag)
        case "hevc":
            return _hevc(config, tag)
        case "av1":
            return _av1(config)
        case "aac" | "aac_latm":
            return _aac(config, profile)
    return _PLAIN.get(codec, "")


def tidy_config(config: bytes) -> bytes:
    """Give the configuration without what is left to chance: zeros around parameter sets with start codes."""
    if config.startswith((_START_CODE, b"\0" + _START_CODE)):
        return b"".join(_START_CODE + unit for unit in units(config))
    return config


def adts_config(frame: bytes) -> bytes:
    """Give the AudioSpecificConfig that says the same as the header of an ADTS frame; empty if it has none."""
    header = frame[:4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return b""
    bits = int.from_bytes(header)
    kind, rate, channels = (bits >> 14 & 3) + 1, bits >> 10 & 15, bits >> 6 & 7
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2)


def _avc(config: bytes, tag: str) -> str:
    """RFC 6381 §3.3: profile, constraints and level as they stand in the SPS."""
    name = "avc3" if tag == "avc3" else "avc1"
    if config[:1] == b"\x01":  # avcC
        levels = config[1:4]
    else:
        levels = next((unit[1:4] for unit in units(config) if unit[0] & 31 == _AVC_SPS), b"")
    return f"{name}.{levels.hex()}" if len(levels) == 3 else ""


def _hevc(config: bytes, tag: str) -> str:
    """ISO/IEC 14496-15 annex E.3, from profile_tier_level: space, tier, profile; 32 flags; 48 bits; level."""
    name = "hev1" if tag == "hev1" else "hvc1"
    if config[:1] == b"\x01":  # hvcC
        general = config[1:13]
    else:
        found = (unit for unit in units(config) if unit[0] >> 1 & 63 == _HEVC_SPS)
        general = next((unescape(unit[2:32])[1:13] for unit in found), b"")
    if len(general) < 12:
        return ""
    space, tier, profile = general[0] >> 6, general[0] >> 5 & 1, general[0] & 31
    compatible = int(f"{int.from_bytes(general[1:5]):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in general[5:11].rstrip(b"\0"))
    return (
        f"{name}.{'ABC'[space - 1] if space else ''}{profile}.{compatible:X}.{_TIERS[tier]}{general[11]}{constraints}"
    )


def _av1(config: bytes) -> str:
    """AV1 in ISOBMFF §5: profile, level, tier, depth, from av1C."""
    if len(config) < 4 or config[0] != 0x81:
        return ""
    profile, level = config[1] >> 5, config[1] & 31
    tier, high, twelve = config[2] >> 7, config[2] >> 6 & 1, config[2] >> 5 & 1
    return f"av01.{profile}.{level:02}{_AV1_TIERS[tier]}.{8 + 2 * high + 2 * (high & twelve):02}"


def _aac(config: bytes, profile: str) -> str:
    """RFC 6381 §3.3: the object type; the one found by a decoder where the configuration does not signal it."""
    kind = _AAC_OBJECTS.get(profile)
    if kind is None and len(config) >= 2:
        kind = config[0] >> 3
        if kind == _ESCAPE_OBJECT:
            kind = 32 + (int.from_bytes(config[:2]) >> 5 & 63)
    return f"mp4a.40.{kind}" if kind else ""
