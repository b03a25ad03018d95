-- Every statement of the SQLite store, with its name and its purpose.

-- The statements that every step needs take many rows at once, in the place of {rows}. Python releases the GIL once for each
-- statement, so with one statement per row the writer and the event loop would wait for each other at every row. The number of
-- rows is rounded up with rows of zeros, so that few different texts have to be prepared. No case has the number 0, so such a row
-- writes nothing. Zeros and not NULLs, because sqlite3 needs fifteen times as long to bind a None as to bind an int.

-- name: start
-- Start cases. A key that is already known changes nothing.
INSERT INTO starts (id, process, version, tenant, priority, correlation, revision, fence, status, attempts, steps, step, rule, at, engine, journal, events, field, value,
                    writer, appends, key, parent, wake_at, reason, outcome, needs)
VALUES {rows};

-- name: begin
-- Start cases that have none of the other columns. Most are like this, and to bind a NULL takes Python longer than any other value.
INSERT INTO starts (id, process, version, tenant, priority, correlation, revision, fence, status, attempts, steps, step, rule, at, engine, journal, events, field, value,
                    writer, appends)
VALUES {rows};

-- name: go_on
-- Transitions of a running case that stays running, and does not wait. Most are like this, so they bind few columns.
INSERT INTO moves (id, revision, fence, inbox, attempts, steps, step, rule, at, journal, events, field, value, writer, appends, engine) VALUES {rows};

-- name: finish
-- Transitions that have none of the other columns: those of cases that are done.
INSERT INTO moves (id, revision, fence, inbox, attempts, steps, step, rule, at, journal, events, field, value, writer, appends, status, claims, takes, outcome,
                   interruptions)
VALUES {rows};

-- name: move
-- All other transitions.
INSERT INTO moves (id, revision, fence, inbox, attempts, steps, step, rule, at, journal, events, field, value, writer, appends, status, claims, takes, outcome,
                   interruptions, engine, wake_at, reason, needs, version)
VALUES {rows};

-- name: moved
-- The cases that these statements started or moved: the others were not at the expected revision, fence and inbox. All in one row,
-- because Python releases the GIL for each row that it fetches.
SELECT json_group_array(case_id) FROM journal WHERE id >= ?;

-- name: insert_journal
-- Write further fields, or add to logs; NULL clears a field.
INSERT INTO journal (id, case_id, revision, field, value, writer, appends) SELECT * FROM (VALUES {rows}) WHERE column1 > 0;

-- name: select_common_events
-- The common events from a number on.
SELECT id, kind, step, attempt, facts FROM common_events WHERE id > ?;

-- name: insert_common_event
-- Store an event that recurs.
INSERT INTO common_events (kind, step, attempt, facts) VALUES (?, ?, ?, ?) RETURNING id;

-- name: last_entry
-- The last row: new events are numbered from it.
SELECT id, events FROM journal ORDER BY id DESC LIMIT 1;

-- name: case_number_by_key
-- The case that an earlier start with this key created.
SELECT id FROM cases WHERE process = ? AND tenant = ? AND key = ?;

-- name: insert_intent
-- The first intent for a key. A key that exists is an error, which rolls the transition back.
INSERT INTO effects (key, case_id, effect, arguments, status, attempts, intended_at, deadline) VALUES (?, ?, ?, ?, 'intended', 1, ?, ?);

