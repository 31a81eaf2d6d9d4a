-- The schema of Respool's database.
--
-- Applied by every service at its start (common.db.apply_schema), in one transaction and under a lock: whatever stands
-- here may be run any number of times, on an empty database and on a live one of any earlier version.
--   * A new table is CREATE TABLE IF NOT EXISTS, with all its constraints named.
--   * A change of an existing one is its own statement, further down, that does nothing the second time:
--     ALTER TABLE ... ADD COLUMN IF NOT EXISTS, DROP CONSTRAINT IF EXISTS and ADD CONSTRAINT, CREATE OR REPLACE.
--   * Nothing is renamed or dropped that a service of the version before still reads.
--   * Every table and column says what it means; `\d+` in psql shows it.

CREATE TABLE IF NOT EXISTS nodes (
    name      text NOT NULL,
    url       text NOT NULL,
    last_seen timestamptz,
    CONSTRAINT nodes_name_is_unique PRIMARY KEY (name),
    CONSTRAINT nodes_url_is_http CHECK (url ~ '^https?://[^/]')
);
COMMENT ON TABLE nodes IS 'The machines that hold a store, each of which fills the holes of the others.';
COMMENT ON COLUMN nodes.name IS 'What we call the machine.';
COMMENT ON COLUMN nodes.url IS 'Where its restreamer answers, as the other machines reach it.';
COMMENT ON COLUMN nodes.last_seen IS 'When it last announced itself; NULL if it never did.';

CREATE TABLE IF NOT EXISTS cutters (
    name      text NOT NULL,
    folder    text NOT NULL,
    locations text[] NOT NULL,
    last_seen timestamptz,
    CONSTRAINT cutters_name_is_unique PRIMARY KEY (name),
    CONSTRAINT cutters_name_is_a_name CHECK (name <> '')
);
COMMENT ON TABLE cutters IS 'The cutters that run or have run, one per node.';
COMMENT ON COLUMN cutters.name IS 'The name of the node, as events name it: uploader, uploader_allowlist, lacking.';
COMMENT ON COLUMN cutters.folder IS 'Which spool folder it has, by the name that the folder holds.';
COMMENT ON COLUMN cutters.locations IS 'The upload locations that it knows.';
COMMENT ON COLUMN cutters.last_seen IS 'When it last announced itself; NULL since it was stopped.';
ALTER TABLE cutters ADD COLUMN IF NOT EXISTS limits jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cutters.limits IS 'By upload location what it takes at the most, so that operators can be told early.';

-- Events -------------------------------------------------------------------------------------------------------------

DO $$ BEGIN
    CREATE TYPE video_range AS (start timestamptz, "end" timestamptz);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
COMMENT ON TYPE video_range IS 'A stretch of a recording, from its start to before its end.';
COMMENT ON COLUMN video_range.start IS 'The first moment that is shown.';
COMMENT ON COLUMN video_range."end" IS 'The first moment that is shown no more.';

DO $$ BEGIN
    CREATE TYPE video_transition AS (type text, duration double precision);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
COMMENT ON TYPE video_transition IS 'How one range goes over into the next; NULL in its place is a hard join.';
COMMENT ON COLUMN video_transition.type IS 'A name such as fade, wipeleft: those of ffmpeg''s xfade, and our own.';
COMMENT ON COLUMN video_transition.duration IS 'Seconds in which both ranges are seen.';

CREATE OR REPLACE FUNCTION seconds_of(range video_range) RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$ SELECT extract(epoch FROM range."end" - range.start)::double precision $$;
COMMENT ON FUNCTION seconds_of IS 'How long a range is.';

-- Not every time of PostgreSQL's is one of the languages that read it: one row with the year 20026, or with a list of
-- lists, would keep everybody from reading any.
CREATE OR REPLACE FUNCTION is_in_our_time(moment timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT moment >= '1970-01-01Z'::timestamptz AND moment < '9999-01-01Z'::timestamptz $$;
COMMENT ON FUNCTION is_in_our_time IS 'Whether a time lies in the years 1970 to 9998; NULL of NULL.';

CREATE OR REPLACE FUNCTION is_plain_list(list anyarray) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_ndims(list) = 1 AND array_lower(list, 1) = 1, list IS NULL OR cardinality(list) = 0)
$$;
COMMENT ON FUNCTION is_plain_list IS 'Whether an array has one dimension, counted from 1; so are an empty one and NULL.';

CREATE OR REPLACE FUNCTION ranges_are_sound(ranges video_range[]) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT is_plain_list(ranges) AND coalesce(bool_and(coalesce(
        one.start < one."end" AND is_in_our_time(one.start) AND is_in_our_time(one."end"), false)), true)
    FROM unnest(ranges) AS one (start, "end")
