"""The statements that a cutter makes about events, each with what it promises; `cutter.rows` runs them.

Who has claimed an event has its token; all that is written of it then is written only where the row still has that
token, so that whoever has lost a claim can change nothing any more. Every change is one statement. That a video is not
out the database believes only of whoever gives up the claim in the same statement.
"""

from common.events import COLUMNS

# Looked at with one statement; what cannot be made here is passed over the next time.
CANDIDATES_AT_ONCE = 20
_UNSETTLED = 10

_EVENT = ", ".join(COLUMNS)

# What is said of a video, as one value: so that a change that comes between is not missed.
_SAID = """md5(ROW(title, video_description, tags, public, thumbnail_mode, thumbnail_time, thumbnail_template,
    md5(thumbnail_image), thumbnail_crop, thumbnail_position)::text)"""

_IS_DUE = "(next_try IS NULL OR next_try <= now())"
_HAS_LAPSED = "coalesce(lease_until, '-infinity') <= now()"

_MAY_BE_BEGUN = f"""
    SELECT id, priority, edit_time FROM events
    WHERE state = 'EDITED' AND {_IS_DUE}
        AND CASE
            WHEN spool ->> 'folder' = $2 THEN upload_location <> ALL ($4)
            WHEN NOT $3 THEN false
            ELSE spool IS NULL OR spool ->> 'node' = $1 OR NOT EXISTS (
                SELECT FROM cutters WHERE folder = spool ->> 'folder' AND last_seen > now() - $5::interval) END
        AND id <> ALL ($6)
"""
_IN_ORDER = f"ORDER BY priority DESC, edit_time, id LIMIT {CANDIDATES_AT_ONCE}"

# What may be begun, in its order: events to cut, if $3 (there is room for another cut), and finished files of this
# spool ($2), but for those of locations that take none now ($4). The file of another spool is left to its cutter until
# that has been silent for $5; it cannot be had, so that the event is then cut again. $6: events to pass over.
# What any node may cut and what only some may have an index each, so that thousands for other nodes cost nothing; the
# whole rows are read of those alone that are given.
CANDIDATES = f"""
    SELECT {_EVENT}, {_SAID} AS said, extract(epoch FROM now() - greatest(edit_time, next_try))::float8 AS waited
    FROM events
    WHERE id = ANY (ARRAY(
        SELECT id FROM (
            ({_MAY_BE_BEGUN} AND uploader_allowlist IS NULL {_IN_ORDER})
            UNION ALL
            ({_MAY_BE_BEGUN} AND uploader_allowlist @> ARRAY[$1] {_IN_ORDER})) AS found
        {_IN_ORDER}))
    {_IN_ORDER}
"""

# Whether anything waits that this node ($1) might see to: all that the statements around this one look for, and
# notifications, in one. The first two in an order, so that each is read from its index.
SOMETHING_WAITS = f"""
    SELECT (SELECT true FROM events WHERE state = 'EDITED' AND {_IS_DUE} AND uploader_allowlist IS NULL
            ORDER BY priority DESC, edit_time, id LIMIT 1) IS NOT NULL
        OR (SELECT true FROM events WHERE state = 'EDITED' AND {_IS_DUE} AND uploader_allowlist @> ARRAY[$1]
            ORDER BY priority DESC, edit_time, id LIMIT 1) IS NOT NULL
        OR EXISTS (SELECT FROM events
            WHERE state IN ('CLAIMED', 'FINALIZING', 'TRANSCODING') AND {_HAS_LAPSED} AND {_IS_DUE})
        OR EXISTS (SELECT FROM events WHERE state = 'MODIFIED' AND {_HAS_LAPSED} AND {_IS_DUE})
        OR EXISTS (SELECT FROM events WHERE state = 'DONE' AND spool IS NOT NULL)
        OR EXISTS (SELECT FROM notifications) AS it_does
"""

