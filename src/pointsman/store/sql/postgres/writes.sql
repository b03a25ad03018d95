-- What an engine writes: transitions, messages and claims. `rows` is a JSON array of objects, one for each row, so that a batch of any
-- size is one statement; a key that is missing is null.

-- name: all_meta
SELECT name, value FROM pointsman.meta;

-- name: begin_batch
-- Begin the batch with this number. An earlier number means that the batch has been given up: raise, so that nothing of it is written.
SELECT pointsman.begin_batch(%(engine)s, %(line)s, %(number)s);

-- name: last_batch
-- The number of the last batch that was committed, and that of its transaction. The lock waits for a batch that is being committed.
SELECT number, tx FROM pointsman.commits WHERE engine = %(engine)s AND line = %(line)s FOR UPDATE;

-- name: written_by
-- The cases whose transitions this transaction wrote.
SELECT case_id FROM pointsman.journal WHERE tx = %(era)s + %(tx)s::bigint AND at IS NOT NULL;

-- name: look_at_batch
-- The same without a lock.
SELECT number FROM pointsman.commits WHERE engine = %(engine)s AND line = %(line)s;

-- name: void_batch
-- Skip a batch's number and the next one: if the batch is still on its way to the server, it will raise. A batch that was committed leaves
-- its own number, so that it differs from one that was given up.
UPDATE pointsman.commits SET number = %(number)s::bigint + 1 WHERE engine = %(engine)s AND line = %(line)s;

-- name: enter_commits
INSERT INTO pointsman.commits (engine, line, number) SELECT %(engine)s, line, 0 FROM generate_series(1, %(lines)s) AS line;

-- name: write_batch
-- A whole batch as one statement, which is its own transaction: `parts` are one or more of the next three, and `ids` reads which cases they wrote. It
-- has no key, no correlation and nothing else that needs a look at what others have just committed.
WITH batch AS MATERIALIZED (SELECT pointsman.begin_batch(%(engine)s, %(line)s, %(number)s)),
{parts}
SELECT ARRAY({ids}) FROM batch;

-- name: batch_moves
-- Like `move`. Each parameter has a column, whose values are separated, with a mark for null; it is empty if all are null. The server
-- splits a text faster than it reads JSON.
t AS MATERIALIZED (
  SELECT * FROM unnest({columns}) WITH ORDINALITY AS t ({names})
), moved AS (
  UPDATE pointsman.cases AS c
     SET revision = c.revision + 1, fence = c.fence + coalesce(t.claims, false)::integer, attempts = t.attempts, steps = t.steps, step = t.step,
         rule = t.rule, reason = t.reason, interruptions = t.interruptions, waits = false,
         engine = CASE t.status WHEN 'running' THEN %(engine)s ELSE c.engine END, updated_at = t.at, status = t.status, wake_at = t.wake_at,
         outcome = t.outcome, needs = t.needs, version = coalesce(t.version, c.version)
    FROM t
   WHERE c.id = t.id AND c.revision = t.revision AND c.fence = t.fence AND c.inbox = coalesce(t.inbox, c.inbox)
  RETURNING c.id, c.revision, t.n, t.at, t.events, t.field, t.appends, t.writer, t.value
), moved_journal AS (
  INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events, field, appends, writer, value)
  SELECT %(era)s + pg_current_xact_id()::text::bigint, %(batch_moves_before)s + n, id, revision, at, events, field,
         coalesce(appends, false), writer, value
    FROM moved
)

-- name: batch_starts
-- Like `start`.
s AS MATERIALIZED (
  SELECT * FROM unnest({columns}) WITH ORDINALITY AS s ({names})
), started AS (
  INSERT INTO pointsman.cases (id, process, version, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome,
                               created_at, updated_at, tenant, priority, parent, needs, interruptions, engine)
  SELECT id, process, version, status, revision + 1, fence + coalesce(claims, false)::integer, wake_at, attempts, steps, step, rule, reason,
         outcome, at, at, tenant, priority, parent, needs, interruptions, CASE status WHEN 'running' THEN %(engine)s END
    FROM s
  RETURNING id
), started_journal AS (
  INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events, field, appends, writer, value)
  SELECT %(era)s + pg_current_xact_id()::text::bigint, %(batch_starts_before)s + n, id, revision + 1, at, events, field,
         coalesce(appends, false), writer, value
    FROM s
)

