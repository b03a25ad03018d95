-- The parts of the statement that finds cases for a `CaseQuery`. `store/finding.py` puts them together.
--
-- A page is read in one of two ways. If a filter leaves few cases, its source gives their numbers, and they are sorted (`find_few`). If
-- no filter does, the cases are walked in the order of the page until it is full (the other `find_` statements).
-- `{filters}` stands for further conditions, `{after}` for that of a later page, `{source}` for one of the sources below. `{join}` is a
-- CROSS JOIN, which keeps the order of the tables, if only cases with an open pause are wanted, and else a LEFT JOIN.

-- name: found
-- A case, and its open pause.
cases.id, cases.process, cases.version, cases.key, cases.status, cases.revision, cases.fence, cases.wake_at, cases.attempts, cases.steps, cases.step, cases.rule, cases.reason, cases.outcome, cases.created_at, cases.updated_at, cases.tenant, cases.priority, cases.correlation, cases.parent, cases.inbox, cases.needs, cases.interruptions,
pauses.case_id, pauses.revision, pauses.name, pauses.token, pauses.digest, pauses.opened_at, pauses.closed, pauses.closed_by, pauses.closed_at, pauses.rung, pauses.assignee, pauses.expires_at

-- name: find_few
-- Only numbers are sorted; the rows of the page are read afterwards.
SELECT {found}
  FROM (SELECT cases.id
          FROM cases NOT INDEXED {join} pauses INDEXED BY pauses_of_case ON pauses.case_id = cases.id AND closed IS NULL
         WHERE cases.id IN ({source}) {filters} {after} ORDER BY {order} LIMIT :limit) AS few
       CROSS JOIN cases NOT INDEXED ON cases.id = few.id {join} pauses INDEXED BY pauses_of_case ON pauses.case_id = cases.id AND closed IS NULL
 ORDER BY {order};

-- name: find_by_number
SELECT {found}
  FROM cases NOT INDEXED {join} pauses INDEXED BY pauses_of_case ON pauses.case_id = cases.id AND closed IS NULL
 WHERE TRUE {filters} {after} ORDER BY {order} LIMIT :limit;

-- name: find_by_change
-- The few running cases are in no index, so that a step does not have to change one.
SELECT * FROM (
  SELECT {found}
    FROM cases INDEXED BY cases_changed {join} pauses INDEXED BY pauses_of_case ON pauses.case_id = cases.id AND closed IS NULL
   WHERE cases.status <> 'running' {filters} {after} ORDER BY {order} LIMIT :limit)
UNION ALL
SELECT * FROM (
  SELECT {found}
    FROM cases INDEXED BY cases_running {join} pauses INDEXED BY pauses_of_case ON pauses.case_id = cases.id AND closed IS NULL
   WHERE cases.status = 'running' AND cases.status IN ('ready', 'running') {filters} {after} ORDER BY {order} LIMIT :limit)
ORDER BY 16 DESC, 1 DESC LIMIT :limit;

-- name: find_by_waiting
SELECT {found}
  FROM pauses INDEXED BY pauses_open CROSS JOIN cases NOT INDEXED ON cases.id = pauses.case_id
 WHERE closed IS NULL {filters} {after} ORDER BY {order} LIMIT :limit;

-- name: order_number
cases.id

-- name: order_newest
cases.id DESC

-- name: order_changed
cases.updated_at DESC, cases.id DESC

-- name: order_waiting
pauses.opened_at, pauses.case_id

-- name: after_number
AND cases.id > :number

-- name: after_newest
AND cases.id < :number

-- name: after_changed
AND (cases.updated_at, cases.id) < (:at, :number)

-- name: after_waiting
AND (pauses.opened_at, pauses.case_id) > (:at, :number)

-- name: measure
-- How many cases a source has, counted up to a bound.
(SELECT count(*) FROM ({source} LIMIT :bound))

-- A filter keeps or drops a case. The signs + keep SQLite from choosing another index for it.

-- name: filter_process
AND +cases.process = :process

-- name: filter_status
AND +cases.status IN (SELECT value FROM json_each(:status))

-- name: filter_tenant
AND +cases.tenant = :tenant

-- name: filter_key
AND +cases.key = :key

-- name: filter_correlation
AND +cases.correlation = :correlation

-- name: filter_rule
AND +cases.rule = :rule

-- name: filter_outcome
AND +cases.outcome = :outcome

-- name: filter_pause
AND +pauses.name = :pause

-- name: filter_assignee
AND +pauses.assignee IS :assignee

