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