-- name: batch_fields
-- The further rows of journal entries.
f AS MATERIALIZED (
  SELECT * FROM unnest({columns}) WITH ORDINALITY AS f ({names})
), field_journal AS (
  INSERT INTO pointsman.journal (tx, n, case_id, revision, field, appends, writer, value)
  SELECT %(era)s + pg_current_xact_id()::text::bigint, %(batch_fields_before)s + n, id, revision, field, coalesce(appends, false), writer, value
    FROM f WHERE id = ANY(ARRAY({ids}))
)

-- name: batch_moved
SELECT id FROM moved;

-- name: batch_started
SELECT id FROM started;

-- name: lock_cases
-- Lock the cases that a batch will change in the order of their numbers, so that two engines do not wait for each other.
SELECT id FROM pointsman.cases WHERE id = ANY(%(cases)s) ORDER BY id FOR NO KEY UPDATE;

-- name: start
-- Start cases, with the first row of each journal entry. A key that is already known, or was erased, changes nothing.
WITH t AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(rows)s) AS t (
    id bigint, process text, version integer, key text, tenant text, priority integer, correlation text, parent bigint, revision integer,
    fence integer, status text, wake_at double precision, attempts integer, steps integer, step text, rule text, reason text, outcome text,
    needs text, interruptions integer, at double precision, engine bigint, digest text, n integer, events text, field text, value text,
    writer text, appends boolean)
), started AS (
  INSERT INTO pointsman.cases (id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome,
                               created_at, updated_at, tenant, priority, correlation, parent, needs, interruptions, engine)
  SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, at, at, tenant,
         priority, correlation, parent, needs, interruptions, engine
    FROM t
   WHERE digest IS NULL OR NOT EXISTS (SELECT FROM pointsman.erased_keys AS e
                                        WHERE e.process = t.process AND e.tenant = t.tenant AND e.name = '' AND e.digest = t.digest)
   ORDER BY process, tenant, key
  ON CONFLICT (process, tenant, key) DO NOTHING
  RETURNING id
), written AS (
  INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events, field, appends, writer, value)
  SELECT %(era)s + pg_current_xact_id()::text::bigint, n, id, revision, at, events, field, coalesce(appends, false), writer, value
    FROM t WHERE id = ANY(ARRAY(SELECT id FROM started))
)
SELECT id FROM started;

-- name: erased_meanwhile
-- Of cases just started, those whose key was erased while the start waited for the erasure: `start` could not see that yet.
SELECT e.case_id FROM json_to_recordset(%(rows)s) AS t (process text, tenant text, digest text, id bigint)
  JOIN pointsman.erased_keys AS e ON e.process = t.process AND e.tenant = t.tenant AND e.name = '' AND e.digest = t.digest
  JOIN pointsman.cases AS c ON c.id = t.id
 LIMIT 1;

-- name: move
-- Move cases that are at the expected revision, fence and inbox, with the first row of each journal entry. A row without `status` is a
-- running case that stays running, and does not wait.
WITH t AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(rows)s) AS t (
    id bigint, revision integer, fence integer, inbox integer, attempts integer, steps integer, step text, rule text, at double precision,
    engine bigint, n integer, events text, field text, value text, writer text, appends boolean, status text, claims integer, takes integer,
    wake_at double precision, reason text, outcome text, needs text, version integer, interruptions integer)
), moved AS (
  UPDATE pointsman.cases AS c
     SET revision = c.revision + 1, fence = c.fence + coalesce(t.claims, 0), inbox = c.inbox - coalesce(t.takes, 0), attempts = t.attempts,
         steps = t.steps, step = t.step, rule = t.rule, reason = t.reason, interruptions = coalesce(t.interruptions, 0), waits = false,
         engine = coalesce(t.engine, c.engine), updated_at = t.at, status = coalesce(t.status, 'running'), wake_at = t.wake_at,
         outcome = t.outcome, needs = t.needs, version = coalesce(t.version, c.version)
    FROM t
   WHERE c.id = t.id AND c.revision = t.revision AND c.fence = t.fence AND c.inbox = coalesce(t.inbox, c.inbox)
  RETURNING c.id, c.revision, t.n, t.at, t.events, t.field, t.appends, t.writer, t.value
), written AS (
  INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events, field, appends, writer, value)
  SELECT %(era)s + pg_current_xact_id()::text::bigint, n, id, revision, at, events, field, coalesce(appends, false), writer, value FROM moved
)
SELECT id FROM moved;

