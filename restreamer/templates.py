"""The templates for thumbnails that an operator has put into a folder: NAME.png, and NAME.toml for what is said of it.

    description = "Two halves: the game below, the speaker above"
    crop = [0, 0, 1920, 1080]         # of the frame: x, y, width, height; without it, the middle
    location = [640, 300, 640, 360]   # in the template; without it, all of it

Names are looked up in the folder's listing and never made into a path. All of it blocks.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from common.thumbnails import MOST_TEMPLATE_BYTES, BadImageError, Box, Template, check_template

log = structlog.get_logger()

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}")
_SUFFIX = ".png"
_NOTES_BYTES = 64 << 10
_KEYS = {"description", "crop", "location"}


@dataclass(frozen=True, slots=True)
class Named:
    """A template with its name and what is said of it."""

    name: str
    description: str
    template: Template


class UnknownTemplateError(LookupError):
    """There is no template of that name; the text is one sentence."""


class Templates:
    """The templates in a folder, which may change at any time; without a folder there are none."""

    def __init__(self, folder: Path | None) -> None:
        """Open them; nothing is read yet."""
        self._folder = folder

    def names(self) -> list[str]:
        """Name them, sorted; what cannot be a name is left out, and so is everything if the folder is not there."""
        if self._folder is None:
            return []
        try:
            found = [path.stem for path in self._folder.iterdir() if path.suffix == _SUFFIX and path.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in found if _NAME.fullmatch(name))

    def all(self) -> list[Named]:
        """Give all that can be used; one that cannot is logged."""
        usable = []
        for name in self.names():
            try:
                usable.append(self.get(name))
            except (BadImageError, UnknownTemplateError) as error:
                log.warning("template_unusable", name=name, reason=str(error))
        return usable

    def get(self, name: str) -> Named:
        """Read one. Raises UnknownTemplateError, or BadImageError if it, or what is said of it, cannot be used."""
        known = self.names()
        if self._folder is None or name not in known:
            there = f"there are {', '.join(known[:20])}" if known else "there are none"
            raise UnknownTemplateError(f"There is no template {name[:100]!r}; {there}.")
        try:
            template = check_template(_read(self._folder / f"{name}{_SUFFIX}", MOST_TEMPLATE_BYTES + 1))
            notes = _notes(self._folder / f"{name}.toml", name)
        except FileNotFoundError as error:
            raise UnknownTemplateError(f"The template {name!r} was just deleted.") from error
        crop, location = (_place(notes, key, name) for key in ("crop", "location"))
        return Named(name, str(notes.get("description", "")), replace(template, crop=crop, location=location))


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _notes(path: Path, name: str) -> dict[str, Any]:
    try:
        notes = tomllib.loads(_read(path, _NOTES_BYTES).decode())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadImageError(f"What {name}.toml says of the template is not TOML.") from error
    if unknown := notes.keys() - _KEYS:
        raise BadImageError(f"In {name}.toml there is {min(unknown)!r}; there can be {', '.join(sorted(_KEYS))}.")
    return notes


def _place(notes: dict[str, Any], key: str, name: str) -> Box | None:
    if key not in notes:
        return None
    match notes[key]:
        case [int(x), int(y), int(width), int(height)] if min(x, y) >= 0 and min(width, height) > 0:
            return Box(x, y, width, height)
    raise BadImageError(f"In {name}.toml, {key} must be [x, y, width, height] in whole pixels.")