$$;
COMMENT ON FUNCTION ranges_are_sound IS 'Whether every range has both ends, the start first.';

CREATE OR REPLACE FUNCTION transitions_fit(ranges video_range[], transitions video_transition[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    taken double precision[] := array_fill(0::double precision, ARRAY[coalesce(cardinality(ranges), 0)]);
    seconds double precision;
BEGIN
    IF NOT is_plain_list(transitions)
        OR coalesce(cardinality(transitions), 0) <> greatest(coalesce(cardinality(ranges), 0) - 1, 0)
    THEN
        RETURN false;
    END IF;
    FOR i IN 1 .. coalesce(cardinality(transitions), 0) LOOP
        CONTINUE WHEN transitions[i] IS NOT DISTINCT FROM NULL;
        seconds := (transitions[i]).duration;
        IF coalesce((transitions[i]).type, '') = '' OR seconds IS NULL OR NOT (seconds > 0 AND seconds < 'infinity') THEN
            RETURN false;
        END IF;
        taken[i] := taken[i] + seconds;
        taken[i + 1] := taken[i + 1] + seconds;
    END LOOP;
    FOR i IN 1 .. coalesce(cardinality(ranges), 0) LOOP
        -- a microsecond more or less is the arithmetic's
        IF taken[i] > seconds_of(ranges[i]) + 1e-6 THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;
COMMENT ON FUNCTION transitions_fit IS
    'Whether there is one transition less than ranges, each with a name and a length that both its ranges have.';

CREATE TABLE IF NOT EXISTS events (
    id                 text NOT NULL DEFAULT gen_random_uuid()::text,
    state              text NOT NULL DEFAULT 'UNEDITED',
    description        text NOT NULL DEFAULT '',
    channel            text,
    quality            text,
    ranges             video_range[],
    transitions        video_transition[],
    title              text,
    video_description  text,
    tags               text[] NOT NULL DEFAULT '{}',
    public             boolean NOT NULL DEFAULT true,
    upload_location    text,
    cut_type           text,
    allow_holes        boolean NOT NULL DEFAULT false,
    uploader_allowlist text[],
    priority           integer NOT NULL DEFAULT 0,
    thumbnail_mode     text NOT NULL DEFAULT 'NONE',
    thumbnail_time     timestamptz,
    thumbnail_template text,
    thumbnail_image    bytea,
    thumbnail_crop     integer[],
    thumbnail_position integer[],
    editor             text,
    edit_time          timestamptz,
    uploader           text,
    error              text,
    attempts           integer NOT NULL DEFAULT 0,
    progress           double precision,
    made_as            text,
    video_id           text,
    video_link         text,
    upload_time        timestamptz,
    revision           bigint NOT NULL DEFAULT 0,
    claim_token        uuid,
    lease_until        timestamptz,
    next_try           timestamptz,
    lacking            jsonb NOT NULL DEFAULT '{}',
    spool              jsonb,
    upload_session     jsonb,
    CONSTRAINT events_id_is_unique PRIMARY KEY (id),
    CONSTRAINT events_id_is_a_name CHECK (id <> ''),
    CONSTRAINT events_state_is_known CHECK (
        state IN ('UNEDITED', 'EDITED', 'CLAIMED', 'FINALIZING', 'TRANSCODING', 'DONE', 'MODIFIED')),
    CONSTRAINT events_ranges_are_sound CHECK (ranges_are_sound(ranges)),
    CONSTRAINT events_transitions_fit CHECK (transitions_fit(ranges, transitions)),
    CONSTRAINT events_cut_type_is_known CHECK (cut_type IN ('rough', 'fast', 'smart', 'full', 'archive')),
    CONSTRAINT events_edited_has_what_a_cut_needs CHECK (
        state IN ('UNEDITED', 'DONE') OR (
            channel <> '' AND channel IS NOT NULL AND quality <> '' AND quality IS NOT NULL
            AND coalesce(cardinality(ranges), 0) > 0
            AND title <> '' AND title IS NOT NULL
            AND upload_location <> '' AND upload_location IS NOT NULL)),
    CONSTRAINT events_thumbnail_mode_is_known CHECK (thumbnail_mode IN ('NONE', 'BARE', 'TEMPLATE', 'CUSTOM')),
    CONSTRAINT events_thumbnail_has_what_its_mode_needs CHECK (
        state IN ('UNEDITED', 'DONE') OR CASE thumbnail_mode
            WHEN 'BARE' THEN thumbnail_time IS NOT NULL
            WHEN 'TEMPLATE' THEN thumbnail_time IS NOT NULL AND thumbnail_template IS NOT NULL
            WHEN 'CUSTOM' THEN thumbnail_image IS NOT NULL
            ELSE true END),
    CONSTRAINT events_thumbnail_boxes_have_four_numbers CHECK (
        coalesce(cardinality(thumbnail_crop), 4) = 4 AND array_position(thumbnail_crop, NULL) IS NULL
        AND coalesce(cardinality(thumbnail_position), 4) = 4 AND array_position(thumbnail_position, NULL) IS NULL),
    CONSTRAINT events_lists_have_no_empty_places CHECK (
        array_position(tags, NULL) IS NULL AND array_position(uploader_allowlist, NULL) IS NULL),
    CONSTRAINT events_claimed_has_an_uploader CHECK (
        state IN ('UNEDITED', 'EDITED', 'DONE') OR (uploader <> '' AND uploader IS NOT NULL)),
    CONSTRAINT events_done_has_a_link_and_a_time CHECK (
        state NOT IN ('DONE', 'MODIFIED') OR (video_link <> '' AND video_link IS NOT NULL AND upload_time IS NOT NULL)),
    CONSTRAINT events_attempts_are_counted CHECK (attempts >= 0),
    CONSTRAINT events_progress_is_a_share CHECK (progress BETWEEN 0 AND 1)
);
COMMENT ON TABLE events IS 'What operators may want as videos: one row, one video, by its state on the way to being out.';
COMMENT ON COLUMN events.id IS 'The name of the event; a random one unless told.';
COMMENT ON COLUMN events.state IS
    'UNEDITED, EDITED (to be cut), CLAIMED (being cut), FINALIZING (being published), TRANSCODING, DONE, MODIFIED.';
COMMENT ON COLUMN events.description IS 'What happened, for operators; not published.';
COMMENT ON COLUMN events.channel IS 'The channel whose recording is cut.';
COMMENT ON COLUMN events.quality IS 'The quality of the channel that is cut.';
COMMENT ON COLUMN events.ranges IS 'The stretches of the recording that make the video, in their order.';
COMMENT ON COLUMN events.transitions IS
    'How each range goes over into the next: one less than ranges, NULL for a hard join. Left out, all joins are hard.';
COMMENT ON COLUMN events.title IS 'The title of the video.';
COMMENT ON COLUMN events.video_description IS 'The description that is published with the video; NULL: none.';
COMMENT ON COLUMN events.tags IS 'Words under which the video is found.';
COMMENT ON COLUMN events.public IS 'Whether everybody may find the video; else only who has its link.';
COMMENT ON COLUMN events.upload_location IS 'The name of the place to which the video goes, from the cutters'' configuration.';
COMMENT ON COLUMN events.cut_type IS 'How the video is cut: rough, fast, smart, full, archive; NULL: as the location says.';
COMMENT ON COLUMN events.allow_holes IS 'Whether the video may be made although parts of its ranges were not recorded.';
COMMENT ON COLUMN events.uploader_allowlist IS 'The nodes that may cut it; NULL: any, as an empty list becomes.';
COMMENT ON COLUMN events.priority IS 'The greater goes first.';
COMMENT ON COLUMN events.thumbnail_mode IS
    'NONE, BARE (a frame), TEMPLATE (a frame in a template), CUSTOM (an image of one''s own).';
COMMENT ON COLUMN events.thumbnail_time IS 'The moment whose frame is shown.';
COMMENT ON COLUMN events.thumbnail_template IS 'The name of the template.';
COMMENT ON COLUMN events.thumbnail_image IS 'The custom image: PNG or JPEG.';
COMMENT ON COLUMN events.thumbnail_crop IS 'What of the frame is shown: x, y, width, height; NULL: as the template says.';
COMMENT ON COLUMN events.thumbnail_position IS
    'Where in the template it is shown: x, y, width, height; NULL: as the template says.';
COMMENT ON COLUMN events.editor IS 'Who edited it last.';
COMMENT ON COLUMN events.edit_time IS 'When it was last made EDITED; filled in if it is left out.';
COMMENT ON COLUMN events.uploader IS 'The node whose cutter has claimed it, and later that which published it.';
COMMENT ON COLUMN events.error IS 'What went wrong last, in one sentence for operators; NULL if nothing did.';
COMMENT ON COLUMN events.attempts IS 'How often cutters have tried since it was made EDITED.';
COMMENT ON COLUMN events.progress IS 'How much of the present step is done, from 0 to 1; NULL: none is under way.';
COMMENT ON COLUMN events.made_as IS 'The type of cut that was really made, which is another one where smart was not possible.';
COMMENT ON COLUMN events.video_id IS 'The video''s name at its location.';
COMMENT ON COLUMN events.video_link IS 'Where the video is to be seen.';
COMMENT ON COLUMN events.upload_time IS 'When the video was published.';
COMMENT ON COLUMN events.revision IS 'Counts the changes of what the cut is made from; cutters claim what they examined.';
COMMENT ON COLUMN events.claim_token IS 'Made anew for every claim; cutters write only where it is still theirs.';
COMMENT ON COLUMN events.lease_until IS 'When the claim lapses unless its cutter renews it.';
COMMENT ON COLUMN events.next_try IS 'Not to be claimed before; NULL: at once.';
COMMENT ON COLUMN events.lacking IS 'Why nodes cannot cut it now: an object of their names and a sentence each.';
COMMENT ON COLUMN events.spool IS
    'The finished file that waits for its delivery: an object of node, folder, name, bytes, sha256, made_as, said.'
    ' Of a video that is out: what its location was told, if by now something else is to be said. NULL: none.';
COMMENT ON COLUMN events.upload_session IS
    'What the location needs to go on with an upload or to tell that it is complete; may hold a secret address.';

-- The order in which events are claimed, without a look at all others: those that any node may cut, those of some nodes.
DROP INDEX IF EXISTS events_to_claim;
CREATE INDEX IF NOT EXISTS events_for_any_node ON events (priority DESC, edit_time, id)
    WHERE state = 'EDITED' AND uploader_allowlist IS NULL;
CREATE INDEX IF NOT EXISTS events_for_some_nodes ON events USING gin (uploader_allowlist) WITH (fastupdate = off)
    WHERE state = 'EDITED' AND uploader_allowlist IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_in_spools ON events ((spool ->> 'folder')) WHERE spool IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_under_way ON events (lease_until) WHERE state IN ('CLAIMED', 'FINALIZING', 'TRANSCODING');
CREATE INDEX IF NOT EXISTS events_modified ON events (id) WHERE state = 'MODIFIED';
CREATE INDEX IF NOT EXISTS events_for_some ON events (id) WHERE state = 'EDITED' AND uploader_allowlist IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_outdated ON events (id) WHERE state = 'DONE' AND spool IS NOT NULL;

-- NOT VALID: what is there already stays, and is held to it when it is next changed. Not made anew where they are: that
-- would wait for all who read events.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'events_times_can_be_told') THEN
        ALTER TABLE events ADD CONSTRAINT events_times_can_be_told CHECK (
            is_in_our_time(edit_time) AND is_in_our_time(thumbnail_time) AND is_in_our_time(upload_time)
            AND (is_in_our_time(next_try) OR NOT isfinite(next_try))
            AND (is_in_our_time(lease_until) OR NOT isfinite(lease_until))) NOT VALID;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'events_lists_are_plain') THEN
        ALTER TABLE events ADD CONSTRAINT events_lists_are_plain CHECK (
            is_plain_list(tags) AND is_plain_list(uploader_allowlist)
            AND is_plain_list(thumbnail_crop) AND is_plain_list(thumbnail_position)) NOT VALID;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'events_notes_of_cutters_are_objects') THEN
        ALTER TABLE events ADD CONSTRAINT events_notes_of_cutters_are_objects CHECK (
            jsonb_typeof(lacking) = 'object' AND jsonb_typeof(spool) = 'object'
            AND jsonb_typeof(upload_session) = 'object'
            AND coalesce(jsonb_typeof(spool -> 'bytes'), 'number') = 'number') NOT VALID;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS event_transitions (
    before text NOT NULL,
    after  text NOT NULL,
    why    text NOT NULL,
    CONSTRAINT event_transitions_are_unique PRIMARY KEY (before, after)
);
COMMENT ON TABLE event_transitions IS 'The changes of state that are possible; all others are refused, whoever tries.';
COMMENT ON COLUMN event_transitions.before IS 'The state before.';
COMMENT ON COLUMN event_transitions.after IS 'The state after.';
COMMENT ON COLUMN event_transitions.why IS 'Who makes this change, and when.';
WITH possible (before, after, why) AS (VALUES
    ('UNEDITED', 'EDITED', 'An operator has edited it: it is to be cut.'),
    ('UNEDITED', 'DONE', 'An operator has published the video by hand.'),
    ('EDITED', 'UNEDITED', 'An operator takes the edit back.'),
    ('EDITED', 'CLAIMED', 'A cutter begins.'),
    ('CLAIMED', 'UNEDITED', 'An operator cancels, or the cutter met what only an operator can cure (error).'),
    ('CLAIMED', 'EDITED', 'The cutter died or met what another try may cure, or an operator edits anew.'),
    ('CLAIMED', 'FINALIZING', 'The cutter begins what makes the video public.'),
    ('FINALIZING', 'EDITED', 'The location has certainly not got the video: to be tried again.'),
    ('FINALIZING', 'UNEDITED', 'The location has refused the video for good (error).'),
    ('FINALIZING', 'TRANSCODING', 'The location has it and is still working on it.'),
    ('FINALIZING', 'DONE', 'The location has it.'),
    ('TRANSCODING', 'DONE', 'The location has finished its work on it.'),
    ('TRANSCODING', 'UNEDITED', 'The location could not make anything of it (error).'),
    ('DONE', 'MODIFIED', 'An operator has changed what is said of the video.'),
    ('DONE', 'UNEDITED', 'An operator wants another video instead; the link of this one is in the history.'),
    ('MODIFIED', 'DONE', 'A cutter has told the location of the change.')
), gone AS (
    DELETE FROM event_transitions AS old
    WHERE NOT EXISTS (SELECT FROM possible WHERE possible.before = old.before AND possible.after = old.after)
)
INSERT INTO event_transitions AS old (before, after, why) SELECT * FROM possible
ON CONFLICT (before, after) DO UPDATE SET why = excluded.why WHERE old.why <> excluded.why;