-- name: insert_journal
-- Write further fields, or add to logs; a null value clears a field.
INSERT INTO pointsman.journal (tx, n, case_id, revision, field, value, writer, appends)
SELECT %(era)s + pg_current_xact_id()::text::bigint, n, case_id, revision, field, value, writer, appends
  FROM json_to_recordset(%(rows)s) AS t (n integer, case_id bigint, revision integer, field text, value text, writer text, appends boolean);

-- name: upsert_branches
-- Save the progress of branches.
INSERT INTO pointsman.branches (case_id, name, attempts, wake_at, outcome, failure, reads, guard)
SELECT case_id, name, attempts, wake_at, outcome, failure, reads, guard
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, name text, attempts integer, wake_at double precision, outcome text, failure text,
                                         reads text, guard text)
ON CONFLICT (case_id, name) DO UPDATE SET attempts = excluded.attempts, wake_at = excluded.wake_at, outcome = excluded.outcome,
                                          failure = excluded.failure, reads = excluded.reads, guard = excluded.guard;

-- name: delete_branches
-- Delete the branches of parallel steps that are over.
DELETE FROM pointsman.branches WHERE case_id = ANY(%(cases)s);

-- name: settle_effects
-- Record the outcomes of calls, and whether each call counts. A recorded outcome never changes.
UPDATE pointsman.effects AS e
   SET status = t.status, outcome = t.outcome, error = t.error, attempts = e.attempts - CASE WHEN t.counts THEN 0 ELSE 1 END
  FROM json_to_recordset(%(rows)s) AS t (key text, status text, outcome text, error text, counts boolean)
 WHERE e.key = t.key AND (e.status <> 'done' OR e.outcome IS NULL);

-- name: insert_intents
-- The first intents for their keys. A key that exists is left out of what is returned.
INSERT INTO pointsman.effects (key, case_id, effect, arguments, status, attempts, intended_at, deadline)
SELECT key, case_id, effect, arguments, 'intended', 1, at, deadline
  FROM json_to_recordset(%(rows)s) AS t (key text, case_id bigint, effect text, arguments text, at double precision, deadline double precision)
 ORDER BY key
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: renew_intents
-- Further calls with the same keys and arguments, unless the effect is settled.
UPDATE pointsman.effects AS e
   SET status = 'intended', attempts = e.attempts + 1, deadline = t.deadline, error = NULL
  FROM json_to_recordset(%(rows)s) AS t (key text, arguments text, deadline double precision)
 WHERE e.key = t.key AND e.arguments = t.arguments AND e.status IN ('intended', 'not_sent', 'in_doubt')
RETURNING e.key;

-- name: close_pauses
-- Close the open pauses of cases that move: answered or void.
UPDATE pointsman.pauses AS p
   SET closed = CASE WHEN t.closed_by IS NULL THEN 'void' ELSE 'answered' END, closed_by = t.closed_by, closed_at = t.at
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, closed_by text, at double precision)
 WHERE p.case_id = t.case_id AND p.closed IS NULL;

-- name: insert_pauses
-- Open pauses.
INSERT INTO pointsman.pauses (case_id, revision, name, token, digest, assignee, expires_at, asks, opened_at)
SELECT case_id, revision, name, token, digest, assignee, expires_at, asks, at
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, revision integer, name text, token text, digest text, assignee text,
                                         expires_at double precision, asks boolean, at double precision);

-- name: climb_pauses
-- Move open pauses on their ladders, or assign them to somebody.
UPDATE pointsman.pauses AS p SET rung = t.rung, assignee = t.assignee
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, rung integer, assignee text)
 WHERE p.case_id = t.case_id AND p.closed IS NULL;

