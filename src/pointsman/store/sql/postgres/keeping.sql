-- What a PostgreSQL store keeps besides cases, and what it deletes.

-- name: insert_definition
-- Store a definition that an engine was opened with; the first time stays.
INSERT INTO pointsman.definitions (process, version, fingerprint, seen_at) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING;

-- name: insert_private
-- Store that a field is private.
INSERT INTO pointsman.meta (name, value) VALUES (%(name)s, '') ON CONFLICT DO NOTHING;

-- name: insert_blob
-- Store a blob; the same content is one row. Keeping it again renews its time: a reference is about to be written, so it must stay.
INSERT INTO pointsman.blobs (sha256, size, kept_at, content) VALUES (%(sha256)s, %(size)s, %(now)s, %(content)s)
ON CONFLICT (sha256) DO UPDATE SET kept_at = greatest(blobs.kept_at, excluded.kept_at);

-- name: reserve_cases
-- Reserve numbers for cases. The counter never goes back, so that the numbers of deleted cases are not used again.
UPDATE pointsman.meta SET value = (value::bigint + %(count)s)::text WHERE name = 'cases' RETURNING value::bigint;

-- name: highest_time
-- The highest time ever committed: of the last changes of cases at rest and of running ones, of the records of deletions, and of the
-- last rows of the journal, which may be events that were appended without a change of their case.
SELECT greatest(0, (SELECT max(still_at) FROM pointsman.cases WHERE still_at IS NOT NULL),
                   (SELECT max(updated_at) FROM pointsman.cases WHERE status = 'running'),
                   (SELECT max(at) FROM pointsman.journal WHERE revision = 0),
                   (SELECT max(at) FROM (SELECT at FROM pointsman.journal ORDER BY tx DESC, n DESC LIMIT 1000) AS newest));

-- name: enter_limit
-- Insert a limit that is used for the first time.
INSERT INTO pointsman.limits (name, state) VALUES (%(name)s, %(state)s) ON CONFLICT (name) DO NOTHING;

-- name: lock_limit
-- The state of a limit, which nobody else changes before the end of this transaction. The commit does not wait for the disk.
SELECT state, set_config('synchronous_commit', 'off', true) FROM pointsman.limits WHERE name = %(name)s FOR UPDATE;

-- name: update_limit
-- Write the state of a limit.
UPDATE pointsman.limits SET state = %(state)s WHERE name = %(name)s;

-- name: flush_log
-- Wait until everything that was committed before is durable: the message is in the log behind it, and this commit waits for the disk.
SELECT pg_logical_emit_message(true, 'pointsman', '');

-- name: enter_schedule
-- Insert a schedule that is seen for the first time.
INSERT INTO pointsman.schedules (process, name, since, last) VALUES (%(process)s, %(name)s, %(now)s, %(now)s)
ON CONFLICT (process, name) DO NOTHING;

-- name: select_schedule
-- A schedule's first moment, and its last tick that is over.
SELECT process, name, since, last FROM pointsman.schedules WHERE process = %(process)s AND name = %(name)s;

-- name: tick_schedule
-- Record that a tick and all earlier ones are over.
UPDATE pointsman.schedules SET last = greatest(last, %(tick)s) WHERE process = %(process)s AND name = %(name)s;

