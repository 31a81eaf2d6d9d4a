"""`respool event`: what operators type becomes what the database holds, and what it refuses becomes a sentence."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from common import db
from common.cuts import CutType
from respool.event import cli
from respool.event_fields import CUT_TYPES
from respool.refusals import SENTENCES

RANGE = ("--range", "2026-03-01T10:00:00Z", "2026-03-01T10:00:30Z")
WHOLE = ("demo/source", *RANGE, "--title", "The toss")

Run = Callable[..., Result]


Sql = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def sql(shared_postgres_dsn: str) -> Iterator[Sql]:
    """Run a statement as a cutter would, and give its rows; what a test has made is removed in the end."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(shared_postgres_dsn))
        yield lambda statement, *values: [dict(row) for row in runner.run(connection.fetch(statement, *values))]
        runner.run(connection.execute("DELETE FROM events; DELETE FROM event_history; DELETE FROM cutters"))
        runner.run(connection.close())


@pytest.fixture
def run(shared_postgres_dsn: str, sql: Sql) -> Run:
    """Run `respool event` on that database, as anna."""

    def run(command: str, *arguments: str, actor: str = "anna") -> Result:
        told = {"RESPOOL_DATABASE": shared_postgres_dsn, "RESPOOL_AS": actor}
        return CliRunner().invoke(cli, [command, *arguments], env=told)

    return run


def said(result: Result) -> str:
    """What a command printed that went well."""
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout.removesuffix("\n")


