-- The parts of the statement that finds cases for a `CaseQuery`. `store/finding.py` puts them together.
--
-- A page is read in one of two ways. If a filter leaves few cases, its source gives their numbers, and they are sorted (`find_few`). If
-- no filter does, the cases are walked in the order of the page until it is full (the other `find_` statements).
-- `{filters}` stands for further conditions, `{after}` for that of a later page, `{source}` for one of the sources below. `{join}` is a
-- JOIN if only cases with an open pause are wanted, and else a LEFT JOIN. A subquery with `OFFSET 0` keeps PostgreSQL from using a
-- filter to choose another index, and from reading the tables in another order.

-- name: found
-- A case, and its open pause.
cases.id, cases.process, cases.version, cases.key, cases.status, cases.revision, cases.fence, cases.wake_at, cases.attempts, cases.steps, cases.step, cases.rule, cases.reason, cases.outcome, cases.created_at, cases.updated_at, cases.tenant, cases.priority, cases.correlation, cases.parent, cases.inbox, cases.needs, cases.interruptions,
pauses.case_id, pauses.revision, pauses.name, pauses.token, pauses.digest, pauses.opened_at, pauses.closed, pauses.closed_by, pauses.closed_at, pauses.rung, pauses.assignee, pauses.expires_at

-- name: find_few
SELECT {found}
  FROM (SELECT DISTINCT source.id FROM ({source}) AS source (id) OFFSET 0) AS few
       JOIN LATERAL (SELECT * FROM pointsman.cases WHERE cases.id = few.id OFFSET 0) AS cases ON TRUE
       {join} LATERAL (SELECT * FROM pointsman.pauses WHERE pauses.case_id = cases.id AND closed IS NULL OFFSET 0) AS pauses ON TRUE
 WHERE TRUE {filters} {after} ORDER BY {order} LIMIT %(limit)s

-- name: find_by_number
SELECT {found}
  FROM (SELECT * FROM pointsman.cases WHERE TRUE {after} ORDER BY {order} OFFSET 0) AS cases
       {join} LATERAL (SELECT * FROM pointsman.pauses WHERE pauses.case_id = cases.id AND closed IS NULL OFFSET 0) AS pauses ON TRUE
 WHERE TRUE {filters} ORDER BY {order} LIMIT %(limit)s

-- name: find_by_change
-- The few running cases are in no index of changes, so that a step does not have to change one.
SELECT * FROM (
  SELECT {found}
    FROM (SELECT * FROM pointsman.cases
           WHERE still_at IS NOT NULL AND (still_at, id) < (%(at)s::double precision, %(number)s::bigint)
           ORDER BY still_at DESC, id DESC OFFSET 0) AS cases
         {join} LATERAL (SELECT * FROM pointsman.pauses WHERE pauses.case_id = cases.id AND closed IS NULL OFFSET 0) AS pauses ON TRUE
   WHERE TRUE {filters} ORDER BY cases.still_at DESC, cases.id DESC LIMIT %(limit)s) AS still
UNION ALL
SELECT * FROM (
  SELECT {found}
    FROM (SELECT * FROM pointsman.cases WHERE status = 'running' OFFSET 0) AS cases
         {join} LATERAL (SELECT * FROM pointsman.pauses WHERE pauses.case_id = cases.id AND closed IS NULL OFFSET 0) AS pauses ON TRUE
   WHERE TRUE {filters} {after} ORDER BY {order} LIMIT %(limit)s) AS running
ORDER BY 16 DESC, 1 DESC LIMIT %(limit)s

-- name: find_by_waiting
SELECT {found}
  FROM (SELECT * FROM pointsman.pauses WHERE closed IS NULL {after} ORDER BY {order} OFFSET 0) AS pauses
       JOIN LATERAL (SELECT * FROM pointsman.cases WHERE cases.id = pauses.case_id OFFSET 0) AS cases ON TRUE
 WHERE TRUE {filters} ORDER BY {order} LIMIT %(limit)s

-- name: order_number
cases.id

-- name: order_newest
cases.id DESC

-- name: order_changed
cases.updated_at DESC, cases.id DESC

-- name: order_waiting
pauses.opened_at, pauses.case_id

-- name: after_number
AND cases.id > %(number)s::bigint

-- name: after_newest
AND cases.id < %(number)s::bigint

-- name: after_changed
AND (cases.updated_at, cases.id) < (%(at)s::double precision, %(number)s::bigint)

-- name: after_waiting
AND (pauses.opened_at, pauses.case_id) > (%(at)s::double precision, %(number)s::bigint)

