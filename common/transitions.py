"""The transitions between two ranges: those of ffmpeg's xfade, and some of our own as expressions for it."""

from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Final

LONGEST: Final = timedelta(seconds=30)

# As ffmpeg calls them, in its order; a test holds the list against the binary at hand.
XFADE: Final = {
    "fade": "The first picture fades into the second.",
    "wipeleft": "An edge moves to the left and uncovers the second picture.",
    "wiperight": "An edge moves to the right and uncovers the second picture.",
    "wipeup": "An edge moves up and uncovers the second picture.",
    "wipedown": "An edge moves down and uncovers the second picture.",
    "slideleft": "The second picture pushes the first out to the left.",
    "slideright": "The second picture pushes the first out to the right.",
    "slideup": "The second picture pushes the first out at the top.",
    "slidedown": "The second picture pushes the first out at the bottom.",
    "circlecrop": "A circle closes over the first picture to black and opens on the second.",
    "rectcrop": "A rectangle closes over the first picture to black and opens on the second.",
    "distance": "Pixels turn into those of the second picture, the more alike the earlier.",
    "fadeblack": "The first picture fades to black, then the second out of it.",
    "fadewhite": "The first picture fades to white, then the second out of it.",
    "radial": "A soft hand goes around the middle like that of a clock.",
    "smoothleft": "A soft edge moves to the left.",
    "smoothright": "A soft edge moves to the right.",
    "smoothup": "A soft edge moves up.",
    "smoothdown": "A soft edge moves down.",
    "circleopen": "The second picture opens in a growing circle.",
    "circleclose": "The first picture closes in a shrinking circle.",
    "vertopen": "Two soft edges part from a vertical line in the middle.",
    "vertclose": "Two soft edges meet in a vertical line in the middle.",
    "horzopen": "Two soft edges part from a horizontal line in the middle.",
    "horzclose": "Two soft edges meet in a horizontal line in the middle.",
    "dissolve": "Single pixels, in random order, turn into the second picture.",
    "pixelize": "The picture turns into ever larger blocks, and those into the second picture.",
    "diagtl": "A soft diagonal edge moves to the top left.",
    "diagtr": "A soft diagonal edge moves to the top right.",
    "diagbl": "A soft diagonal edge moves to the bottom left.",
    "diagbr": "A soft diagonal edge moves to the bottom right.",
    "hlslice": "Vertical slices open one after the other, to the left.",
    "hrslice": "Vertical slices open one after the other, to the right.",
    "vuslice": "Horizontal slices open one after the other, upwards.",
    "vdslice": "Horizontal slices open one after the other, downwards.",
    "hblur": "The picture blurs sideways while it turns into the second.",
    "fadegrays": "The first picture loses its colours, and the second gains its own.",
    "wipetl": "A corner moves to the top left and uncovers the second picture.",
    "wipetr": "A corner moves to the top right and uncovers the second picture.",
    "wipebl": "A corner moves to the bottom left and uncovers the second picture.",
    "wipebr": "A corner moves to the bottom right and uncovers the second picture.",
    "squeezeh": "The first picture is squeezed flat onto the horizontal middle, over the second.",
    "squeezev": "The first picture is squeezed flat onto the vertical middle, over the second.",
    "zoomin": "The first picture comes nearer and fades into the second.",
    "fadefast": "A fade in which dark and bright turn quickly.",
    "fadeslow": "A fade in which dark and bright turn slowly.",
    "hlwind": "A wind from the right tears the first picture away, line by line.",
    "hrwind": "A wind from the left tears the first picture away, line by line.",
    "vuwind": "A wind from below tears the first picture away, column by column.",
    "vdwind": "A wind from above tears the first picture away, column by column.",
    "coverleft": "The second picture slides over the first, to the left.",
    "coverright": "The second picture slides over the first, to the right.",
    "coverup": "The second picture slides over the first, upwards.",
    "coverdown": "The second picture slides over the first, downwards.",
    "revealleft": "The first picture slides away to the left and reveals the second.",
    "revealright": "The first picture slides away to the right and reveals the second.",
    "revealup": "The first picture slides away upwards and reveals the second.",
    "revealdown": "The first picture slides away downwards and reveals the second.",
}