-- name: take_messages
-- Mark messages as taken or passed over. An item of a log is kept only in the log.
UPDATE pointsman.messages AS m SET status = t.status, body = CASE t.status WHEN 'logged' THEN 'null' ELSE m.body END
  FROM json_to_recordset(%(rows)s) AS t (id bigint, status text)
 WHERE m.id = t.id;

-- name: match_early
-- Give new cases the messages that came before them; a case that would wait becomes ready to take them in.
WITH t AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(rows)s) AS t (case_id bigint, process text, tenant text, correlation text)
), matched AS (
  UPDATE pointsman.messages AS m SET case_id = t.case_id, status = 'pending' FROM t
   WHERE m.process = t.process AND m.tenant = t.tenant AND m.correlation = t.correlation AND m.status = 'unmatched'
  RETURNING m.case_id
), counted AS (
  SELECT case_id, count(*)::integer AS messages FROM matched GROUP BY case_id
)
UPDATE pointsman.cases AS c
   SET inbox = counted.messages,
       wake_at = CASE WHEN c.status IN ('waiting', 'parked') THEN c.updated_at ELSE c.wake_at END,
       status = CASE WHEN c.status IN ('waiting', 'parked') THEN 'ready' ELSE c.status END
  FROM counted WHERE c.id = counted.case_id;

-- name: add_case_usage
-- Add the usage of responses to their cases, unless a case has been deleted: a response may be late.
INSERT INTO pointsman.case_usage (case_id, model, answers, input_tokens, output_tokens, cost)
SELECT t.case_id, t.model, count(*), sum(t.input_tokens), sum(t.output_tokens), sum(t.cost)
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, day integer, model text, input_tokens bigint, output_tokens bigint, cost numeric)
  JOIN pointsman.cases ON cases.id = t.case_id
 GROUP BY t.case_id, t.model ORDER BY t.case_id, t.model
ON CONFLICT (case_id, model) DO UPDATE
   SET answers = case_usage.answers + excluded.answers, input_tokens = case_usage.input_tokens + excluded.input_tokens,
       output_tokens = case_usage.output_tokens + excluded.output_tokens, cost = case_usage.cost + excluded.cost;

-- name: add_day_usage
-- Add the usage of responses to their days.
INSERT INTO pointsman.day_usage (process, day, tenant, model, shard, answers, input_tokens, output_tokens, cost)
SELECT cases.process, t.day, cases.tenant, t.model, pointsman.shard(), count(*), sum(t.input_tokens), sum(t.output_tokens), sum(t.cost)
  FROM json_to_recordset(%(rows)s) AS t (case_id bigint, day integer, model text, input_tokens bigint, output_tokens bigint, cost numeric)
  JOIN pointsman.cases ON cases.id = t.case_id
 GROUP BY cases.process, t.day, cases.tenant, t.model ORDER BY cases.process, t.day, cases.tenant, t.model
ON CONFLICT (process, day, tenant, model, shard) DO UPDATE
   SET answers = day_usage.answers + excluded.answers, input_tokens = day_usage.input_tokens + excluded.input_tokens,
       output_tokens = day_usage.output_tokens + excluded.output_tokens, cost = day_usage.cost + excluded.cost;

-- name: delete_search
-- Delete what cases were found by, before their new values are written.
DELETE FROM pointsman.search USING json_to_recordset(%(rows)s) AS t (case_id bigint, field text)
 WHERE search.case_id = t.case_id AND search.field = t.field;

-- name: delete_words
DELETE FROM pointsman.words USING json_to_recordset(%(rows)s) AS t (case_id bigint, field text)
 WHERE words.case_id = t.case_id AND words.field = t.field;

-- name: insert_search
INSERT INTO pointsman.search (field, value, case_id)
SELECT field, value, case_id FROM json_to_recordset(%(rows)s) AS t (field text, value text, case_id bigint)
ON CONFLICT DO NOTHING;

-- name: insert_words
INSERT INTO pointsman.words (word, case_id, field)
SELECT value, case_id, field FROM json_to_recordset(%(rows)s) AS t (field text, value text, case_id bigint)
ON CONFLICT DO NOTHING;