-- name: set_meta
-- Write a fact about the database itself.
INSERT INTO pointsman.meta (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: delete_meta
-- Delete a fact about the database itself.
DELETE FROM pointsman.meta WHERE name = %(name)s;

-- name: lock_gaps
-- Lock what a subscriber has given up, and read it.
INSERT INTO pointsman.meta AS m (name, value) VALUES (%(name)s, '[]') ON CONFLICT (name) DO UPDATE SET value = m.value RETURNING value;

-- name: take_turn
-- Take the turn of a subscriber, unless another engine with a lease has it.
INSERT INTO pointsman.meta AS m (name, value) VALUES (%(name)s, %(engine)s::bigint || ' ' || %(begin)s::text)
ON CONFLICT (name) DO UPDATE SET value = %(engine)s::bigint || substr(m.value, strpos(m.value, ' '))
 WHERE split_part(m.value, ' ', 1)::bigint = %(engine)s::bigint OR NOT EXISTS (
   SELECT FROM pointsman.engines WHERE id = split_part(m.value, ' ', 1)::bigint AND lease_until > pointsman.store_time(%(skew)s))
RETURNING value;

-- name: advance_subscriber
-- Store how far a subscriber has read, if the engine has its turn.
UPDATE pointsman.meta SET value = %(value)s WHERE name = %(name)s AND split_part(value, ' ', 1) = %(engine)s RETURNING name;

-- name: select_outcomes
-- The outcomes of a process's cases that are done, with one index look-up for each.
WITH RECURSIVE outcomes (outcome) AS (
  (SELECT outcome FROM pointsman.cases
    WHERE process = %(process)s AND outcome >= '' AND status IN ('done', 'cancelled') ORDER BY process, outcome LIMIT 1)
  UNION ALL
  SELECT (SELECT outcome FROM pointsman.cases
           WHERE process = %(process)s AND outcome > outcomes.outcome AND status IN ('done', 'cancelled') ORDER BY process, outcome LIMIT 1)
    FROM outcomes WHERE outcomes.outcome IS NOT NULL
)
SELECT outcome FROM outcomes WHERE outcome IS NOT NULL;

-- name: expired_cases
-- The next cases that ended long enough ago, and whether each is still needed: it has an effect in doubt, an open parent or child, or
-- a message that is held until it ends. `{outcome}` is a condition that the index can use. A case that another engine is deleting or
-- changing is left out. `|| ''` keeps PostgreSQL from reading the index of all held messages for each case.
SELECT still_at, id,
       EXISTS (SELECT 1 FROM pointsman.effects WHERE effects.case_id = old.id AND effects.status IN ('intended', 'in_doubt'))
       OR EXISTS (SELECT 1 FROM pointsman.cases AS kin WHERE kin.id = old.parent AND kin.status NOT IN ('done', 'cancelled'))
       OR EXISTS (SELECT 1 FROM pointsman.cases AS kin WHERE kin.parent = old.id AND kin.status NOT IN ('done', 'cancelled'))
       OR EXISTS (SELECT 1 FROM pointsman.messages WHERE messages.case_id = old.id AND messages.status || '' = 'held')
  FROM pointsman.cases AS old
 WHERE process = %(process)s AND {outcome} AND still_at < %(before)s AND (still_at, id) > (%(at)s, %(id)s) AND status IN ('done', 'cancelled')
 ORDER BY still_at, id LIMIT %(limit)s FOR UPDATE OF old SKIP LOCKED;

-- name: insert_expired
-- Record a deletion.
INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events)
SELECT value::bigint + pg_current_xact_id()::text::bigint, 0, %(case)s, 0, %(at)s, %(events)s FROM pointsman.meta WHERE name = 'era';

-- name: expire_records
-- Delete old records of deletions.
DELETE FROM pointsman.journal WHERE (tx, n) IN
  (SELECT tx, n FROM pointsman.journal WHERE revision = 0 AND at < %(before)s ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED);

-- name: expire_journal
-- Delete expired cases with everything that belongs to them. The records of earlier deletions, at revision 0, stay.
DELETE FROM pointsman.journal WHERE case_id = ANY(%(cases)s) AND revision > 0;

-- name: expire_effects
DELETE FROM pointsman.effects WHERE case_id = ANY(%(cases)s);

-- name: expire_pauses
DELETE FROM pointsman.pauses WHERE case_id = ANY(%(cases)s);

-- name: expire_branches
DELETE FROM pointsman.branches WHERE case_id = ANY(%(cases)s);

-- name: expire_messages
DELETE FROM pointsman.messages WHERE case_id = ANY(%(cases)s);

-- name: expire_erased_keys
DELETE FROM pointsman.erased_keys WHERE case_id = ANY(%(cases)s);

-- name: expire_case_usage
DELETE FROM pointsman.case_usage WHERE case_id = ANY(%(cases)s);

-- name: expire_search
DELETE FROM pointsman.search WHERE case_id = ANY(%(cases)s);

-- name: expire_words
DELETE FROM pointsman.words WHERE case_id = ANY(%(cases)s);

-- name: expire_cases
DELETE FROM pointsman.cases WHERE id = ANY(%(cases)s);

