"""What an upload location takes at the most of what is said of a video, and of its length. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a location, None or empty where it has none; `forbidden`: characters that it takes in no text.

    Characters are those of Unicode; `tag_characters` counts as YouTube does (see `tags_length`).
    """

    title_characters: int | None = None
    description_bytes: int | None = None
    tag_characters: int | None = None
    forbidden: str = ""
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Give what there is of them, as the column `limits` of the table `cutters` has it."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def of_json(cls, found: object) -> "Limits":
        """Read them; what another version has written and this one does not know is no limit."""
        if not isinstance(found, Mapping):
            return cls()
        kinds = {"forbidden": str}
        known = ((each.name, found.get(each.name)) for each in fields(cls))
        read: dict[str, Any] = {name: value for name, value in known if isinstance(value, kinds.get(name, int | float))}
        return cls(**read)

    def wrong_with(
        self, location: str, *, title: str, description: str, tags: Sequence[str], length: timedelta | None = None
    ) -> str | None:
        """Tell what the location does not take, as one sentence that says what to change; None if it takes it."""
        if self.title_characters is not None and len(title) > self.title_characters:
            return (
                f"The title has {len(title)} characters, and {location} takes {self.title_characters}: make it shorter."
            )
        size = len(description.encode())
        if self.description_bytes is not None and size > self.description_bytes:
            return f"The description has {size} bytes, and {location} takes {self.description_bytes}: make it shorter."
        size = tags_length(tags)
        if self.tag_characters is not None and size > self.tag_characters:
            return f"The tags have {size} characters, and {location} takes {self.tag_characters}: take some away."
        for what, said in (("title", title), ("description", description), ("tags", "".join(tags))):
            if any(each in said for each in self.forbidden):
                shown = " and ".join(self.forbidden)
                return f"{location} takes no {shown} in the {what}: write it without them."
        if self.seconds is not None and length is not None and length.total_seconds() > self.seconds:
            most = timedelta(seconds=self.seconds)
            return f"The video is {length} long, and {location} takes at most {most}: make its ranges shorter."
        return None


def tags_length(tags: Sequence[str]) -> int:
    """Count characters of tags as YouTube does: commas between them count, and quotes around those with spaces."""
    return sum(len(tag) + 2 * (" " in tag) for tag in tags) + max(0, len(tags) - 1)
