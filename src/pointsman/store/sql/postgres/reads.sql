-- The statements that only read.
--
-- PostgreSQL chooses the indexes, and knows little about tables that grow fast. Where it could choose the index that has the order of the
-- rows, and go through it from end to end, a subquery with `OFFSET 0` keeps the order and the conditions outside.
--
-- What is read of all cases in the order of events ends at the first transaction that is still running: it may commit events at its place later.

-- name: select_case
-- One case.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM pointsman.cases WHERE id = %(case)s::bigint;

-- name: select_case_by_key
-- The case that a start with this key made.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM pointsman.cases WHERE process = %(process)s AND tenant = %(tenant)s AND key = %(key)s;

-- name: select_erased_case
-- The case that an erased start key belonged to.
SELECT case_id FROM pointsman.erased_keys WHERE process = %(process)s AND tenant = %(tenant)s AND name = '' AND digest = %(digest)s;

-- name: select_cases
-- Cases by number.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM (SELECT * FROM pointsman.cases WHERE id > %(after)s::bigint ORDER BY id OFFSET 0) AS cases
WHERE (%(process)s::text IS NULL OR process = %(process)s) AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY id LIMIT %(limit)s;

-- name: select_resting_cases
-- The same for a status that few cases have. It is compared in a row with the number, because only the index on both has that order.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM pointsman.cases
WHERE (status, id) > (%(status)s, %(after)s::bigint) AND (status, id) <= (%(status)s, 9223372036854775807)
  AND status IN ('waiting', 'parked', 'blocked') AND (%(process)s::text IS NULL OR process = %(process)s)
ORDER BY status, id LIMIT %(limit)s;

-- name: select_open_cases
-- Cases that have not ended, by number.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM (SELECT * FROM pointsman.cases WHERE id > %(after)s::bigint ORDER BY id OFFSET 0) AS cases
WHERE status NOT IN ('done', 'cancelled') ORDER BY id LIMIT %(limit)s;

-- name: select_versions
-- The versions of a process's cases that are ready or waiting: one index look-up for each version, however many cases there are.
WITH RECURSIVE found (version) AS (
  SELECT min(version) FROM pointsman.cases WHERE process = %(process)s AND status IN ('ready', 'waiting')
  UNION ALL
  SELECT (SELECT min(version) FROM pointsman.cases
           WHERE process = %(process)s AND version > found.version AND status IN ('ready', 'waiting'))
    FROM found WHERE found.version IS NOT NULL
)
SELECT version FROM found WHERE version IS NOT NULL;

-- name: select_cases_of_version
-- Cases of one version that are ready or waiting.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM (SELECT * FROM pointsman.cases WHERE process = %(process)s AND version = %(version)s AND status IN ('ready', 'waiting') OFFSET 0) AS cases
ORDER BY id LIMIT %(limit)s;

-- name: select_cases_of
-- The cases with these numbers.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM pointsman.cases WHERE id = ANY(%(cases)s::bigint[]) ORDER BY id;

-- name: select_children
-- The children of a case.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM pointsman.cases WHERE parent = %(case)s::bigint ORDER BY id;

-- name: select_definitions
-- The definitions that engines were opened with.
SELECT process, version, fingerprint, seen_at FROM pointsman.definitions ORDER BY process, version, seen_at;

-- name: select_private
-- The private fields.
SELECT name FROM pointsman.meta WHERE name >= 'private ' AND name < 'private!' ORDER BY name;

-- name: count_places
-- How many cases there are in each place. The counts have running cases among those that are ready.
WITH running (process, cases) AS (
  SELECT process, count(*) FROM pointsman.cases WHERE status = 'running' AND (%(process)s::text IS NULL OR process = %(process)s) GROUP BY process
), counted (process, status, place, cases) AS (
  SELECT process, status, place, sum(cases)::bigint FROM pointsman.case_counts WHERE (%(process)s::text IS NULL OR process = %(process)s) GROUP BY process, status, place
), found (process, status, place, cases) AS (
  SELECT process, status, place, counted.cases - CASE status WHEN 'ready' THEN coalesce(running.cases, 0) ELSE 0 END
    FROM counted LEFT JOIN running USING (process)
  UNION ALL
  SELECT process, 'running', '', cases FROM running
)
SELECT process, status, place, cases FROM found WHERE cases > 0 ORDER BY process, status, place;

-- name: count_line
-- The number of ready and running cases of a process, counted up to a bound.
SELECT count(*) FROM (SELECT 1 FROM pointsman.cases WHERE status IN ('ready', 'running') AND process = %(process)s LIMIT %(most)s) AS line;

-- name: count_line_of_tenant
-- The same for one tenant.
SELECT count(*)
  FROM (SELECT 1 FROM pointsman.cases WHERE status IN ('ready', 'running') AND process = %(process)s AND tenant = %(tenant)s LIMIT %(most)s) AS line;

