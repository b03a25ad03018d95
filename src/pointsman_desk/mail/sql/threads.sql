-- name: add
-- An identifier keeps its conversation; within it, the newest case counts.
INSERT INTO main.ids (hash, case_id, conversation, key) VALUES (?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET case_id = excluded.case_id WHERE ids.conversation = excluded.conversation;
-- name: find
SELECT case_id, conversation, key FROM main.ids WHERE hash = ?;
-- name: add_later
INSERT INTO main.later (case_id, later, conversation) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
-- name: later
SELECT later, conversation FROM main.later WHERE case_id = ? ORDER BY later;
-- name: forget_arrivals
DELETE FROM main.arrivals WHERE at <= ?;
-- name: add_arrival
INSERT INTO main.arrivals (sender, key, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
-- name: forget_oldest_arrivals
DELETE FROM main.arrivals WHERE sender = ? AND at < (SELECT at FROM main.arrivals WHERE sender = ? ORDER BY at DESC LIMIT 1 OFFSET ?);
-- name: arrivals
SELECT at FROM main.arrivals WHERE sender = ?;