CREATE OR REPLACE FUNCTION event_was_re_edited(before events, after events) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (before.channel, before.quality, before.ranges, before.transitions, before.upload_location, before.cut_type,
            before.allow_holes)
        IS DISTINCT FROM
           (after.channel, after.quality, after.ranges, after.transitions, after.upload_location, after.cut_type,
            after.allow_holes)
$$;
COMMENT ON FUNCTION event_was_re_edited IS 'Whether a change makes a video that was cut before it worthless.';

CREATE OR REPLACE FUNCTION check_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM event_transitions WHERE before = OLD.state AND after = NEW.state)
    THEN
        RAISE EXCEPTION 'The event % is % and cannot become %.', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', TABLE = 'events', CONSTRAINT = 'events_state_follows_its_diagram',
            HINT = (SELECT 'It can become ' || string_agg(after, ' or ' ORDER BY after) || '.'
                FROM event_transitions WHERE before = OLD.state);
    END IF;
    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'The event % keeps its id: its history and its video go by it.', OLD.id
            USING ERRCODE = 'check_violation', TABLE = 'events', CONSTRAINT = 'events_keep_their_ids',
            HINT = 'Make another event, and delete this one.';
    END IF;
    -- that it is not out is said by the cutter that sees to it, which gives up its claim with that, or by an operator
    -- who has looked, and says so in a new error
    IF OLD.state IN ('FINALIZING', 'TRANSCODING') AND NEW.state IN ('UNEDITED', 'EDITED')
        AND NOT (OLD.claim_token IS NOT NULL AND NEW.claim_token IS NULL)
        AND (NEW.error IS NULL OR NEW.error IS NOT DISTINCT FROM OLD.error)
    THEN
        RAISE EXCEPTION 'The event % is %: the video may be out already, so it cannot be cancelled.', OLD.id, OLD.state
            USING ERRCODE = 'check_violation', TABLE = 'events', CONSTRAINT = 'events_are_not_cancelled_when_nearly_out',
            HINT = 'Wait until it is DONE; it becomes so, or UNEDITED with an error, by itself. '
                'If you have looked and it is not out, set "error" to a sentence that says so.';
    END IF;
    IF event_was_re_edited(OLD, NEW)
        AND NOT (OLD.state IN ('UNEDITED', 'EDITED', 'DONE') OR NEW.state IN ('UNEDITED', 'EDITED'))
    THEN
        RAISE EXCEPTION 'The event % is %: what its video is made from cannot be changed now.', OLD.id, OLD.state
            USING ERRCODE = 'check_violation', TABLE = 'events', CONSTRAINT = 'events_are_not_edited_under_way',
            HINT = 'Make it UNEDITED first, or EDITED with the change, if its state allows that.';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_event_change IS 'Refuses what the diagram of states does not have.';