def refused(result: Result, code: int = 1) -> str:
    """The one sentence with which it was refused."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def shown(run: Run, event: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(run("show", event, "--json")))
    return found


CUTTERS_DO = {
    "CLAIMED": "state = 'CLAIMED', uploader = 'node1', claim_token = gen_random_uuid()",
    "FINALIZING": "state = 'FINALIZING'",
    "TRANSCODING": "state = 'TRANSCODING'",
    "DONE": "state = 'DONE', video_link = 'https://host/v', upload_time = now(), video_id = 'v', progress = NULL",
}


def bring(sql: Sql, event: str, state: str) -> None:
    """Do what cutters do until an EDITED event is in a state."""
    steps = list(CUTTERS_DO)[: list(CUTTERS_DO).index(state) + 1] if state in CUTTERS_DO else []
    for step in steps:
        sql(f"UPDATE events SET {CUTTERS_DO[step]} WHERE id = $1", event)  # noqa: S608 - our own texts


def test_everything_that_is_said_is_kept(run: Run) -> None:
    """Each option of `add` becomes the field of its name; times of any zone become UTC."""
    event = said(
        run(
            "add",
            *("demo/source", "--range", "2026-03-01T12:00:00+02:00", "2026-03-01T12:00:30.5+02:00"),
            *("--range", "2026-03-01T10:10:00", "2026-03-01T10:10:20Z", "--transition", "fade,1.5"),
            *("--title", "The toss", "--description", "Coin, left camera", "--video-description", "Who begins?"),
            *("--tag", "toss", "--tag", "coin", "--unlisted", "--location", "tube", "--type", "full", "--allow-holes"),
            *("--node", "one", "--node", "two", "--priority", "-3", "--thumbnail-time", "2026-03-01T10:00:05Z"),
            *("--thumbnail-template", "plain", "--thumbnail-crop", "0,0,640,360", "--thumbnail-position", "1,2,3,4"),
        )
    )
    found = shown(run, event)
    assert (
        found
        | {
            "state": "UNEDITED",
            "channel": "demo",
            "quality": "source",
            "ranges": [
                {"start": "2026-03-01T10:00:00Z", "end": "2026-03-01T10:00:30.5Z"},
                {"start": "2026-03-01T10:10:00Z", "end": "2026-03-01T10:10:20Z"},
            ],
            "transitions": [{"type": "fade", "seconds": 1.5}],
            "title": "The toss",
            "description": "Coin, left camera",
            "video_description": "Who begins?",
            "tags": ["toss", "coin"],
            "public": False,
            "upload_location": "tube",
            "cut_type": "full",
            "allow_holes": True,
            "uploader_allowlist": ["one", "two"],
            "priority": -3,
            "thumbnail_mode": "TEMPLATE",
            "thumbnail_time": "2026-03-01T10:00:05Z",
            "thumbnail_template": "plain",
            "thumbnail_crop": [0, 0, 640, 360],
            "thumbnail_position": [1, 2, 3, 4],
            "editor": "anna",
        }
        == found
    )
    assert [(change["by"], change["after"]["state"]) for change in found["history"]] == [("anna", "UNEDITED")]


def test_event_may_be_little_more_than_a_note(run: Run) -> None:
    """What is not known yet is said later, and with it the event becomes EDITED."""
    event = said(run("add", "--description", "Something good"))
    assert "needs a recording (C/Q), a --range, a --title and a --location" in refused(run("edit", event, "--ready"))
    ready = run("edit", event, "--recording", "demo/source", *RANGE, "--title", "Good", "--ready")
    assert said(ready) == f"{event} is EDITED."
    assert shown(run, event)["edit_time"] is not None


def test_ready_event_is_edited_at_once(run: Run) -> None:
    """`add --ready` is one step, with the id that was chosen."""
    assert said(run("add", *WHOLE, "--id", "toss", "--ready")) == "toss"
    found = shown(run, "toss")
    assert (found["state"], found["upload_location"]) == ("EDITED", "local")
    assert "an event of that id already" in refused(run("add", *WHOLE, "--id", "toss"))


def announce(sql: Sql, **limits: object) -> None:
    """Let a cutter say which locations it has."""
    sql(
        "INSERT INTO cutters (name, folder, locations, limits, last_seen) VALUES ('c', 'f', $1, $2, now())",
        list(limits),
        json.dumps(limits),
    )


def test_location_is_one_that_the_cutters_know(run: Run, sql: Sql) -> None:
    """A location that no cutter has announced is refused with those that there are; before any has, all are taken."""
    said(run("add", "--id", "early", "--location", "anywhere"))
    announce(sql, tube={}, disk={})
    for arguments in (("add", *WHOLE), ("edit", "early")):
        sentence = refused(run(*arguments, "--location", "tub"))
        assert sentence == "There is no upload location 'tub': the cutters know disk, tube."
    assert said(run("edit", "early", "--location", "tube")) == "early is UNEDITED."
    said(run("edit", "early", "--clear", "location"))


def test_location_that_is_not_named_is_the_usual_one(run: Run, sql: Sql) -> None:
    """Without a name `local` is meant, or the only location there is; of several others one must be named."""
    found = []
    for others in ("local", "tube"), ("tube",), ("tube", "disk"):
        announce(sql, **{each: {} for each in others})
        found.append(shown(run, said(run("add", "--description", "x")))["upload_location"])
        assert "a --location" in refused(run("add", *WHOLE, "--ready")) if found[-1] is None else True
        sql("DELETE FROM cutters")
    assert found == ["local", "tube", None]


def test_what_a_location_will_not_take_is_said_early(run: Run, sql: Sql) -> None:
    """Limits that cutters have announced are warned of where an event is written, which is done all the same."""
    announce(sql, local={"title_characters": 7, "seconds": 20})
    warned = run("add", *WHOLE, "--id", "toss")
    assert (warned.exit_code, warned.stdout) == (0, "toss\n")
    assert warned.stderr == "Warning: The title has 8 characters, and local takes 7: make it shorter.\n"
    warned = run("edit", "toss", "--title", "Toss")
    assert "The video is 0:00:30 long, and local takes at most 0:00:20" in warned.stderr
    said(run("edit", "toss", "--range", "2026-03-01T10:00:00Z", "2026-03-01T10:00:20Z"))


def test_edit_changes_only_what_is_said(run: Run, sql: Sql) -> None:
    """Two operators who change different fields keep what the other has said."""
    run("add", *WHOLE, "--id", "toss")
    assert said(run("edit", "toss", "--title", "Better")) == "toss is UNEDITED."
    assert said(run("edit", "toss", "--tag", "coin", "--type", "fast", actor="ben")) == "toss is UNEDITED."
    found = shown(run, "toss")
    assert (found["title"], found["tags"], found["cut_type"], found["editor"]) == ("Better", ["coin"], "fast", "ben")
    assert [sorted(change["before"] or {}) for change in found["history"]] == [
        [],
        ["title"],
        ["cut_type", "editor", "revision", "tags"],
    ]


def test_fields_can_be_emptied_again(run: Run) -> None:
    """`--clear` takes back what was said; nothing is both set and cleared."""
    run("add", *WHOLE, "--id", "toss", "--tag", "coin", "--type", "full", "--node", "one")
    cleared = ("tags", "type", "nodes", "ranges")
    run("edit", "toss", *(part for name in cleared for part in ("--clear", name)))
    found = shown(run, "toss")
    empty: tuple[object, ...] = ([], None, None, [], [])
    assert tuple(found[name] for name in ("tags", "cut_type", "uploader_allowlist", "ranges", "transitions")) == empty
    assert "either set or cleared" in refused(run("edit", "toss", "--tag", "x", "--clear", "tags"), 2)


def test_transitions_are_never_lost_unnoticed(run: Run) -> None:
    """New ranges keep the transitions between them if their number fits; else the new ones must be said."""
    two = (*RANGE, "--range", "2026-03-01T10:10:00Z", "2026-03-01T10:10:20Z")
    three = (*two, "--range", "2026-03-01T10:20:00Z", "2026-03-01T10:20:20Z")
    run("add", "demo/source", *two, "--id", "toss", "--transition", "wipeleft,1")
    moved = [part.replace("10:10:00Z", "10:10:01Z") for part in two]
    said(run("edit", "toss", *moved))
    assert shown(run, "toss")["transitions"] == [{"type": "wipeleft", "seconds": 1}]
    assert "Give one --transition less than ranges" in refused(run("edit", "toss", *three))
    said(run("edit", "toss", *three, "--transition", "none", "--transition", "fade,1"))
    assert shown(run, "toss")["transitions"] == [None, {"type": "fade", "seconds": 1}]
    run("edit", "toss", "--transition", "none", "--transition", "none")
    said(run("edit", "toss", *two))  # hard joins are nothing that could be lost
    assert shown(run, "toss")["transitions"] == [None]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--range", "2026-03-01T10:00:30Z", "2026-03-01T10:00:00Z"), "does not start before it ends"),
        (("--range", "noon", "2026-03-01T10:00:00Z"), "is not an ISO 8601 time"),
        ((*RANGE, "--transition", "fade,1"), "one --transition less than ranges"),
        (("--transition", "fad,1"), "there are fade"),
        (("--transition", "fade,99"), "at most 30 seconds"),
        (("--transition", "fade"), "TYPE,SECONDS"),
        (("--type", "quick"), "'quick' is not one of 'rough', 'fast', 'smart', 'full', 'archive'"),
        (("--thumbnail-crop", "1,2,3"), "is not X,Y,WIDTH,HEIGHT in pixels"),
        (("--thumbnail-crop", "0,0,0,9"), "is not X,Y,WIDTH,HEIGHT in pixels"),
        (("--thumbnail-image", "/nowhere.png"), "does not exist"),
        (("--thumbnail-image", __file__), "is no PNG or JPEG"),
        (("--title", "\udcff"), "This is no UTF-8"),
        (("--priority", "99999999999"), "is not in the range"),
    ],
)
def test_mistakes_are_told_before_the_database_is_asked(arguments: tuple[str, ...], sentence: str) -> None:
    """What cannot be right is refused by itself, in one sentence."""
    result = CliRunner().invoke(cli, ["add", "demo/source", *arguments], env={"RESPOOL_DATABASE": "postgresql://"})
    assert sentence in refused(result, 2)


def test_cut_types_are_those_that_there_are() -> None:
    """The command line knows every type of cut."""
    assert [each.value for each in CutType] == list(CUT_TYPES)


async def test_every_refusal_of_the_database_has_a_sentence(shared_postgres_dsn: str) -> None:
    """Each constraint of the tables that operators write to has its sentence."""
    async with await db.pool(shared_postgres_dsn) as pool:
        rows = await pool.fetch(
            "SELECT conname FROM pg_constraint WHERE contype <> 'n' AND conname <> 'keeps_are_numbered' AND"
            " conrelid IN ('events'::regclass, 'webhooks'::regclass, 'keeps'::regclass)"
        )
    assert {row["conname"] for row in rows} == {*SENTENCES}


def test_transitions_longer_than_their_ranges_are_refused(run: Run) -> None:
    """What only the database sees is told in a sentence too."""
    two = (*RANGE, "--range", "2026-03-01T10:10:00Z", "2026-03-01T10:10:01Z")
    assert "none may be longer than the ranges" in refused(run("add", "demo/source", *two, "--transition", "fade,2"))


def test_custom_thumbnail_is_an_image(run: Run, sql: Sql, tmp_path: Path) -> None:
    """The file's content is kept, and the thumbnail is then a custom one."""
    content = io.BytesIO()
    Image.new("RGB", (64, 36)).save(content, "PNG")
    (tmp_path / "x.png").write_bytes(content.getvalue())
    run("add", *WHOLE, "--id", "toss", "--thumbnail-image", str(tmp_path / "x.png"))
    assert sql("SELECT thumbnail_mode, thumbnail_image FROM events") == [
        {"thumbnail_mode": "CUSTOM", "thumbnail_image": content.getvalue()}
    ]
    assert f"thumbnail image    {len(content.getvalue())} bytes" in said(run("show", "toss"))


