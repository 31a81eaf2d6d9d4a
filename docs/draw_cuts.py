"""Draw `cuts.svg`: what the types of cut take of a recording with a hole. Run it to draw it again."""

from collections.abc import Iterator
from pathlib import Path

PER_SECOND, LEFT, TOP, ROW, HIGH = 56, 150, 64, 74, 30
GOP, SEGMENTS, HOLE = 2, 7, 3  # a hole is where the segment with this number should be
START, END = 2.7, 11.3
COPIED, ENCODED, LINE, PALE = "#5b8fd1", "#e8963e", "#333333", "#e9edf2"
STYLE = "font-family: sans-serif; font-size: 13px; fill: #333333"


def x(second: float) -> float:
    """Give where a second of the recording lies."""
    return LEFT + second * PER_SECOND


def box(row: int, begin: float, end: float, fill: str) -> str:
    """A box from one second to another."""
    return (
        f'<rect x="{x(begin):.1f}" y="{TOP + row * ROW}" width="{(end - begin) * PER_SECOND:.1f}" height="{HIGH}" '
        f'fill="{fill}" stroke="{LINE}"/>'
    )


def text(at: float, y: float, said: str, anchor: str = "middle") -> str:
    """Some words."""
    return f'<text x="{at:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


def title(row: int, name: str) -> str:
    """The name of a row."""
    return text(LEFT - 14, TOP + row * ROW + HIGH / 2 + 5, name, "end")


def frames(row: int, begin: float, end: float) -> Iterator[str]:
    """Thin lines for pictures, those with which a GOP begins longer."""
    for at in range(int(begin * 5), int(end * 5)):
        high = HIGH if at % (GOP * 5) == 0 else 7
        y = TOP + row * ROW
        where = f'x1="{x(at / 5):.1f}" x2="{x(at / 5):.1f}" y1="{y + HIGH - high}" y2="{y + HIGH}"'
        yield f'<line {where} stroke="{LINE}"/>'


def recorded() -> Iterator[str]:
    """The recording: segments, the pictures in them, the hole."""
    yield title(0, "recorded")
    for number in range(SEGMENTS):
        begin, end = number * GOP, (number + 1) * GOP
        if number == HOLE:
            yield text(x(begin + 1), TOP + HIGH / 2 + 5, "hole")
            continue
        yield box(0, begin, end, PALE)
        yield from frames(0, begin, end)
        yield text(x(begin + 1), TOP - 8, f"segment {number + 1}")


def joined(row: int, name: str, parts: list[tuple[float, float, str]], note: str) -> Iterator[str]:
    """One video: its parts where they come from, then what it is."""
    yield title(row, name)
    for begin, end, fill in parts:
        yield box(row, begin, end, fill)
    yield text(x(0), TOP + row * ROW + HIGH + 18, note, "start")


def marks(rows: int) -> Iterator[str]:
    """The range that is asked for, and the edges of the hole."""
    bottom = TOP + rows * ROW - 18
    for at, name in ((START, "start"), (END, "end")):
        yield f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="30" y2="{bottom}" stroke="#b3261e" stroke-dasharray="5 4"/>'
        yield text(x(at), 24, name)
    for at in (HOLE * GOP, (HOLE + 1) * GOP):
        yield f'<line x1="{x(at)}" x2="{x(at)}" y1="{TOP}" y2="{bottom}" stroke="{LINE}" stroke-dasharray="1 4"/>'


def key(y: float) -> Iterator[str]:
    """What the colours mean."""
    for at, fill, said in ((0.0, COPIED, "copied, bit for bit"), (4.0, ENCODED, "encoded again")):
        yield f'<rect x="{x(at):.1f}" y="{y}" width="22" height="14" fill="{fill}" stroke="{LINE}"/>'
        yield text(x(at) + 30, y + 12, said, "start")


def picture() -> str:
    """All of it, as SVG."""
    key_after, key_before = 4.0, 10.0
    hole = HOLE * GOP, (HOLE + 1) * GOP
    drawn = [
        *recorded(),
        *joined(1, "rough", [(2, hole[0], COPIED), (hole[1], 12, COPIED)], "whole segments: begins early, ends late"),
        *joined(
            2,
            "smart, fast",
            [
                (START, key_after, ENCODED),
                (key_after, hole[0], COPIED),
                (hole[1], key_before, COPIED),
                (key_before, 11.1, COPIED),
                (11.1, END, ENCODED),
            ],
            "to the next key frame encoded; at the end only what refers to pictures after it; sound all copied",
        ),
        *joined(3, "full", [(START, hole[0], ENCODED), (hole[1], END, ENCODED)], "exact, all encoded anew, any format"),
        *joined(
            4,
            "the smart video",
            [
                (0, key_after - START, ENCODED),
                (key_after - START, hole[0] - START, COPIED),
                (hole[0] - START, hole[0] - START + 3.1, COPIED),
                (hole[0] - START + 3.1, END - START - GOP, ENCODED),
            ],
            "times from zero, and what comes after the hole follows at once",
        ),
        *marks(4),
        *key(TOP + 5 * ROW - 2),
    ]
    width, height = x(SEGMENTS * GOP) + 20, TOP + 5 * ROW + 30
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" style="{STYLE}">'
    return "\n".join([head, f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>', *drawn, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("cuts.svg").write_text(picture(), encoding="utf-8")
