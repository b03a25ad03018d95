-- Statements that prepare the tables and check the server, when a store is opened.

-- name: lock_schema
-- Wait for other engines that prepare this schema, until the end of the transaction. 1346191694 is "PMAN".
SELECT pg_advisory_xact_lock(1346191694, hashtext(%(schema)s));

-- name: no_time_limits
-- A migration may take longer than what a server allows for the statements of a page.
-- (`transaction_timeout` since PostgreSQL 17.)
SELECT set_config(name, '0', true) FROM pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');

-- name: look_at_schema
-- Whether the schema exists, whether this role may use it and create in it, whether anything is in it, and whether it has a table `meta`
-- with the columns of ours.
SELECT space.oid IS NOT NULL,
       has_database_privilege(current_database(), 'CREATE'),
       coalesce(has_schema_privilege(space.oid, 'USAGE'), false),
       coalesce(has_schema_privilege(space.oid, 'CREATE'), false),
       EXISTS (SELECT FROM pg_class WHERE relnamespace = space.oid) OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = space.oid),
       (SELECT count(*) = 2 FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE relnamespace = space.oid AND relname = 'meta' AND relkind = 'r' AND attname IN ('name', 'value') AND NOT attisdropped),
       current_user::text, current_database()::text
  FROM (SELECT) AS one LEFT JOIN pg_namespace AS space ON nspname = %(schema)s;

-- name: create_schema
CREATE SCHEMA {schema};

-- name: select_tables
-- The number of the last migration that ran here.
SELECT value::integer FROM pointsman.meta WHERE name = 'tables' AND EXISTS (SELECT FROM pointsman.meta WHERE name = 'incarnation');

-- name: set_tables
INSERT INTO pointsman.meta VALUES ('tables', %(number)s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: raise_era
-- If the journal has a number that this cluster has not reached, the database has been moved here. Raise the era, so that new numbers are
-- higher. All that this statement sees was committed by a transaction below the snapshot's upper bound, so it needs no number of its own.
UPDATE pointsman.meta SET value = (newest.tx + 1 - newest.bound)::text
  FROM (SELECT max(tx) AS tx, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS bound FROM pointsman.journal) AS newest
 WHERE name = 'era' AND newest.tx >= value::bigint + newest.bound
RETURNING value::bigint;

-- name: is_reserved
-- Whether a name is a word of SQL that must be quoted, or one that PostgreSQL keeps for itself.
SELECT quote_ident(%(schema)s) <> %(schema)s OR %(schema)s LIKE 'pg\_%%';

-- name: look_at_timeline
-- The cluster, and the timeline of what it writes now. The checkpoint's timeline is older for a while after a promotion.
SELECT system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system();

-- name: look_at_server
-- The settings that a store depends on.
SELECT name, value
  FROM (VALUES ('version', current_setting('server_version_num')), ('shown', current_setting('server_version')),
               ('encoding', current_setting('server_encoding')), ('standby', pg_is_in_recovery()::text),
               ('read_only', current_setting('transaction_read_only')), ('fsync', current_setting('fsync')),
               ('full_page_writes', current_setting('full_page_writes')), ('synchronous_commit', current_setting('synchronous_commit')),
               ('isolation', current_setting('transaction_isolation')), ('user', current_user::text)) AS settings (name, value);

-- name: denied_tables
-- The tables of the store that this role may not read and write.
SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE nspname = %(schema)s AND relkind = 'r'
   AND NOT (has_table_privilege(pg_class.oid, 'SELECT') AND has_table_privilege(pg_class.oid, 'INSERT')
            AND has_table_privilege(pg_class.oid, 'UPDATE') AND has_table_privilege(pg_class.oid, 'DELETE'))
 ORDER BY relname;

-- name: look_at_health
-- The server's time, that of the store, which never runs backwards, and the size of the database.
SELECT extract(epoch FROM clock_timestamp())::double precision, pointsman.store_time(0), pg_database_size(current_database());

-- name: list_engines
-- The engines that have not closed: until when each has its lease, and whether it has it still.
SELECT id, lease_until, lease_until > pointsman.store_time(0) FROM pointsman.engines WHERE lease_until > '-infinity' ORDER BY id;
