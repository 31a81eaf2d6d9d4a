"""Events as people and programs read them."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from common.dateutil import format_utc
from respool.event_rows import Row

_RANDOM_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_COLOURS: Final = {
    "UNEDITED": "dim",
    "EDITED": "cyan",
    "CLAIMED": "yellow",
    "FINALIZING": "yellow",
    "TRANSCODING": "yellow",
    "DONE": "green",
    "MODIFIED": "yellow",
}
_BAR_CELLS: Final = 10

# What `show` calls the columns that have other names on the command line, and which it passes over.
_TOLD_ELSEWHERE: Final = {"id", "state", "channel", "quality", "ranges", "transitions", "revision"}
_NAMES: Final = {
    "upload_location": "location",
    "cut_type": "type",
    "uploader_allowlist": "nodes",
    "thumbnail_mode": "thumbnail",
}


def plain(text: str) -> str:
    """A text of anybody's as a terminal may show it: on one line, without what would steer the terminal."""
    return "".join(
        each if each.isprintable() else " " if each.isspace() else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def moment(when: datetime) -> str:
    """A time in UTC that commands take, with no more digits than it has."""
    whole, _, fraction = format_utc(when).rstrip("Z").partition(".")
    return whole + (f".{digits}Z" if (digits := fraction.rstrip("0")) else "Z")


def seconds(length: timedelta) -> str:
    """A length as minutes and seconds, or hours."""
    total = length.total_seconds()
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:06.3f}".removesuffix(".000")
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"


def length(row: Row) -> timedelta:
    """How long the video of an event is."""
    shown = sum((end - start for start, end in row["ranges"] or ()), timedelta())
    return shown - sum((timedelta(seconds=each[1]) for each in row["transitions"] or () if each), timedelta())


def as_json(row: Row) -> dict[str, Any]:
    """An event as JSON has it, with all that may be shown."""
    return {name: _json_value(value) for name, value in row.items()} | {
        "ranges": [{"start": moment(start), "end": moment(end)} for start, end in row["ranges"] or ()],
        "transitions": [
            None if each is None else {"type": each[0], "seconds": each[1]} for each in row["transitions"] or ()
        ],
    }


def _json_value(value: object) -> object:
    return moment(value) if isinstance(value, datetime) else value


def short_ids(rows: Iterable[Row]) -> dict[str, str]:
    """By id, what of it is shown: of a random one its first part, unless two in view begin alike."""
    ids = [row["id"] for row in rows]
    first = [each[:8] for each in ids]
    return {
        each: each[:8] if _RANDOM_ID.fullmatch(each) and first.count(each[:8]) == 1 else plain(each) for each in ids
    }


def note(row: Row, now: datetime) -> str:
    """What there is to say of an event now: how far it is, what it lacks, what went wrong, where it is to be seen."""
    said = []
    if row["state"] in {"CLAIMED", "FINALIZING", "TRANSCODING"} and row["uploader"]:
        said.append(f"by {row['uploader']}")
    if row["error"]:
        said.append(row["error"])
    if row["state"] not in {"DONE", "UNEDITED"} and row["next_try"] and row["next_try"] > now:
        said.append(f"next try in {seconds(timedelta(seconds=round((row['next_try'] - now).total_seconds())))}")
    if row["state"] == "EDITED":
        said += [f"{node}: {why}" for node, why in sorted((row["lacking"] or {}).items())]
        said += ["cut, waits for its delivery"] if row["spool"] else []
    if row["attempts"] > 1 and row["state"] not in {"DONE", "MODIFIED"}:
        said.append(f"{row['attempts']} attempts")
    if row["video_link"]:
        said.append(row["video_link"])
    return plain("; ".join(each.rstrip(".") for each in said))


def _progress(row: Row) -> str:
    if row["progress"] is None or row["state"] in {"UNEDITED", "EDITED", "DONE"}:
        return ""
    full = round(row["progress"] * _BAR_CELLS)
    return f"{'━' * full}{'╌' * (_BAR_CELLS - full)} {row['progress']:4.0%}"


