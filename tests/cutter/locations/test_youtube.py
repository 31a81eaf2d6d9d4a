"""Resumable uploads with all that can happen to them, against a fake that keeps to Google's documentation."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from common.errors import UserError
from cutter.locations import (
    Delivered,
    LocationAwayError,
    LocationRefusedError,
    Session,
    SessionLostError,
    Video,
)
from cutter.locations.config import load
from cutter.locations.youtube import YouTube
from cutter.locations.youtube_upload import Patience
from delivery import MIB, Place, Row, configured, make_video, youtube_place
from fake_youtube import GRANULE, FakeYouTube


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with youtube_place(tmp_path) as place:
        yield place


@pytest.fixture
def fake(place: Place) -> FakeYouTube:
    assert place.youtube is not None
    return place.youtube


@pytest.fixture
def channel(place: Place) -> YouTube:
    assert isinstance(place.location, YouTube)
    return place.location


@pytest.fixture
def video(place: Place, tmp_path: Path) -> Video:
    return make_video(tmp_path, size=place.size)


@pytest.fixture
async def row(channel: YouTube, video: Video) -> Row:
    """The row of an event whose upload has begun."""
    return Row(session=await channel.begin(video))


async def deliver(channel: YouTube, video: Video, row: Row) -> Delivered:
    return await channel.deliver(video, row.session, keep=row.keep, progress=row.report)


def sole(fake: FakeYouTube) -> bytes:
    assert len(fake.videos) == 1
    return next(iter(fake.videos.values())).content


# Faults of an upload ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [1, GRANULE - 1, GRANULE, 2 * GRANULE + 5, MIB + 76])
async def test_a_broken_piece_is_sent_on_from_what_is_there(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, there: int
) -> None:
    """A connection that breaks after any byte costs what was not kept, and nothing else."""
    fake.break_after = there
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()
    assert len(fake.sessions) == 1
    assert row.progress == sorted(row.progress)
    assert "ask" in fake.requests


async def test_an_answer_lost_after_the_last_byte_is_asked_for(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """When the last byte has gone and no answer comes, the session tells the video: there is one."""
    fake.lose_answers = 2
    delivered = await deliver(channel, video, row)
    assert [*fake.videos] == [delivered.video_id]


async def test_a_video_whose_answer_was_lost_for_good_is_found(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """When no answer comes for long, the delivery is given up, and the video is found later."""
    fake.lose_answers = 99
    with pytest.raises(LocationAwayError):
        await deliver(channel, video, row)
    with pytest.raises(LocationAwayError):
        await channel.find(video, row.session)
    fake.lose_answers = 0
    found = await channel.find(video, row.session)
    assert found is not None
    assert [*fake.videos] == [found.video_id]
    assert await deliver(channel, video, row) == found


@pytest.mark.parametrize("status", [500, 502, 503, 504, 0])
async def test_trouble_of_theirs_is_tried_again(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, status: int
) -> None:
    """5xx and broken connections are tried again, as long as it goes on in between."""
    fake.fail("put", status, times=2)
    fake.fail("ask", status)
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()


async def test_trouble_that_lasts_makes_it_wait(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """5xx without an end is given up after some tries, and the delivery goes on later where it was."""
    fake.fail("put", 503, times=100)
    with pytest.raises(LocationAwayError, match="503"):
        await deliver(channel, video, row)
    fake.failures.clear()
    assert await channel.find(video, row.session) is None
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()


async def test_a_told_pause_is_kept(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """Retry-After is not answered by trying again at once."""
    fake.fail("put", 503, times=100, Retry_After="30")
    with pytest.raises(LocationAwayError) as raised:
        await deliver(channel, video, row)
    assert raised.value.retry_after == timedelta(seconds=30)
    assert fake.requests.count("put") == 1


async def test_less_kept_than_sent_is_sent_again(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """A 308 that tells of less than was sent is believed."""
    fake.store_at_most = 1000
    fake.violations.clear()
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()


@pytest.mark.parametrize("status", [404, 410])
async def test_a_session_that_is_gone_is_begun_anew(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, status: int
) -> None:
    """A session that goes before the last piece has certainly left nothing: it is told, and another one does it."""
    row.at = lambda _: fake.expire_sessions(status)
    with pytest.raises(SessionLostError):
        await deliver(channel, video, row)
    assert await channel.find(video, row.session) is None
    row.session = await channel.begin(video)
    row.at = lambda _: None
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()


async def test_what_an_ended_session_left_is_found_in_the_list(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, tmp_path: Path
) -> None:
    """A session that is gone after the last piece may have left a video: the channel's uploads tell, on any page."""
    fake.lose_answers, fake.keep_finished = 1, False
    found = await deliver(channel, video, row)
    assert [*fake.videos] == [found.video_id]
    for seed in range(3):
        await deliver(channel, make_video(tmp_path, event=f"later-{seed}", seed=seed + 7), Row())
    assert await channel.find(video, row.session) == found
    assert await deliver(channel, video, row) == found


