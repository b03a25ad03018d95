-- The statements of a mirror: a file with copies of cases that run elsewhere.

-- name: select_mirrored
-- The marks of the cases in a mirror, by the prefix of their names in the table meta.
SELECT name, value FROM meta WHERE name >= ? AND name < ?;

-- name: mirrored_case
-- Which case has this number, and the last revision whose events are there.
SELECT process, created_at, (SELECT coalesce(max(revision), 0) FROM journal WHERE case_id = cases.id AND field IS NULL) FROM cases WHERE id = ?;

-- name: delete_mirrored_fields
-- Events keep their numbers, so that nobody who follows them reads one twice. Only fields are written anew.
DELETE FROM journal WHERE case_id = ? AND field IS NOT NULL;

-- name: mirror_case
INSERT INTO cases (id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant,
                   priority, correlation, parent, inbox, needs, interruptions)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: mirror_events
INSERT INTO journal (id, case_id, revision, at, events) VALUES (?, ?, ?, ?, ?);

-- name: mirror_field
INSERT INTO journal (id, case_id, revision, field, writer, value) VALUES (?, ?, ?, ?, ?, ?);

-- name: mirror_pause
INSERT INTO pauses (case_id, revision, name, token, digest, opened_at, closed, closed_by, closed_at, rung, assignee, expires_at, asks)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: mirror_branch
INSERT INTO branches (case_id, name, attempts, wake_at, outcome, failure, reads, guard) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: mirror_message
-- Its key is unique for its correlation key where the case runs, and would be unique for its process here.
INSERT INTO messages (process, name, correlation, case_id, status, body, at, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: mirror_search
INSERT INTO search (case_id, field, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: mirror_word
INSERT INTO words (case_id, field, word) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
