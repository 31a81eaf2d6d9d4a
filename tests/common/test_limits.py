"""What a location takes at the most."""

from datetime import timedelta

import pytest

from common.limits import Limits, tags_length

LIMITS = Limits(title_characters=5, description_bytes=4, tag_characters=7, forbidden="<>", seconds=60.0)


@pytest.mark.parametrize(
    ("title", "description", "tags", "seconds", "sentence"),
    [
        ("äöüäö", "ää", ("a b", "c"), 60, None),
        ("äöüäöü", "", (), 1, "The title has 6 characters, and there takes 5: make it shorter."),
        ("a", "äää", (), 1, "The description has 6 bytes, and there takes 4: make it shorter."),
        ("a", "", ("a b", "cd"), 1, "The tags have 8 characters, and there takes 7: take some away."),
        ("a<b", "", (), 1, "there takes no < and > in the title: write it without them."),
        ("a", "", ("a>",), 1, "there takes no < and > in the tags: write it without them."),
        ("a", "", (), 61, "The video is 0:01:01 long, and there takes at most 0:01:00: make its ranges shorter."),
    ],
)
def test_each_limit_has_its_sentence(
    title: str, description: str, tags: tuple[str, ...], seconds: int, sentence: str | None
) -> None:
    """What is too much is said with what to change; what just fits is taken."""
    length = timedelta(seconds=seconds)
    assert LIMITS.wrong_with("there", title=title, description=description, tags=tags, length=length) == sentence


def test_without_limits_all_is_taken() -> None:
    """A location that names no limit has none."""
    assert Limits().wrong_with("x", title="<" * 9999, description="x" * 99999, tags=("x",) * 999) is None


def test_limits_survive_json_of_other_versions() -> None:
    """They are read as they were written; what is unknown or of another kind is passed over."""
    assert Limits.of_json(LIMITS.to_json()) == LIMITS
    assert Limits().to_json() == {}
    assert Limits.of_json({"title_characters": "many", "forbidden": 5, "new": 1, "seconds": 2}) == Limits(seconds=2)
    assert Limits.of_json(None) == Limits()


def test_tags_are_counted_as_youtube_does() -> None:
    """Commas between tags count, and quotes around those with spaces."""
    assert tags_length(("Foo-Baz", "Foo Baz")) == len('Foo-Baz,"Foo Baz"')