def test_moment_for_the_thumbnail_makes_it_a_frame(run: Run) -> None:
    """Where only its time is said, the thumbnail is a bare frame, unless it was to be something else."""
    moment = ("--thumbnail-time", "2026-03-01T10:00:05Z")
    run("add", *WHOLE, "--id", "new", *moment)
    run("add", *WHOLE, "--id", "old")
    run("edit", "old", *moment)
    run("add", *WHOLE, "--id", "set", "--thumbnail-template", "plain")
    run("edit", "set", *moment)
    assert [shown(run, each)["thumbnail_mode"] for each in ("new", "old", "set")] == ["BARE", "BARE", "TEMPLATE"]
    run("add", *WHOLE, "--id", "half", "--thumbnail-template", "plain")
    assert "needs --thumbnail-time" in refused(run("edit", "half", "--ready"))


REFUSALS = {
    ("edit", "CLAIMED"): "add --ready to have it cut anew",
    ("edit", "FINALIZING"): "wait until it is DONE",
    ("edit", "TRANSCODING"): "wait until it is DONE",
    ("edit", "DONE"): "`respool event modify` changes what is said of its video",
    ("edit", "MODIFIED"): "`respool event modify` changes what is said of its video",
    ("cancel", "FINALIZING"): "may be out already, so it cannot be cancelled",
    ("cancel", "TRANSCODING"): "is out already",
    ("cancel", "DONE"): "is out, so there is nothing to cancel",
    ("cancel", "MODIFIED"): "is out, so there is nothing to cancel",
    ("retry", "UNEDITED"): "has no error",
    ("retry", "CLAIMED"): "is being cut right now",
    ("retry", "FINALIZING"): "is being published right now",
    ("retry", "TRANSCODING"): "is being published right now",
    ("retry", "DONE"): "nothing of it has failed",
    ("retry", "MODIFIED"): "being changed right now",
    ("modify", "UNEDITED"): "use `respool event edit`",
    ("modify", "EDITED"): "use `respool event edit`",
    ("modify", "CLAIMED"): "is being cut",
    ("modify", "FINALIZING"): "wait until it is DONE",
    ("modify", "TRANSCODING"): "wait until it is DONE",
    ("edit --replace", "UNEDITED"): "has no video to be replaced",
    ("edit --replace", "EDITED"): "has no video to be replaced",
    ("edit --replace", "CLAIMED"): "has no video to be replaced",
    ("edit --replace", "FINALIZING"): "wait until it is DONE",
    ("edit --replace", "TRANSCODING"): "wait until it is DONE",
    ("edit --replace", "MODIFIED"): "wait until it is DONE",
    ("edit --link=https://host/x", "EDITED"): "cancel it first",
    ("edit --link=https://host/x", "CLAIMED"): "cancel it first",
    ("edit --link=https://host/x", "FINALIZING"): "wait until it is DONE",
    ("edit --link=https://host/x", "TRANSCODING"): "wait until it is DONE",
    ("edit --link=https://host/x", "DONE"): "is out already",
    ("edit --link=https://host/x", "MODIFIED"): "is out already",
}

