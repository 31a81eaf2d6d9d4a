"""What the database refuses, in sentences for whom typed the command."""

from typing import Final

import asyncpg

from common.errors import UserError

# By the constraint that refused. What triggers refuse has a sentence of its own, and a hint.
SENTENCES: Final = {
    "events_id_is_unique": "There is an event of that id already: choose another id, or edit that one.",
    "events_id_is_a_name": "The id of an event cannot be empty.",
    "events_state_is_known": "There is no such state.",
    "events_ranges_are_sound": "Each range must start before it ends, in the years 1970 to 9998.",
    "events_transitions_fit": "Give one --transition less than ranges, `none` for a hard join; none may be "
    "longer than the ranges that it joins, nor both of a range together.",
    "events_cut_type_is_known": "There is no such type of cut: it is rough, fast, smart, full or archive.",
    "events_edited_has_what_a_cut_needs": "Before it can be cut, an event needs a recording (C/Q), a --range, a "
    "--title and a --location: give what is missing.",
    "events_thumbnail_mode_is_known": "There is no such kind of thumbnail.",
    "events_thumbnail_has_what_its_mode_needs": "A thumbnail of a frame needs --thumbnail-time, one in a template also "
    "--thumbnail-template, a custom one --thumbnail-image: give what is missing, or --thumbnail none.",
    "events_thumbnail_boxes_have_four_numbers": "A place in a thumbnail is X,Y,WIDTH,HEIGHT.",
    "events_lists_have_no_empty_places": "A list has an empty place.",
    "events_claimed_has_an_uploader": "No cutter has published this event, so none can change its video.",
    "events_done_has_a_link_and_a_time": "What is DONE has a link and the time of its publication: give --link URL.",
    "events_times_can_be_told": "A time lies in the years 1970 to 9998.",
    "events_lists_are_plain": "A list has no lists in it.",
    "events_notes_of_cutters_are_objects": "What cutters note down is theirs: lacking, spool and upload_session.",
    "events_attempts_are_counted": "The number of attempts cannot be negative.",
    "events_progress_is_a_share": "Progress runs from 0 to 1.",
    "keeps_range_is_sound": "What is kept must start before it ends.",
    "webhooks_name_is_unique": "There is a webhook of that name already: choose another, or remove that one first.",
    "webhooks_name_is_a_name": "The name of a webhook cannot be empty.",
    "webhooks_states_are_known": "There is no such state.",
    "webhooks_url_is_http": "A webhook has an http or https URL, such as https://host/path.",
    "webhooks_secret_is_long": "The secret of a webhook has at least 16 characters.",
}

# Why an act is refused, by the act and the state that the event is in.
_WAIT: Final = "is being published: wait until it is DONE (`respool event watch {id} --until-done`)"
NOT_NOW: Final = {
    "edit": {
        "CLAIMED": "is being cut: add --ready to have it cut anew with the change, or cancel it first.",
        "FINALIZING": f"{_WAIT}, then use `respool event modify`.",
        "TRANSCODING": f"{_WAIT}, then use `respool event modify`.",
        "DONE": "is out: `respool event modify` changes what is said of its video, --replace makes another one.",
        "MODIFIED": "is out and being changed: `respool event modify` changes what is said of its video.",
    },
    "replace": {
        "UNEDITED": "has no video to be replaced: leave out --replace.",
        "EDITED": "has no video to be replaced: leave out --replace.",
        "CLAIMED": "has no video to be replaced: leave out --replace.",
        "FINALIZING": f"{_WAIT}.",
        "TRANSCODING": f"{_WAIT}.",
        "MODIFIED": "is out and being changed: wait until it is DONE.",
    },
    "publish": {
        "EDITED": "waits for a cutter: cancel it first.",
        "CLAIMED": "is being cut: cancel it first.",
        "FINALIZING": f"{_WAIT}.",
        "TRANSCODING": f"{_WAIT}.",
        "DONE": "is out already: --replace makes it possible to give another link.",
        "MODIFIED": "is out already.",
    },
    "cancel": {
        "FINALIZING": "is being published and may be out already, so it cannot be cancelled: it becomes DONE, or "
        "UNEDITED with an error, by itself.",
        "TRANSCODING": "is out already: it becomes DONE, or UNEDITED with an error, by itself.",
        "DONE": "is out, so there is nothing to cancel; `respool event edit {id} --replace` makes another video of it.",
        "MODIFIED": "is out, so there is nothing to cancel.",
    },
    "retry": {
        "UNEDITED": "has no error: `respool event edit {id} --ready` has it cut.",
        "CLAIMED": "is being cut right now.",
        "FINALIZING": "is being published right now.",
        "TRANSCODING": "is being published right now.",
        "DONE": "is out, and nothing of it has failed.",
        "MODIFIED": "is out and being changed right now.",
    },
    "modify": {
        "UNEDITED": "is not out yet: use `respool event edit`.",
        "EDITED": "is not out yet: use `respool event edit`.",
        "CLAIMED": "is being cut: `respool event edit --ready` has it cut anew; or wait until it is DONE.",
        "FINALIZING": f"{_WAIT}.",
        "TRANSCODING": f"{_WAIT}.",
        "DONE": "was published by hand, so no cutter can change its video: change it where you have published it.",
    },
}

# Tables, columns or functions that are not there.
_OTHER_VERSION = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
)


def refusal(error: asyncpg.PostgresError | asyncpg.InterfaceError | OSError) -> UserError:
    """Make of what the database, or the way to it, has against a command a sentence, with the hint if there is one."""
    if isinstance(error, _OTHER_VERSION):
        return UserError(
            "The database is not that of this version of Respool: start `respool up`, or another service of this "
            "version, which brings it up to date."
        )
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        known = SENTENCES.get(error.constraint_name or "")
        return UserError(known or " ".join(filter(None, (error.message, error.hint))))
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        return UserError(f"The database refuses that: {str(error).rstrip('.')}.")
    reason = str(error).rstrip(".") or type(error).__name__
    return UserError(
        f"The connection to the database broke ({reason}): look whether the change is there, and try again."
    )
