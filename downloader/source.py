"""Where the media playlists of a channel are: its provider and its multivariant playlist, asked once for all."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiohttp import ClientSession

from common.addresses import without_secrets
from downloader.finder import Finder
from downloader.handover import renew_after
from downloader.origin import SOURCE, OriginError, fetch_playlist
from downloader.playlist_values import MediaPlaylist, MultivariantPlaylist, PlaylistError
from downloader.providers import Playlists, Provider, ProviderError
from downloader.variants import Choice, choose

log = structlog.get_logger()

# The qualities of a channel are asked for at nearly the same time; an answer older than this may have gone stale.
_FRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Channel:
    """A live stream: the name that we give it, and what finds its playlists."""

    name: str
    provider: Provider


@dataclass(frozen=True, slots=True)
class Found:
    """Where the media playlist of one quality is; `headers` go with each request, `variables` are for it to import.

    `renew_at` is when another address should be looked for. If the channel's address is that of the media playlist, it
    is here already, having been `asked` for then. Both are seconds of the loop's clock.
    """

    url: str
    headers: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    renew_at: float | None = None
    playlist: MediaPlaylist | None = None
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class _Told:
    """What provider and origin said, and when they were asked."""

    playlists: Playlists
    playlist: MediaPlaylist | MultivariantPlaylist | None
    asked: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """A question to provider and origin; each quality is given its answer once, since it then wants another."""

    coming: "asyncio.Task[_Told]"
    asked: float
    given: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Source:
    """Finds the media playlists of one channel, for its `qualities` and the sound that comes apart from them.

    `sounds` gives the name of each such sound once, as soon as it is known.
    """

    channel: Channel
    session: ClientSession
    qualities: Sequence[str]
    sounds: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    _finder: Finder = field(init=False)
    _answer: _Answer | None = None
    _known_sounds: set[str] = field(default_factory=set)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._finder = Finder(self.channel.name, self.channel.provider)

    async def find(self, quality: str, attempt: int = 0) -> Found:
        """Find where the media playlist of a quality is now; each `attempt` may get another of its backups.

        Raises OriginError, after a minute at the latest.
        """
        now = asyncio.get_running_loop().time()
        answer = self._answer
        if answer is None or quality in answer.given or (answer.coming.done() and now - answer.asked > _FRESH_SECONDS):
            answer = self._answer = _Answer(asyncio.create_task(self._ask()), now)
            answer.coming.add_done_callback(_heard)
        answer.given.add(quality)
        told = await asyncio.shield(answer.coming)  # another quality may be waiting for it too
        lasts = told.playlists.expires_in
        renew_at = answer.asked + renew_after(lasts).total_seconds() if lasts else None
        addresses = self._choose(told, quality)
        url, headers = addresses[attempt % len(addresses)], told.playlists.headers
        if isinstance(told.playlist, MultivariantPlaylist):
            return Found(url, headers, told.playlist.variables, renew_at)
        return Found(url, headers, renew_at=renew_at, playlist=told.playlist, asked=told.asked)

    async def _ask(self) -> _Told:
        try:
            playlists = await self._finder.find()
        except ProviderError as error:
            raise OriginError(str(error)) from error
        asked = asyncio.get_running_loop().time()
        if playlists.qualities:
            return _Told(playlists, None, asked)
        return _Told(playlists, await fetch_playlist(self.session, playlists.url, playlists.headers), asked)

    def _choose(self, told: _Told, quality: str) -> tuple[str, ...]:
        """Give the addresses of a quality's media playlist, the best first. Raises OriginError."""
        url = told.playlists.url
        if told.playlist is None:
            return (_named(told.playlists, quality),)
        if isinstance(told.playlist, MediaPlaylist):
            if quality != SOURCE:
                raise OriginError(
                    f"{without_secrets(url)} offers one quality only; ask for {SOURCE} in place of {quality}."
                )
            return (url,)
        try:
            choice = self._choices(told.playlist, quality)[quality]
        except PlaylistError as error:
            raise OriginError(f"{without_secrets(url)}: {error}") from error
        except KeyError:
            raise OriginError(f"{without_secrets(url)} offers no {quality} now.") from None
        return (choice.uri, *choice.backups)

    def _choices(self, playlist: MultivariantPlaylist, quality: str) -> dict[str, Choice]:
        asked = [quality] if quality in self.qualities else _those_offered(playlist, self.qualities)
        choices = choose(playlist, asked)
        for name in choose(playlist, _those_offered(playlist, self.qualities)):
            if name not in self.qualities and name not in self._known_sounds:
                self._known_sounds.add(name)
                self.sounds.put_nowait(name)
        if quality in choices and (warning := choices[quality].warning) and warning not in self._warned:
            self._warned.add(warning)
            log.warning("sound_apart", channel=self.channel.name, quality=quality, reason=warning)
        return choices


def _those_offered(playlist: MultivariantPlaylist, qualities: Sequence[str]) -> list[str]:
    offered = []
    for quality in qualities:
        with suppress(PlaylistError):
            choose(playlist, [quality])
            offered.append(quality)
    return offered


def _heard(coming: "asyncio.Task[_Told]") -> None:
    if not coming.cancelled():
        coming.exception()  # nobody may be left to hear of it


def _named(playlists: Playlists, quality: str) -> str:
    best = next(iter(playlists.qualities.values()))
    known = {SOURCE: best, **{name.casefold(): url for name, url in playlists.qualities.items()}}
    if quality.casefold() not in known:
        listed = ", ".join([SOURCE, *playlists.qualities])
        raise OriginError(f"{without_secrets(playlists.url)}: The stream has no quality {quality!r}; it has: {listed}.")
    return known[quality.casefold()]