# What is possible, and what the state is then.
DONE = {
    ("edit", "UNEDITED"): "UNEDITED",
    ("edit", "EDITED"): "EDITED",
    ("edit --ready", "UNEDITED"): "EDITED",
    ("edit --ready", "EDITED"): "EDITED",
    ("edit --ready", "CLAIMED"): "EDITED",
    ("cancel", "UNEDITED"): "UNEDITED",
    ("cancel", "EDITED"): "UNEDITED",
    ("cancel", "CLAIMED"): "UNEDITED",
    ("retry", "EDITED"): "EDITED",
    ("modify", "DONE"): "MODIFIED",
    ("modify", "MODIFIED"): "MODIFIED",
    ("edit --replace", "DONE"): "UNEDITED",
    ("edit --replace --ready", "DONE"): "EDITED",
    ("edit --link=https://host/x", "UNEDITED"): "DONE",
}
CHANGES = {"edit": ("--title", "Another"), "modify": ("--title", "Another")}


@pytest.mark.parametrize("state", ["UNEDITED", "EDITED", "CLAIMED", "FINALIZING", "TRANSCODING", "DONE", "MODIFIED"])
def test_what_can_be_done_depends_on_the_state(run: Run, sql: Sql, state: str) -> None:
    """In each state each command either does what it says, or says what to do instead and changes nothing."""
    acts = sorted({act for act, before in {**REFUSALS, **DONE} if before == state})
    for number, act in enumerate(acts):
        event = f"event-{number}"
        sql(
            """
            INSERT INTO events (
                id, state, channel, quality, ranges, title, upload_location, uploader, video_link, upload_time)
            SELECT $1, $2::text, 'c', 'q', '{"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)"}', 'Title', 'local', 'node1',
                CASE WHEN $2 IN ('DONE', 'MODIFIED') THEN 'https://host/v' END,
                CASE WHEN $2 IN ('DONE', 'MODIFIED') THEN now() END
            """,
            event,
            state,
        )
        before = sql("SELECT * FROM events WHERE id = $1", event)
        command, *flags = act.split(" ")
        result = run(command, event, *flags, *CHANGES.get(command, ()))
        if (act, state) in REFUSALS:
            assert (sentence := refused(result)).startswith(f"{event} ")
            assert REFUSALS[act, state] in sentence
            assert sql("SELECT * FROM events WHERE id = $1", event) == before
        else:
            assert said(result) == f"{event} is {DONE[act, state]}."
            assert sql("SELECT state FROM events WHERE id = $1", event) == [{"state": DONE[act, state]}]


