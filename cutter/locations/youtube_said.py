"""What is said of a video, in YouTube's form and within its limits.

Source: the resource "video" of Google's documentation of the YouTube Data API, and its errors.
"""

import io
from typing import Any, Final

from PIL import Image

from common.waits import in_thread
from cutter.locations import JSON, LocationRefusedError, Video

_MOST_TITLE: Final = 100  # characters
_MOST_DESCRIPTION: Final = 5_000  # bytes
_MOST_TAGS: Final = 500  # characters, with what divides them

_MOST_THUMBNAIL: Final = 2 << 20  # bytes
_QUALITIES: Final = (92, 80, 60, 40)

# The parts of a video: what of them can be set and is not ours to say, and what is.
_PARTS: Final = (
    ("snippet", ("categoryId", "defaultLanguage", "defaultAudioLanguage"), ("title", "description", "tags")),
    (
        "status",
        ("license", "embeddable", "publicStatsViewable", "selfDeclaredMadeForKids", "containsSyntheticMedia"),
        ("privacyStatus",),
    ),
)


def check_said(name: str, video: Video) -> None:
    """Return if YouTube takes title, description and tags. Raises LocationRefusedError, which says what to change."""
    if len(video.title) > _MOST_TITLE:
        raise LocationRefusedError(
            f"The title has {len(video.title)} characters, and {name} takes {_MOST_TITLE}: make it shorter."
        )
    if (size := len(video.description.encode())) > _MOST_DESCRIPTION:
        raise LocationRefusedError(
            f"The description has {size} bytes, and {name} takes {_MOST_DESCRIPTION}: make it shorter."
        )
    if (size := tags_length(video.tags)) > _MOST_TAGS:
        raise LocationRefusedError(f"The tags have {size} characters, and {name} takes {_MOST_TAGS}: take some away.")
    for what, said in (("title", video.title), ("description", video.description), ("tags", "".join(video.tags))):
        if "<" in said or ">" in said:
            raise LocationRefusedError(f"{name} takes no < and > in the {what}: write it without them.")


def tags_length(tags: tuple[str, ...]) -> int:
    """Count characters of tags as YouTube does: commas between them count, and quotes around those with spaces."""
    return sum(len(tag) + 2 * (" " in tag) for tag in tags) + max(0, len(tags) - 1)


def resource_of(video: Video, category: int, language: str | None, *, kids: bool) -> dict[str, JSON]:
    """Give the parts `snippet` and `status` of a video; who is not public is unlisted: it is seen by its link."""
    snippet: dict[str, JSON] = {
        "title": video.title,
        "description": video.description,
        "tags": list(video.tags),
        "categoryId": str(category),
    }
    if language is not None:
        snippet["defaultLanguage"] = language
    return {
        "snippet": snippet,
        "status": {
            "privacyStatus": "public" if video.public else "unlisted",
            "selfDeclaredMadeForKids": kids,
        },
    }


def with_said(found: dict[str, Any], ours: dict[str, JSON]) -> dict[str, JSON]:
    """Give a video's resource with what is said of it now.

    What an update leaves out is erased there, so all else that can be set goes back as it was found.
    """
    changed: dict[str, JSON] = {"id": found["id"]}
    for part, kept, said in _PARTS:
        new, old = ours[part], found.get(part, {})
        assert isinstance(new, dict), "as it was made"  # noqa: S101 - for the types
        changed[part] = {**new, **{key: old[key] for key in kept if key in old}, **{key: new[key] for key in said}}
    return changed


async def small_enough(image: bytes) -> bytes:
    """Give a picture as it is, or as a JPEG that YouTube takes."""
    return image if len(image) <= _MOST_THUMBNAIL else await in_thread(_as_jpeg, image)


def _as_jpeg(image: bytes) -> bytes:
    with Image.open(io.BytesIO(image)) as opened:
        picture = opened.convert("RGB")
    made = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        made = file.getvalue()
        if len(made) <= _MOST_THUMBNAIL:
            break
    return made


def thumbnail_type(image: bytes) -> str:
    """Tell the media type of a picture."""
    return "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
