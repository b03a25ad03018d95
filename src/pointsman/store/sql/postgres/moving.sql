-- What a move from a SQLite file does here (store/moving.py): copy rows in, read them back, and say where they came from. `{table}` and
-- `{columns}` are those of a statement in sql/sqlite/moving.sql.

-- name: copy_in
COPY {table} ({columns}) FROM STDIN;

-- name: copy_out
COPY (SELECT {columns} FROM {table}) TO STDOUT;

-- name: no_rows
-- No rows, which have the types of the columns.
SELECT {columns} FROM {table} LIMIT 0;

-- name: has_rows
SELECT EXISTS (SELECT FROM {table});

-- name: live_engines
-- How many engines have the database open, as far as their leases say.
SELECT count(*) FROM pointsman.engines WHERE lease_until > pointsman.store_time(0);

-- name: count_in
-- How many cases the database has counted.
SELECT process, status, place, sum(cases)::bigint FROM pointsman.case_counts GROUP BY process, status, place HAVING sum(cases) <> 0
 ORDER BY process, status, place;

-- name: number_on
-- Number new rows behind the ones that came in.
SELECT setval(pg_get_serial_sequence(%(table)s, 'id'), greatest(max(id), 1), max(id) IS NOT NULL) FROM {table};

-- name: read_whole_tables
SELECT set_config('enable_seqscan', 'on', true);
