"""What both readers of playlists keep while they read: the address, the warnings, the bounds, the variables. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from downloader.playlist_text import Base, lines, quote, read_attributes
from downloader.playlist_values import PlaylistError

MAX_CHARACTERS = 16 * 1024 * 1024  # twelve hours of 2 s segments with long signed addresses are 10 million
MAX_ENTRIES = 100_000  # segments, variants, renditions and date ranges of one playlist: two days of 2 s segments
MAX_WARNINGS = 20  # so that a broken playlist of thousands of entries does not flood the log at every poll

_VARIABLE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_UNFIT = re.compile(r'["\x00-\x1f\x7f]')  # would end the quotes or the line that the value is put into


@dataclass(slots=True)
class Notes:
    """The state that a media and a multivariant playlist's reader share.

    `url` is the playlist's own, `imported` are the variables of the multivariant playlist that led to it.
    """

    url: str
    imported: Mapping[str, str] = field(default_factory=dict)
    base: Base = field(init=False)
    variables: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    untold: int = 0
    entries: int = 0
    substituted: int = 0

    def __post_init__(self) -> None:
        self.base = Base(self.url)

    def warn(self, sentence: str) -> None:
        """Keep a sentence, or only count it if there are many."""
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(sentence)
        else:
            self.untold += 1

    def all_warnings(self) -> tuple[str, ...]:
        """Give the sentences, and one more that counts those left out."""
        return (*self.warnings, f"There are {self.untold} more warnings.") if self.untold else tuple(self.warnings)

    def count_entry(self) -> None:
        """Raise PlaylistError if there are more entries than any real stream has."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise PlaylistError(f"The playlist has more than {MAX_ENTRIES} entries, which no real stream has.")

    def resolve(self, uri: str, whose: str) -> str:
        """Give the absolute http or https address of `uri`, or an empty text and a warning."""
        address = None if "{$" in uri else self.base.resolve(uri)
        if address is None:
            reason = "uses a variable that is not defined" if "{$" in uri else "is not an http or https one"
            self.warn(f"{whose} cannot be fetched: its address {quote(uri)} {reason}.")
        return address or ""

    def lines(self, text: str) -> Iterator[str]:
        """Give the lines with the variables that are defined so far put in (draft-pantos-hls-rfc8216bis §4.3)."""
        for line in lines(text):
            yield self._substitute(line) if self.variables and "{$" in line else line

    def _substitute(self, line: str) -> str:
        return _VARIABLE.sub(self._value, line)

    def _value(self, match: re.Match[str]) -> str:
        value = self.variables.get(match[1], match[0])
        self.substituted += len(value)
        if self.substituted > MAX_CHARACTERS:
            raise PlaylistError(f"The playlist's variables make more than {MAX_CHARACTERS} characters of it.")
        return value

    def define(self, text: str) -> None:
        """Take in an EXT-X-DEFINE: a value given, one of the playlist's own address, or one of the playlist before."""
        self.count_entry()
        attributes = read_attributes(text)
        name, value = attributes.get("NAME", ""), attributes.get("VALUE")
        if "QUERYPARAM" in attributes:
            name = attributes["QUERYPARAM"]
            value = _query(self.url).get(name)
        elif "IMPORT" in attributes:
            name = attributes["IMPORT"]
            value = self.imported.get(name)
        if value is None or not _NAME.fullmatch(name) or _UNFIT.search(value):
            self.warn(f"The variable {quote(name)} has no value that could be used.")
        else:
            self.variables.setdefault(name, value)  # a second definition must not be (§4.4.2.3)


def _query(url: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in url.partition("#")[0].partition("?")[2].split("&"))
    return {unquote(name): unquote(value) for name, _, value in pairs}
