-- name: exists
SELECT to_regclass('main.mailboxes') IS NOT NULL;
-- name: has_schema
SELECT to_regnamespace('main') IS NOT NULL;
-- name: may_create
SELECT CASE WHEN to_regnamespace('main') IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege('main', 'CREATE') END;
-- name: may_use
SELECT coalesce(bool_and(has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                         AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')), false)
  FROM pg_class WHERE relnamespace = to_regnamespace('main') AND relkind = 'r';
-- name: create_schema
CREATE SCHEMA main;
-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('main', 0));
-- name: propose
INSERT INTO main.facts VALUES (?, ?) ON CONFLICT DO NOTHING;
-- name: fact
SELECT value FROM main.facts WHERE name = ?;
-- name: read
INSERT INTO main.mailboxes (name, reader, until) VALUES (?, ?, clock_timestamp() + ? * interval '1 second')
ON CONFLICT (name) DO UPDATE SET reader = excluded.reader, until = excluded.until
WHERE mailboxes.reader = excluded.reader OR mailboxes.until <= clock_timestamp()
RETURNING 1;
-- name: leave
UPDATE main.mailboxes SET until = '-infinity' WHERE name = ? AND reader = ?;
-- name: bookmark
SELECT bookmark FROM main.mailboxes WHERE name = ?;
-- name: mark
UPDATE main.mailboxes SET bookmark = ? WHERE name = ? AND reader = ? RETURNING 1;
-- name: forget_bookmarks
UPDATE main.mailboxes SET bookmark = NULL;
-- name: forget_outbox
DELETE FROM main.facts WHERE name = 'outbox';
