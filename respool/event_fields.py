"""What is said of an event on the command line, as values of its columns.

These options have no RESPOOL_* variables: one that is left in a shell would change events, unnoticed.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from common.transitions import TransitionError, parse_transition
from respool.arguments import RecordingType, TimeType

Columns = dict[str, Any]
"""Columns of `events` and what they become; those that are not said are not in it."""

Command = Callable[..., Any]

# That of the cut types in common.cuts, whose import takes longer than `respool event --help` should.
CUT_TYPES: Final = ("rough", "fast", "smart", "full", "archive")

# What YouTube takes, the strictest of those that we know.
MOST_IMAGE_BYTES: Final = 2 * 1024 * 1024

_META = "respool.event.columns"

# What the fields are when they are cleared. A number of ranges or transitions can only be right together.
_CLEARED: Final[dict[str, Columns]] = {
    "ranges": {"ranges": None, "transitions": None},
    "transitions": {"transitions": None},
    "title": {"title": None},
    "description": {"description": ""},
    "video-description": {"video_description": None},
    "tags": {"tags": []},
    "location": {"upload_location": None},
    "type": {"cut_type": None},
    "nodes": {"uploader_allowlist": None},
    "thumbnail-crop": {"thumbnail_crop": None},
    "thumbnail-position": {"thumbnail_position": None},
}


class TextType(click.ParamType[str]):
    """A text that any database and terminal can show."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 - click's signature
        """Take it as it is, or say what is wrong."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("This is no UTF-8; look at the encoding of the terminal or script.", param, ctx)
        return str(value)


class TransitionType(click.ParamType[tuple[str, float] | None]):
    """TYPE,SECONDS, or `none` for a hard join: as the database has it."""

    name = "TYPE,SECONDS"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, float] | None:
        """Check it, or say what is wrong."""
        if value is None or value in {"", "none"}:
            return None
        try:
            found = parse_transition(value)
        except TransitionError as error:
            self.fail(str(error).replace("transition=", ""), param, ctx)
        return None if found is None else (found.kind, found.duration.total_seconds())


class BoxType(click.ParamType[list[int]]):
    """X,Y,WIDTH,HEIGHT in pixels."""

    name = "X,Y,W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:  # noqa: ANN401 - click's signature
        """Split it, or say what is wrong."""
        try:
            x, y, width, height = map(int, str(value).split(","))
        except ValueError:
            x = y = width = height = -1
        if min(x, y) < 0 or min(width, height) < 1 or max(x, y, width, height) > 1 << 16:
            self.fail(f"{value!r} is not X,Y,WIDTH,HEIGHT in pixels, such as 0,0,1280,720.", param, ctx)
        return [x, y, width, height]


class ImageType(click.Path):
    """A file that holds a PNG or JPEG, by its name: its content."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's signature
        """Read it and see that it is an image, or say what is wrong."""
        from PIL import Image

        try:
            with Path(str(super().convert(value, param, ctx))).open("rb") as file:
                content = file.read(MOST_IMAGE_BYTES + 1)
        except OSError as error:
            self.fail(f"{value} cannot be read ({error.strerror}).", param, ctx)
        if len(content) > MOST_IMAGE_BYTES:
            self.fail(f"{value} is larger than {MOST_IMAGE_BYTES >> 20} MiB.", param, ctx)
        try:
            with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as image:
                image.verify()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            self.fail(f"{value} is no PNG or JPEG.", param, ctx)
        return content