CREATE OR REPLACE FUNCTION complete_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.transitions IS NULL AND cardinality(NEW.ranges) > 0 THEN
        NEW.transitions := array_fill(NULL::video_transition, ARRAY[cardinality(NEW.ranges) - 1]);
    END IF;
    IF cardinality(NEW.uploader_allowlist) = 0 THEN
        NEW.uploader_allowlist := NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state = 'EDITED' THEN
            NEW.edit_time := coalesce(NEW.edit_time, now());
        END IF;
        RETURN NEW;
    END IF;
    IF event_was_re_edited(OLD, NEW) OR NEW.uploader_allowlist IS DISTINCT FROM OLD.uploader_allowlist THEN
        NEW.revision := OLD.revision + 1;
        NEW.lacking := '{}';
    END IF;
    IF event_was_re_edited(OLD, NEW) OR NEW.state = 'UNEDITED' THEN
        NEW.spool := NULL;
        NEW.upload_session := NULL;
    END IF;
    IF NEW.state IN ('UNEDITED', 'EDITED') THEN
        NEW.uploader := NULL;
        NEW.claim_token := NULL;
        NEW.lease_until := NULL;
        NEW.progress := NULL;
    END IF;
    IF OLD.state = 'UNEDITED' AND NEW.state = 'EDITED' THEN
        NEW.edit_time := CASE WHEN NEW.edit_time IS DISTINCT FROM OLD.edit_time THEN NEW.edit_time ELSE now() END;
        NEW.error := NULL;
        NEW.attempts := 0;
        NEW.next_try := NULL;
    END IF;
    IF OLD.state IN ('EDITED', 'CLAIMED') AND NEW.state = 'EDITED' AND event_was_re_edited(OLD, NEW) THEN
        -- what has failed was another cut
        NEW.error := NULL;
        NEW.attempts := 0;
        NEW.next_try := NULL;
    END IF;
    IF OLD.state IN ('TRANSCODING', 'DONE') AND NEW.state = 'UNEDITED' THEN
        NEW.video_id := NULL;
        NEW.video_link := NULL;
        NEW.upload_time := NULL;
        NEW.made_as := NULL;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION complete_event IS 'Fills in what was left out, and drops what a change has made worthless.';