-- name: filter_waiting_before
AND +pauses.opened_at < :waiting_before

-- name: filter_waiting_after
AND +pauses.opened_at > :waiting_after

-- name: filter_expires_before
AND +pauses.expires_at < :expires_before

-- name: filter_open_pause
AND +pauses.closed IS NULL AND pauses.name IS NOT NULL

-- name: filter_task
AND +pauses.asks = 1

-- name: filter_search
AND EXISTS (SELECT 1 FROM search WHERE field = {field} AND value = {value} AND case_id = cases.id)

-- name: filter_words
AND EXISTS (SELECT 1 FROM words WHERE word = {value} AND case_id = cases.id)

-- A source gives the numbers of the cases that a filter keeps, or of some more, from an index. The running cases are few: an engine runs
-- no more than its concurrency.

-- name: source_key
SELECT id FROM cases INDEXED BY cases_keyed WHERE key = :key AND key IS NOT NULL

-- name: source_correlation
SELECT id FROM cases INDEXED BY cases_corresponding WHERE correlation = :correlation AND correlation IS NOT NULL

-- name: source_tenant
SELECT id FROM cases INDEXED BY cases_of_tenant WHERE tenant = :tenant AND tenant <> ''

-- name: source_status
-- Of one process, or of each: every process has a row in `case_counts`.
SELECT id FROM cases INDEXED BY cases_still
 WHERE process IN (SELECT process FROM case_counts WHERE :process IS NULL OR process = :process)
   AND status IN (SELECT value FROM json_each(:status)) AND status <> 'running'
UNION ALL
SELECT id FROM cases INDEXED BY cases_running WHERE status = 'running' AND status IN ('ready', 'running')

-- name: source_rule
SELECT id FROM cases INDEXED BY cases_still
 WHERE process IN (SELECT process FROM case_counts WHERE :process IS NULL OR process = :process)
   AND status IN (SELECT value FROM json_each(:status)) AND status <> 'running' AND rule = :rule
UNION ALL
SELECT id FROM cases INDEXED BY cases_running WHERE status = 'running' AND status IN ('ready', 'running')

-- name: source_outcome
SELECT id FROM cases INDEXED BY cases_ended
 WHERE process IN (SELECT process FROM case_counts WHERE :process IS NULL OR process = :process)
   AND outcome = :outcome AND status IN ('done', 'cancelled')

-- name: source_pause
SELECT case_id FROM pauses INDEXED BY pauses_named WHERE name = :pause AND closed IS NULL

-- name: source_assignee
SELECT case_id FROM pauses INDEXED BY pauses_assigned WHERE assignee IS :assignee AND closed IS NULL

-- name: source_waiting
SELECT case_id FROM pauses INDEXED BY pauses_open
 WHERE closed IS NULL AND opened_at > coalesce(:waiting_after, -1e300) AND opened_at < coalesce(:waiting_before, 1e300)

-- name: source_expires
SELECT case_id FROM pauses INDEXED BY pauses_expiring WHERE expires_at < :expires_before AND closed IS NULL AND expires_at IS NOT NULL

-- name: source_search
SELECT case_id FROM search WHERE field = {field} AND value = {value}

-- name: source_words
SELECT case_id FROM words WHERE word = {value}

-- name: count_places
-- How many cases there are in each place. Running cases are among those that are ready.
SELECT process, status, place, cases FROM case_counts WHERE cases > 0 AND (:process IS NULL OR process = :process) ORDER BY process, status, place;

-- name: count_running
-- How many of those are running.
SELECT process, count(*) FROM cases INDEXED BY cases_running
 WHERE status = 'running' AND status IN ('ready', 'running') AND process = coalesce(:process, process) GROUP BY process;

-- name: delete_search
-- Delete what was found by a field before it is written again.
DELETE FROM search WHERE case_id = ? AND field = ?;

-- name: delete_words
DELETE FROM words WHERE case_id = ? AND field = ?;

-- name: insert_search
INSERT INTO search (case_id, field, value) SELECT * FROM (VALUES {rows}) WHERE column1 > 0 ON CONFLICT DO NOTHING;

-- name: insert_words
INSERT INTO words (case_id, field, word) SELECT * FROM (VALUES {rows}) WHERE column1 > 0 ON CONFLICT DO NOTHING;

-- name: erase_search
DELETE FROM search WHERE case_id = ?;

-- name: erase_words
DELETE FROM words WHERE case_id = ?;

-- name: expire_search
DELETE FROM search WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_words
DELETE FROM words WHERE case_id IN (SELECT value FROM json_each(?));