def test_note_for_operators_can_be_changed_at_any_time(run: Run, sql: Sql) -> None:
    """What is not published does not get into anybody's way."""
    run("add", *WHOLE, "--id", "toss", "--ready")
    bring(sql, "toss", "FINALIZING")
    assert said(run("edit", "toss", "--description", "Check the sound")) == "toss is FINALIZING."


def test_edit_takes_an_event_away_from_its_cutter(run: Run, sql: Sql) -> None:
    """What is edited anew while it is being cut begins anew, and its cutter can write no more."""
    run("add", *WHOLE, "--id", "toss", "--ready")
    bring(sql, "toss", "CLAIMED")
    sql("UPDATE events SET attempts = 3, error = 'Disk full.'")
    run("edit", "toss", "--range", "2026-03-01T10:00:00Z", "2026-03-01T10:00:20Z", "--ready")
    [row] = sql("SELECT claim_token, attempts, error, revision FROM events")
    assert row == {"claim_token": None, "attempts": 0, "error": None, "revision": 1}


def test_failed_event_is_tried_again(run: Run, sql: Sql) -> None:
    """What came back with an error is cut again, what waits for its next try is tried now; all of it or nothing."""
    for event in ("one", "two", "three"):
        run("add", *WHOLE, "--id", event, "--ready")
    sql("UPDATE events SET state = 'UNEDITED', error = 'Refused.' WHERE id = 'one'")
    sql("UPDATE events SET error = 'Away.', next_try = now() + '1 hour', attempts = 7 WHERE id = 'two'")
    sql("UPDATE events SET state = 'UNEDITED' WHERE id = 'three'")
    assert said(run("list", "--failed", "--ids")) == "one\ntwo"
    assert "three has no error" in refused(run("retry", "one", "three"))
    assert sql("SELECT state FROM events WHERE id = 'one'") == [{"state": "UNEDITED"}]
    assert said(run("retry", "one", "two")) == "one is EDITED.\ntwo is EDITED."
    states = sql("SELECT state, error, next_try, attempts FROM events WHERE id <> 'three'")
    assert states == [{"state": "EDITED", "error": None, "next_try": None, "attempts": 0}] * 2


def test_video_by_hand_is_changed_where_it_is(run: Run) -> None:
    """A video that an operator has published is out of the cutters' reach, and `modify` says so."""
    run("add", "--id", "toss")
    assert said(run("edit", "toss", "--link", "https://host/v", "--title", "The toss")) == "toss is DONE."
    assert "was published by hand" in refused(run("modify", "toss", "--title", "x"))
    assert "http or https URL" in refused(run("edit", "toss", "--link", "file:///x"), 2)