-- Triggers of one moment run in the order of their names.
CREATE OR REPLACE TRIGGER events_1_check BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION check_event_change();
CREATE OR REPLACE TRIGGER events_2_complete BEFORE INSERT OR UPDATE ON events FOR EACH ROW
    EXECUTE FUNCTION complete_event();

CREATE TABLE IF NOT EXISTS event_history (
    number   bigint GENERATED ALWAYS AS IDENTITY,
    event    text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    by       text NOT NULL,
    before   jsonb,
    after    jsonb,
    CONSTRAINT event_history_is_in_order PRIMARY KEY (number)
);
COMMENT ON TABLE event_history IS 'Every change of an event, for good; of the columns only those that changed.';
COMMENT ON COLUMN event_history.number IS 'Counts the changes of all events.';
COMMENT ON COLUMN event_history.event IS 'The id of the event, which may be deleted since.';
COMMENT ON COLUMN event_history.at IS 'When.';
COMMENT ON COLUMN event_history.by IS
    'Who: the setting respool.actor of the connection, else its application_name, else its user.';
COMMENT ON COLUMN event_history.before IS 'What the columns held before; NULL: the event was made. An image is its size.';
COMMENT ON COLUMN event_history.after IS 'What they held after; NULL: the event was deleted.';
CREATE INDEX IF NOT EXISTS event_history_by_event ON event_history (event, number);