-- name: select_fields
-- The last whole write of each field of these cases, as of a revision, and what was added to it since: two index look-ups for
-- each field, then the rows, however long its history is.
WITH RECURSIVE names (case_id, field) AS (
  SELECT asked.id, (SELECT min(field) FROM pointsman.journal WHERE journal.case_id = asked.id) FROM unnest(%(cases)s::bigint[]) AS asked (id)
  UNION ALL
  SELECT names.case_id, (SELECT min(field) FROM pointsman.journal WHERE journal.case_id = names.case_id AND journal.field > names.field)
    FROM names WHERE names.field IS NOT NULL
), whole (case_id, field, revision) AS (
  SELECT case_id, field, coalesce((SELECT revision FROM pointsman.journal
                                    WHERE journal.case_id = names.case_id AND journal.field = names.field AND revision <= %(revision)s::bigint AND NOT appends
                                    ORDER BY revision DESC LIMIT 1), 0)
    FROM names WHERE field IS NOT NULL
)
SELECT writes.case_id, writes.revision, writes.field, writes.value, writes.writer, writes.appends
  FROM whole CROSS JOIN LATERAL (
         SELECT * FROM pointsman.journal
          WHERE journal.case_id = whole.case_id AND journal.field = whole.field
            AND journal.revision BETWEEN whole.revision AND %(revision)s::bigint OFFSET 0) AS writes
 ORDER BY writes.case_id, writes.field, writes.revision;

-- name: select_fields_of_cases
-- The same for fields of these names.
WITH asked (case_id, field) AS (
  SELECT DISTINCT cases.id, names.name FROM unnest(%(cases)s::bigint[]) AS cases (id), unnest(%(names)s::text[]) AS names (name)
), whole (case_id, field, revision) AS (
  SELECT case_id, field, coalesce((SELECT revision FROM pointsman.journal
                                    WHERE journal.case_id = asked.case_id AND journal.field = asked.field AND revision <= %(revision)s::bigint AND NOT appends
                                    ORDER BY revision DESC LIMIT 1), 0)
    FROM asked WHERE field IS NOT NULL
)
SELECT writes.case_id, writes.revision, writes.field, writes.value, writes.writer, writes.appends
  FROM whole CROSS JOIN LATERAL (
         SELECT * FROM pointsman.journal
          WHERE journal.case_id = whole.case_id AND journal.field = whole.field
            AND journal.revision BETWEEN whole.revision AND %(revision)s::bigint OFFSET 0) AS writes
 ORDER BY writes.case_id, writes.field, writes.revision;

-- name: select_events
-- Rows of the journal from a place on. All events of the first row may be before it, so one row more is read.
SELECT tx, n, case_id, revision, at, events FROM pointsman.journal
 WHERE (tx, n) >= (%(tx)s::bigint, %(n)s::integer) AND tx < (SELECT value::bigint FROM pointsman.meta WHERE name = 'era') + pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND events IS NOT NULL
 ORDER BY tx, n LIMIT %(limit)s::bigint + 1;

-- name: select_moved_row
-- The row of the journal that has an event of a file whose cases have moved here, or the last one before it.
SELECT tx, n FROM pointsman.journal WHERE (tx, n) <= (%(tx)s::bigint, %(n)s::integer) ORDER BY tx DESC, n DESC LIMIT 1;

-- name: select_events_of_case
-- The same for one case, also those of the newest transactions. Its transitions follow each other by revision; what was appended at a revision
-- (n = 0) follows the transition that led there, in the order of the transactions; what a move brought from a file (tx = 0) is in the order
-- of n. A cursor of another case is a place among all transactions.
SELECT tx, n, case_id, revision, at, events FROM (SELECT * FROM pointsman.journal WHERE case_id = %(case)s::bigint OFFSET 0) AS entries
  LEFT JOIN (SELECT revision AS after_revision FROM pointsman.journal
              WHERE tx = %(tx)s::bigint AND n = %(n)s::integer AND case_id = %(case)s::bigint) AS place ON true
 WHERE events IS NOT NULL
   AND CASE WHEN after_revision IS NULL THEN (tx, n) >= (%(tx)s::bigint, %(n)s::integer)
            ELSE (revision, n = 0, tx, n) >= (after_revision, %(n)s::integer = 0, %(tx)s::bigint, %(n)s::integer) END
 ORDER BY revision, n = 0, tx, n LIMIT %(limit)s::bigint + 1;

-- name: select_newest_events
-- The newest rows with events. Rows of further fields have none, so a bounded number of rows is read.
SELECT tx, n, case_id, revision, at, events FROM (
  SELECT * FROM pointsman.journal WHERE tx < (SELECT value::bigint FROM pointsman.meta WHERE name = 'era') + pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY tx DESC, n DESC LIMIT %(limit)s) AS newest
 WHERE events IS NOT NULL ORDER BY tx, n;

-- name: select_events_of_cases
-- All events of these cases, also those of the newest transactions: no cursor goes on behind them.
SELECT tx, n, case_id, revision, at, events FROM (SELECT * FROM pointsman.journal WHERE case_id = ANY(%(cases)s::bigint[]) OFFSET 0) AS entries
 WHERE events IS NOT NULL ORDER BY tx, n;