def test_event_is_named_by_the_beginning_of_its_id(run: Run) -> None:
    """As much of an id as no other has names it; a whole id names its event in any case."""
    for event in ("toss", "toss-2", "final"):
        run("add", "--id", event)
    assert said(run("cancel", "toss", "f")) == "toss is UNEDITED.\nfinal is UNEDITED."
    assert refused(run("show", "tos")) == (
        "Several events begin with 'tos', among them toss, toss-2: write more of the id."
    )
    assert "There is no event 'x'" in refused(run("show", "x"))
    assert "There is no event ''" in refused(run("show", ""))


def test_show_tells_all_and_who_did_it(run: Run, sql: Sql) -> None:
    """An event is shown with what it lacks and its history, without what is secret."""
    run("add", *WHOLE, "--id", "toss", "--ready")
    sql('UPDATE events SET lacking = \'{"node1": "A hole."}\', upload_session = \'{"url": "https://secret"}\'')
    run("edit", "toss", "--title", "Better", actor="ben")
    text = said(run("show", "toss"))
    assert text.startswith("toss is EDITED\n  recording          demo/source\n")
    assert "  range              2026-03-01T10:00:00Z 2026-03-01T10:00:30Z  (0:30)\n" in text
    assert "  lacking            node1: A hole.\n" in text
    assert re.search(r"\n  2\S+Z  anna  made, EDITED\n", text)
    assert re.search(r"\n  2\S+Z  ben\n      editor: anna → ben\n      title: The toss → Better$", text)
    assert "secret" not in text + said(run("show", "toss", "--json"))


def test_list_is_a_table(run: Run, sql: Sql) -> None:
    """Each event has a line with its state, its time in UTC and what there is to say of it."""
    assert said(run("list")) == "There are no events."
    run("add", *WHOLE, "--id", "toss", "--ready")
    run("add", "--description", "[bold]\x1b[31mNote", "--id", "note")
    sql("UPDATE events SET lacking = '{\"one\": \"A hole.\"}', next_try = now() + '59.5 minutes' WHERE id = 'toss'")
    lines = [line.split() for line in said(run("list")).splitlines()]
    assert lines[0] == ["event", "state", "from", "(UTC)", "length", "title", "note"]
    assert lines[1] == ["note", "UNEDITED", "[bold]\N{REPLACEMENT CHARACTER}[31mNote"]
    assert lines[2][:7] == ["toss", "EDITED", "2026-03-01", "10:00:00", "0:30", "The", "toss"]
    assert " ".join(lines[2][7:]).startswith("next try in 59:")
    assert " ".join(lines[2]).endswith("; one: A hole")


def test_list_filters(run: Run) -> None:
    """States, channel and text choose what is listed; more than the limit is said."""
    run("add", *WHOLE, "--id", "toss", "--ready")
    run("add", "other/source", *RANGE, "--title", "The final", "--id", "final")
    for arguments, ids in [
        (("--state", "edited"), ["toss"]),
        (("--state", "EDITED", "--state", "UNEDITED"), ["final", "toss"]),
        (("--channel", "other"), ["final"]),
        (("--find", "TOSS"), ["toss"]),
        (("--limit", "0"), ["final", "toss"]),
    ]:
        assert [row["id"] for row in json.loads(said(run("list", "--json", *arguments)))] == ids
    result = run("list", "--ids", "--limit", "1")
    assert (result.stdout, result.stderr) == ("final\n", "There are more: --limit 0 shows all, here are 1.\n")


def test_who_acts_must_be_known(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name there is no change, since the history would not say whose it was."""
    assert "Say who you are with --as NAME" in refused(run("add", actor=" "))
    monkeypatch.setattr("getpass.getuser", lambda: "login")
    run("add", "--id", "toss", actor="")
    assert shown(run, "toss")["editor"] == "login"


def test_database_that_cannot_be_used_is_told(empty_postgres_dsn: str, tmp_path: Path) -> None:
    """No database, a dead one and an empty one are one sentence each."""
    nowhere = empty_postgres_dsn.replace("/test_", "/nowhere_")
    for arguments, sentence in [
        (("--data", str(tmp_path)), "No database runs in"),
        (("--database", nowhere), "Refused by the database nowhere_"),
        (("--database", empty_postgres_dsn), "is not that of this version of Respool"),
    ]:
        assert sentence in refused(CliRunner().invoke(cli, ["list", *arguments]))