@dataclass(frozen=True, slots=True)
class CustomTransition:
    """A transition of our own: an expression of xfade for each sample, in which P goes from 1 to 0."""

    description: str
    expression: str


# xfade evaluates these for each sample of each plane: of 1080p, one picture takes a processor 0.2 to 0.8 seconds, where
# the built-in ones take some hundredths.
CUSTOM: Final = {
    "clock": CustomTransition(
        "A hard hand goes around the middle, clockwise from the top.",
        "if(lt(mod(atan2(X-W/2,H/2-Y)+2*PI,2*PI),2*PI*(1-P)),B,A)",
    ),
    "checkerboard": CustomTransition(
        "The fields of a chessboard turn, first those of one colour, then the others.",
        "if(lt(mod(floor(X*8/W)+floor(Y*8/H),2)*0.5+mod(X*8/W,1)*0.5,1-P),B,A)",
    ),
    "blinds": CustomTransition(
        "Twelve horizontal blinds open downwards together.",
        "if(lt(mod(Y*12/H,1),1-P),B,A)",
    ),
    "filmburn": CustomTransition(
        "The first picture burns through in uneven spots from the right, with a bright rim.",
        # how long this place has been burning; the rim lifts the brightness alone
        "st(0,1.1-1.4*P-0.6*(1-X/W)-0.2*sin((X*19+Y*7)/W)*sin((Y*15-X*6)/H));"
        "if(gt(ld(0),0),B,if(gt(ld(0),-0.1)*eq(PLANE,0),A+(235-A)*(1+ld(0)*10),A))",
    ),
    "diamond": CustomTransition(
        "The second picture opens in a growing diamond.",
        "if(lt(abs(X-W/2)/W+abs(Y-H/2)/H,1-P),B,A)",
    ),
}

DESCRIPTIONS: Final = XFADE | {name: custom.description for name, custom in CUSTOM.items()}
"""Every transition that may be asked for, with a sentence on how it looks."""


class TransitionError(ValueError):
    """A transition that there is not, or that does not fit; its text is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Transition:
    """How one range turns into the next: `kind` is a key of DESCRIPTIONS, `duration` how long both are seen.

    Raises TransitionError for any other kind, and for a duration that is not above zero and at most LONGEST.
    """

    kind: str
    duration: timedelta

    def __post_init__(self) -> None:
        if self.kind not in DESCRIPTIONS:
            near = get_close_matches(self.kind[:40], DESCRIPTIONS, 3, 0.5) or ["fade", "dissolve", "wipeleft"]
            raise TransitionError(f"There is no transition {self.kind[:40]!r}; there are {', '.join(near)} and others.")
        if not timedelta(0) < self.duration <= LONGEST:
            raise TransitionError(
                f"A transition takes more than 0 and at most {LONGEST.total_seconds():g} seconds,"
                f" not {self.duration.total_seconds():g}."
            )


def parse_transition(text: str) -> Transition | None:
    """Read `TYPE,SECONDS`; nothing at all is a hard join. Raises TransitionError for anything else."""
    if not text:
        return None
    kind, _, seconds = text.partition(",")
    try:
        duration = timedelta(seconds=float(seconds))
    except (ValueError, OverflowError) as error:
        raise TransitionError("A transition is TYPE,SECONDS, for example transition=fade,1.") from error
    return Transition(kind, duration)


def xfade_options(transition: Transition) -> dict[str, str]:
    """The options of the filter that say which transition it is."""
    if transition.kind in XFADE:
        return {"transition": transition.kind}
    return {"transition": "custom", "expr": CUSTOM[transition.kind].expression}
