-- Every statement of the SQLite store, each with its name and what it is for.

-- The statements that every step needs take many rows at once, in the place of {rows}: Python gives up its lock once for
-- each statement that it runs, so a statement a row would make the writer and the event loop wait for each other row by row.
-- The rows are filled up with NULLs to a power of two, so that few different texts have to be prepared; those are left out.

-- name: insert_cases
-- Starts. A key that is known already changes nothing; the numbers of the cases that were made come back.
INSERT INTO cases (id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, engine)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (process, tenant, key) DO NOTHING
RETURNING id;

-- name: case_number_by_key
-- Whose key it was.
SELECT id FROM cases WHERE process = ? AND tenant = ? AND key = ?;

-- name: update_cases
-- Transitions, their guard and their narrow half: each finds its case at the expected revision and fence, or not at all;
-- the numbers of the cases that were moved come back.
WITH t (id, revision, fence, inbox, status, next_revision, next_fence, next_inbox, wake_at, attempts, steps, step, rule, reason, outcome, needs,
        version, interruptions, engine, at) AS (VALUES {rows})
UPDATE cases
   SET status = t.status, revision = t.next_revision, fence = t.next_fence, inbox = coalesce(t.next_inbox, cases.inbox), wake_at = t.wake_at,
       attempts = t.attempts, steps = t.steps, step = t.step, rule = t.rule, reason = t.reason, outcome = t.outcome, needs = t.needs,
       version = coalesce(t.version, cases.version), interruptions = t.interruptions, waits = 0,
       engine = coalesce(t.engine, cases.engine), updated_at = t.at
  FROM t
 WHERE cases.id = t.id AND cases.revision = t.revision AND cases.fence = t.fence AND coalesce(t.inbox, cases.inbox) = cases.inbox
RETURNING cases.id;

-- name: insert_fields
-- What transitions wrote to fields, or added to logs; NULL clears one.
INSERT INTO fields (case_id, revision, field, value, writer, appends) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_events
-- What happened, numbered in this order.
INSERT INTO events (case_id, revision, kind, step, attempt, at, facts) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL;

-- name: insert_intent
-- The first intent for a key. A key that stands already is an error, and takes the transition back.
INSERT INTO effects (key, case_id, effect, arguments, status, attempts, intended_at, deadline) VALUES (?, ?, ?, ?, 'intended', 1, ?, ?);

-- name: renew_intent
-- Another call under the same key and the same arguments; a settled one is not called again.
UPDATE effects SET status = 'intended', attempts = attempts + 1, deadline = ?, error = NULL
WHERE key = ? AND arguments = ? AND status IN ('intended', 'not_sent', 'in_doubt');

-- name: settle_effect
-- What became of a call, and whether it counts; an outcome that is recorded stays as it is.
UPDATE effects SET status = ?, outcome = ?, error = ?, attempts = attempts - ? WHERE key = ? AND (status <> 'done' OR outcome IS NULL);

-- name: close_pause
-- The case moved, so its open pause is over: answered, or void.
UPDATE pauses SET closed = ?, closed_by = ?, closed_at = ? WHERE case_id = ? AND closed IS NULL;