async def test_a_list_that_lags_is_waited_for(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """Soon after the last piece, a video that is in no list is not taken for missing; later it is."""
    now = datetime.now(UTC)
    channel._patience = replace(channel._patience, now=lambda: now)
    fake.lose_answers, fake.keep_finished, fake.lists_lag = 1, False, True
    with pytest.raises(LocationAwayError) as raised:
        await deliver(channel, video, row)
    assert raised.value.retry_after == timedelta(minutes=15)
    with pytest.raises(LocationAwayError):
        await channel.find(video, row.session)
    next(iter(fake.videos.values())).listed = True
    assert await channel.find(video, row.session) is not None
    fake.videos.clear()
    now += timedelta(minutes=16)
    assert await channel.find(video, row.session) is None


async def test_the_session_is_on_the_row_before_a_byte_goes(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """A row that cannot be written keeps everything from going."""

    async def cannot(session: Session) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await channel.deliver(video, None, keep=cannot, progress=lambda _: None)
    assert "put" not in fake.requests


async def test_a_session_of_another_file_is_not_gone_on_with(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, tmp_path: Path
) -> None:
    """A file that was cut anew does not get mixed with the first one, and no second video comes of it."""
    fake.fail("put", 500, times=100)
    with pytest.raises(LocationAwayError):
        await deliver(channel, video, row)
    fake.failures.clear()
    again = make_video(tmp_path, size=video.size - 1000, seed=9)
    with pytest.raises(SessionLostError):
        await deliver(channel, again, row)
    first = await deliver(channel, video, row)
    assert await deliver(channel, again, row) == first
    assert sole(fake) == video.path.read_bytes()


async def test_the_last_piece_is_announced_on_the_row(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """Before the last piece goes, the row says so; before that, it does not."""
    fake.fail("put", 500, times=100)
    with pytest.raises(LocationAwayError):
        await deliver(channel, video, row)
    assert row.session is not None
    assert "whole" not in row.session
    fake.failures.clear()
    await deliver(channel, video, row)
    assert "whole" in row.session


@pytest.mark.parametrize("seed", range(8))
async def test_any_mixture_of_faults_ends_in_one_video(
    channel: YouTube, fake: FakeYouTube, tmp_path: Path, seed: int
) -> None:
    """Whatever goes wrong in whatever order, in the end there is one video with the right content."""
    dice = random.Random(seed)
    video = make_video(tmp_path, size=GRANULE * dice.randrange(1, 5) + dice.randrange(3), seed=seed)
    row = Row()
    for _ in range(40):
        break_something(fake, dice, video)
        try:
            if dice.random() < 0.3 and await channel.find(video, row.session) is not None:
                break
            await deliver(channel, video, row)
            break
        except SessionLostError:
            row.session = None
        except LocationAwayError:
            continue
    fake.failures.clear()
    fake.lose_answers = 0
    await deliver(channel, video, row)
    assert sole(fake) == video.path.read_bytes()


def break_something(fake: FakeYouTube, dice: random.Random, video: Video) -> None:
    fake.failures.clear()
    match dice.randrange(6):
        case 0:
            fake.break_after = dice.randrange(1, video.size + 1)
        case 1:
            fake.lose_answers = dice.randrange(1, 6)
        case 2:
            fake.fail("put", dice.choice([0, 500, 503]), times=dice.randrange(1, 6))
        case 3:
            fake.store_at_most = dice.randrange(GRANULE)
        case 4:
            fake.fail("begin", 503)
        case _:
            if not fake.videos:
                fake.expire_sessions()


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["begin", "put", "ask"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "quotaExceeded"),
        (400, "invalidCategoryId"),
        (403, "rateLimitExceeded"),
        (400, "uploadLimitExceeded"),
        (403, "userRateLimitExceeded"),
        (429, ""),
        (401, "authError"),
        (401, "youtubeSignupRequired"),
        (403, "accessNotConfigured"),
    ],
)
async def test_what_is_not_the_video_s_fault_waits(
    channel: YouTube, fake: FakeYouTube, video: Video, operation: str, status: int, reason: str
) -> None:
    """Quotas, rates and refused keys make videos wait."""
    fake.fail(operation, status, reason, times=2)  # 401 is asked twice
    with pytest.raises(LocationAwayError, match="place"):
        await deliver(channel, video, Row())
    assert fake.videos == {}


async def test_a_spent_quota_waits_for_the_next_day(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """The quota of a day is not asked for again before it is new."""
    fake.fail("begin", 403, "quotaExceeded")
    with pytest.raises(LocationAwayError, match="quota of today") as raised:
        await channel.begin(video)
    assert raised.value.retry_after is not None
    again = datetime.now(UTC) + raised.value.retry_after
    assert (again.hour, again.minute) == (8, 5)


async def test_a_refusal_goes_to_an_operator(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """A 400 with a reason is the video's, and its sentence is Google's without marks."""
    fake.fail("begin", 400, "invalidDescription")
    with pytest.raises(
        LocationRefusedError, match=r"place refuses this: As the test wants it \(invalidDescription\)\."
    ):
        await channel.begin(video)


async def test_an_answer_of_somebody_else_is_no_refusal(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """A 4xx without a reason of Google's, of a proxy say, makes videos wait."""
    fake.fail("begin", 405)
    with pytest.raises(LocationAwayError):
        await channel.begin(video)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"title": "x" * 101}, "101 characters"),
        ({"title": "a<b"}, "no < and > in the title"),
        ({"description": "ä" * 2501}, "5002 bytes"),
        ({"tags": tuple("x" * 30 for _ in range(20))}, "619 characters"),
    ],
)
async def test_what_youtube_would_refuse_is_not_begun(
    channel: YouTube, fake: FakeYouTube, video: Video, change: dict[str, str], sentence: str
) -> None:
    """Limits of title, description and tags are told before anything is asked."""
    with pytest.raises(LocationRefusedError, match=sentence):
        await channel.begin(replace(video, **change))  # type: ignore[arg-type]  # of several kinds
    assert fake.requests == []