def field(column: str, *names: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: ANN401 - click's own attributes
    """Make an option whose value, if it is said, becomes that of the column."""

    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:  # noqa: ANN401 - of any option
        if value is not None and value != ():
            ctx.meta.setdefault(_META, {})[column] = list(value) if isinstance(value, tuple) else value

    return click.option(*names, f"field_{column}", callback=keep, expose_value=False, **attributes)


NOTE: Final = field(
    "description", "--description", type=TextType(), help="What happened, for operators; not published."
)

# What is said of a video that is out, and can be changed there.
PUBLISHED: Final = (
    field("title", "--title", type=TextType(), help="The title of the video."),
    field(
        "video_description", "--video-description", type=TextType(), help="The description that is published with it."
    ),
    field(
        "tags", "--tag", type=TextType(), multiple=True, help="A word under which it is found; as often as you like."
    ),
    field("public", "--public/--unlisted", default=None, help="Whether all may find it, or only who has its link."),
    field(
        "thumbnail_mode",
        "--thumbnail",
        type=click.Choice(["none", "bare", "template", "custom"]),
        help="Its thumbnail: none, a bare frame, a frame in a template, a custom image. The options below tell, too.",
    ),
    field("thumbnail_time", "--thumbnail-time", type=TimeType(), help="The moment whose frame the thumbnail shows."),
    field("thumbnail_template", "--thumbnail-template", type=TextType(), help="The template that it is set into."),
    field("thumbnail_image", "--thumbnail-image", type=ImageType(), metavar="FILE", help="A PNG or JPEG of your own."),
    field("thumbnail_crop", "--thumbnail-crop", type=BoxType(), help="What of the frame is shown, in pixels."),
    field("thumbnail_position", "--thumbnail-position", type=BoxType(), help="Where in the template it is shown."),
)

# What the cut is made from, and by whom.
CUT: Final = (
    field(
        "ranges",
        "--range",
        type=(TimeType(), TimeType()),
        metavar="START END",
        multiple=True,
        help="What is shown; repeated, the ranges follow each other in the video.",
    ),
    field(
        "transitions",
        "--transition",
        type=TransitionType(),
        multiple=True,
        help="What leads from each range into the next, such as fade,1: one less than ranges, `none` for a hard join. "
        "Without any, all joins are hard.",
    ),
    field("cut_type", "--type", type=click.Choice(CUT_TYPES), help="How it is cut; without it, as the location says."),
    field(
        "allow_holes", "--allow-holes/--no-holes", default=None, help="Whether what was not recorded may be left out."
    ),
    field(
        "uploader_allowlist",
        "--node",
        type=TextType(),
        multiple=True,
        help="A node that may cut it; without any, all may.",
    ),
    field(
        "priority",
        "--priority",
        type=click.IntRange(-(2**31), 2**31 - 1),
        help="The greater goes first; 0 unless said.",
    ),
)

RECORDING: Final = field("recording", "--recording", metavar="C/Q", type=RecordingType(), help="What it is cut from.")


def location_field(otherwise: str = "") -> Callable[[Command], Command]:
    """Make `--location`, whose help ends with what is meant without it."""
    return field(
        "upload_location",
        "--location",
        type=TextType(),
        help=f"The upload location to which the video goes, as the cutters know it. {otherwise}".strip(),
    )


def clear_option(*names: str) -> Callable[[Command], Command]:
    """Make `--clear`, for these names."""
    names = names or tuple(_CLEARED)
    return click.option(
        "--clear",
        type=click.Choice(names),
        metavar="FIELD",
        multiple=True,
        help=f"What is to be empty again: {', '.join(names)}; as often as you like.",
    )


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command these options, which its help shows in this order."""

    def add(command: Command) -> Command:
        for each in reversed(options):
            command = each(command)
        return command

    return add


def columns(ctx: click.Context, clear: tuple[str, ...] = ()) -> Columns:
    """Give what was said on this command line, and what `--clear` empties. Raises click.UsageError if it cannot be."""
    said: Columns = dict(ctx.meta.get(_META, {}))
    if "recording" in said:
        said["channel"], said["quality"] = said.pop("recording")
    if "ranges" in said:
        _check_joins(said)
    emptied = {name: value for each in clear for name, value in _CLEARED[each].items()}
    if both := said.keys() & emptied.keys():
        raise click.UsageError(f"{', '.join(sorted(both))}: either set or cleared, not both.")
    if mode := _thumbnail_mode(said):
        said["thumbnail_mode"] = mode
    return said | emptied


def _check_joins(said: Columns) -> None:
    for start, end in said["ranges"]:
        if start >= end:
            raise click.UsageError(f"The range {start:%FT%TZ} {end:%FT%TZ} does not start before it ends.")
    if "transitions" in said and len(said["transitions"]) != len(said["ranges"]) - 1:
        raise click.UsageError("Give one --transition less than ranges, `none` for a hard join; or none at all.")


def _thumbnail_mode(said: Columns) -> str | None:
    """What kind of thumbnail the options ask for; None if they leave it open."""
    if "thumbnail_mode" in said:
        return str(said["thumbnail_mode"]).upper()
    if "thumbnail_image" in said:
        return "CUSTOM"
    return "TEMPLATE" if "thumbnail_template" in said else None