-- name: standings
-- Where the cases of refused transitions stand, to say why each was refused.
SELECT id, revision, fence FROM pointsman.cases WHERE id = ANY(%(cases)s);

-- name: known_starts
-- The cases that earlier starts with these keys created, also if they are erased.
SELECT t.place, coalesce((SELECT id FROM pointsman.cases WHERE process = t.process AND tenant = t.tenant AND key = t.key),
                         (SELECT case_id FROM pointsman.erased_keys AS e
                           WHERE e.process = t.process AND e.tenant = t.tenant AND e.name = '' AND e.digest = t.digest))
  FROM json_to_recordset(%(rows)s) AS t (place integer, process text, tenant text, key text, digest text);

-- name: lock_appends
-- Let one transaction at a time append events to a case. Take the lock before the transaction has a number: then the numbers rise in the order of
-- the commits.
SELECT pg_advisory_xact_lock(hashtextextended(%(case)s::text, 1));

-- name: keep_case
-- Keep a case at its revision until the end of the transaction: a transition waits, so that nothing appears behind it that a reader would miss.
SELECT FROM pointsman.cases WHERE id = %(case)s FOR SHARE;

-- name: append_events
-- Append events at the case's current revision, without changing the case.
INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events)
SELECT %(era)s + pg_current_xact_id()::text::bigint, %(n)s, id, revision, %(at)s, %(events)s FROM pointsman.cases WHERE id = %(case)s;

-- name: lock_correlation
-- Let one transaction at a time start or find the case of a correlation key.
SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0));

-- name: message_by_key
-- The message that has this key.
SELECT case_id, status FROM pointsman.messages WHERE process = %(process)s AND tenant = %(tenant)s AND name = %(name)s AND key = %(key)s;

-- name: erased_key
-- The case that an erased key belonged to.
SELECT case_id FROM pointsman.erased_keys WHERE process = %(process)s AND tenant = %(tenant)s AND name = %(name)s AND digest = %(digest)s;

-- name: open_case_by_correlation
-- The open case with this correlation key that started last. Numbers are reserved in blocks, so it need not have the highest. The lock
-- waits for a transition that is being committed, so that a case that ends in it is not found, and keeps the case open meanwhile.
SELECT id FROM pointsman.cases
 WHERE process = %(process)s AND tenant = %(tenant)s AND correlation = %(correlation)s AND status NOT IN ('done', 'cancelled')
 ORDER BY created_at DESC, id DESC LIMIT 1 FOR NO KEY UPDATE;

-- name: held_message
-- Whether a message is held; nobody else releases it meanwhile.
SELECT id FROM pointsman.messages WHERE id = %(id)s AND status = 'held' FOR UPDATE;

-- name: release_message
-- Update a held message whose case has ended.
UPDATE pointsman.messages SET case_id = %(case)s, status = %(status)s WHERE id = %(id)s;

-- name: insert_message
-- Insert a message from outside or from a child, unless one with its key is known.
INSERT INTO pointsman.messages (process, tenant, name, key, correlation, case_id, status, body, at)
VALUES (%(process)s, %(tenant)s, %(name)s, %(key)s, %(correlation)s, %(case)s, %(status)s, %(body)s, %(at)s)
ON CONFLICT (process, tenant, name, key) DO NOTHING RETURNING id;

-- name: wake_for_message
-- Count a pending message. A waiting or parked case becomes ready; a ready case keeps its time, or is due now if the message is urgent.
UPDATE pointsman.cases
   SET inbox = inbox + 1,
       wake_at = CASE WHEN status IN ('waiting', 'parked') OR (status = 'ready' AND %(urgent)s) THEN least(%(at)s, coalesce(wake_at, %(at)s))
                      ELSE wake_at END,
       status = CASE WHEN status IN ('waiting', 'parked') THEN 'ready' ELSE status END
 WHERE id = %(case)s AND status NOT IN ('done', 'cancelled')
RETURNING status;

-- name: take_message
UPDATE pointsman.messages SET status = %(status)s WHERE id = %(id)s;

-- name: notify
-- Notify the other engines of commits. It waits for no disk: a lost notification costs only time.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, %(engine)s);