# Signing in ---------------------------------------------------------------------------------------------------------


async def test_a_token_that_ends_is_renewed(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """A token that is refused is renewed once, and the upload goes on."""
    row.at = lambda number: fake.tokens.clear() if number == 1 else None
    await deliver(channel, video, row)
    assert fake.refreshed == 2
    assert sole(fake) == video.path.read_bytes()


async def test_revoked_credentials_make_it_wait(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """Credentials that are no good any more are told, without showing them."""
    fake.refresh_token = "another"
    with pytest.raises(LocationAwayError, match=r"expired or revoked.*make new credentials") as raised:
        await channel.begin(video)
    assert "s3cr3t" not in str(raised.value)


async def test_many_at_once_sign_in_once(channel: YouTube, fake: FakeYouTube, video: Video) -> None:
    """One token serves all who ask at once."""
    await asyncio.gather(*(channel.begin(video) for _ in range(4)))
    assert fake.refreshed == 1


@pytest.mark.parametrize(
    "content", ["x", "{}", "[]", '{"type": "authorized_user"}', '{"type": "service_account", "private_key": "k3y"}']
)
def test_what_are_no_credentials_are_told_at_the_start(tmp_path: Path, content: str) -> None:
    """A file that is not what Google gives is refused without showing it."""
    (tmp_path / "credentials").write_text(content)
    config = configured(tmp_path, 'type = "youtube"\ncredentials_file = "credentials"')
    with pytest.raises(UserError, match="credentials of place are not what Google gives") as raised:
        load(config)
    assert "k3y" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://evil.example/x", "https://evil.example/x", "https://googleapis.com.evil.example/x", ""]
)
async def test_our_token_goes_to_google_alone(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, url: str
) -> None:
    """An address on the row that is not Google's is not asked."""
    assert row.session is not None
    row.session["url"] = url
    with pytest.raises(LocationAwayError, match="not Google's"):
        await deliver(channel, video, row)
    with pytest.raises(LocationAwayError, match="not Google's"):
        await channel.find(video, row.session)


# After the upload ---------------------------------------------------------------------------------------------------


async def test_processing_is_waited_for(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """A video is processing until YouTube says that it is processed."""
    fake.polls = 2
    delivered = await deliver(channel, video, row)
    assert delivered.processing
    assert [await channel.finished(delivered) for _ in range(3)] == [False, False, True]


async def test_processing_of_which_nothing_is_known_any_more_is_over(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """A video is not asked about for ever when YouTube has forgotten how its processing went."""
    fake.outcome = {"uploadStatus": "uploaded"}
    assert await channel.finished(await deliver(channel, video, row))


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ({"uploadStatus": "failed", "failureReason": "codec"}, r"failed \(codec\)"),
        ({"uploadStatus": "rejected", "rejectionReason": "duplicate"}, r"rejected \(duplicate\)"),
        ({"uploadStatus": "deleted"}, r"deleted \(no reason given\)"),
    ],
)
async def test_processing_that_fails_goes_to_an_operator(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row, outcome: dict[str, str], why: str
) -> None:
    """What YouTube makes nothing of is refused, with its reason."""
    fake.outcome = outcome
    delivered = await deliver(channel, video, row)
    with pytest.raises(LocationRefusedError, match=why):
        await channel.finished(delivered)


async def test_a_video_that_vanishes_is_told_after_a_while(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """A video that YouTube does not know is waited for, but not for ever."""
    now = datetime.now(UTC)
    channel._patience = Patience(now=lambda: now)
    delivered = await deliver(channel, video, row)
    fake.videos.clear()
    assert not await channel.finished(delivered)
    now += timedelta(minutes=16)
    with pytest.raises(LocationRefusedError, match="is no more at place"):
        await channel.finished(delivered)


async def test_a_change_leaves_what_is_not_ours(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """Title, description, tags and visibility change; what was set by hand stays."""
    delivered = await deliver(channel, video, row)
    there = fake.videos[delivered.video_id].resource
    there["snippet"]["categoryId"] = "28"
    there["snippet"]["defaultAudioLanguage"] = "de"
    await channel.modify(delivered, replace(video, title="New", description="", tags=("z",), public=False))
    changed = fake.videos[delivered.video_id].resource
    assert changed["snippet"] == {
        "title": "New", "description": "", "tags": ["z"], "categoryId": "28", "defaultAudioLanguage": "de",
    }  # fmt: skip
    assert changed["status"]["privacyStatus"] == "unlisted"
    assert changed["status"]["license"] == "youtube"


async def test_a_thumbnail_goes_with_the_video(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """The thumbnail is set, and one that is too large for YouTube becomes a JPEG that is not."""
    noise = Image.frombytes("RGB", (1280, 720), random.Random(1).randbytes(1280 * 720 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    delivered = await deliver(channel, replace(video, thumbnail=file.getvalue()), row)
    sent = fake.videos[delivered.video_id].thumbnail
    assert sent is not None
    with Image.open(io.BytesIO(sent)) as image:
        assert (image.format, image.size) == ("JPEG", (1280, 720))


async def test_a_thumbnail_that_fails_keeps_no_video_back(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """The video is out, whatever becomes of its thumbnail, which is told again, and then refused in a sentence."""
    illustrated = replace(video, thumbnail=b"\x89PNG small")
    fake.fail("thumbnail", 403, "forbidden")
    delivered = await deliver(channel, illustrated, row)
    assert [*fake.videos] == [delivered.video_id]
    assert not delivered.told
    fake.fail("thumbnail", 403, "forbidden")
    with pytest.raises(LocationRefusedError, match="look whether its channel is verified"):
        await channel.modify(delivered, illustrated)
    await channel.modify(delivered, illustrated)
    assert fake.videos[delivered.video_id].thumbnail == b"\x89PNG small"


async def test_a_large_thumbnail_that_is_none_keeps_no_video_back(
    channel: YouTube, fake: FakeYouTube, video: Video, row: Row
) -> None:
    """A custom image that is no picture is found out without doubt about the video."""
    delivered = await deliver(channel, replace(video, thumbnail=b"x" * (3 << 20)), row)
    assert ([*fake.videos], delivered.told) == ([delivered.video_id], False)


async def test_what_is_said_is_sent(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """Title, description, tags and visibility are those of the event; who is not public is unlisted."""
    del row
    await channel.begin(replace(video, public=False))
    said = [*fake.sessions.values()][-1].resource
    assert said["snippet"] == {
        "title": video.title, "description": "Said of it.", "tags": ["a", "b c"], "categoryId": "22",
    }  # fmt: skip
    assert said["status"] == {"privacyStatus": "unlisted", "selfDeclaredMadeForKids": False}


async def test_a_row_holds_the_session_as_json(row: Row) -> None:
    """A session survives being written as JSON."""
    assert json.loads(json.dumps(row.session)) == row.session


async def test_a_hanging_upload_can_be_cancelled(channel: YouTube, fake: FakeYouTube, video: Video, row: Row) -> None:
    """A piece that is never answered does not hold up the end of the cutter."""
    fake.hang = asyncio.Event()
    delivery = asyncio.create_task(deliver(channel, video, row))
    while "put" not in fake.requests and not delivery.done():
        await asyncio.wait({delivery}, timeout=0.01)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    fake.hang.set()
    fake.hang = None
    assert await channel.find(video, row.session) is None
