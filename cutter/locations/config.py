"""The upload locations of a TOML file. docs/locations.md has every key, its default and why."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from common.cuts import CutType
from common.encoding import AudioCodec, Codec, Container, EncodingError, EncodingSettings
from common.errors import UserError
from common.limits import Limits
from cutter.locations import Location, Settings
from cutter.locations.keys import Place, flag, key, key_names, one_line, one_of, read_table, whole

# The modules of the types of locations, each imported only if one is configured. A module has `Keys`, the table of its
# own keys, and `make`, which makes a location of a name, the settings and these.
KINDS: dict[str, str] = {
    "local": "cutter.locations.local",
    "s3": "cutter.locations.s3",
    "youtube": "cutter.locations.youtube",
}

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Common:
    """The keys that every location has."""

    cut: CutType = key(one_of(CutType), CutType.SMART)
    most_bytes: int | None = key(whole(1, 1 << 50), None)
    most_seconds: int | None = key(whole(1, 31 * 86_400), None)
    at_once: int = key(whole(1, 16), 1)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The keys of the table `encoding` of a location."""

    codec: Codec = key(one_of(Codec), Codec.H264)
    container: Container = key(one_of(Container), Container.MP4)
    audio_codec: AudioCodec | None = key(one_of(AudioCodec), None)
    quality: int | None = key(whole(0, 63), None)
    bitrate: int | None = key(whole(8_000, 1_000_000_000), None)
    preset: str | None = key(one_line, None)
    audio_bitrate: int = key(whole(8_000, 1_000_000_000), 160_000)
    ten_bits: bool = key(flag, default=False)


def load(file: Path) -> dict[str, Location]:
    """Give the locations of a configuration file by their names, not yet open. Blocks.

    Raises UserError for whatever is wrong in it: one sentence with the key and the file.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"The upload locations cannot be read: {file} ({error.strerror}).") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise UserError(f"{file} is no TOML: {error}.") from error
    place = Place(file)
    for name in content:
        if name != "locations":
            raise (place / name).wrong("is no key here; there is locations alone, as in [locations.videos]")
    tables = _table(content.get("locations", {}), place / "locations")
    if not tables:
        raise UserError(f"{file} has no upload location; give at least one, as [locations.videos].")
    return {name: read_location(name, table, place / "locations" / name) for name, table in tables.items()}


def read_location(name: str, table: object, place: Place) -> Location:
    """Make a location of its table. Raises UserError."""
    if not _NAME.fullmatch(name):
        raise place.wrong("must have a name of letters, digits, dots, dashes and underscores, 64 at the most")
    given = _table(table, place)
    if "type" not in given:
        raise (place / "type").wrong(f"is missing: it is one of {', '.join(KINDS)}")
    kind = given["type"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise (place / "type").wrong(f"must be one of {', '.join(KINDS)}")
    module = import_module(KINDS[kind])
    encoding = _encoding(_table(given.get("encoding", {}), place / "encoding"), place / "encoding")
    rest = {key: value for key, value in given.items() if key not in {"type", "encoding"}}
    common, own = _split(rest, key_names(module.Keys), place)
    settings = _settings(read_table(Common, common, place), encoding)
    made: Location = module.make(name, settings, read_table(module.Keys, own, place))
    return made


def _split(
    table: Mapping[str, object], own: Mapping[str, object], place: Place
) -> tuple[dict[str, object], dict[str, object]]:
    """Tell the keys of all locations from those of a type, unknown ones among these; the error names both."""
    everywhere = key_names(Common)
    # a secret's bare name is no key, and gets an error of its own
    bare = {name.rpartition("_")[0] for name in own if name.endswith(("_file", "_env"))}
    for name in table:
        if name not in {*everywhere, *own, *bare}:
            known = sorted({"type", "encoding", *everywhere, *own})
            raise (place / name).wrong(f"is no key here; there are {', '.join(known)}")
    common = {name: value for name, value in table.items() if name in everywhere}
    return common, {name: value for name, value in table.items() if name not in everywhere}


def _table(value: object, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.wrong("must be a table")
    return value


def _encoding(table: Mapping[str, object], place: Place) -> EncodingSettings:
    try:
        return EncodingSettings(**asdict(read_table(Encoding, table, place)))
    except EncodingError as error:
        raise UserError(f"{place} does not fit together: {error}") from error


def _settings(common: Common, encoding: EncodingSettings) -> Settings:
    return Settings(common.cut, encoding, common.most_bytes, Limits(seconds=common.most_seconds), common.at_once)