-- name: enter_engine
-- Give a new engine its number and its lease.
INSERT INTO pointsman.engines (lease_until, heard_at)
SELECT time + %(seconds)s, time FROM pointsman.store_time(%(skew)s) AS time RETURNING id;

-- name: renew_lease
-- Extend a lease that has not expired.
UPDATE pointsman.engines SET lease_until = greatest(lease_until, time + %(seconds)s), heard_at = time
  FROM pointsman.store_time(%(skew)s) AS time WHERE id = %(engine)s AND lease_until > time RETURNING time;

-- name: announce
-- Say which versions an engine accepts, as "process version".
UPDATE pointsman.engines SET accepts = %(accepts)s::text[] WHERE id = %(engine)s;

-- name: announced
-- The versions that engines with a lease accept.
SELECT DISTINCT unnest(accepts) FROM pointsman.engines WHERE lease_until > pointsman.store_time(%(skew)s);

-- name: end_lease
-- End a lease, so that other engines can claim the engine's cases.
UPDATE pointsman.engines SET lease_until = '-infinity' WHERE id = %(engine)s;

-- name: has_lease
-- Whether an engine has its lease. Nobody forgets the engine until the end of the transaction.
SELECT id FROM pointsman.engines WHERE id = %(engine)s AND lease_until > pointsman.store_time(%(skew)s) FOR KEY SHARE;

-- name: take_over
-- Make the running cases of engines whose lease has expired ready again. The attempt that was cut short does not count; an
-- interruption counts instead, unless all calls of the case were waiting.
WITH dead AS (
  SELECT c.id FROM pointsman.cases AS c JOIN pointsman.engines AS e ON c.engine = e.id
   WHERE c.status = 'running' AND e.lease_until <= pointsman.store_time(%(skew)s)
     FOR UPDATE OF c SKIP LOCKED
)
UPDATE pointsman.cases AS c
   SET status = 'ready', wake_at = %(now)s, attempts = greatest(attempts - 1, 0),
       interruptions = interruptions + CASE WHEN waits THEN 0 ELSE 1 END, waits = false
  FROM dead WHERE c.id = dead.id;

-- name: lock_lapsed
-- Lock the engines without a lease, except those that are committing something on one of their lines.
WITH locked AS MATERIALIZED (
  SELECT e.id FROM pointsman.engines AS e JOIN pointsman.commits AS c ON c.engine = e.id
   WHERE e.lease_until <= pointsman.store_time(%(skew)s) FOR UPDATE OF e, c SKIP LOCKED
)
SELECT id FROM locked GROUP BY id HAVING count(*) = (SELECT count(*) FROM pointsman.commits WHERE engine = locked.id);

-- name: forget_engines
-- Delete engines that no case names as running.
DELETE FROM pointsman.engines AS e
 WHERE id = ANY(%(engines)s) AND NOT EXISTS (SELECT FROM pointsman.cases WHERE engine = e.id AND status = 'running');

-- name: forget_commits
DELETE FROM pointsman.commits AS c WHERE NOT EXISTS (SELECT FROM pointsman.engines WHERE id = c.engine);

-- name: forget_small_writes
-- A row that somebody else deletes stays until the next time: a transaction whose client is gone may keep its locks for long.
DELETE FROM pointsman.small_writes WHERE (engine, number) IN (
  SELECT engine, number FROM pointsman.small_writes AS s WHERE NOT EXISTS (SELECT FROM pointsman.engines WHERE id = s.engine) FOR UPDATE SKIP LOCKED
);

-- name: number_small_write
-- Leave the number of this transaction, and delete earlier ones. The server's number of it tells whether it is over, and not whether it
-- was committed: a server that has crashed gives the numbers of lost transactions again. An engine that was forgotten leaves none: nobody
-- would take over a case that it starts, and its earlier numbers are gone.
WITH mine AS (
  SELECT id FROM pointsman.engines WHERE id = %(engine)s FOR KEY SHARE
), known AS (
  SELECT number FROM pointsman.small_writes WHERE engine = %(engine)s AND number = ANY(%(known)s::bigint[]) FOR UPDATE SKIP LOCKED
), deleted AS (
  DELETE FROM pointsman.small_writes WHERE engine = %(engine)s AND number IN (SELECT number FROM known)
)
INSERT INTO pointsman.small_writes (engine, number) SELECT id, %(number)s FROM mine RETURNING number;

