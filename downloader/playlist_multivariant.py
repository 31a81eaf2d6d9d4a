"""A multivariant playlist's text into its values. Pure; see `downloader.playlist`."""

from collections.abc import Mapping

from downloader.playlist_notes import Notes
from downloader.playlist_text import quote, read_attributes, read_integer, read_number, read_resolution
from downloader.playlist_values import MultivariantPlaylist, Rendition, Variant

_NAMES = ("NAME", "IVS-NAME", "STABLE-VARIANT-ID")


def read_multivariant(text: str, notes: Notes) -> MultivariantPlaylist:
    """Read what is known to be a multivariant playlist. Raises PlaylistError if it is too large."""
    return _MultivariantReader(notes).read(text)


class _MultivariantReader:
    """Reads a multivariant playlist; an EXT-X-STREAM-INF waits for the URI line after it."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.variants: list[Variant] = []
        self.renditions: list[Rendition] = []
        self.pending: dict[str, str] | None = None
        self.pathway = ""

    def read(self, text: str) -> MultivariantPlaylist:
        for line in self.notes.lines(text):
            name, _, value = line.partition(":")
            if not line.startswith("#"):
                self.variant(line)
            elif name == "#EXT-X-STREAM-INF":
                self.pending = read_attributes(value)
            elif name == "#EXT-X-MEDIA":
                self.rendition(read_attributes(value))
            elif name == "#EXT-X-DEFINE":
                self.notes.define(value)
            elif name == "#EXT-X-CONTENT-STEERING":
                self.pathway = read_attributes(value).get("PATHWAY-ID", "")
        return MultivariantPlaylist(
            variants=tuple(self.variants),
            renditions=tuple(self.renditions),
            warnings=self.notes.all_warnings(),
            variables=self.notes.variables,
            pathway=self.pathway,
        )

    def variant(self, uri: str) -> None:
        attributes, self.pending = self.pending, None
        if attributes is None:
            self.notes.warn(f"The line {quote(uri)} is left out: no EXT-X-STREAM-INF belongs to it.")
            return
        self.notes.count_entry()
        address = self.notes.resolve(uri, "A variant")
        bandwidth = read_integer(attributes.get("BANDWIDTH", ""))
        if bandwidth is None:
            self.notes.warn(f"The variant {quote(uri)} has no usable BANDWIDTH.")
        if address:
            self.variants.append(_variant(address, attributes, bandwidth or 0))

    def rendition(self, attributes: Mapping[str, str]) -> None:
        self.notes.count_entry()
        name, uri = attributes.get("NAME", ""), attributes.get("URI", "")
        address = self.notes.resolve(uri, f"The rendition {quote(name)}") if uri else ""
        if uri and not address:
            return
        self.renditions.append(
            Rendition(
                type=attributes.get("TYPE", "").upper(),
                group=attributes.get("GROUP-ID", ""),
                name=name,
                uri=address,
                language=attributes.get("LANGUAGE", ""),
                default=attributes.get("DEFAULT", "").upper() == "YES",
                autoselect=attributes.get("AUTOSELECT", "").upper() == "YES",
            )
        )


def _variant(uri: str, attributes: Mapping[str, str], bandwidth: int) -> Variant:
    return Variant(
        uri=uri,
        bandwidth=bandwidth,
        average_bandwidth=read_integer(attributes.get("AVERAGE-BANDWIDTH", "")),
        resolution=read_resolution(attributes.get("RESOLUTION", "")),
        frame_rate=read_number(attributes.get("FRAME-RATE", "")),
        codecs=tuple(codec.strip() for codec in attributes.get("CODECS", "").split(",") if codec.strip()),
        name=next((attributes[key] for key in _NAMES if key in attributes), ""),
        video=attributes.get("VIDEO", ""),
        audio=attributes.get("AUDIO", ""),
        video_range=attributes.get("VIDEO-RANGE", "SDR").upper(),
        pathway=attributes.get("PATHWAY-ID", ""),
        is_source=attributes.get("IVS-VARIANT-SOURCE", "").casefold() == "source",
    )
