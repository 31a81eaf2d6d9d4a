"""Tables of a configuration file into values: strict, and with one sentence that says where what is wrong.

A table is described by a frozen dataclass whose fields are made by `key`: how a value is read, and its default.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from common.errors import UserError
from cutter.locations.names import check_template

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# No secret of ours is longer, and what is longer is some other file.
_MOST_SECRET_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file a value stands."""

    file: Path
    path: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> "Place":
        return Place(self.file, (*self.path, name))

    def __str__(self) -> str:
        return f"{'.'.join(self.path)} in {self.file}"

    def wrong(self, what: str) -> UserError:
        """Make the error that says `what` is wrong here, as the rest of a sentence."""
        return UserError(f"{self} {what}.")


class Secret:
    """A text that no log, trace or message shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hide it."""
        self._text = text

    def reveal(self) -> str:
        """Give the text, to whom it is meant for."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"


Read = Callable[[object, Place], T]


def key(read: Read[T], default: object = MISSING) -> Any:  # noqa: ANN401 - stands for a field of any type
    """Make a field of a table: `read` raises UserError for what it cannot be; without a default it is required."""
    return dataclasses.field(default=default, metadata={"read": read})


def secret(default: object = MISSING) -> Any:  # noqa: ANN401 - as above
    """Make a field that holds a Secret: in the table stands NAME_file or NAME_env, which say where to find it."""
    return dataclasses.field(default=default, metadata={"read": _no_secret_here, "secret": True})


def read_table(kind: type[T], table: Mapping[str, object], place: Place) -> T:
    """Make a `kind` of a table. Raises UserError for unknown and missing keys and for values that cannot be."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # there is no type of dataclasses
    known = key_names(kind)
    for name in table:
        if name in fields and fields[name].metadata.get("secret"):
            _no_secret_here(None, place / name)
        if name not in known:
            raise (place / name).wrong(f"is no key here; there are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if field.metadata.get("secret"):
            found = _read_secret(table, place / name)
        elif name in table:
            found = field.metadata["read"](table[name], place / name)
        else:
            found = None
        if found is not None:
            values[name] = found
        elif field.default is MISSING:
            raise _missing(field, place / name)
    return kind(**values)


def key_names(kind: type) -> dict[str, object]:
    """Give the keys that a table may have, each with its default; MISSING where it is required."""
    names: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        ends = ("_file", "_env") if field.metadata.get("secret") else ("",)
        names.update({field.name + end: field.default for end in ends})
    return names


def _missing(field: "dataclasses.Field[Any]", place: Place) -> UserError:
    if field.metadata.get("secret"):
        name = place.path[-1]
        return place.wrong(f"is missing: give {name}_file, a file that holds it, or {name}_env, a variable that does")
    return place.wrong("is missing")


def _no_secret_here(_: object, place: Place) -> None:
    name = place.path[-1]
    raise place.wrong(f"must not stand there: give {name}_file, a file that holds it, or {name}_env, a variable")


def _read_secret(table: Mapping[str, object], place: Place) -> Secret | None:
    name = place.path[-1]
    above = Place(place.file, place.path[:-1])
    by_file, by_variable = table.get(f"{name}_file"), table.get(f"{name}_env")
    if by_file is not None and by_variable is not None:
        raise place.wrong("is given twice, by a file and by a variable; give one")
    if by_file is not None:
        found = _content(a_path(by_file, above / f"{name}_file"), above / f"{name}_file")
    elif by_variable is not None:
        variable = one_line(by_variable, above / f"{name}_env")
        found = os.environ.get(variable, "").strip()
        if not found:
            raise (above / f"{name}_env").wrong(f"names the variable {variable}, which is not set")
    else:
        return None
    return Secret(found)


def _content(path: Path, place: Place) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_SECRET_BYTES + 1)
        if len(content) > _MOST_SECRET_BYTES:
            raise place.wrong(f"names {path}, which is too large to be a secret")
        found = content.decode().strip()
    except UnicodeDecodeError:
        raise place.wrong(f"names {path}, which is no text") from None
    except OSError as error:
        raise place.wrong(f"names {path}, which cannot be read ({error.strerror})") from error
    if not found:
        raise place.wrong(f"names {path}, which is empty")
    return found


# How values are read ------------------------------------------------------------------------------------------------


def one_line(value: object, place: Place) -> str:
    """Read a text that is not empty, of one line."""
    if not isinstance(value, str) or not value.strip():
        raise place.wrong("must be a text that is not empty")
    if any(ord(character) < ord(" ") for character in value):
        raise place.wrong("must be a text without line breaks and other control characters")
    return value


def flag(value: object, place: Place) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise place.wrong("must be true or false")
    return value


def whole(least: int, most: int, *, multiple_of: int = 1) -> Read[int]:
    """Make what reads a whole number in a range."""

    def read(value: object, place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most or value % multiple_of:
            kind = "a whole number" if multiple_of == 1 else f"a multiple of {multiple_of}"
            raise place.wrong(f"must be {kind} from {least} to {most}")
        return value

    return read


def one_of(kind: type[E]) -> Read[E]:
    """Make what reads one of some names."""

    def read(value: object, place: Place) -> E:
        if value not in list(kind):
            raise place.wrong(f"must be one of {', '.join(kind)}")
        return kind(str(value))

    return read


def a_path(value: object, place: Place) -> Path:
    """Read the path of a file or folder; a relative one is seen from the folder of the configuration file."""
    return Path(os.path.abspath(place.file.parent / Path(one_line(value, place)).expanduser()))  # noqa: PTH100 - resolve() would follow links


def web_address(value: object, place: Place) -> str:
    """Read an http or https address without user, password, query and fragment; its last slash is dropped."""
    try:
        parts = urlsplit(one_line(value, place))
        sound = parts.scheme in {"http", "https"} and parts.hostname is not None and (parts.port or 1) > 0
    except ValueError:
        sound = False
        parts = urlsplit("")
    if not sound or parts.query or parts.fragment or "@" in parts.netloc:
        raise place.wrong("must be an address like https://example.org/path, without a password and a query")
    return parts.geturl().rstrip("/")


def name_template(value: object, place: Place) -> str:
    """Read a template of names."""
    try:
        return check_template(one_line(value, place))
    except ValueError as error:
        raise place.wrong(str(error)) from error