# Takes an event ($2) that was examined at revision $3 for this node, for as long as $4 from now.
CLAIM = f"""
    UPDATE events SET state = 'CLAIMED', uploader = $1, claim_token = gen_random_uuid(),
        lease_until = now() + $4::interval, attempts = attempts + 1, progress = 0, next_try = NULL, lacking = '{{}}'
    WHERE id = (
        SELECT id FROM events WHERE id = $2 AND revision = $3 AND state = 'EDITED' AND {_IS_DUE} FOR UPDATE SKIP LOCKED)
    RETURNING {_EVENT}, {_SAID} AS said, claim_token
"""

# What waits for somebody to see to it: claims that have lapsed, videos of which it is not known whether they are out
# (first by the cutter that has the file in its spool $1; by any when $2 has passed), those that their location works
# on, and those of which something else is to be said (the DONE ones: see OUTDATED).
UNSETTLED = f"""
    (SELECT {_EVENT} FROM events
    WHERE state IN ('CLAIMED', 'FINALIZING', 'TRANSCODING') AND {_HAS_LAPSED} AND {_IS_DUE}
        AND (state <> 'FINALIZING' OR spool IS NULL OR spool ->> 'folder' = $1
            OR coalesce(lease_until, '-infinity') <= now() - $2::interval)
        AND id <> ALL ($3)
    ORDER BY lease_until LIMIT {_UNSETTLED})
    UNION ALL
    (SELECT {_EVENT} FROM events WHERE state = 'MODIFIED' AND {_HAS_LAPSED} AND {_IS_DUE} AND id <> ALL ($3)
    LIMIT {_UNSETTLED})
    UNION ALL
    (SELECT {_EVENT} FROM events WHERE state = 'DONE' AND spool IS NOT NULL LIMIT 1)
"""

# Takes an event of a state ($2) that nobody sees to, for as long as $3; the state stays.
TAKE = f"""
    UPDATE events SET claim_token = gen_random_uuid(), lease_until = now() + $3::interval
    WHERE id = (
        SELECT id FROM events WHERE id = $1 AND state = $2 AND {_HAS_LAPSED} AND {_IS_DUE} FOR UPDATE SKIP LOCKED)
    RETURNING {_EVENT}, {_SAID} AS said, claim_token
"""

# Frees what is CLAIMED by a cutter that has not renewed its claim; after $1 tries it is for an operator.
FREE_LAPSED = f"""
    UPDATE events SET
        state = CASE WHEN attempts >= $1 THEN 'UNEDITED' ELSE 'EDITED' END,
        error = format(CASE WHEN attempts >= $1
            THEN 'Tried %2$s times, and the cutter of %1$s has died or lost the database: see its log, then edit again.'
            ELSE 'The cutter of %1$s has died or lost the database; it is tried again.' END, uploader, attempts)
    WHERE state = 'CLAIMED' AND {_HAS_LAPSED}
    RETURNING id, state
"""

# At the start of a cutter, whose spool is locked: what an earlier process with that spool had claimed lapses at once.
RECOVER = """
    UPDATE events SET lease_until = '-infinity', claim_token = NULL
    WHERE state IN ('CLAIMED', 'FINALIZING') AND lease_until > now()
        AND (spool ->> 'folder' = $2 OR state = 'CLAIMED' AND uploader = $1)
    RETURNING id
"""

RENEW = "UPDATE events SET lease_until = now() + $3::interval WHERE id = $1 AND claim_token = $2 RETURNING id"
PROGRESS = "UPDATE events SET progress = $3 WHERE id = $1 AND claim_token = $2 RETURNING id"
SESSION = "UPDATE events SET upload_session = $3::jsonb WHERE id = $1 AND claim_token = $2 RETURNING id"

# A cut is finished and on disk. An upload that was begun stays: only its location can tell that nothing comes of it.
SPOOLED = """
    UPDATE events SET spool = $3::jsonb, made_as = $4, progress = NULL
    WHERE id = $1 AND claim_token = $2 AND state = 'CLAIMED' RETURNING id
"""

# From now on the video may be out, and $5 is said of it. A second time this changes nothing.
FINALIZE = """
    UPDATE events SET state = 'FINALIZING', upload_session = $3::jsonb, progress = 0,
        lease_until = now() + $4::interval, spool = spool || jsonb_build_object('said', $5::text)
    WHERE id = $1 AND claim_token = $2 AND state IN ('CLAIMED', 'FINALIZING') RETURNING id
"""

