"""The thumbnail of an event's video, as the event describes it."""

from datetime import datetime

from common.clips import NoPictureError
from common.events import Event, ThumbnailMode
from common.frames import draw_frame, plan_frame
from common.thumbnails import BadImageError, Box, Template, check_picture, check_template, compose
from common.waits import in_thread
from cutter.make import Workshop
from cutter.outcomes import NotNowError, RefusedError
from cutter.rows import Rows


async def thumbnail(rows: Rows, shop: Workshop, event: Event) -> bytes | None:
    """Make the thumbnail, a PNG (or the custom image as it is); None if there is to be none.

    Raises RefusedError for what an operator must change, NotNowError if the store cannot be read, and as `rows` does.
    """
    wanted = event.thumbnail
    if wanted.mode is ThumbnailMode.NONE:
        return None
    if wanted.mode is ThumbnailMode.CUSTOM:
        return await _custom(rows, event)
    template = await _template(rows, wanted.template or "") if wanted.mode is ThumbnailMode.TEMPLATE else None
    if wanted.time is None:
        raise RefusedError("The thumbnail has no time: say of which moment.")
    frame = await _frame(shop, event, wanted.time)
    crop, position = (None if box is None else Box(*box) for box in (wanted.crop, wanted.position))
    try:
        return await in_thread(compose, frame, template, crop, position if template else None)
    except BadImageError as error:
        raise RefusedError(f"The thumbnail cannot be made. {error}") from error


async def _custom(rows: Rows, event: Event) -> bytes:
    image = await rows.thumbnail_image(event)
    try:
        await in_thread(check_picture, image or b"")
    except BadImageError as error:
        raise RefusedError(f"The thumbnail cannot be used. {error} Choose another image.") from error
    return image or b""


async def _template(rows: Rows, name: str) -> Template:
    row = await rows.template(name)
    if row is None:
        raise RefusedError(f"There is no template {name!r} for thumbnails: choose another one, or add it.")
    try:
        checked = check_template(row["image"])
    except BadImageError as error:
        raise RefusedError(f"The template {name!r} cannot be used. {error}") from error
    crop, location = (None if row[key] is None else Box(*row[key]) for key in ("crop", "location"))
    return Template(checked.content, checked.size, crop, location)


async def _frame(shop: Workshop, event: Event, moment: datetime) -> bytes:
    try:
        plan = await in_thread(plan_frame, shop.store, shop.facts, event.channel, event.quality, moment)
        return await draw_frame(plan)
    except NoPictureError as error:
        raise RefusedError(f"The thumbnail cannot be made. {error} Choose another time for it.") from error
    except OSError as error:
        raise NotNowError(f"The thumbnail cannot be made: {error.strerror or error}.") from error
