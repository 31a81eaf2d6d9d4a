"""The picture of a day of a quality: a row for each hour, minutes from left to right, coloured by what they hold."""

import hashlib
import io
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from common.dateutil import HOUR
from librarian.coverage_account import Kind, Span, ratio, totals

_PIXEL: Final = timedelta(seconds=5)
_WIDTH: Final = HOUR // _PIXEL

# However short something missing is, it is so many pixels wide.
_LEAST: Final = 3

_HOURS: Final = 24
_DAY: Final = _HOURS * HOUR

_COLOURS: Final = {
    Kind.IDLE: "#d8dde3",
    Kind.FULL: "#3fa46a",
    Kind.PARTIAL: "#e8a33d",
    Kind.INTERRUPTED: "#7d8896",
    Kind.MISSING: "#d6333f",
}
_SAID: Final = {
    Kind.FULL: "complete",
    Kind.PARTIAL: "suspect or partial",
    Kind.MISSING: "missing",
    Kind.INTERRUPTED: "nobody recorded",
    Kind.IDLE: "nothing expected",
}
_KINDS: Final = [*Kind]
_NOT_YET: Final = len(_KINDS)

_PAPER, _INK, _PALE, _TICK = "#ffffff", "#27313c", "#66727f", "#f2f4f6"
_LEFT, _TOP, _ROW, _BAR, _RIGHT, _BOTTOM = 44, 62, 17, 14, 20, 34

# Whatever changes how a picture looks makes all of them anew.
_LOOKS: Final = "1"


class DayPicture:
    """What the picture of a day shows; `drawn_from` is equal for two that look alike."""

    def __init__(self, channel: str, quality: str, day: datetime, spans: Iterable[Span]) -> None:
        """Lay out the spans of a day (its first moment), which come by start; what they leave has not been yet."""
        self._title = f"{channel}/{quality}"
        self._day = day
        here = [Span(max(s, day), min(e, day + _DAY), kind) for s, e, kind in spans if s < day + _DAY and e > day]
        self._sums = totals(here, day, day + _DAY)
        pixels = bytearray([_NOT_YET]) * (_WIDTH * _HOURS)
        for span in sorted(here, key=lambda each: _KINDS.index(each.kind)):  # the worst is painted last
            first, last = (span.start - day) // _PIXEL, -((day - span.end) // _PIXEL)
            if span.kind is Kind.MISSING and last - first < _LEAST:
                first = min(first, first - first % _WIDTH + _WIDTH - _LEAST)  # it ends with its row
                last = first + _LEAST
            pixels[first:last] = bytes([_KINDS.index(span.kind)]) * (last - first)
        self._pixels = bytes(pixels)

    @property
    def drawn_from(self) -> str:
        """Give a digest of all that is to be seen."""
        said = "\n".join((_LOOKS, self._title, f"{self._day:%Y-%m-%d}", self._summary()))
        return hashlib.sha256(said.encode(errors="surrogateescape") + self._pixels).hexdigest()[:32]

    def _summary(self) -> str:
        share = ratio(self._sums)
        parts = [] if share is None else [f"{_percent(share)} recorded of what was expected"]
        shown = (kind for kind in (Kind.MISSING, Kind.PARTIAL, Kind.INTERRUPTED) if self._sums[kind])
        parts += [f"{_SAID[kind]} {_length(self._sums[kind])}" for kind in shown]
        return ", ".join(parts) or "nothing expected"

    def png(self) -> bytes:
        """Draw it."""
        size = (_LEFT + _WIDTH + _RIGHT, _TOP + _HOURS * _ROW + _BOTTOM)
        image = Image.new("RGB", size, _PAPER)
        draw = ImageDraw.Draw(image)
        small, large = ImageFont.load_default(11), ImageFont.load_default(15)
        draw.text((_LEFT, 9), f"{self._title}   {self._day:%Y-%m-%d} UTC", fill=_INK, font=large)
        draw.text((_LEFT, 29), self._summary(), fill=_PALE, font=small)
        for minute in range(0, 60, 10):
            draw.text((_LEFT + minute * 12, _TOP - 3), f":{minute:02}", fill=_PALE, font=small, anchor="lb")
        colours = bytes(part for kind in _KINDS for part in bytes.fromhex(_COLOURS[kind][1:]))
        rows = Image.frombytes("P", (_WIDTH, _HOURS), self._pixels)
        rows.putpalette(colours + bytes.fromhex(_TICK[1:]))
        for hour in range(_HOURS):
            top = _TOP + hour * _ROW
            draw.text((_LEFT - 8, top + _BAR // 2), f"{hour:02}", fill=_PALE, font=small, anchor="rm")
            image.paste(rows.crop((0, hour, _WIDTH, hour + 1)).resize((_WIDTH, _BAR)).convert("RGB"), (_LEFT, top))
        left = _LEFT
        for kind, said in _SAID.items():
            top = _TOP + _HOURS * _ROW + 10
            draw.rectangle((left, top, left + 11, top + 11), fill=_COLOURS[kind])
            draw.text((left + 17, top + 6), said, fill=_PALE, font=small, anchor="lm")
            left += 17 + int(draw.textlength(said, font=small)) + 20
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()


def _percent(share: float) -> str:
    # only what is whole is called 100 %
    return "100 %" if share == 1 else f"{min(99.99, 100 * share):.2f} %"


def _length(length: timedelta) -> str:
    seconds = round(length.total_seconds(), 1)
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if not minutes:
        return f"{seconds:g} s"
    return f"{minutes} min {seconds % 60:.0f} s" if not hours else f"{hours} h {minutes % 60} min"
