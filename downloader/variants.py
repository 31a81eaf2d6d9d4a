"""Which media playlist of a multivariant one serves a quality, and where its sound is. Pure.

A quality is found, case aside, by the first of these rules that finds any variant:

1. By name: the variant's NAME, its VIDEO group, or the NAME of that group's own rendition (`720p60`, `audio_only`),
   with or without Twitch's ` (source)` behind it. `source` is also called `chunked`, or has that addition, or says so
   otherwise (`Variant.is_source`).
2. By size: `720p` is any of that height (or of that width, if it stands upright), `720p60` also of that frame rate
   (rounded: 59.94 is 60).
3. `source` is any; `audio` and `audio_only` are any that has sound only.
4. `X-audio` is the sound of the quality X where it comes apart from the picture, `X-audio-de` that in a language or
   of a name.

Among several the best one: with a picture rather than sound only, lying rather than upright (some streams are sent as
both), the most pixels (no RESOLUTION counts as none), the highest frame rate; of equal pictures the one in SDR (HDR
looks wrong in most players and cuts), then with its sound in it, then apart, then without; then H.264 (or no CODECS,
which mostly is), which every browser plays and every cut takes, before HEVC, AV1 and others; then the highest
bandwidth, the first in the file. So `source` is HEVC only where HEVC has the larger or faster picture. Where no
RESOLUTION tells which pictures are equal, the bandwidth comes before all that. A picture that is offered with several
kinds of sound is taken with AAC.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from downloader.playlist_text import quote
from downloader.playlist_values import MultivariantPlaylist, PlaylistError, Rendition, Variant

# How many qualities an error names, of a playlist that may have thousands.
_MOST_LISTED = 20

_SOURCE = frozenset({"source", "chunked"})  # Twitch calls its source `chunked`
_AUDIO_ONLY = frozenset({"audio", "audio_only"})
_ADDITION = " (source)"
_SIZE = re.compile(r"([0-9]{2,5})[pP]([0-9]{1,3})?")
_SOUND = re.compile(r"(.+)-audio(?:-(.+))?", re.IGNORECASE)
_OTHER = re.compile(r"[^a-z0-9_.]+")

# The later, the better supported; the first that a variant's codecs begin with decides.
_CODECS = (("dvh", "dva", "dav"), ("vp08", "vp09", "vp8", "vp9"), ("av01",), ("hvc1", "hev1"), ("avc1", "avc3"))
_SOUND_CODECS = ("mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "mp3", "vorbis", "dts")


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a quality's media playlist is: `uri`, or else one of the `backups`, which offer the same, in their order.

    `warning` is empty or one sentence about what the operator gets.
    """

    uri: str
    backups: tuple[str, ...] = ()
    warning: str = ""


def choose(playlist: MultivariantPlaylist, qualities: Sequence[str]) -> dict[str, Choice]:
    """Find where each quality is, and for each whose sound comes apart from its picture, `<quality>-audio` too.

    Two that share their sound have it once, by the name of the first. Variants with the same attributes are backups of
    each other (RFC 8216 §6.2.4), those of the pathway to begin with first. Raises PlaylistError, which lists what there
    is, if a quality is missing.
    """
    chosen: dict[str, Choice] = {}
    sounds: dict[str, str] = {}
    for quality in qualities:
        alike = _alike(playlist, quality)
        if not alike:
            chosen[quality] = _asked_sound(playlist, quality)
            continue
        uris = [variant.uri for variant in alike]
        sound = _sound(playlist, alike, "")
        if sound is None:
            chosen[quality] = _choice(uris)
            continue
        name = sounds.setdefault(sound.uri, f"{quality}-audio")
        warning = (
            f"The sound of {quality} comes apart from its picture and is recorded beside it as {name}; "
            f"cuts of {quality} have no sound."
        )
        chosen[quality] = _choice(uris, warning)
        chosen.setdefault(name, sound)
    return chosen


def _choice(uris: Iterable[str], warning: str = "") -> Choice:
    uri, *backups = dict.fromkeys(uris)
    return Choice(uri, tuple(backups), warning)


def _alike(playlist: MultivariantPlaylist, quality: str) -> list[Variant]:
    """Give the best variant for a quality and those that offer the same, the one to begin with first."""
    found = _find(playlist, quality)
    if not found:
        return []
    sounds = _Sounds(playlist)
    best = max(found, key=lambda variant: _rank(variant, sounds))
    # the same picture is often offered once with each kind of sound
    best = max((variant for variant in found if variant.uri == best.uri), key=_has_plain_sound)
    alike = [variant for variant in found if _likeness(variant) == _likeness(best)] if best.bandwidth else [best]
    return sorted(alike, key=lambda variant: variant.pathway != playlist.pathway)


def _find(playlist: MultivariantPlaylist, quality: str) -> list[Variant]:
    quality = quality.casefold()
    wanted = _SOURCE if quality in _SOURCE else {quality}
    found = [variant for variant, names in _named(playlist) if any(wanted & _forms(name) for name in names)]
    found = found or [variant for variant in playlist.variants if _has_size(variant, quality)]
    if not found and wanted is _SOURCE:
        return list(playlist.variants)
    if not found and quality in _AUDIO_ONLY:
        return [variant for variant in playlist.variants if variant.audio_only]
    return found


def _named(playlist: MultivariantPlaylist) -> Iterator[tuple[Variant, list[str]]]:
    own: dict[str, str] = {}
    for rendition in playlist.renditions:
        if rendition.type == "VIDEO" and not rendition.uri:  # a group has one at most that is the variant itself
            own.setdefault(rendition.group, rendition.name)
    for variant in playlist.variants:
        source = "source" if variant.is_source else ""
        yield variant, [variant.name, variant.video, own.get(variant.video, ""), source]