CREATE OR REPLACE FUNCTION event_as_history(event events) RETURNS jsonb LANGUAGE sql STABLE AS $$
    -- without what changes every second, and what is long or secret
    SELECT to_jsonb(event) - ARRAY['progress', 'lease_until', 'claim_token', 'upload_session', 'thumbnail_image', 'lacking']
        || jsonb_build_object('thumbnail_image', octet_length(event.thumbnail_image))
$$;
COMMENT ON FUNCTION event_as_history IS 'What the history keeps of an event.';

CREATE OR REPLACE FUNCTION keep_event_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN event_as_history(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN event_as_history(NEW) END;
    changed text[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(key) INTO changed FROM jsonb_each(new_row) WHERE old_row -> key IS DISTINCT FROM value;
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
        SELECT jsonb_object_agg(key, old_row -> key), jsonb_object_agg(key, new_row -> key) INTO old_row, new_row
        FROM unnest(changed) AS key;
    END IF;
    INSERT INTO event_history (event, by, before, after)
    VALUES (
        CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END,
        coalesce(
            nullif(current_setting('respool.actor', true), ''), nullif(current_setting('application_name'), ''),
            session_user),
        old_row, new_row);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION keep_event_history IS 'Writes down every change of an event.';
CREATE OR REPLACE TRIGGER events_history AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH ROW
    EXECUTE FUNCTION keep_event_history();

CREATE OR REPLACE FUNCTION tell_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('respool_events', json_build_object('id', NEW.id, 'state', NEW.state)::text);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tell_of_event IS 'Wakes those who wait on the channel respool_events; nobody relies on it.';
CREATE OR REPLACE TRIGGER events_told_when_made AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION tell_of_event();
CREATE OR REPLACE TRIGGER events_told_when_changed AFTER UPDATE ON events FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.revision <> NEW.revision) EXECUTE FUNCTION tell_of_event();

-- Operators ----------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS operators (
    name       text NOT NULL,
    token_hash bytea NOT NULL,
    added      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT operators_name_is_unique PRIMARY KEY (name),
    CONSTRAINT operators_name_is_a_name CHECK (name <> ''),
    CONSTRAINT operators_token_is_unique UNIQUE (token_hash),
    CONSTRAINT operators_token_is_a_hash CHECK (octet_length(token_hash) = 32)
);
COMMENT ON TABLE operators IS 'The people and scripts that may write by way of our HTTP routes.';
COMMENT ON COLUMN operators.name IS 'Whose name stands in the history.';
COMMENT ON COLUMN operators.token_hash IS 'The SHA-256 of the token that is sent as Authorization: Bearer; the token is kept nowhere.';
COMMENT ON COLUMN operators.added IS 'Since when.';

CREATE TABLE IF NOT EXISTS templates (
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    image       bytea NOT NULL,
    crop        integer[],
    location    integer[],
    CONSTRAINT templates_name_is_unique PRIMARY KEY (name),
    CONSTRAINT templates_name_is_a_name CHECK (name <> ''),
    CONSTRAINT templates_boxes_have_four_numbers CHECK (
        coalesce(cardinality(crop), 4) = 4 AND array_position(crop, NULL) IS NULL
        AND coalesce(cardinality(location), 4) = 4 AND array_position(location, NULL) IS NULL)
);
COMMENT ON TABLE templates IS 'What thumbnails are set into, for all nodes.';
COMMENT ON COLUMN templates.name IS 'The name that events use.';
COMMENT ON COLUMN templates.description IS 'What it is for, for operators.';
COMMENT ON COLUMN templates.image IS 'A PNG, transparent where the frame is to be seen.';
COMMENT ON COLUMN templates.crop IS 'What of a frame is shown: x, y, width, height; NULL: its middle.';
COMMENT ON COLUMN templates.location IS 'Where it is shown: x, y, width, height; NULL: everywhere.';

-- Retention ----------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS keeps (
    number  bigint GENERATED ALWAYS AS IDENTITY,
    channel text,
    quality text,
    start   timestamptz NOT NULL,
    "end"   timestamptz NOT NULL,
    who     text NOT NULL,
    why     text NOT NULL DEFAULT '',
    added   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keeps_are_numbered PRIMARY KEY (number),
    CONSTRAINT keeps_range_is_sound CHECK (start < "end" AND isfinite(start) AND isfinite("end"))
);
COMMENT ON TABLE keeps IS 'Stretches of recordings that no node deletes, however old they are.';
COMMENT ON COLUMN keeps.number IS 'Counts them.';
COMMENT ON COLUMN keeps.channel IS 'Of which channel; NULL: of all.';
COMMENT ON COLUMN keeps.quality IS 'Of which quality; NULL: of all.';
COMMENT ON COLUMN keeps.start IS 'The first moment that is kept.';
COMMENT ON COLUMN keeps."end" IS 'The moment up to which it is kept.';
COMMENT ON COLUMN keeps.who IS 'Who wants it kept.';
COMMENT ON COLUMN keeps.why IS 'Why, for other operators.';
COMMENT ON COLUMN keeps.added IS 'Since when.';

-- Notifications ------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS webhooks (
    name   text NOT NULL,
    url    text NOT NULL,
    secret text NOT NULL,
    states text[],
    CONSTRAINT webhooks_name_is_unique PRIMARY KEY (name),
    CONSTRAINT webhooks_url_is_http CHECK (url ~ '^https?://[^/]'),
    CONSTRAINT webhooks_secret_is_long CHECK (length(secret) >= 16)
);
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'webhooks_states_are_known') THEN
        ALTER TABLE webhooks ADD CONSTRAINT webhooks_states_are_known CHECK (
            states <@ ARRAY['UNEDITED', 'EDITED', 'CLAIMED', 'FINALIZING', 'TRANSCODING', 'DONE', 'MODIFIED'])
            NOT VALID;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'webhooks_name_is_a_name') THEN
        ALTER TABLE webhooks ADD CONSTRAINT webhooks_name_is_a_name CHECK (name <> '') NOT VALID;
    END IF;