# The location has the video, and was told $6 of it. If another thing is to be said by now, that is noted.
DELIVERED = f"""
    UPDATE events SET state = $3, video_id = $4, video_link = $5, upload_time = coalesce(upload_time, now()),
        error = NULL, progress = NULL, upload_session = NULL, claim_token = NULL, lease_until = NULL, next_try = NULL,
        spool = CASE WHEN $3 <> 'DONE' OR {_SAID} <> $6 THEN jsonb_build_object('said', $6::text) END
    WHERE id = $1 AND claim_token = $2 AND state IN ('FINALIZING', 'TRANSCODING') RETURNING id
"""

# Videos that are out, and of which by now another thing is to be said than their location was told: to be told.
OUTDATED = "UPDATE events SET state = 'MODIFIED', spool = NULL WHERE state = 'DONE' AND spool IS NOT NULL RETURNING id"

# The location has been told, or will not take it ($4); unless something else ($3) is said by now.
MODIFIED = f"""
    UPDATE events SET state = 'DONE', error = $4, claim_token = NULL, lease_until = NULL, next_try = NULL
    WHERE id = $1 AND claim_token = $2 AND state = 'MODIFIED' AND {_SAID} = $3 RETURNING id
"""

# Another try may cure it, after $4; $5: whether this try counts, $6: whether the upload begins anew.
GIVE_BACK = """
    UPDATE events SET state = 'EDITED', claim_token = NULL, error = $3, next_try = now() + $4::interval,
        attempts = greatest(0, attempts - CASE WHEN $5 THEN 0 ELSE 1 END),
        upload_session = CASE WHEN $6 THEN NULL ELSE upload_session END
    WHERE id = $1 AND claim_token = $2 AND state IN ('CLAIMED', 'FINALIZING') RETURNING id
"""

# Only an operator can cure it.
REFUSE = """
    UPDATE events SET state = 'UNEDITED', claim_token = NULL, error = $3
    WHERE id = $1 AND claim_token = $2 AND state IN ('CLAIMED', 'FINALIZING', 'TRANSCODING') RETURNING id
"""

# It cannot be told now what has become of the video: to be asked again after $4, by whoever comes.
PARK = """
    UPDATE events SET claim_token = NULL, lease_until = now(), error = $3, next_try = now() + $4::interval
    WHERE id = $1 AND claim_token = $2 AND state IN ('FINALIZING', 'TRANSCODING', 'MODIFIED') RETURNING id
"""

# The cutter is told to stop: what can be given back is; the rest is for whoever comes next. $3: it began a try, which
# does not count then.
RELEASE = """
    UPDATE events SET state = CASE state WHEN 'CLAIMED' THEN 'EDITED' ELSE state END,
        attempts = greatest(0, attempts - CASE WHEN $3 THEN 1 ELSE 0 END),
        claim_token = NULL, lease_until = now()
    WHERE id = $1 AND claim_token = $2 RETURNING id
"""

# Why this node ($1) does not cut an event now, for operators.
LACKING = """
    UPDATE events SET lacking = lacking || jsonb_build_object($1::text, $4::text)
    WHERE id = $2 AND revision = $3 AND state = 'EDITED' AND lacking ->> $1 IS DISTINCT FROM $4 RETURNING id
"""

# No cutter that lives (was seen within $4) and may cut it can, and $5 has passed since it could have been: back to
# operators with this node's reason ($3).
HOPELESS = """
    UPDATE events SET state = 'UNEDITED', error = $3
    WHERE id = $1 AND revision = $2 AND state = 'EDITED'
        AND now() > $5::interval
            + greatest(edit_time, next_try, (SELECT max("end") FROM unnest(ranges) AS one (start, "end")))
        AND NOT EXISTS (
            SELECT FROM cutters WHERE last_seen > now() - $4::interval AND NOT lacking ? name
                AND (uploader_allowlist IS NULL OR name = ANY (uploader_allowlist)))
    RETURNING id
"""