-- name: keys_of_case
-- The keys of a case and its messages, except held messages, which belong to the next case and stay.
SELECT process, tenant, '', key FROM pointsman.cases WHERE id = %(case)s AND key IS NOT NULL
UNION ALL SELECT process, tenant, name, key FROM pointsman.messages WHERE case_id = %(case)s AND key IS NOT NULL AND status <> 'held';

-- name: insert_erased_key
-- Keep a key as its digest.
INSERT INTO pointsman.erased_keys (process, tenant, name, digest, case_id) VALUES (%(process)s, %(tenant)s, %(name)s, %(digest)s, %(case)s)
ON CONFLICT (process, tenant, name, digest) DO NOTHING;

-- name: erase_case
-- Delete the content of a case's row; its skeleton stays.
UPDATE pointsman.cases SET key = NULL, correlation = NULL WHERE id = %(case)s;

-- name: erase_fields
-- Delete the fields in rows without events. `rewrite_facts` empties the others.
DELETE FROM pointsman.journal WHERE case_id = %(case)s AND events IS NULL;

-- name: erase_messages
DELETE FROM pointsman.messages WHERE case_id = %(case)s AND status <> 'held';

-- name: erase_effects
-- Delete the outcomes of effects; their status stays.
UPDATE pointsman.effects
   SET outcome = CASE WHEN outcome IS NULL THEN NULL ELSE '{}' END, error = CASE WHEN error IS NULL THEN NULL ELSE 'erased' END
 WHERE case_id = %(case)s;

-- name: erase_search
DELETE FROM pointsman.search WHERE case_id = %(case)s;

-- name: erase_words
DELETE FROM pointsman.words WHERE case_id = %(case)s;

-- name: erase_branches
DELETE FROM pointsman.branches WHERE case_id = %(case)s;

-- name: select_facts
-- The events of a case.
SELECT tx, n, events FROM pointsman.journal WHERE case_id = %(case)s AND events IS NOT NULL;

-- name: rewrite_facts
-- Replace the events of rows, and delete the fields that were written with them.
UPDATE pointsman.journal SET events = emptied.events, field = NULL, appends = false, writer = NULL, value = NULL
  FROM unnest(%(txs)s::bigint[], %(ns)s::integer[], %(texts)s::text[]) AS emptied (tx, n, events)
 WHERE journal.tx = emptied.tx AND journal.n = emptied.n;

-- name: insert_gone
-- Mark that content was deleted which may have referred to blobs. Each deletion has a row of its own, so that none waits for another.
INSERT INTO pointsman.meta (name, value) VALUES ('gone ' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD ') || gen_random_uuid(), '');

-- name: select_gone
-- The marks of such deletions.
SELECT name FROM pointsman.meta WHERE name >= 'gone ' AND name < 'gone!';

-- name: forget_gone
-- Delete the marks that no search needs any more: a search that began before them takes less than a week.
DELETE FROM pointsman.meta WHERE name >= 'gone ' AND name < 'gone ' || to_char(now() AT TIME ZONE 'UTC' - interval '7 days', 'YYYY-MM-DD');

-- name: select_old_blobs
-- The blobs to collect if nothing refers to them.
SELECT sha256, size FROM pointsman.blobs WHERE kept_at < %(before)s;

-- name: scan_branches
-- A page of results of branches that may refer to blobs; shorter texts cannot hold a digest.
SELECT case_id, name, outcome FROM pointsman.branches
 WHERE (case_id, name) > (%s, %s) AND octet_length(outcome) >= 64 ORDER BY case_id, name LIMIT %s;

-- name: scan_messages
-- The same for messages.
SELECT id, body FROM pointsman.messages WHERE id > %s AND octet_length(body) >= 64 ORDER BY id LIMIT %s;

-- name: scan_effects
-- The same for the ledger's outcomes, which may still be written to fields.
SELECT key, outcome FROM pointsman.effects WHERE key > %s AND octet_length(outcome) >= 64 ORDER BY key LIMIT %s;

-- name: scan_fields
-- The same for the values of fields.
SELECT tx, n, value FROM pointsman.journal WHERE (tx, n) > (%s, %s) AND octet_length(value) >= 64 ORDER BY tx, n LIMIT %s;

-- name: delete_blobs
-- Delete those of these blobs that were not kept again since.
DELETE FROM pointsman.blobs WHERE sha256 = ANY(%(digests)s) AND kept_at < %(before)s RETURNING size;
