-- name: identify
INSERT INTO main.desk VALUES (1, ?, NULL, 1) ON CONFLICT DO NOTHING;
-- name: desk
SELECT identity, cases, life FROM main.desk;
-- name: begun
UPDATE main.desk SET cases = ?;
-- name: begin_anew
UPDATE main.desk SET cases = NULL, life = life + 1;
-- name: add
INSERT INTO main.sent VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;
-- name: of_mail
SELECT key, case_id, conversation, at, life FROM main.sent WHERE mail = ? ORDER BY life DESC;
-- name: earlier
SELECT DISTINCT key, case_id, conversation, at FROM main.sent WHERE life < ? AND key <> '';
-- name: last
SELECT DISTINCT key, case_id, conversation, at FROM main.sent WHERE life = ? AND key <> '' ORDER BY at DESC LIMIT ?;
-- name: take
INSERT INTO main.taken VALUES (1, ?, ?)
ON CONFLICT (one) DO UPDATE SET case_id = excluded.case_id, conversation = excluded.conversation WHERE taken.case_id < excluded.case_id;
-- name: newest
SELECT case_id, conversation FROM main.taken;
-- name: forget_newest
DELETE FROM main.taken;