# What was examined can never be cut as it is.
REFUSE_EXAMINED = """
    UPDATE events SET state = 'UNEDITED', error = $3 WHERE id = $1 AND revision = $2 AND state = 'EDITED' RETURNING id
"""

# All finished files of this spool ($2) for a location ($1) wait for the same reason.
WAITING = """
    UPDATE events SET error = $3
    WHERE spool IS NOT NULL AND spool ->> 'folder' = $2 AND state = 'EDITED' AND upload_location = $1
        AND error IS DISTINCT FROM $3
    RETURNING id
"""

# Something is to be known of an event that nobody sees to.
REMARK = "UPDATE events SET error = $2 WHERE id = $1 AND state = $3 AND error IS DISTINCT FROM $2 RETURNING id"

SPOOL_NAMES = """
    SELECT spool ->> 'name' AS name FROM events WHERE spool IS NOT NULL AND spool ->> 'folder' = $1
"""

# What may be cut only by nodes of which none lives (was seen within $1) says so of each of them ($2, a format); and no
# longer, as soon as one does. The first of the cutters by their names says it for all.
UNREACHED = """
    UPDATE events SET lacking = said.now_lacking
    FROM (
        SELECT id, coalesce(
                (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(lacking)
                WHERE value <> format($2::text, key)), '{}') ||
            CASE WHEN EXISTS (
                SELECT FROM cutters WHERE name = ANY (uploader_allowlist) AND last_seen > now() - $1::interval)
            THEN '{}'
            ELSE (SELECT jsonb_object_agg(node, format($2::text, node)) FROM unnest(uploader_allowlist) AS node)
            END AS now_lacking
        FROM events WHERE state = 'EDITED' AND uploader_allowlist IS NOT NULL) AS said
    WHERE events.id = said.id AND state = 'EDITED' AND lacking <> said.now_lacking
    RETURNING events.id
"""

ANNOUNCE = """
    INSERT INTO cutters (name, folder, locations, limits, last_seen) VALUES ($1, $2, $3, $5::jsonb, now())
    ON CONFLICT (name) DO UPDATE SET folder = excluded.folder, locations = excluded.locations, limits = excluded.limits,
        last_seen = now()
    RETURNING NOT EXISTS (SELECT FROM cutters WHERE name <> $1 AND last_seen > now() - $4::interval) AS alone,
        NOT EXISTS (SELECT FROM cutters WHERE name < $1 AND last_seen > now() - $4::interval) AS first
"""
LEAVE = "UPDATE cutters SET last_seen = NULL WHERE name = $1 AND folder = $2 RETURNING name"
NAMESAKE = "SELECT folder FROM cutters WHERE name = $1 AND folder <> $2 AND last_seen > now() - $3::interval"

TEMPLATE = "SELECT image, crop, location FROM templates WHERE name = $1"
IMAGE = "SELECT thumbnail_image FROM events WHERE id = $1"

# How many events there are in each state, refused ones and those that wait for the delivery of a finished file apart;
# and for how many seconds the oldest of them has been in its state, of the states $1. One look at each row, and one at
# the last change of each that is under way.
CENSUS = """
    SELECT state, state = 'UNEDITED' AND error IS NOT NULL AS refused,
        CASE WHEN state = 'EDITED' AND spool IS NOT NULL THEN upload_location END AS location,
        count(*) AS events,
        extract(epoch FROM now() - min(CASE WHEN state = ANY ($1) THEN (
            SELECT at FROM event_history AS change WHERE change.event = events.id AND change.after ? 'state'
            ORDER BY number DESC LIMIT 1) END))::float8 AS oldest
    FROM events GROUP BY 1, 2, 3
"""

# Looks, and what may be forgotten if the server crashes within the next second: see `db.pool`. A claim that is
# forgotten is one that was lost: whoever had it finds so with its next statement, and from SPOOLED on, before anything
# is public, all are kept. RENEW is not among them: no lease may end sooner than its cutter believes.
LIGHT = frozenset({SOMETHING_WAITS, CANDIDATES, UNSETTLED, CLAIM, PROGRESS, LACKING, SPOOL_NAMES, ANNOUNCE})
