"""Names of delivered files: always the same for the same video, and fit for any disk and any address. Pure."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from cutter.locations import JSON, Session, Video

DEFAULT_TEMPLATE: Final = "{title} {event}-{revision}"

# What a template may hold, and what each stands for is in `render`. Without the first two, two videos share a name.
_NEEDED: Final = ("event", "revision")
PLACEHOLDERS: Final = (*_NEEDED, "title", "year", "month", "day", "time")

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_BETWEEN: Final = re.compile(r"[\w .,()\[\]@+=~/-]*")
_PLAIN_EVENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

# What some file system, shell or address takes for something else.
_UNSAFE: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029]')
# They turn around the order in which what follows is shown: `gpj.exe` looks like `exe.jpg`.
_DIRECTIONS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")

# What Windows takes for a device, whatever its ending.
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

# Most file systems take 255 bytes, S3 1,024 for all parts together. What is left is for the mark and the ending.
_TITLE_BYTES: Final = 120
_PART_BYTES: Final = 225
_NAME_BYTES: Final = 900

_MARK_DIGITS: Final = 12

# Those that cuts have.
_CONTENT_TYPES: Final = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ts": "video/mp2t",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}


def content_type(name: str) -> str:
    """Tell the media type of a file by its ending."""
    return _CONTENT_TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")


def check_template(template: str) -> str:
    """Give the template back. Raises ValueError with what is wrong with it, as the rest of a sentence."""
    held = _PLACEHOLDER.findall(template)
    if unknown := [name for name in held if name not in PLACEHOLDERS]:
        raise ValueError(f"knows no {{{unknown[0]}}}; it knows {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}")
    if missing := [name for name in _NEEDED if name not in held]:
        raise ValueError(f"must hold {{{missing[0]}}}, or two videos may have the same name")
    between = _PLACEHOLDER.sub("", template)
    if not _BETWEEN.fullmatch(between):
        raise ValueError("may hold letters, digits, spaces and .,()[]@+=~/-_ beside its placeholders")
    parts = template.split("/")
    if any(not part.strip(" .") for part in parts) or any(part.startswith(".") for part in parts):
        raise ValueError("has a part between slashes that is empty or begins with a dot")
    if max(len(part.encode()) for part in parts) > _TITLE_BYTES:
        raise ValueError(f"is too long: {_TITLE_BYTES} bytes between slashes are the most")
    return template


def render(template: str, video: Video) -> str:
    """Give the name of a video, with its ending: relative, its folders divided by slashes."""
    values: Mapping[str, str] = {
        "event": safe_event(video.event),
        "revision": str(video.revision),
        "title": safe_title(video.title),
        "year": f"{video.recorded:%Y}",
        "month": f"{video.recorded:%m}",
        "day": f"{video.recorded:%d}",
        "time": f"{video.recorded:%H-%M-%S}",
    }
    parts = [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in template.split("/")]
    name = "/".join(_fit(part, video) for part in parts)
    if len(name.encode()) > _NAME_BYTES:
        name = _fit(name.replace("/", " "), video)
    return name + video.path.suffix.lower()


def settled(template: str, video: Video, session: Session | None = None) -> Session:
    """Give the session that holds the name of a video: the one that there is, for its title may have changed since."""
    return {"name": render(template, video)} if session is None else session


def _fit(part: str, video: Video) -> str:
    """Make a part of a name one that every disk takes."""
    safe = safe_title(part, _PART_BYTES)
    if len(part.encode()) > _PART_BYTES:  # what tells videos apart may have been at its end
        safe = f"{safe_title(part, _PART_BYTES // 2)} {safe_event(video.event)}-{video.revision}"
    return f"_{safe}" if _DEVICES.match(safe) else safe


def safe_title(title: str, most_bytes: int = _TITLE_BYTES) -> str:
    """Give a title as it may stand in the name of a file; `untitled` if nothing of it can."""
    text = _SURROGATES.sub("", _DIRECTIONS.sub("", unicodedata.normalize("NFC", title)))
    text = " ".join(_UNSAFE.sub(" ", text).split())
    text = text.encode()[:most_bytes].decode(errors="ignore")
    return text.strip(" .") or "untitled"


def safe_event(event: str) -> str:
    """Give an event's id as it may stand in a name: two ids never become the same."""
    if _PLAIN_EVENT.fullmatch(event):
        return event
    digest = hashlib.sha256(event.encode(errors="surrogatepass")).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', event)[:40]}~{digest[:16]}"


def candidates(name: str, sha256: str) -> tuple[str, str]:
    """Give the names under which a video may be: its own, and the one that it takes if that holds something else."""
    path = PurePosixPath(name)
    return name, str(path.with_name(f"{path.stem} {sha256[:_MARK_DIGITS]}{path.suffix}"))


def companions(name: str, video: Video) -> dict[str, bytes]:
    """Give the files beside a video: what is said of it, as JSON, and its thumbnail if it has one."""
    path = PurePosixPath(name)
    said: dict[str, JSON] = {
        "title": video.title,
        "description": video.description,
        "tags": list(video.tags),
        "public": video.public,
        "recorded": video.recorded.isoformat().replace("+00:00", "Z"),
        "event": video.event,
        "revision": video.revision,
        "file": path.name,
        "bytes": video.size,
        "sha256": video.sha256,
    }
    files = {str(path.with_suffix(".json")): json.dumps(said, indent=2).encode() + b"\n"}
    if video.thumbnail is not None:
        ending = ".png" if video.thumbnail.startswith(b"\x89PNG") else ".jpg"
        files[str(path.with_suffix(ending))] = video.thumbnail
    return files