def _forms(name: str) -> set[str]:
    name = name.casefold()
    return {name, name.removesuffix(_ADDITION), *(["source"] if name.endswith(_ADDITION) else [])}


def _has_size(variant: Variant, quality: str) -> bool:
    size = _SIZE.fullmatch(quality)
    if size is None or variant.resolution is None:
        return False
    if int(size[1]) not in {variant.resolution[1], min(variant.resolution)}:
        return False
    return size[2] is None or (variant.frame_rate is not None and round(variant.frame_rate) == int(size[2]))


def _rank(variant: Variant, sounds: "_Sounds") -> tuple[int, ...]:
    width, height = variant.resolution or (0, 0)
    picture = (not variant.audio_only, width >= height > 0, width * height, round(variant.frame_rate or 0))
    use = (variant.video_range == "SDR", _sound_rank(variant, sounds), _codec_rank(variant))
    return (*picture, *use, variant.bandwidth) if variant.resolution else (*picture, variant.bandwidth, *use)


def _sound_rank(variant: Variant, sounds: "_Sounds") -> int:
    if sounds.apart(variant):
        return 1
    is_silent = bool(variant.codecs) and not variant.audio and not any(map(_is_sound, variant.codecs))
    return 0 if is_silent else 2


def _codec_rank(variant: Variant) -> int:
    codecs = [codec.casefold() for codec in variant.codecs if not _is_sound(codec)]
    ranks = [rank for rank, kinds in enumerate(_CODECS) for codec in codecs if codec.startswith(kinds)]
    return min(ranks) if ranks else -1 if codecs else len(_CODECS) - 1


def _has_plain_sound(variant: Variant) -> bool:
    """Whether it has the sound that every browser plays, AAC, as far as its codecs tell."""
    return all(codec.casefold().startswith("mp4a") for codec in variant.codecs if _is_sound(codec))


def _is_sound(codec: str) -> bool:
    return codec.casefold().startswith(_SOUND_CODECS)


def _likeness(variant: Variant) -> tuple[object, ...]:
    """Give what two variants that are backups of each other have in common; groups and hosts may differ."""
    return (
        variant.bandwidth,
        variant.average_bandwidth,
        variant.resolution,
        variant.frame_rate,
        variant.codecs,
        variant.name,
        variant.video_range,
        bool(variant.audio),
    )


# Sound -------------------------------------------------------------------------------------------------------------


class _Sounds:
    """The audio renditions of each group, by their addresses."""

    def __init__(self, playlist: MultivariantPlaylist) -> None:
        self._has_pictures = not all(variant.audio_only for variant in playlist.variants)
        self._groups: dict[str, dict[str, Rendition]] = {}
        for rendition in playlist.renditions:
            if rendition.type == "AUDIO":
                self._groups.setdefault(rendition.group, {}).setdefault(rendition.uri, rendition)

    def group(self, name: str) -> Iterable[Rendition]:
        """Give the renditions of a group that have an address of their own."""
        return (rendition for uri, rendition in self._groups.get(name, {}).items() if uri)

    def apart(self, variant: Variant) -> Iterable[Rendition]:
        """Give the renditions that hold the variant's sound; none if it is in the variant itself.

        That is so where one of them has no address (RFC 8216 §4.3.4.2.1), or that of the variant, or where it is sound
        only. (Where all are said to be that, CODECS are not to be relied on.)
        """
        renditions = self._groups.get(variant.audio, {})
        is_sound = variant.audio_only and self._has_pictures
        return () if is_sound or "" in renditions or variant.uri in renditions else renditions.values()


def _sound(playlist: MultivariantPlaylist, alike: Sequence[Variant], which: str) -> Choice | None:
    """Give the sound of variants that offer the same: the default one, or that of a language or name."""
    sounds = _Sounds(playlist)
    found = [r for r in sounds.apart(alike[0]) if not which or which in {_folder(r.language), _folder(r.name)}]
    if not found:
        return None
    best = max(found, key=lambda rendition: (rendition.default, rendition.autoselect))
    groups = dict.fromkeys(variant.audio for variant in alike)
    same = (r.uri for group in groups for r in sounds.group(group) if _who(r) == _who(best))
    return _choice((best.uri, *same))


def _who(rendition: Rendition) -> tuple[str, str]:
    return rendition.name.casefold(), rendition.language.casefold()


def _folder(text: str) -> str:
    """Give a name as a part of a quality, which is a folder's name."""
    return _OTHER.sub("-", text.casefold()).strip("-")


def _asked_sound(playlist: MultivariantPlaylist, quality: str) -> Choice:
    match = _SOUND.fullmatch(quality)
    alike = _alike(playlist, match[1]) if match else []
    sound = _sound(playlist, alike, (match[2] or "").casefold()) if match and alike else None
    if sound is None:
        raise _missing(playlist, quality)
    return sound


def _missing(playlist: MultivariantPlaylist, quality: str) -> PlaylistError:
    labels = ("source", *(_label(variant, names) for variant, names in _named(playlist)))
    listed = [label for label in dict.fromkeys(labels) if label][:_MOST_LISTED] if playlist.variants else ["none"]
    return PlaylistError(f"The stream has no quality {quote(quality)}; it has: {', '.join(listed)}.")


def _label(variant: Variant, names: Sequence[str]) -> str:
    size = f"{variant.resolution[1]}p{round(variant.frame_rate or 0) or ''}" if variant.resolution else ""
    return next(filter(None, names), size)[:80]