-- name: measure
-- How many cases a source has, counted up to a bound.
(SELECT count(*) FROM (SELECT 1 FROM ({source}) AS source LIMIT %(bound)s) AS few)

-- name: filter_process
AND cases.process = %(process)s

-- name: filter_tenant
AND cases.tenant = %(tenant)s

-- name: filter_key
AND cases.key = %(key)s

-- name: filter_correlation
AND cases.correlation = %(correlation)s

-- name: filter_rule
AND cases.rule = %(rule)s

-- name: filter_outcome
AND cases.outcome = %(outcome)s

-- name: filter_status
AND cases.status = ANY(%(status)s::text[])

-- name: filter_pause
AND pauses.name = %(pause)s

-- name: filter_assignee
AND pauses.assignee IS NOT DISTINCT FROM %(assignee)s::text

-- name: filter_waiting_before
AND pauses.opened_at < %(waiting_before)s::double precision

-- name: filter_waiting_after
AND pauses.opened_at > %(waiting_after)s::double precision

-- name: filter_expires_before
AND pauses.expires_at < %(expires_before)s::double precision

-- name: filter_open_pause
AND pauses.case_id IS NOT NULL

-- name: filter_task
AND pauses.asks

-- name: filter_search
AND (SELECT TRUE FROM pointsman.search WHERE search.field = {field} AND search.value = {value} AND search.case_id = cases.id)

-- name: filter_words
AND (SELECT TRUE FROM pointsman.words WHERE words.word = {value} AND words.case_id = cases.id LIMIT 1)

-- name: source_key
SELECT id FROM pointsman.cases WHERE key = %(key)s AND key IS NOT NULL

-- name: source_correlation
SELECT id FROM pointsman.cases WHERE correlation = %(correlation)s AND correlation IS NOT NULL

-- name: source_tenant
SELECT id FROM pointsman.cases WHERE tenant = %(tenant)s AND tenant <> ''

-- name: source_status
-- Of one process, or of each: every process has a row in `case_counts`.
SELECT still.id FROM (SELECT DISTINCT process FROM pointsman.case_counts WHERE %(process)s::text IS NULL OR process = %(process)s OFFSET 0) AS processes
       CROSS JOIN LATERAL (SELECT id FROM pointsman.cases WHERE cases.process = processes.process AND status = ANY(%(status)s::text[]) AND status <> 'running' OFFSET 0) AS still
UNION ALL
SELECT id FROM pointsman.cases WHERE status = 'running'

-- name: source_rule
SELECT still.id FROM (SELECT DISTINCT process FROM pointsman.case_counts WHERE %(process)s::text IS NULL OR process = %(process)s OFFSET 0) AS processes
       CROSS JOIN LATERAL (SELECT id FROM pointsman.cases WHERE cases.process = processes.process AND status = ANY(%(status)s::text[]) AND still_rule = %(rule)s AND status <> 'running' OFFSET 0) AS still
UNION ALL
SELECT id FROM pointsman.cases WHERE status = 'running'

-- name: source_outcome
SELECT still.id FROM (SELECT DISTINCT process FROM pointsman.case_counts WHERE %(process)s::text IS NULL OR process = %(process)s OFFSET 0) AS processes
       CROSS JOIN LATERAL (SELECT id FROM pointsman.cases WHERE cases.process = processes.process AND outcome = %(outcome)s AND status IN ('done', 'cancelled') OFFSET 0) AS still

-- name: source_pause
SELECT case_id FROM pointsman.pauses WHERE name = %(pause)s AND closed IS NULL

-- name: source_assignee
-- Two, because PostgreSQL has no index for IS NOT DISTINCT FROM.
SELECT case_id FROM pointsman.pauses WHERE assignee = %(assignee)s AND closed IS NULL
UNION ALL
SELECT case_id FROM pointsman.pauses WHERE assignee IS NULL AND %(assignee)s::text IS NULL AND closed IS NULL

-- name: source_waiting
SELECT case_id FROM pointsman.pauses
 WHERE closed IS NULL AND opened_at > coalesce(%(waiting_after)s::double precision, '-infinity') AND opened_at < coalesce(%(waiting_before)s::double precision, 'infinity')

-- name: source_expires
SELECT case_id FROM pointsman.pauses WHERE expires_at < %(expires_before)s::double precision AND closed IS NULL AND expires_at IS NOT NULL

-- name: source_search
SELECT case_id FROM pointsman.search WHERE field = {field} AND value = {value}

-- name: source_words
SELECT case_id FROM pointsman.words WHERE word = {value}