def table(rows: Sequence[Row], *, progress: bool, now: datetime | None = None) -> Table:
    """A table of events, a line or some for each."""
    now = now or datetime.now(UTC)
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("event", "state", *(["progress"] if progress else ["from (UTC)", "length"])):
        made.add_column(name, no_wrap=True)
    made.add_column("title", overflow="fold")
    made.add_column("note", overflow="fold")
    names = short_ids(rows)
    for row in rows:
        first = moment(row["ranges"][0][0])[:19].replace("T", " ") if row["ranges"] else ""
        middle = [_progress(row)] if progress else [first, seconds(length(row)) if row["ranges"] else ""]
        style = "red" if row["error"] and row["state"] == "UNEDITED" else _COLOURS[row["state"]]
        # as texts: what operators write is no markup
        said = [Text(cell) for cell in (*middle, plain(_title(row)), note(row, now))]
        made.add_row(Text(names[row["id"]]), Text(row["state"], style=style), *said)
    return made


def _title(row: Row) -> str:
    return str(row["title"] or row["description"] or "")


def line(row: Row, now: datetime) -> str:
    """An event in one line, for logs of scripts."""
    return " ".join(filter(None, (moment(now)[:19] + "Z", plain(row["id"]), row["state"], note(row, now))))


def describe(row: Row) -> list[str]:
    """All of an event, in lines."""
    lines = [f"{plain(row['id'])} is {row['state']}"]
    if row["channel"] or row["quality"]:
        lines.append(_entry("recording", f"{row['channel'] or '?'}/{row['quality'] or '?'}"))
    joins = [*(row["transitions"] or ()), None]
    for (start, end), join in zip(row["ranges"] or (), joins, strict=False):
        lines.append(_entry("range", f"{moment(start)} {moment(end)}  ({seconds(end - start)})"))
        lines += [_entry("transition", f"{join[0]},{join[1]:g}")] if join else []
    if len(row["ranges"] or ()) > 1:
        lines.append(_entry("length", seconds(length(row))))
    for name, value in row.items():
        if name not in _TOLD_ELSEWHERE and value not in (None, "", [], {}):
            lines.append(_entry(_NAMES.get(name, name).replace("_", " "), _shown(name, value)))
    return lines


def _entry(name: str, text: str) -> str:
    return f"  {name:<18} {plain(text)}"


def _shown(name: str, value: object) -> str:
    if name == "thumbnail_image":
        return f"{value:,} bytes"
    if name == "progress":
        return f"{value:.0%}"
    if name == "lacking" and isinstance(value, dict):
        return "; ".join(f"{node}: {why}" for node, why in sorted(value.items()))
    return _value(value)


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return moment(value)
        case list():
            return ", ".join(map(_value, value))
        case dict():
            return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
        case None:
            return "nothing"
        case _:
            return str(value)


def describe_history(changes: Sequence[Row]) -> list[str]:
    """Every change, in a line or some each: when, by whom, what."""
    lines = []
    for change in changes:
        before, after = change["before"], change["after"]
        lines.append(f"  {moment(change['at'])}  {plain(change['by'])}{_of_state(before, after)}")
        for name, value in sorted((after or {}).items()):
            old = (before or {}).get(name)
            # the counter follows from the rest, and of a new event what is empty says nothing
            if name in {"state", "revision", "id"} or (before is None and value in (None, "", [], {}, 0, False)):
                continue
            was = "" if before is None else f"{_value(old)} → "
            lines.append(f"      {name}: {plain(was + _value(value))}")
    return lines


def _of_state(before: Row | None, after: Row | None) -> str:
    if after is None:
        return "  deleted"
    if before is None:
        return f"  made, {after['state']}"
    return f"  {before['state']} → {after['state']}" if "state" in after else ""
