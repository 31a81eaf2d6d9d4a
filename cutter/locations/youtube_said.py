"""What is said of a video, in YouTube's form.

Source: the resource "video" of Google's documentation of the YouTube Data API, and its errors.
"""

import io
from typing import Any, Final

from PIL import Image

from common.waits import in_thread
from cutter.locations import JSON, LocationRefusedError, Video

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
    """Give a picture as it is, or as a JPEG that YouTube takes. Raises LocationRefusedError if it is none."""
    if len(image) <= _MOST_THUMBNAIL:
        return image
    try:
        return await in_thread(_as_jpeg, image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LocationRefusedError("The thumbnail is a damaged picture: choose another one.") from error


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