-- name: select_all_events_of_case
-- All events of a case, in the order of `select_events_of_case`.
SELECT tx, n, case_id, revision, at, events FROM (SELECT * FROM pointsman.journal WHERE case_id = %(case)s::bigint OFFSET 0) AS entries
 WHERE events IS NOT NULL ORDER BY revision, n = 0, tx, n;

-- name: select_writes
-- Every write of a case's fields.
SELECT revision, field, value, writer, appends FROM pointsman.journal WHERE case_id = %(case)s::bigint AND field IS NOT NULL ORDER BY revision, field;

-- name: select_writes_of_cases
-- Every write of the fields of these cases.
SELECT case_id, revision, field, value, writer, appends FROM pointsman.journal
 WHERE case_id = ANY(%(cases)s::bigint[]) AND field IS NOT NULL ORDER BY case_id, revision, field;

-- name: select_effect
-- One entry of the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM pointsman.effects WHERE key = %(key)s;

-- name: select_effects
-- The entries of these cases in the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM pointsman.effects WHERE case_id = ANY(%(cases)s::bigint[]) ORDER BY case_id, intended_at, key;

-- name: select_in_doubt
-- The effects in doubt. A call that an engine is making now is not in doubt.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error
  FROM (SELECT * FROM pointsman.effects WHERE status IN ('intended', 'in_doubt') OFFSET 0) AS effects
 WHERE (SELECT cases.status <> 'running' FROM pointsman.cases WHERE cases.id = effects.case_id)
 ORDER BY intended_at, key;

-- name: select_pause
-- The last pause of a case.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at
FROM pointsman.pauses WHERE case_id = %(case)s::bigint ORDER BY revision DESC LIMIT 1;

-- name: select_pause_by_token
-- The pause that a token belongs to.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at
FROM pointsman.pauses WHERE token = %(token)s;

-- name: select_pauses
-- All pauses of a case.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at
FROM pointsman.pauses WHERE case_id = %(case)s::bigint ORDER BY revision;

-- name: count_waiting
-- Pauses that a person can answer and that opened in [since, until); the count stops at `most`.
SELECT count(*) FROM (
  SELECT 1 FROM pointsman.pauses
   WHERE closed IS NULL AND asks AND opened_at >= %(since)s::double precision AND opened_at < %(until)s::double precision LIMIT %(most)s) AS waiting;

-- name: select_messages
-- The pending messages of a case, in the order of arrival.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM pointsman.messages WHERE case_id = %(case)s::bigint AND status = 'pending' ORDER BY id;

-- name: select_all_messages
-- All messages of a case, in the order of arrival.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM pointsman.messages WHERE case_id = %(case)s::bigint ORDER BY id;

-- name: select_held
-- Held messages whose case has ended.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM (SELECT * FROM pointsman.messages WHERE status = 'held' AND id > %(after)s::bigint ORDER BY id OFFSET 0) AS messages
 WHERE (SELECT cases.status IN ('done', 'cancelled') FROM pointsman.cases WHERE cases.id = messages.case_id) ORDER BY id LIMIT %(limit)s;

-- name: select_unmatched
-- Messages that match no case yet.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM (SELECT * FROM pointsman.messages WHERE status = 'unmatched' OFFSET 0) AS messages ORDER BY id LIMIT %(limit)s;

-- name: select_branches
-- The branches of these cases.
SELECT case_id, name, attempts, wake_at, outcome, failure, reads, guard FROM pointsman.branches WHERE case_id = ANY(%(cases)s::bigint[]) ORDER BY case_id, name;

-- name: select_case_usage
-- The usage of a case.
SELECT model, answers, input_tokens, output_tokens, cost FROM pointsman.case_usage WHERE case_id = %(case)s::bigint ORDER BY model;

-- name: select_day_usage
-- The usage of these days.
SELECT model, sum(answers), sum(input_tokens), sum(output_tokens), sum(cost), day, tenant FROM pointsman.day_usage
 WHERE process = %(process)s AND day BETWEEN %(first)s::bigint AND %(last)s::bigint AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
 GROUP BY day, tenant, model ORDER BY day, tenant, model;

-- name: select_engines
-- Whether an engine has its lease, and the one that runs a case: its number, the end of its lease, and whether that is over.
SELECT EXISTS (SELECT FROM pointsman.engines WHERE lease_until > time), c.engine, greatest(e.lease_until, 0), coalesce(e.lease_until <= time, true)
  FROM pointsman.store_time(0) AS time LEFT JOIN pointsman.cases AS c ON c.id = %(case)s::bigint AND c.status = 'running'
  LEFT JOIN pointsman.engines AS e ON e.id = c.engine;

-- name: select_limits
-- The states of all limits that have been used.
SELECT name, state FROM pointsman.limits ORDER BY name;

-- name: select_gaps
-- What the subscribers have given up.
SELECT name, value FROM pointsman.meta WHERE name >= 'gaps ' AND name < 'gaps!' ORDER BY name;

-- name: select_fact
-- A fact about the database itself.
SELECT value FROM pointsman.meta WHERE name = %(name)s;

-- name: select_blob
-- A large value.
SELECT content FROM pointsman.blobs WHERE sha256 = %(sha256)s;
