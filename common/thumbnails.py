"""Thumbnails: a frame under a template, which is a PNG with transparent parts, such as a border with a title.

All of it computes for a while; asyncio code hands it to a thread.
"""

import io
import math
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from PIL import Image

MOST_TEMPLATE_BYTES: Final = 8 << 20
"""A template that fills a 4K screen with noise would not be larger by much."""

MOST_TEMPLATE_PIXELS: Final = 3840 * 2160
"""A template has at most as many: a screen of 4K. With its opacity that is 33 MB, of which some copies are needed."""

# That of 8K.
_MOST_FRAME_PIXELS: Final = 7680 * 4320

BARE_SIZE: Final = (1280, 720)
"""The size of a thumbnail without a template: what the large platforms ask for."""

# The signature and the first chunk, IHDR, with which every PNG begins (W3C PNG, third edition, §5.2 and §11.2.1).
_HEAD: Final = struct.Struct(">8sI4sII")
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

# What Pillow raises for what is no whole PNG.
_DAMAGE: Final = (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError, MemoryError)


class BadImageError(ValueError):
    """A template, or a place in it, that cannot be used; the text is one sentence."""


class Box(NamedTuple):
    """A rectangle in pixels, from the upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Its left, upper, right and lower edge."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True, slots=True)
class Template:
    """A template, checked as far as its head; `crop` and `location` are used where none are asked for."""

    content: bytes
    size: tuple[int, int]
    crop: Box | None = None
    location: Box | None = None


def check_template(content: bytes) -> Template:
    """Make a template of a PNG's content. Raises BadImageError if it is none, or a larger one than can be used.

    Its size is read from its head, so that one that unpacks into gigabytes is never unpacked.
    """
    if len(content) > MOST_TEMPLATE_BYTES:
        raise BadImageError(f"The template has more than {MOST_TEMPLATE_BYTES >> 20} MiB.")
    width, height = _png_size(content)
    if not width or not height:
        raise BadImageError("The template has no pixels.")
    if width * height > MOST_TEMPLATE_PIXELS:
        raise BadImageError(f"The template has {width} x {height} pixels; at most {MOST_TEMPLATE_PIXELS} can be used.")
    return Template(content, (width, height))


def check_picture(content: bytes) -> None:
    """Return if the content is a PNG or JPEG that can be shown. Raises BadImageError if not, or if it is too large."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as image:
            if fits := math.prod(image.size) <= _MOST_FRAME_PIXELS:
                image.load()
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise BadImageError("The image is no PNG or JPEG, or a damaged one.") from error
    if not fits:
        raise BadImageError("The image has too many pixels.")


def _png_size(content: bytes) -> tuple[int, int]:
    try:
        signature, _, chunk, width, height = _HEAD.unpack_from(content)
    except struct.error as error:
        raise BadImageError("The template is no PNG.") from error
    if (signature, chunk) != (_SIGNATURE, b"IHDR"):
        raise BadImageError("The template is no PNG.")
    return width, height


def compose(frame: bytes, template: Template | None, crop: Box | None = None, location: Box | None = None) -> bytes:
    """Make the PNG of a thumbnail: `crop` of the frame, scaled to `location` of the template, under the template.

    Without a location, here or in the template, that is all of it; without a crop, the largest piece of the frame's
    middle with the location's shape. Without a template the frame alone is shown, in BARE_SIZE. Raises BadImageError
    for a template that is damaged, and for what lies outside of frame or template.
    """
    size = template.size if template is not None else BARE_SIZE
    location = location or (template.location if template is not None else None) or Box(0, 0, *size)
    crop = crop or (template.crop if template is not None else None)
    if math.prod(_png_size(frame)) > _MOST_FRAME_PIXELS:
        raise BadImageError("The frame is too large for a thumbnail.")
    with Image.open(io.BytesIO(frame), formats=["PNG"]) as shown:
        crop = crop or _middle(shown.size, location)
        _check_inside("crop", crop, "frame", shown.size)
        _check_inside("location", location, "template", size)
        # cut out first: scaling would mix in what lies around the crop
        piece = shown.convert("RGB").crop(crop.corners)
    piece = piece.resize((location.width, location.height), Image.Resampling.LANCZOS)
    made = Image.new("RGBA", size)
    made.paste(piece, (location.x, location.y))
    if template is not None:
        made.alpha_composite(_unpacked(template))
    return _packed(made)


def _middle(size: tuple[int, int], shape: Box) -> Box:
    """The largest piece of the middle that has the shape, to the pixel."""
    width, height = size
    if width * shape.height > height * shape.width:
        width = max(1, round(height * shape.width / shape.height))
    else:
        height = max(1, round(width * shape.height / shape.width))
    return Box((size[0] - width) // 2, (size[1] - height) // 2, width, height)


def _check_inside(name: str, box: Box, whole: str, size: tuple[int, int]) -> None:
    left, upper, right, lower = box.corners
    if not (0 <= left < right <= size[0] and 0 <= upper < lower <= size[1]):
        raise BadImageError(
            f"The {name} {','.join(map(str, box))} does not lie within the {whole}'s {size[0]}x{size[1]}."
        )


def _unpacked(template: Template) -> Image.Image:
    try:
        with Image.open(io.BytesIO(template.content), formats=["PNG"]) as image:
            return image.convert("RGBA")
    except _DAMAGE as error:
        raise BadImageError("The template is a damaged PNG.") from error


def _packed(image: Image.Image) -> bytes:
    opaque = image.getchannel("A").getextrema() == (255, 255)
    file = io.BytesIO()
    # a platform that takes thumbnails may not take opacity
    (image.convert("RGB") if opaque else image).save(file, "PNG")
    return file.getvalue()