-- name: insert_pause
-- A pause begins.
INSERT INTO pauses (case_id, revision, name, token, digest, assignee, expires_at, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: climb_pause
-- The open pause has come to the next rung of its ladder.
UPDATE pauses SET rung = ?, assignee = coalesce(?, assignee) WHERE case_id = ? AND closed IS NULL;

-- name: insert_message
-- A message from outside or from a child; its identity is known only once.
INSERT INTO messages (process, name, key, correlation, case_id, status, body, at, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (process, tenant, name, key) DO NOTHING RETURNING id;

-- name: message_by_key
-- The message that had this identity first.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages WHERE process = ? AND tenant = ? AND name = ? AND key = ?;

-- name: open_case_by_correlation
-- The youngest open case that a message belongs to. Numbers are reserved in blocks, so the highest need not be the youngest.
SELECT id, status FROM cases INDEXED BY cases_correlated
 WHERE process = ? AND tenant = ? AND correlation = ? AND correlation IS NOT NULL AND status NOT IN ('done', 'cancelled') ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: knock
-- A message is pending. A case that waits or is parked is ready to take it in; one that is ready does so at its time, or now if it is urgent.
UPDATE cases
   SET inbox = inbox + 1,
       wake_at = CASE WHEN status IN ('waiting', 'parked') OR (status = 'ready' AND :urgent) THEN min(:at, coalesce(wake_at, :at)) ELSE wake_at END,
       status = CASE WHEN status IN ('waiting', 'parked') THEN 'ready' ELSE status END
 WHERE id = :case AND status NOT IN ('done', 'cancelled')
RETURNING status;

-- name: match_early
-- A case has started: the messages that came before it are its own.
UPDATE messages SET case_id = ?, status = 'pending' WHERE process = ? AND tenant = ? AND correlation = ? AND status = 'unmatched';

-- name: set_inbox
-- How many of them there were; a case that would wait takes them in first.
UPDATE cases
   SET inbox = ?,
       wake_at = CASE WHEN status IN ('waiting', 'parked') THEN updated_at ELSE wake_at END,
       status = CASE WHEN status IN ('waiting', 'parked') THEN 'ready' ELSE status END
 WHERE id = ?;

-- name: held_message
-- Whether a message is held.
SELECT id FROM messages WHERE id = ? AND status = 'held';

-- name: release_message
-- What has become of a held message whose case has ended.
UPDATE messages SET case_id = ?, status = ? WHERE id = ?;

-- name: take_message
-- The case has taken a message in, or let it be. What is an item of a log is kept there only.
UPDATE messages SET status = ?1, body = iif(?1 = 'logged', 'null', body) WHERE id = ?2;

-- name: select_messages
-- What is pending for a case, in the order of arrival.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages INDEXED BY messages_pending
 WHERE case_id = ? AND status = 'pending' ORDER BY id;

-- name: select_held
-- Messages that were to wait until their case had ended, and it has.
SELECT messages.id, messages.process, name, messages.key, messages.correlation, case_id, messages.status, body, at, messages.tenant
  FROM messages INDEXED BY messages_held JOIN cases ON cases.id = case_id
 WHERE messages.status = 'held' AND messages.id > ? AND cases.status IN ('done', 'cancelled') ORDER BY messages.id LIMIT ?;

-- name: select_unmatched
-- Messages that no case has taken, because none with their correlation key was there.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages INDEXED BY messages_unmatched
 WHERE status = 'unmatched' ORDER BY id LIMIT ?;

-- name: select_children
-- The cases that a case is the parent of.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases INDEXED BY cases_children WHERE parent = ? ORDER BY id;

-- name: append_event
-- An event that changes nothing, under the revision that its case has.
INSERT INTO events (case_id, revision, kind, step, attempt, at, facts) SELECT id, revision, ?, ?, ?, ?, ? FROM cases WHERE id = ?;

-- name: upsert_branches
-- How far branches have come.
INSERT INTO branches (case_id, name, attempts, wake_at, outcome, failure, reads, guard) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (case_id, name) DO UPDATE SET attempts = excluded.attempts, wake_at = excluded.wake_at, outcome = excluded.outcome,
                                          failure = excluded.failure, reads = excluded.reads, guard = excluded.guard;

-- name: add_case_usage
-- One more answer of a case, as long as that is kept: an answer may come after it has gone.
INSERT INTO case_usage (case_id, model, answers, input_tokens, output_tokens, cost) SELECT id, ?, 1, ?, ?, ? FROM cases WHERE id = ?
ON CONFLICT (case_id, model) DO UPDATE SET answers = answers + 1, input_tokens = input_tokens + excluded.input_tokens,
                                           output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost;

-- name: add_day_usage
-- One more answer of a day.
INSERT INTO day_usage (process, day, tenant, model, answers, input_tokens, output_tokens, cost)
SELECT process, ?, tenant, ?, 1, ?, ?, ? FROM cases WHERE id = ?
ON CONFLICT (process, day, tenant, model) DO UPDATE SET answers = answers + 1, input_tokens = input_tokens + excluded.input_tokens,
                                                        output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost;

-- name: select_case_usage
-- What the answers of a case used.
SELECT model, answers, input_tokens, output_tokens, cost FROM case_usage WHERE case_id = ? ORDER BY model;

-- name: select_day_usage
-- What the answers of these days used.
SELECT model, answers, input_tokens, output_tokens, cost, day, tenant FROM day_usage
 WHERE process = :process AND day BETWEEN :first AND :last AND tenant = coalesce(:tenant, tenant) ORDER BY day, tenant, model;

-- name: delete_branches
-- The branches have been joined, or are no longer wanted.
DELETE FROM branches WHERE case_id = ?;

-- name: claim_cases
-- Take cases that are due, ready ones and waiting ones with a timer: each passes into this engine's hands under a new fence, and its
-- next attempt counts.
UPDATE cases SET status = 'running', fence = fence + 1, attempts = attempts + 1, waits = 0, wake_at = NULL, engine = ?
WHERE id IN (SELECT value FROM json_each(?))
RETURNING id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions;

-- name: select_needs
-- The processes that have cases with a timer or in line, and what these need: one look for each, as a loose scan of the index.
WITH RECURSIVE found (process, need) AS (
  SELECT value, (SELECT min(need) FROM cases INDEXED BY cases_due WHERE process = value AND wake_at IS NOT NULL) FROM json_each(?)
  UNION ALL
  SELECT process, (SELECT min(cases.need) FROM cases INDEXED BY cases_due
                    WHERE cases.process = found.process AND cases.need > found.need AND wake_at IS NOT NULL)
    FROM found WHERE need IS NOT NULL
)
SELECT process, need FROM found WHERE need IS NOT NULL;

-- name: select_due
-- The longest due cases of a process that need one thing.
SELECT priority, tenant, need, wake_at, id FROM cases INDEXED BY cases_due
 WHERE process = ? AND need = ? AND wake_at <= ? ORDER BY wake_at LIMIT ?;

-- name: next_lane
-- Where the line goes on: of the next priority, tenant, process and need, the case that is due first.
SELECT rank, tenant, process, need, wake_at FROM cases INDEXED BY cases_line
 WHERE wake_at IS NOT NULL AND (rank, tenant, process, need) > (?, ?, ?, ?) ORDER BY rank, tenant, process, need, wake_at LIMIT 1;

-- name: select_lane
-- The longest due cases of one lane.
SELECT priority, tenant, need, wake_at, id FROM cases INDEXED BY cases_line
 WHERE rank = ? AND tenant = ? AND process = ? AND need = ? AND wake_at <= ? ORDER BY wake_at LIMIT ?;

-- name: next_wake
-- When the next timer of a process is due, among the cases that need one thing.
SELECT wake_at FROM cases INDEXED BY cases_due WHERE process = ? AND need = ? AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1;

-- name: count_line
-- How many cases of a process are in line, counted no further than a bound.
SELECT count(*) FROM (SELECT 1 FROM cases INDEXED BY cases_running WHERE status IN ('ready', 'running') AND process = ? LIMIT ?);

-- name: count_line_of_tenant
-- The same of one tenant.
SELECT count(*) FROM (SELECT 1 FROM cases INDEXED BY cases_running WHERE status IN ('ready', 'running') AND process = ? AND tenant = ? LIMIT ?);

-- name: select_limit
-- The state of a limit.
SELECT state FROM limits WHERE name = ?;

-- name: select_limits
-- The states of all limits that were ever used.
SELECT name, state FROM limits ORDER BY name;

-- name: upsert_limit
-- What a permit taken or given back has made of it.
INSERT INTO limits (name, state) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state;

-- name: release_case
-- An orderly stop gives the case back; the attempt that it cut short does not count.
UPDATE cases SET status = 'ready', wake_at = ?, attempts = max(attempts - 1, 0), waits = 0 WHERE id = ? AND status = 'running' AND engine = ?;

-- name: mark_waiting
-- None of the calls of a case in hand is under way, or one is: an engine that dies now is no interruption of it, or one.
UPDATE cases SET waits = ? WHERE id = ? AND fence = ? AND status = 'running';

-- name: recover_cases
-- What engines without a lease left running is ready again. The attempt that died with its engine is not counted as an attempt, but as
-- an interruption, unless all calls of the case were waiting. SQLite uses the partial index only where its condition is named, too.
UPDATE cases INDEXED BY cases_running
   SET status = 'ready', wake_at = ?, attempts = max(attempts - 1, 0), interruptions = interruptions + 1 - waits, waits = 0
 WHERE status = 'running' AND status IN ('ready', 'running')
   AND NOT EXISTS (SELECT 1 FROM engines WHERE engines.id = cases.engine AND lease_until > ?);

-- name: begin_lease
-- An engine has a lease.
INSERT INTO engines (id, lease_until) VALUES (?, ?);

-- name: renew_lease
-- A lease that has not passed is prolonged. It finds no row when it has.
UPDATE engines SET lease_until = max(lease_until, ?) WHERE id = ? AND lease_until > ?;

-- name: select_lease
-- A lease that has not passed.
SELECT lease_until FROM engines WHERE id = ? AND lease_until > ?;

-- name: end_lease
-- What the engine has in hand is free.
DELETE FROM engines WHERE id = ?;

-- name: next_lease_end
-- When the first lease of another engine that has a case in hand passes; 0 where a case is in nobody's hands.
SELECT min(coalesce(lease_until, 0)) FROM cases INDEXED BY cases_running LEFT JOIN engines ON engines.id = cases.engine
 WHERE status = 'running' AND status IN ('ready', 'running') AND engine IS NOT ?;

-- name: name_incarnation
-- A copy of a database is another one: its keys are its own.
UPDATE meta SET value = coalesce(?, lower(hex(randomblob(16)))) WHERE name = 'incarnation';

-- name: insert_blob
-- A large value; the same content is one row. Whoever keeps it again is about to refer to it, so it must not be collected meanwhile.
INSERT INTO blobs (sha256, size, kept_at, content) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET kept_at = max(kept_at, excluded.kept_at);

-- name: select_old_blobs
-- What may be collected if nothing refers to it.
SELECT sha256, size FROM blobs WHERE kept_at < ?;

-- name: scan_fields
-- A page of what may refer to blobs: nothing shorter holds a digest.
SELECT case_id, field, revision, value FROM fields WHERE (case_id, field, revision) > (?, ?, ?) AND length(value) >= 64
 ORDER BY case_id, field, revision LIMIT ?;

-- name: scan_effects
-- The same in the ledger's outcomes, which may be written to fields again.
SELECT key, outcome FROM effects WHERE key > ? AND length(outcome) >= 64 ORDER BY key LIMIT ?;

-- name: scan_messages
-- The same in what has not been taken in yet.
SELECT id, body FROM messages WHERE id > ? AND length(body) >= 64 ORDER BY id LIMIT ?;

-- name: scan_branches
-- The same in what branches have returned.
SELECT outcome FROM branches WHERE length(outcome) >= 64;

-- name: delete_blobs
-- What nothing refers to, and nobody has kept since.
DELETE FROM blobs WHERE sha256 IN (SELECT value FROM json_each(?)) AND kept_at < ? RETURNING size;

-- name: first_outcome
-- The outcomes of cases that have ended, one after the other.
SELECT outcome FROM cases INDEXED BY cases_ended
 WHERE process = ? AND outcome >= ? AND status IN ('done', 'cancelled') ORDER BY outcome LIMIT 1;

-- name: next_outcome
-- The one after another one.
SELECT outcome FROM cases INDEXED BY cases_ended
 WHERE process = ? AND outcome > ? AND status IN ('done', 'cancelled') ORDER BY outcome LIMIT 1;

-- name: expired_cases
-- Cases that ended long enough ago, without one that somebody still needs: an effect in doubt, a parent or a child that goes
-- on, a message that waits for the end.
SELECT id FROM cases AS old INDEXED BY cases_ended
 WHERE process = ? AND outcome IS ? AND updated_at < ? AND status IN ('done', 'cancelled')
   AND NOT EXISTS (SELECT 1 FROM effects WHERE case_id = old.id AND effects.status IN ('intended', 'in_doubt'))
   AND NOT EXISTS (SELECT 1 FROM cases AS kin WHERE kin.id = old.parent AND kin.status NOT IN ('done', 'cancelled'))
   AND NOT EXISTS (SELECT 1 FROM cases AS kin WHERE kin.parent = old.id AND kin.status NOT IN ('done', 'cancelled'))
   AND NOT EXISTS (SELECT 1 FROM messages WHERE case_id = old.id AND messages.status = 'held')
 ORDER BY updated_at LIMIT ?;

-- name: expire_fields
-- They go with everything that belongs to them.
DELETE FROM fields WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_events
DELETE FROM events WHERE case_id IN (SELECT value FROM json_each(?)) AND kind <> 'expired';

-- name: expire_effects
DELETE FROM effects WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_pauses
DELETE FROM pauses WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_case_usage
-- What goes with cases: what their answers used. What a day's used stays.
DELETE FROM case_usage WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_branches
DELETE FROM branches WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_messages
DELETE FROM messages WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_erased_keys
DELETE FROM erased_keys WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_cases
DELETE FROM cases WHERE id IN (SELECT value FROM json_each(?));

-- name: insert_expired
-- That they have gone. It is the last event, so that no later one gets the number of one that has gone with them; and it has
-- the highest number of them, so that no later case gets one of theirs.
INSERT INTO events (case_id, revision, kind, attempt, at, facts) VALUES (?, 0, 'expired', 0, ?, ?);

-- name: any_erased_key
-- Whether there is anything to look for among the erased keys.
SELECT EXISTS (SELECT 1 FROM erased_keys);

-- name: select_erased_key
-- Whose key an erased one was.
SELECT case_id FROM erased_keys WHERE process = ? AND tenant = ? AND name = ? AND digest = ?;

-- name: insert_erased_key
-- A key that stays known as its digest.
INSERT INTO erased_keys (process, tenant, name, digest, case_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (process, tenant, name, digest) DO NOTHING;

-- name: keys_of_case
-- The keys under which a case and its messages are known; a held message is the next case's, and stays.
SELECT process, tenant, '', key FROM cases WHERE id = :case AND key IS NOT NULL
UNION ALL SELECT process, tenant, name, key FROM messages WHERE case_id = :case AND key IS NOT NULL AND status <> 'held';

-- name: erase_case
-- What is left is the skeleton.
UPDATE cases SET key = NULL, correlation = NULL WHERE id = ?;

-- name: erase_fields
DELETE FROM fields WHERE case_id = ?;

-- name: erase_messages
DELETE FROM messages WHERE case_id = ? AND status <> 'held';

-- name: erase_effects
-- What came of it goes; that it is done, or failed, stays.
UPDATE effects SET outcome = CASE WHEN outcome IS NULL THEN NULL ELSE '{}' END, error = CASE WHEN error IS NULL THEN NULL ELSE 'erased' END
 WHERE case_id = ?;

-- name: select_facts
-- What the events of a case say.
SELECT id, kind, facts FROM events WHERE case_id = ?;

-- name: rewrite_facts
UPDATE events SET facts = ? WHERE id = ?;

-- name: enter_schedule
-- A schedule is seen for the first time; one that is known stays as it is.
INSERT INTO schedules (process, name, since, last) VALUES (?, ?, ?, ?) ON CONFLICT (process, name) DO NOTHING;

-- name: select_schedule
-- A schedule's first moment, and its last tick that is over.
SELECT process, name, since, last FROM schedules WHERE process = ? AND name = ?;

-- name: tick_schedule
-- A tick is over, and every one before it.
UPDATE schedules SET last = max(last, ?) WHERE process = ? AND name = ?;

-- name: raise_epoch
-- This engine is the file's only writer from now on.
UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value;

-- name: select_meta
-- A fact about the database itself.
SELECT value FROM meta WHERE name = ?;

-- name: raise_clock
-- The highest time that was ever committed: a clock that was set back does not make history run backwards. It finds no row
-- when the epoch is no longer this engine's, that is, when another engine has taken the file over.
UPDATE meta SET value = max(CAST(value AS REAL), ?) WHERE name = 'clock' AND coalesce(?, (SELECT value FROM meta WHERE name = 'epoch')) = (SELECT value FROM meta WHERE name = 'epoch');

-- name: highest_case
-- Where the numbers of new cases begin: behind those of all that are there, and of all that have gone.
SELECT max(coalesce((SELECT max(id) FROM cases), 0), coalesce((SELECT max(case_id) FROM events), 0));

-- name: select_case
-- One case.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE id = ?;

-- name: select_case_by_key
-- The case that a start with this key made.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE process = ? AND tenant = ? AND key = ?;

-- name: select_cases
-- Cases by number.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE id > :after AND (:process IS NULL OR process = :process) AND (:status IS NULL OR status = :status) ORDER BY id LIMIT :limit;

-- name: select_resting_cases
-- The same where only few cases are.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases INDEXED BY cases_held
WHERE status = :status AND status IN ('waiting', 'parked', 'blocked') AND id > :after AND (:process IS NULL OR process = :process) ORDER BY id LIMIT :limit;

-- name: select_open_cases
-- Cases that have not ended, by number.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE id > ? AND status NOT IN ('done', 'cancelled') ORDER BY id LIMIT ?;

-- name: select_versions
-- The versions of a process's cases that are ready or waiting: a look into the index for each, however many cases there are.
WITH RECURSIVE found (version) AS (
  SELECT min(version) FROM cases INDEXED BY cases_versions WHERE process = :process AND status IN ('ready', 'waiting')
  UNION ALL
  SELECT (SELECT min(version) FROM cases INDEXED BY cases_versions
           WHERE process = :process AND version > found.version AND status IN ('ready', 'waiting'))
    FROM found WHERE found.version IS NOT NULL
)
SELECT version FROM found WHERE version IS NOT NULL;

-- name: select_cases_of_version
-- Cases of one version that are ready or waiting.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases INDEXED BY cases_versions WHERE process = ? AND version = ? AND status IN ('ready', 'waiting') ORDER BY id LIMIT ?;

-- name: select_definitions
-- The definitions that engines were opened with.
SELECT process, version, fingerprint, seen_at FROM definitions ORDER BY process, version, seen_at;

-- name: insert_definition
-- A definition that an engine was opened with; the first time counts.
INSERT INTO definitions (process, version, fingerprint, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: count_cases
-- How many cases there are in each status.
SELECT status, count(*) FROM cases GROUP BY status;

-- name: select_fields
-- The last whole write of each field, as of a revision, and what was added to it since: two looks into the index for each field, and
-- then its rows, however long its history is.
WITH RECURSIVE names (field) AS (
  SELECT min(field) FROM fields WHERE case_id = :case
  UNION ALL
  SELECT (SELECT min(field) FROM fields WHERE case_id = :case AND field > names.field) FROM names WHERE names.field IS NOT NULL
), whole (field, revision) AS (
  SELECT field, coalesce((SELECT revision FROM fields
                           WHERE case_id = :case AND field = names.field AND revision <= :revision AND NOT appends
                           ORDER BY revision DESC LIMIT 1), 0)
    FROM names WHERE field IS NOT NULL
)
SELECT fields.revision, fields.field, value, writer, appends
  FROM whole CROSS JOIN fields
 WHERE case_id = :case AND fields.field = whole.field AND fields.revision BETWEEN whole.revision AND :revision
 ORDER BY fields.field, fields.revision;

-- name: select_events
-- Events by number.
SELECT id, case_id, revision, kind, step, attempt, at, facts FROM events WHERE id > ? ORDER BY id LIMIT ?;

-- name: select_events_of_case
-- One case's events by number.
SELECT id, case_id, revision, kind, step, attempt, at, facts FROM events WHERE case_id = ? AND id > ? ORDER BY id LIMIT ?;

-- name: select_effect
-- One entry of the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects WHERE key = ?;

-- name: select_effects
-- A case's entries of the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects WHERE case_id = ? ORDER BY intended_at, key;

-- name: select_in_doubt
-- Calls that may or may not have happened; one that is under way in an engine's hands is not in doubt.
SELECT effects.key, case_id, effect, arguments, effects.status, effects.attempts, intended_at, deadline, effects.outcome, error
  FROM effects JOIN cases ON cases.id = case_id
 WHERE effects.status IN ('intended', 'in_doubt') AND cases.status <> 'running'
 ORDER BY intended_at, effects.key;

-- name: select_pause
-- The last pause of a case.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at FROM pauses WHERE case_id = ? ORDER BY revision DESC LIMIT 1;

-- name: select_pause_by_token
-- The pause that a token belongs to.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at FROM pauses WHERE token = ?;

-- name: select_writes
-- Every write of a case's fields.
SELECT revision, field, value, writer, appends FROM fields WHERE case_id = ? ORDER BY revision, field;

-- name: select_pauses
-- All pauses of a case.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at FROM pauses WHERE case_id = ? ORDER BY revision;

-- name: select_all_messages
-- All messages of a case, in the order of arrival.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages WHERE case_id = ? ORDER BY id;

-- name: select_branches
-- The branches of a case's parallel step.
SELECT name, attempts, wake_at, outcome, failure, reads, guard FROM branches WHERE case_id = ? ORDER BY name;

-- name: select_blob
-- A large value.
SELECT content FROM blobs WHERE sha256 = ?;
