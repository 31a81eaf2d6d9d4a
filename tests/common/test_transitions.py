"""The table of transitions, held against the ffmpeg at hand."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path

import av
import pytest

from common.ffmpeg import find_ffmpeg
from common.transitions import CUSTOM, DESCRIPTIONS, LONGEST, XFADE, Transition, TransitionError, xfade_options

FFMPEG = find_ffmpeg()
ONE = timedelta(seconds=1)


def test_every_transition_of_ffmpeg_is_there() -> None:
    """The table has ffmpeg's own transitions, all of them and in its order, each with a sentence."""
    shown = subprocess.run([FFMPEG, "-v", "error", "-h", "filter=xfade"], capture_output=True, check=True, text=True)
    named = re.findall(r"^ +(\w+) +\d+ +\.\.FV", shown.stdout, re.MULTILINE)
    assert [*XFADE] == named
    assert all(re.fullmatch(r"[A-Z].{10,90}\.", text) for text in DESCRIPTIONS.values())
    assert len({*DESCRIPTIONS.values()}) == len(DESCRIPTIONS)


def test_every_transition_runs(tmp_path: Path) -> None:
    """Each transition begins with the first picture and ends with nearly all of the second."""
    lines = []
    for index, kind in enumerate(DESCRIPTIONS):
        options = ":".join(f"{name}='{value}'" for name, value in xfade_options(Transition(kind, ONE)).items())
        black, white = (f"color={colour}:s=64x48:r=20:d=1,format=yuv420p" for colour in ("0x303030", "0xd0d0d0"))
        lines += [f"{black}[a{index}]", f"{white}[b{index}]"]
        lines += [f"[a{index}][b{index}]xfade=duration=1:offset=0:{options},format=gray[x{index}]"]
    lines += ["".join(f"[x{index}]" for index in range(len(DESCRIPTIONS))) + f"concat=n={len(DESCRIPTIONS)}"]
    target = tmp_path / "all.mkv"
    # the first of each is drawn from P = 1, the last from P = 1/20
    (tmp_path / "graph").write_text(";\n".join(lines))
    command = [FFMPEG, "-v", "error", "-/filter_complex", str(tmp_path / "graph"), "-c:v", "ffv1", str(target)]
    subprocess.run(command, check=True)
    with av.open(target) as container:
        seen = [float(frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    assert len(seen) == 20 * len(DESCRIPTIONS)
    for index, kind in enumerate(DESCRIPTIONS):
        first, last = seen[20 * index], seen[20 * index + 19]
        assert first < 70, kind
        assert last > 150, kind


@pytest.mark.parametrize("kind", CUSTOM)
def test_our_own_stay_between_the_two_pictures(kind: str) -> None:
    """An expression of our own is an argument of one filter and nothing else."""
    assert not {*";[]'\\"} & {*CUSTOM[kind].expression} - {";"}
    assert xfade_options(Transition(kind, ONE)) == {"transition": "custom", "expr": CUSTOM[kind].expression}


@pytest.mark.parametrize("kind", ["", "fadee", "custom", "fade:expr=1", "FADE", "x" * 500])
def test_an_unknown_transition_is_refused(kind: str) -> None:
    """What is not in the table is refused with a sentence that names some that are."""
    with pytest.raises(
        TransitionError, match=r"There is no transition .{2,44}; there are (\w+, )+\w+ and others\.|fade"
    ) as told:
        Transition(kind, ONE)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("duration", [timedelta(0), -ONE, LONGEST + ONE])
def test_a_transition_has_a_sound_length(duration: timedelta) -> None:
    """No transition is empty, reversed or endless."""
    with pytest.raises(TransitionError, match="more than 0 and at most 30 seconds"):
        Transition("fade", duration)
