"""What segments need beside themselves, keys and init sections: fetched once, kept for as long as they are of use."""

import asyncio
from collections import OrderedDict

from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import ByteRange
from downloader.transfer import Client, Transfer

# Streams change them every few minutes at the most, and a few are in use at the same time.
_MOST_KEPT = 16

# What another one waits for is waited for no longer than this.
_SECONDS = 30.0

_Place = tuple[str, ByteRange | None]


class Resources:
    """Small things of an origin, whole in memory. The last used ones stay; a failure is forgotten at once."""

    def __init__(self, client: Client) -> None:
        """Take the client of the segments."""
        self._client = client
        self._kept: OrderedDict[_Place, bytes] = OrderedDict()
        self._locks: dict[_Place, asyncio.Lock] = {}

    async def get(self, uri: str, byterange: ByteRange | None, most: int, what: str) -> bytes:
        """Give all of it, once fetched from memory.

        Raises FetchError if it does not come, or is longer than `most` bytes; a segment is unusable without it.
        """
        place = uri, byterange
        async with self._locks.setdefault(place, asyncio.Lock()):
            try:
                if place not in self._kept:
                    self._kept[place] = await self._fetch(Transfer(self._client, *place, what), most)
            finally:
                self._locks.pop(place, None)
        self._kept.move_to_end(place)
        content = self._kept[place]
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return content

    def forget(self, uri: str) -> None:
        """Ask anew for what came from this address."""
        for place in [place for place in self._kept if place[0] == uri]:
            del self._kept[place]

    async def _fetch(self, transfer: Transfer, most: int) -> bytes:
        content = bytearray()
        try:
            async with asyncio.timeout(_SECONDS):
                await transfer.open()
                while len(content) <= most and (data := await transfer.read()):
                    content += data
        except TimeoutError:
            raise FetchError(f"The {transfer.what} did not arrive in time.", Reason.UNUSABLE, gone=False) from None
        except FetchError as error:
            # it may come yet, and until then all segments need it
            raise FetchError(str(error), Reason.UNUSABLE, gone=False) from error
        finally:
            await transfer.close()
        if len(content) > most:
            raise FetchError(f"The {transfer.what} is longer than {most} bytes.", Reason.UNUSABLE, gone=False)
        return bytes(content)