-- name: look_at_transaction
-- How the server's transaction with this number stands. The server knows no such number if it has crashed.
SELECT CASE WHEN %(tx)s::xid8 < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(%(tx)s::xid8) END;

-- name: look_at_small_write
-- Look only after the transaction is over: this statement sees what was committed before it.
SELECT number FROM pointsman.small_writes WHERE engine = %(engine)s AND number = %(number)s;

-- name: next_lease_end
-- When the first lease of another engine with a running case expires.
SELECT min(greatest(e.lease_until, 0)) FROM pointsman.engines AS e
 WHERE e.id <> %(engine)s AND EXISTS (SELECT FROM pointsman.cases WHERE engine = e.id AND status = 'running');

-- name: claim_cases
-- Claim due cases, ready or waiting with a timer, for this engine: each gets a new fence, and an attempt is counted. A case that another
-- engine is claiming is left out.
WITH free AS MATERIALIZED (
  SELECT id FROM pointsman.cases WHERE id = ANY(%(cases)s) AND wake_at <= %(now)s AND status IN ('ready', 'waiting')
     FOR UPDATE SKIP LOCKED
)
UPDATE pointsman.cases AS c SET status = 'running', fence = fence + 1, attempts = attempts + 1, waits = false, wake_at = NULL, engine = %(engine)s
  FROM free WHERE c.id = free.id
RETURNING c.id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at,
          updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions;

-- name: select_due
-- The cases of each process, version and need that have been due longest, up to `few` of each: a few index look-ups for each of these.
-- `accepts` has the versions to look for, as "process version"; null is all of them.
WITH RECURSIVE versions (process, version) AS (
  SELECT asked.process, (SELECT min(version) FROM pointsman.cases AS c WHERE c.process = asked.process AND wake_at IS NOT NULL)
    FROM unnest(%(processes)s::text[]) AS asked (process)
  UNION ALL
  SELECT process, (SELECT min(c.version) FROM pointsman.cases AS c
                    WHERE c.process = versions.process AND c.version > versions.version AND wake_at IS NOT NULL)
    FROM versions WHERE version IS NOT NULL
), needs (process, version, need) AS (
  SELECT process, version, (SELECT min(need) FROM pointsman.cases AS c
                             WHERE c.process = versions.process AND c.version = versions.version AND wake_at IS NOT NULL)
    FROM versions WHERE version IS NOT NULL AND (%(accepts)s::text[] IS NULL OR process || ' ' || version = ANY(%(accepts)s::text[]))
  UNION ALL
  SELECT process, version, (SELECT min(c.need) FROM pointsman.cases AS c
                             WHERE c.process = needs.process AND c.version = needs.version AND c.need > needs.need AND wake_at IS NOT NULL)
    FROM needs WHERE need IS NOT NULL
)
SELECT due.* FROM needs CROSS JOIN LATERAL (
  SELECT priority, tenant, need, wake_at, id FROM pointsman.cases AS c
   WHERE c.process = needs.process AND c.version = needs.version AND c.need = needs.need AND wake_at <= %(now)s AND id <> ALL(%(tried)s::bigint[])
   ORDER BY wake_at LIMIT %(few)s
) AS due WHERE needs.need IS NOT NULL AND needs.need <> ALL(%(closed)s::text[]);