END $$;
COMMENT ON TABLE webhooks IS 'Who is told of changes of state.';
COMMENT ON COLUMN webhooks.name IS 'What we call it.';
COMMENT ON COLUMN webhooks.url IS 'Where the notifications are sent (POST).';
COMMENT ON COLUMN webhooks.secret IS 'With which they are signed (HMAC-SHA-256).';
COMMENT ON COLUMN webhooks.states IS 'The new states of which it is told; NULL: of all.';

-- Not columns of webhooks: whoever changes an event's state refers to those rows, and would conflict with each delivery.
CREATE TABLE IF NOT EXISTS webhook_turns (
    webhook     text NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    next_try    timestamptz NOT NULL DEFAULT '-infinity',
    error       text,
    claim_token uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT webhook_turns_are_unique PRIMARY KEY (webhook),
    CONSTRAINT webhook_turns_have_a_webhook FOREIGN KEY (webhook) REFERENCES webhooks ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE webhook_turns IS 'How delivery to each webhook stands, and which cutter has its turn.';
COMMENT ON COLUMN webhook_turns.webhook IS 'To whom.';
COMMENT ON COLUMN webhook_turns.attempts IS 'How often in a row it was away.';
COMMENT ON COLUMN webhook_turns.next_try IS 'Nothing is sent to it before.';
COMMENT ON COLUMN webhook_turns.error IS 'Why nothing could be sent to it the last time; NULL: something could.';
COMMENT ON COLUMN webhook_turns.claim_token IS 'Of the cutter that sends to it now, made anew each time.';
COMMENT ON COLUMN webhook_turns.lease_until IS 'Until when no other cutter sends to it.';
INSERT INTO webhook_turns (webhook) SELECT name FROM webhooks ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION begin_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_turns (webhook) VALUES (NEW.name);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION begin_webhook IS 'Gives a new webhook its row of webhook_turns.';
CREATE OR REPLACE TRIGGER webhooks_begin AFTER INSERT ON webhooks FOR EACH ROW EXECUTE FUNCTION begin_webhook();

CREATE TABLE IF NOT EXISTS notifications (
    number   bigint GENERATED ALWAYS AS IDENTITY,
    webhook  text NOT NULL,
    event    text NOT NULL,
    body     jsonb NOT NULL,
    made     timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    next_try timestamptz NOT NULL DEFAULT '-infinity',
    error    text,
    CONSTRAINT notifications_are_in_order PRIMARY KEY (number),
    CONSTRAINT notifications_have_a_webhook FOREIGN KEY (webhook) REFERENCES webhooks ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE notifications IS 'What webhooks are still to be told; a row goes when its receiver has certainly got it.';
COMMENT ON COLUMN notifications.number IS 'Counts them all; sent along, so that a receiver can tell one that it has had.';
COMMENT ON COLUMN notifications.webhook IS 'Who is to be told.';
COMMENT ON COLUMN notifications.event IS 'Of which event.';
COMMENT ON COLUMN notifications.body IS 'What is sent.';
COMMENT ON COLUMN notifications.made IS 'When the state changed.';
COMMENT ON COLUMN notifications.attempts IS 'How often it was sent in vain.';
COMMENT ON COLUMN notifications.next_try IS 'Not to be sent before.';
COMMENT ON COLUMN notifications.error IS 'Why it could not be delivered the last time.';
-- What is first of a webhook, and whether an earlier one of the same event still waits.
DROP INDEX IF EXISTS notifications_due;
CREATE INDEX IF NOT EXISTS notifications_by_webhook ON notifications (webhook, number);
CREATE INDEX IF NOT EXISTS notifications_by_event ON notifications (webhook, event, number);

CREATE OR REPLACE FUNCTION notify_webhooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notifications (webhook, event, body)
    SELECT name, NEW.id, jsonb_build_object(
        'event', NEW.id, 'state', NEW.state, 'before', CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, 'at', clock_timestamp(),
        'title', NEW.title, 'error', NEW.error, 'video_id', NEW.video_id, 'video_link', NEW.video_link)
    FROM webhooks WHERE NEW.state = ANY (states) OR states IS NULL;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION notify_webhooks IS 'Puts a change of state into the queue of every webhook that wants it.';
CREATE OR REPLACE TRIGGER events_notify_when_made AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION notify_webhooks();
CREATE OR REPLACE TRIGGER events_notify_when_changed AFTER UPDATE ON events FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION notify_webhooks();