-- name: insert_effect
-- A whole entry of the ledger, in a fork.
INSERT INTO effects (key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: renew_intent
-- Another call with the same key and arguments, unless the effect is settled.
UPDATE effects SET status = 'intended', attempts = attempts + 1, deadline = ?, error = NULL
WHERE key = ? AND arguments = ? AND status IN ('intended', 'not_sent', 'in_doubt');

-- name: settle_effect
-- Record the outcome of a call, and whether the call counts. A recorded outcome never changes.
UPDATE effects SET status = ?, outcome = ?, error = ?, attempts = attempts - ? WHERE key = ? AND (status <> 'done' OR outcome IS NULL);

-- name: close_pause
-- Close the open pause of a case that moves: answered or void.
UPDATE pauses SET closed = ?, closed_by = ?, closed_at = ? WHERE case_id = ? AND closed IS NULL;

-- name: insert_pause
-- Open a pause.
INSERT INTO pauses (case_id, revision, name, token, digest, assignee, expires_at, asks, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: climb_pause
-- Move the open pause on its ladder, or assign it to somebody.
UPDATE pauses SET rung = ?, assignee = ? WHERE case_id = ? AND closed IS NULL;

-- name: insert_message
-- Insert a message from outside or from a child, unless one with its key is known.
INSERT INTO messages (process, name, key, correlation, case_id, status, body, at, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (process, tenant, name, key) DO NOTHING RETURNING id;

-- name: message_by_key
-- The message that has this key.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages WHERE process = ? AND tenant = ? AND name = ? AND key = ?;

-- name: known_messages
-- Those of these messages whose keys are known.
SELECT process, tenant, name, key FROM messages WHERE (process, tenant, name, key) IN (VALUES {rows});

-- name: insert_messages
-- Insert messages that have started cases.
INSERT INTO messages (process, name, key, correlation, case_id, status, body, at, tenant) SELECT * FROM (VALUES {rows}) WHERE column5 > 0;

-- name: correlations_in_use
-- Those of these correlation keys that have an open case.
SELECT process, tenant, correlation
  FROM (VALUES {rows}) AS wanted CROSS JOIN cases INDEXED BY cases_correlated ON process = column1 AND tenant = column2 AND correlation = column3
 WHERE correlation IS NOT NULL AND status NOT IN ('done', 'cancelled');

-- name: open_case_by_correlation
-- The open case with this correlation key that started last. Numbers are reserved in blocks, so it need not have the highest.
SELECT id, status FROM cases INDEXED BY cases_correlated
 WHERE process = ? AND tenant = ? AND correlation = ? AND correlation IS NOT NULL AND status NOT IN ('done', 'cancelled') ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: wake_for_message
-- Count a pending message. A waiting or parked case becomes ready; a ready case keeps its time, or is due now if the message is urgent.
UPDATE cases
   SET inbox = inbox + 1,
       wake_at = CASE WHEN status IN ('waiting', 'parked') OR (status = 'ready' AND :urgent) THEN min(:at, coalesce(wake_at, :at)) ELSE wake_at END,
       status = CASE WHEN status IN ('waiting', 'parked') THEN 'ready' ELSE status END
 WHERE id = :case AND status NOT IN ('done', 'cancelled')
RETURNING status;

-- name: any_unmatched
-- Whether a message came before its case.
SELECT EXISTS (SELECT 1 FROM messages WHERE status = 'unmatched');

-- name: match_early
-- Give a new case the messages that came before it.
UPDATE messages SET case_id = ?, status = 'pending' WHERE process = ? AND tenant = ? AND correlation = ? AND status = 'unmatched';

-- name: set_inbox
-- Set the number of those messages; a case that would wait becomes ready to take them in.
UPDATE cases
   SET inbox = ?,
       wake_at = CASE WHEN status IN ('waiting', 'parked') THEN updated_at ELSE wake_at END,
       status = CASE WHEN status IN ('waiting', 'parked') THEN 'ready' ELSE status END
 WHERE id = ?;

-- name: held_message
-- Whether a message is held.
SELECT id FROM messages WHERE id = ? AND status = 'held';

-- name: release_message
-- Update a held message whose case has ended.
UPDATE messages SET case_id = ?, status = ? WHERE id = ?;

-- name: take_message
-- Mark a message as taken or passed over. An item of a log is kept only in the log.
UPDATE messages SET status = ?1, body = iif(?1 = 'logged', 'null', body) WHERE id = ?2;

-- name: select_messages
-- The pending messages of a case, in the order of arrival.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages INDEXED BY messages_pending
 WHERE case_id = ? AND status = 'pending' ORDER BY id;

-- name: select_held
-- Held messages whose case has ended.
SELECT messages.id, messages.process, name, messages.key, messages.correlation, case_id, messages.status, body, at, messages.tenant
  FROM messages INDEXED BY messages_held JOIN cases ON cases.id = case_id
 WHERE messages.status = 'held' AND messages.id > ? AND cases.status IN ('done', 'cancelled') ORDER BY messages.id LIMIT ?;

-- name: select_unmatched
-- Messages that match no case yet.
SELECT id, process, name, key, correlation, case_id, status, body, at, tenant FROM messages INDEXED BY messages_unmatched
 WHERE status = 'unmatched' ORDER BY id LIMIT ?;

-- name: select_children
-- The children of a case.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases INDEXED BY cases_children WHERE parent = ? ORDER BY id;

-- name: append_event
-- Append events at the case's current revision, without changing the case.
INSERT INTO journal (id, case_id, revision, at, events) SELECT ?, id, revision, ?, ? FROM cases WHERE id = ?;

-- name: upsert_branches
-- Save the progress of branches.
INSERT INTO branches (case_id, name, attempts, wake_at, outcome, failure, reads, guard) SELECT * FROM (VALUES {rows}) WHERE column1 > 0
ON CONFLICT (case_id, name) DO UPDATE SET attempts = excluded.attempts, wake_at = excluded.wake_at, outcome = excluded.outcome,
                                          failure = excluded.failure, reads = excluded.reads, guard = excluded.guard;

-- name: add_case_usage
-- Add the usage of one response to its case, unless the case has been deleted: a response may be late.
INSERT INTO case_usage (case_id, model, answers, input_tokens, output_tokens, cost) SELECT id, ?, 1, ?, ?, ? FROM cases WHERE id = ?
ON CONFLICT (case_id, model) DO UPDATE SET answers = answers + 1, input_tokens = input_tokens + excluded.input_tokens,
                                           output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost;

-- name: add_day_usage
-- Add the usage of one response to its day.
INSERT INTO day_usage (process, day, tenant, model, answers, input_tokens, output_tokens, cost)
SELECT process, ?, tenant, ?, 1, ?, ?, ? FROM cases WHERE id = ?
ON CONFLICT (process, day, tenant, model) DO UPDATE SET answers = answers + 1, input_tokens = input_tokens + excluded.input_tokens,
                                                        output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost;

-- name: select_case_usage
-- The usage of a case.
SELECT model, answers, input_tokens, output_tokens, cost FROM case_usage WHERE case_id = ? ORDER BY model;

-- name: select_day_usage
-- The usage of these days.
SELECT model, answers, input_tokens, output_tokens, cost, day, tenant FROM day_usage
 WHERE process = :process AND day BETWEEN :first AND :last AND tenant = coalesce(:tenant, tenant) ORDER BY day, tenant, model;

-- name: delete_branches
-- Delete the branches of a parallel step that is over.
DELETE FROM branches WHERE case_id = ?;

-- name: claim_cases
-- Claim due cases, ready or waiting with a timer, for this engine: each gets a new fence, and an attempt is counted.
UPDATE cases SET status = 'running', fence = fence + 1, attempts = attempts + 1, waits = 0, wake_at = NULL, engine = ?
WHERE id IN (SELECT value FROM json_each(?))
RETURNING id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions;

-- name: select_needs
-- The pairs of process and need that have cases with a wake-up time: one index look-up for each (a loose index scan).
WITH RECURSIVE found (process, need) AS (
  SELECT value, (SELECT min(need) FROM cases INDEXED BY cases_due WHERE process = value AND wake_at IS NOT NULL) FROM json_each(?)
  UNION ALL
  SELECT process, (SELECT min(cases.need) FROM cases INDEXED BY cases_due
                    WHERE cases.process = found.process AND cases.need > found.need AND wake_at IS NOT NULL)
    FROM found WHERE need IS NOT NULL
)
SELECT process, need FROM found WHERE need IS NOT NULL;

-- name: select_due
-- The cases of one process and need that have been due longest. The versions to look for are a text, each as "process version" on a line
-- of its own; null is all of them.
SELECT priority, tenant, need, wake_at, id FROM cases INDEXED BY cases_due
 WHERE process = ? AND need = ? AND wake_at <= ? AND (? IS NULL OR instr(?, char(10) || process || ' ' || version || char(10))) ORDER BY wake_at LIMIT ?;

-- name: next_lane
-- The next lane (priority, tenant, process, need), with the time at which its first case is due.
SELECT rank, tenant, process, need, wake_at FROM cases INDEXED BY cases_line
 WHERE wake_at IS NOT NULL AND (rank, tenant, process, need) > (?, ?, ?, ?)
   AND (? IS NULL OR instr(?, char(10) || process || ' ' || version || char(10))) ORDER BY rank, tenant, process, need, wake_at LIMIT 1;

-- name: select_lane
-- The cases of one lane that have been due longest.
SELECT priority, tenant, need, wake_at, id FROM cases INDEXED BY cases_line
 WHERE rank = ? AND tenant = ? AND process = ? AND need = ? AND wake_at <= ? AND (? IS NULL OR instr(?, char(10) || process || ' ' || version || char(10)))
 ORDER BY wake_at LIMIT ?;

-- name: next_wake
-- When the next case of one process and need is due.
SELECT wake_at FROM cases INDEXED BY cases_due WHERE process = ? AND need = ? AND wake_at IS NOT NULL
   AND (? IS NULL OR instr(?, char(10) || process || ' ' || version || char(10))) ORDER BY wake_at LIMIT 1;

-- name: count_line
-- The number of ready and running cases of a process, counted up to a bound.
SELECT count(*) FROM (SELECT 1 FROM cases INDEXED BY cases_running WHERE status IN ('ready', 'running') AND process = ? LIMIT ?);

-- name: count_line_of_tenant
-- The same for one tenant.
SELECT count(*) FROM (SELECT 1 FROM cases INDEXED BY cases_running WHERE status IN ('ready', 'running') AND process = ? AND tenant = ? LIMIT ?);

-- name: select_limit
-- The state of a limit.
SELECT state FROM limits WHERE name = ?;

-- name: select_limits
-- The states of all limits that have been used.
SELECT name, state FROM limits ORDER BY name;

-- name: upsert_limit
-- Write the state of a limit.
INSERT INTO limits (name, state) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state;

-- name: release_case
-- Release a case at an orderly stop; the attempt that was cut short does not count.
UPDATE cases SET status = 'ready', wake_at = ?, attempts = max(attempts - 1, 0), waits = 0 WHERE id = ? AND status = 'running' AND engine = ?;

-- name: mark_waiting
-- Mark whether all calls of a running case are waiting: if so, a crash is not an interruption.
UPDATE cases SET waits = ? WHERE id = ? AND fence = ? AND status = 'running';

-- name: recover_cases
-- Make the running cases of engines without a lease ready again. The attempt that the crash cut short does not count; an interruption
-- counts instead, unless all calls of the case were waiting. SQLite uses the partial index only if the query repeats its condition.
UPDATE cases INDEXED BY cases_running
   SET status = 'ready', wake_at = ?, attempts = max(attempts - 1, 0), interruptions = interruptions + 1 - waits, waits = 0
 WHERE status = 'running' AND status IN ('ready', 'running')
   AND NOT EXISTS (SELECT 1 FROM engines WHERE engines.id = cases.engine AND lease_until > ?);

-- name: begin_lease
-- Give an engine a lease.
INSERT INTO engines (id, lease_until) VALUES (?, ?);

-- name: renew_lease
-- Extend a lease that has not expired; changes no row if it has.
UPDATE engines SET lease_until = max(lease_until, ?) WHERE id = ? AND lease_until > ?;

-- name: select_lease
-- The lease of an engine, if it has not expired.
SELECT lease_until FROM engines WHERE id = ? AND lease_until > ?;

-- name: end_lease
-- End a lease, so that other engines can claim the engine's cases.
DELETE FROM engines WHERE id = ?;

-- name: next_lease_end
-- When the first lease of another engine with a running case expires; 0 if a running case belongs to no engine.
SELECT min(coalesce(lease_until, 0)) FROM cases INDEXED BY cases_running LEFT JOIN engines ON engines.id = cases.engine
 WHERE status = 'running' AND status IN ('ready', 'running') AND engine IS NOT ?;

-- name: name_incarnation
-- Give a copy of a database its own incarnation, and so its own keys.
UPDATE meta SET value = coalesce(?, lower(hex(randomblob(16)))) WHERE name = 'incarnation';

-- name: insert_blob
-- Store a blob; the same content is one row. Keeping it again renews its time: a reference is about to be written, so it must stay.
INSERT INTO blobs (sha256, size, kept_at, content) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET kept_at = max(kept_at, excluded.kept_at);

-- name: select_old_blobs
-- The blobs to collect if nothing refers to them.
SELECT sha256, size FROM blobs WHERE kept_at < ?;

-- name: scan_fields
-- A page of field values that may refer to blobs; shorter texts cannot hold a digest.
SELECT id, value FROM journal WHERE id > ? AND length(value) >= 64 ORDER BY id LIMIT ?;

-- name: scan_effects
-- The same for the ledger's outcomes, which may still be written to fields.
SELECT key, outcome FROM effects WHERE key > ? AND length(outcome) >= 64 ORDER BY key LIMIT ?;

-- name: scan_messages
-- The same for messages that have not been taken in.
SELECT id, body FROM messages WHERE id > ? AND length(body) >= 64 ORDER BY id LIMIT ?;

-- name: scan_branches
-- The same for the results of branches.
SELECT outcome FROM branches WHERE length(outcome) >= 64;

-- name: delete_blobs
-- Delete those of these blobs that were not kept again since.
DELETE FROM blobs WHERE sha256 IN (SELECT value FROM json_each(?)) AND kept_at < ? RETURNING size;

-- name: first_outcome
-- The first outcome of a process's ended cases, in the order of names.
SELECT outcome FROM cases INDEXED BY cases_ended
 WHERE process = ? AND outcome >= ? AND status IN ('done', 'cancelled') ORDER BY outcome LIMIT 1;

-- name: next_outcome
-- The next outcome after a given one.
SELECT outcome FROM cases INDEXED BY cases_ended
 WHERE process = ? AND outcome > ? AND status IN ('done', 'cancelled') ORDER BY outcome LIMIT 1;

-- name: expired_cases
-- The next cases that ended long enough ago, and whether each is still needed: it has an effect in doubt, an open parent or child, or
-- a message that is held until it ends.
SELECT updated_at, id,
       EXISTS (SELECT 1 FROM effects WHERE case_id = old.id AND effects.status IN ('intended', 'in_doubt'))
       OR EXISTS (SELECT 1 FROM cases AS kin WHERE kin.id = old.parent AND kin.status NOT IN ('done', 'cancelled'))
       OR EXISTS (SELECT 1 FROM cases AS kin WHERE kin.parent = old.id AND kin.status NOT IN ('done', 'cancelled'))
       OR EXISTS (SELECT 1 FROM messages WHERE case_id = old.id AND messages.status = 'held')
  FROM cases AS old INDEXED BY cases_ended
 WHERE process = ? AND outcome IS ? AND updated_at < ? AND (updated_at, id) > (?, ?) AND status IN ('done', 'cancelled')
 ORDER BY updated_at, id LIMIT ?;

-- name: expire_records
-- Delete old records of deletions, except the one with the highest case number, which is not to be used again.
DELETE FROM journal WHERE id IN (SELECT id FROM journal INDEXED BY journal_expirations
                                  WHERE revision = 0 AND at < ? AND case_id < ? ORDER BY at LIMIT ?);

-- name: expire_journal
-- Delete expired cases with everything that belongs to them. The records of earlier deletions, at revision 0, stay.
DELETE FROM journal WHERE case_id IN (SELECT value FROM json_each(?)) AND revision > 0;

-- name: expire_effects
DELETE FROM effects WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_pauses
DELETE FROM pauses WHERE case_id IN (SELECT value FROM json_each(?));

-- name: expire_case_usage
-- The usage of the cases is deleted; the usage of days stays.
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
-- Record the deletion. As the last event it keeps the numbers of deleted events from being used again; and it carries the highest
-- deleted case number, so that no new case gets one of those.
INSERT INTO journal (id, case_id, revision, at, events) VALUES (?, ?, 0, ?, ?);

-- name: any_erased_key
-- Whether there are any erased keys.
SELECT EXISTS (SELECT 1 FROM erased_keys);

-- name: select_erased_key
-- The case that an erased key belonged to.
SELECT case_id FROM erased_keys WHERE process = ? AND tenant = ? AND name = ? AND digest = ?;

-- name: insert_erased_key
-- Keep a key as its digest.
INSERT INTO erased_keys (process, tenant, name, digest, case_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (process, tenant, name, digest) DO NOTHING;

-- name: keys_of_case
-- The keys of a case and its messages, except held messages, which belong to the next case and stay.
SELECT process, tenant, '', key FROM cases WHERE id = :case AND key IS NOT NULL
UNION ALL SELECT process, tenant, name, key FROM messages WHERE case_id = :case AND key IS NOT NULL AND status <> 'held';

-- name: erase_case
-- Delete the content of a case's row; its skeleton stays.
UPDATE cases SET key = NULL, correlation = NULL WHERE id = ?;

-- name: erase_fields
-- Delete the fields in rows without events. `rewrite_facts` empties the others.
DELETE FROM journal WHERE case_id = ? AND events IS NULL;

-- name: erase_messages
DELETE FROM messages WHERE case_id = ? AND status <> 'held';

-- name: erase_effects
-- Delete the outcomes of effects; their status stays.
UPDATE effects SET outcome = CASE WHEN outcome IS NULL THEN NULL ELSE '{}' END, error = CASE WHEN error IS NULL THEN NULL ELSE 'erased' END
 WHERE case_id = ?;

-- name: select_facts
-- The events of a case.
SELECT id, events FROM journal WHERE case_id = ?;

-- name: rewrite_facts
-- Replace the events of a row, and delete the field that was written with them.
UPDATE journal SET events = ?, field = NULL, appends = 0, writer = NULL, value = NULL WHERE id = ?;

-- name: enter_schedule
-- Insert a schedule that is seen for the first time.
INSERT INTO schedules (process, name, since, last) VALUES (?, ?, ?, ?) ON CONFLICT (process, name) DO NOTHING;

-- name: select_schedule
-- A schedule's first moment, and its last tick that is over.
SELECT process, name, since, last FROM schedules WHERE process = ? AND name = ?;

-- name: tick_schedule
-- Record that a tick and all earlier ones are over.
UPDATE schedules SET last = max(last, ?) WHERE process = ? AND name = ?;

-- name: raise_epoch
-- Make this engine the file's only writer.
UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value;

-- name: select_meta
-- A fact about the database itself.
SELECT value FROM meta WHERE name = ?;

-- name: select_subscribers
-- How far the subscribers have read.
SELECT name, value FROM meta WHERE name >= 'subscriber ' AND name < 'subscriber!';

-- name: select_gaps
-- What the subscribers have given up.
SELECT name, value FROM meta WHERE name >= 'gaps ' AND name < 'gaps!' ORDER BY name;

-- name: set_meta
INSERT OR REPLACE INTO meta VALUES (?, ?);

-- name: delete_meta
DELETE FROM meta WHERE name = ?;

-- name: same_epoch
-- Whether the epoch is still this engine's. It is not if another engine has taken over the file.
SELECT 1 FROM meta WHERE name = 'epoch' AND value = ?;

-- name: highest_time
-- The saved time, and the highest time in the journal since. The higher one is the highest committed time: history never runs
-- backwards, even if the clock does.
SELECT value, (SELECT max(at) FROM journal WHERE id >= (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'clock_entry'))
  FROM meta WHERE name = 'clock';

-- name: save_clock
-- Save the highest time as text, because SQLite would round it to 15 digits, and the number of the next event, from which on the
-- journal is to be read for a higher one.
UPDATE meta SET value = CASE name WHEN 'clock' THEN ? ELSE ? END WHERE name IN ('clock', 'clock_entry');

-- name: highest_case
-- The highest number of any case, including deleted ones.
SELECT max(coalesce((SELECT max(id) FROM cases), 0), coalesce((SELECT max(case_id) FROM journal), 0));

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
-- The same for a status that few cases have.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases INDEXED BY cases_held
WHERE status = :status AND status IN ('waiting', 'parked', 'blocked') AND id > :after AND (:process IS NULL OR process = :process) ORDER BY id LIMIT :limit;

-- name: select_open_cases
-- Cases that have not ended, by number.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE id > ? AND status NOT IN ('done', 'cancelled') ORDER BY id LIMIT ?;

-- name: select_versions
-- The versions of a process's cases that are ready or waiting: one index look-up for each version, however many cases there are.
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
-- Store a definition that an engine was opened with; the first time stays.
INSERT INTO definitions (process, version, fingerprint, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: insert_private
-- Store that a field is private.
INSERT OR IGNORE INTO meta VALUES (?, '');

-- name: select_private
-- The private fields.
SELECT name FROM meta WHERE name >= 'private ' AND name < 'private!' ORDER BY name;

-- name: select_fields
-- The last whole write of each field, as of a revision, and what was added to it since: two index look-ups for each field, then the
-- rows, however long its history is.
WITH RECURSIVE names (field) AS (
  SELECT min(field) FROM journal WHERE case_id = :case AND field >= ''
  UNION ALL
  SELECT (SELECT min(field) FROM journal WHERE case_id = :case AND field > names.field) FROM names WHERE names.field IS NOT NULL
), whole (field, revision) AS (
  SELECT field, coalesce((SELECT revision FROM journal
                           WHERE case_id = :case AND field = names.field AND revision <= :revision AND NOT appends
                           ORDER BY revision DESC LIMIT 1), 0)
    FROM names WHERE field IS NOT NULL
)
SELECT journal.revision, journal.field, value, writer, appends
  FROM whole CROSS JOIN journal
 WHERE case_id = :case AND journal.field = whole.field AND journal.revision BETWEEN whole.revision AND :revision
 ORDER BY journal.field, journal.revision;

-- name: select_events
-- Rows of the journal from the event with the number `after`. All events of the first row may be before it, so one row more is read.
SELECT id, case_id, revision, at, events FROM journal
 WHERE id >= coalesce((SELECT max(id) FROM journal WHERE id <= :after), 0) AND events IS NOT NULL ORDER BY id LIMIT :limit + 1;

-- name: select_events_of_case
-- Rows of one case, of these revisions, from the row with the number `first`: a range of the index for each field, and one for the rows
-- without a field. A negative `limit` reads all.
WITH RECURSIVE names (field) AS (
  SELECT min(field) FROM journal WHERE case_id = :case AND field >= ''
  UNION ALL
  SELECT (SELECT min(field) FROM journal WHERE case_id = :case AND field > names.field) FROM names WHERE names.field IS NOT NULL
)
SELECT id, case_id, revision, at, events FROM names CROSS JOIN journal
 WHERE case_id = :case AND journal.field IS names.field AND revision BETWEEN :since AND :until AND id >= :first AND events IS NOT NULL
 ORDER BY id LIMIT :limit + (:limit >= 0);

-- name: select_entry
-- The row that holds an event: its number, case and revision.
SELECT id, case_id, revision FROM journal WHERE id <= ? ORDER BY id DESC LIMIT 1;

-- name: select_revision
-- How often a case has moved.
SELECT revision FROM cases WHERE id = ?;

-- name: select_newest_events
-- The newest rows with events. Rows of further fields have none, so a bounded number of rows is read.
SELECT id, case_id, revision, at, events FROM (SELECT id, case_id, revision, at, events FROM journal ORDER BY id DESC LIMIT :limit) WHERE events IS NOT NULL ORDER BY id;

-- name: select_cases_of
-- The cases with these numbers.
SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority, correlation, parent, inbox, needs, interruptions
FROM cases WHERE id IN (SELECT value FROM json_each(:cases)) ORDER BY id;

-- name: select_fields_of_cases
-- Like select_fields, for fields of these names in many cases: two index look-ups for each field of each case, then the rows.
WITH asked (case_id, field) AS (
  SELECT DISTINCT cases.value, names.value FROM json_each(:cases) AS cases, json_each(:names) AS names
), whole (case_id, field, revision) AS (
  SELECT case_id, field, coalesce((SELECT revision FROM journal
                                    WHERE case_id = asked.case_id AND field = asked.field AND NOT appends
                                    ORDER BY revision DESC LIMIT 1), 0)
    FROM asked
)
SELECT journal.case_id, journal.revision, journal.field, value, writer, appends
  FROM whole CROSS JOIN journal
 WHERE journal.case_id = whole.case_id AND journal.field = whole.field AND journal.revision >= whole.revision
 ORDER BY journal.case_id, journal.field, journal.revision;

-- name: select_writes_of_cases
-- Every write of the fields of these cases.
SELECT case_id, revision, field, value, writer, appends FROM journal
 WHERE case_id IN (SELECT value FROM json_each(:cases)) AND field >= '' ORDER BY case_id, revision, field;

-- name: select_effects_of_cases
-- The entries of these cases in the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects WHERE case_id IN (SELECT value FROM json_each(:cases)) ORDER BY case_id, intended_at, key;

-- name: select_events_of_cases
-- All events of these cases.
SELECT id, case_id, revision, at, events FROM journal
 WHERE id IN (SELECT id FROM journal INDEXED BY journal_of_case WHERE case_id IN (SELECT value FROM json_each(:cases))) AND events IS NOT NULL ORDER BY id;

-- name: count_waiting
-- Pauses that a person can answer and that opened in [since, until); the count stops at `most`.
SELECT count(*) FROM (SELECT 1 FROM pauses INDEXED BY pauses_open WHERE closed IS NULL AND asks = 1 AND opened_at >= :since AND opened_at < :until LIMIT :most);

-- name: select_effect
-- One entry of the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects WHERE key = ?;

-- name: select_effects
-- A case's entries of the ledger.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error FROM effects WHERE case_id = ? ORDER BY intended_at, key;

-- name: select_in_doubt
-- The effects in doubt. A call that an engine is making now is not in doubt.
SELECT effects.key, case_id, effect, arguments, effects.status, effects.attempts, intended_at, deadline, effects.outcome, error
  FROM effects JOIN cases ON cases.id = case_id
 WHERE effects.status IN ('intended', 'in_doubt') AND cases.status <> 'running'
 ORDER BY intended_at, effects.key;

-- name: select_unsettled
-- The effects without an outcome, also those that an engine is calling now.
SELECT key, case_id, effect, arguments, status, attempts, intended_at, deadline, outcome, error
  FROM effects WHERE status IN ('intended', 'in_doubt') ORDER BY intended_at, key;

-- name: count_all_cases
-- How many cases there are, counted.
SELECT count(*) FROM cases;

-- name: select_pause
-- The last pause of a case.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at FROM pauses WHERE case_id = ? ORDER BY revision DESC LIMIT 1;

-- name: select_pause_by_token
-- The pause that a token belongs to.
SELECT case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at FROM pauses WHERE token = ?;

-- name: select_writes
-- Every write of a case's fields.
SELECT revision, field, value, writer, appends FROM journal WHERE case_id = ? AND field >= '' ORDER BY revision, field;

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
