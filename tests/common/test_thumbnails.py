"""Thumbnails: which pixels come from where, and images that are made to do harm."""

import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from common.thumbnails import MOST_TEMPLATE_BYTES, BadImageError, Box, Template, check_template, compose

RED, GREEN, BLUE, WHITE, CLEAR = (
    (255, 0, 0, 255),
    (0, 255, 0, 255),
    (0, 0, 255, 255),
    (255, 255, 255, 255),
    (0, 0, 0, 0),
)


def png(image: Image.Image, **options: Any) -> bytes:  # noqa: ANN401 - as Pillow's
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def frame() -> bytes:
    """160x90: four quarters, red and green above, blue and white below."""
    image = Image.new("RGB", (160, 90))
    for index, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        image.paste(colour[:3], (80 * (index % 2), 45 * (index // 2), 80 * (index % 2) + 80, 45 * (index // 2) + 45))
    return png(image)


def border() -> Template:
    """320x180: grey, with a transparent window from 100,50 to 260,140 and a half transparent black bar across it."""
    image = Image.new("RGBA", (320, 180), (128, 128, 128, 255))
    image.paste(CLEAR, (100, 50, 260, 140))
    image.paste((0, 0, 0, 128), (100, 90, 260, 100))
    return check_template(png(image))


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def at(image: Image.Image, *places: tuple[int, int]) -> list[tuple[int, ...]]:
    pixels = [image.convert("RGBA").getpixel(place) for place in places]
    return [pixel for pixel in pixels if isinstance(pixel, tuple)]


def test_the_frame_lies_at_its_place_under_the_template() -> None:
    """The frame is scaled to the location, to the pixel; what is opaque covers it, what is not lets it through."""
    made = opened(compose(frame(), border(), location=Box(100, 50, 160, 90)))
    assert made.size == (320, 180)
    grey = (128, 128, 128, 255)
    assert at(made, (99, 60), (100, 50), (259, 50), (260, 60)) == [grey, RED, GREEN, grey]
    assert at(made, (100, 49), (100, 139), (259, 139), (100, 140)) == [grey, BLUE, WHITE, grey]
    assert at(made, (110, 92), (250, 92)) == [(127, 0, 0, 255), (0, 127, 0, 255)]


def test_only_the_crop_is_shown() -> None:
    """With a crop, that piece of the frame fills the location."""
    made = opened(compose(frame(), border(), crop=Box(80, 45, 80, 45), location=Box(100, 50, 160, 90)))
    assert at(made, (100, 50), (259, 139)) == [WHITE, WHITE]


def test_without_a_location_it_fills_the_template() -> None:
    """With no location anywhere the frame is as large as the template."""
    made = opened(compose(frame(), check_template(png(Image.new("RGBA", (40, 20), CLEAR)))))
    assert at(made, (0, 0), (39, 0), (0, 19), (39, 19)) == [RED, GREEN, BLUE, WHITE]


def test_what_is_not_asked_for_is_the_templates_own() -> None:
    """Crop and location of the template are used where the request has none, and give way where it has one."""
    template = replace(border(), crop=Box(0, 0, 80, 45), location=Box(100, 50, 160, 90))
    assert at(opened(compose(frame(), template)), (100, 50), (259, 139)) == [RED, RED]
    moved = opened(compose(frame(), template, crop=Box(80, 0, 80, 45), location=Box(110, 60, 100, 70)))
    assert at(moved, (110, 60), (109, 60)) == [GREEN, CLEAR]


def test_the_middle_keeps_its_shape() -> None:
    """Without a crop nothing is stretched: of a shape that is not the frame's, the sides are left out evenly."""
    image = Image.new("RGB", (160, 90), RED[:3])
    image.paste(GREEN[:3], (35, 0, 125, 90))  # 90x90
    made = opened(compose(png(image), check_template(png(Image.new("RGBA", (60, 60), CLEAR)))))
    assert at(made, (0, 0), (59, 59)) == [GREEN, GREEN]
    image = Image.new("RGB", (160, 90), RED[:3])
    image.paste(GREEN[:3], (0, 25, 160, 65))
    made = opened(compose(png(image), check_template(png(Image.new("RGBA", (80, 20), CLEAR)))))
    assert at(made, (0, 0), (79, 19)) == [GREEN, GREEN]


def test_without_a_template_it_is_the_frame_alone() -> None:
    """Nothing to set it into: the frame in the size of a thumbnail, opaque."""
    made = opened(compose(frame(), None))
    assert (made.size, made.mode) == ((1280, 720), "RGB")
    assert at(made, (0, 0), (1279, 719)) == [RED, WHITE]


def test_what_nothing_covers_stays_transparent() -> None:
    """Where there is neither frame nor template the thumbnail is transparent; if all is covered it has no opacity."""
    clear = check_template(png(Image.new("RGBA", (40, 20), CLEAR)))
    made = opened(compose(frame(), clear, location=Box(0, 0, 20, 20)))
    assert (made.mode, *at(made, (30, 10))) == ("RGBA", CLEAR)
    assert opened(compose(frame(), clear)).mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_templates_of_all_kinds_are_taken(mode: str) -> None:
    """Palettes, greys and 16 bits are templates as good as any."""
    template = check_template(png(Image.new(mode, (32, 18))))
    assert opened(compose(frame(), template)).size == (32, 18)


@pytest.mark.parametrize(
    ("crop", "location", "said"),
    [
        (Box(0, 0, 161, 90), None, "The crop 0,0,161,90 does not lie within the frame's 160x90."),
        (Box(160, 0, 1, 1), None, "The crop 160,0,1,1 does not lie within the frame's 160x90."),
        (None, Box(300, 0, 21, 10), "The location 300,0,21,10 does not lie within the template's 320x180."),
        (None, Box(0, 0, 0, 10), "The location 0,0,0,10 does not lie within the template's 320x180."),
        (Box(0, 0, -5, 5), None, "The crop 0,0,-5,5 does not lie within the frame's 160x90."),
    ],
)
def test_what_lies_outside_is_refused(crop: Box | None, location: Box | None, said: str) -> None:
    """A place that is not there is a sentence that tells how large it is."""
    with pytest.raises(BadImageError) as error:
        compose(frame(), border(), crop, location)
    assert str(error.value) == said


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that unpacks into as many pixels of zeros as it says, or as many as fit."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(min(height * (width * 4 + 1), 50_000_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The template is no PNG."),
        (b"GIF89a" + bytes(100), "The template is no PNG."),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "The template is no PNG."),
        (bomb(0, 10), "The template has no pixels."),
        (bomb(50_000, 50_000), "The template has 50000 x 50000 pixels; at most 8294400 can be used."),
        (bomb(2**32 - 1, 1), "The template has 4294967295 x 1 pixels; at most 8294400 can be used."),
        (bytes(MOST_TEMPLATE_BYTES + 1), "The template has more than 8 MiB."),
    ],
    ids=["nothing", "gif", "no head", "no pixels", "bomb", "line", "long"],
)
def test_what_is_no_template_is_refused_by_its_head(content: bytes, said: str) -> None:
    """What is none, or too large, is refused before anything of it is unpacked."""
    with pytest.raises(BadImageError) as error:
        check_template(content)
    assert str(error.value) == said


def text_bomb() -> bytes:
    """A small picture with a compressed text of 100 MB."""
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"comment\0\0" + zlib.compress(bytes(100 << 20), 9))
    return png(Image.new("RGBA", (32, 18)), pnginfo=info)


def damaged(keep: float) -> bytes:
    whole = png(Image.effect_noise((64, 64), 50).convert("RGBA"))
    return whole[: int(len(whole) * keep)]


@pytest.mark.parametrize(
    "content", [damaged(0.5), damaged(0.99)[:-30] + bytes(30), text_bomb(), damaged(0.01) + bytes(50)]
)
def test_a_damaged_template_is_said_to_be_one(content: bytes) -> None:
    """What has the head of a PNG and then fails is a sentence."""
    with pytest.raises(BadImageError, match=r"^The template is a damaged PNG\.$"):
        compose(frame(), check_template(content))


def test_of_an_animation_the_first_picture_counts() -> None:
    """A template that moves is as it begins."""
    first, second = Image.new("RGBA", (32, 18), RED), Image.new("RGBA", (32, 18), GREEN)
    content = png(first, save_all=True, append_images=[second])
    assert at(opened(compose(frame(), check_template(content))), (5, 5)) == [RED]