-- name: select_lanes
-- The due cases of each lane (priority, tenant, process, version, need), up to `limit` of each, beginning with the lane after the given one. A
-- lane costs two index look-ups, however many cases it has.
WITH RECURSIVE lanes (rank, tenant, process, version, need) AS (
  (SELECT rank, tenant, process, version, need FROM pointsman.cases
    WHERE wake_at IS NOT NULL AND (rank, tenant, process, version, need) > (%(rank)s, %(tenant)s, '', 0, '')
    ORDER BY rank, tenant, process, version, need LIMIT 1)
  UNION ALL
  SELECT following.* FROM lanes CROSS JOIN LATERAL (
    SELECT c.rank, c.tenant, c.process, c.version, c.need FROM pointsman.cases AS c
     WHERE wake_at IS NOT NULL
       AND (c.rank, c.tenant, c.process, c.version, c.need) > (lanes.rank, lanes.tenant, lanes.process, lanes.version, lanes.need)
     ORDER BY c.rank, c.tenant, c.process, c.version, c.need LIMIT 1
  ) AS following
)
SELECT due.* FROM lanes CROSS JOIN LATERAL (
  SELECT priority, tenant, need, wake_at, id FROM pointsman.cases AS c
   WHERE c.rank = lanes.rank AND c.tenant = lanes.tenant AND c.process = lanes.process AND c.version = lanes.version
     AND c.need = lanes.need AND wake_at <= %(now)s AND id <> ALL(%(tried)s::bigint[])
   ORDER BY wake_at LIMIT %(limit)s
) AS due WHERE lanes.process = ANY(%(processes)s) AND (%(accepts)s::text[] IS NULL OR lanes.process || ' ' || lanes.version = ANY(%(accepts)s::text[]))
  AND lanes.need <> ALL(%(closed)s::text[]) LIMIT %(most)s;

-- name: next_wake
-- The earliest time at which a case of these processes is due, unless its version is not accepted, or it needs a closed limit.
WITH RECURSIVE versions (process, version) AS (
  SELECT asked.process, (SELECT min(version) FROM pointsman.cases AS c WHERE c.process = asked.process AND wake_at IS NOT NULL)
    FROM unnest(%(processes)s::text[]) AS asked (process)
  UNION ALL
  SELECT process, (SELECT min(c.version) FROM pointsman.cases AS c
                    WHERE c.process = versions.process AND c.version > versions.version AND wake_at IS NOT NULL)
    FROM versions WHERE version IS NOT NULL
), needs (process, version, need) AS (
  SELECT process, version, (SELECT min(need) FROM pointsman.cases AS c
                             WHERE c.process = versions.process AND c.version = versions.version AND wake_at IS NOT NULL)
    FROM versions WHERE version IS NOT NULL AND (%(accepts)s::text[] IS NULL OR process || ' ' || version = ANY(%(accepts)s::text[]))
  UNION ALL
  SELECT process, version, (SELECT min(c.need) FROM pointsman.cases AS c
                             WHERE c.process = needs.process AND c.version = needs.version AND c.need > needs.need AND wake_at IS NOT NULL)
    FROM needs WHERE need IS NOT NULL
)
SELECT min((SELECT min(wake_at) FROM pointsman.cases AS c
             WHERE c.process = needs.process AND c.version = needs.version AND c.need = needs.need AND wake_at IS NOT NULL))
  FROM needs WHERE need IS NOT NULL AND need <> ALL(%(closed)s::text[]);

-- name: release_cases
-- Release cases at an orderly stop; the attempt that was cut short does not count.
UPDATE pointsman.cases SET status = 'ready', wake_at = %(now)s, attempts = greatest(attempts - 1, 0), waits = false
 WHERE id = ANY(%(cases)s) AND status = 'running' AND engine = %(engine)s;

-- name: mark_waiting
-- Mark whether all calls of a running case are waiting: if so, a crash is not an interruption.
UPDATE pointsman.cases SET waits = %(waits)s WHERE id = %(case)s AND fence = %(fence)s AND status = 'running';

-- name: changed_ours
-- The engine's tables and functions that this transaction changes. Whoever writes to a table holds a lock on it until the end of the transaction;
-- the weakest two locks are those of readers. A table that was dropped is gone here, and a function has the number of who made it.
SELECT relname::text FROM pg_locks JOIN pg_class ON pg_class.oid = relation
 WHERE locktype = 'relation' AND pid = pg_backend_pid() AND relnamespace = %(schema)s::text::regnamespace
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode NOT IN ('AccessShareLock', 'RowShareLock')
UNION ALL
SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE to_regclass(%(schema)s || '.' || name) IS NULL
UNION ALL
SELECT proname::text FROM pg_proc WHERE pronamespace = %(schema)s::text::regnamespace AND xmin = pg_current_xact_id()::xid;
