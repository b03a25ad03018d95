-- What a move takes out of a file: one statement for each table of a PostgreSQL store. Its columns have the names of those there, in any
-- order. What stands in no statement is not moved: the engines and their numbers, counts that triggers keep, and the clock.

-- name: moved_cases
-- An engine's number means nothing in another store.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant,
       priority, correlation, parent, inbox, needs, interruptions, waits
  FROM cases;

-- name: moved_journal
-- The number of a row becomes a place before all transactions of the database (store/postgres/reader.py reads it as a cursor).
SELECT id / 1000000000 AS tx, id % 1000000000 AS n, case_id, revision, at, events, field, appends, writer, value FROM journal;

-- name: moved_effects
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects;

-- name: moved_pauses
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at, asks FROM pauses;

-- name: moved_branches
SELECT case_id, name, attempts, wake_at, outcome, failure, reads, guard FROM branches;

-- name: moved_messages
SELECT id, process, tenant, name, key, correlation, case_id, status, body, at FROM messages;

-- name: moved_erased_keys
SELECT process, tenant, name, digest, case_id FROM erased_keys;

-- name: moved_case_usage
SELECT case_id, model, answers, input_tokens, output_tokens, cost FROM case_usage;

-- name: moved_day_usage
SELECT process, day, tenant, model, 0 AS shard, answers, input_tokens, output_tokens, cost FROM day_usage;

-- name: moved_search
SELECT field, value, case_id FROM search;

-- name: moved_words
SELECT word, case_id, field FROM words;

-- name: moved_limits
SELECT name, state FROM limits;

-- name: moved_definitions
SELECT process, version, fingerprint, seen_at FROM definitions;

-- name: moved_schedules
SELECT process, name, since, last FROM schedules;

-- name: moved_blobs
SELECT sha256, size, kept_at, content FROM blobs;

-- name: moved_checkpoint_threads
SELECT id, thread, 0 AS sweeps FROM checkpoint_threads;

-- name: moved_checkpoint_lines
SELECT id, thread, namespace FROM checkpoint_lines;

-- name: moved_checkpoints
SELECT line, id, parent, run, versions, keys, kind, body, metadata FROM checkpoints;

-- name: moved_checkpoint_values
SELECT line, channel, version, kind, levels, content FROM checkpoint_values;

-- name: moved_checkpoint_writes
SELECT line, checkpoint, task, place, path, channel, kind, levels, content FROM checkpoint_writes;

-- name: moved_checkpoint_chunks
SELECT thread, digest, content FROM checkpoint_chunks;

-- name: moved_case_counts
-- Not moved: the database counts the cases that come in, and both must have counted the same.
SELECT process, status, place, cases FROM case_counts WHERE cases <> 0 ORDER BY process, status, place;

-- name: authors_tables
-- The tables that authors' transactions have made.
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name;
