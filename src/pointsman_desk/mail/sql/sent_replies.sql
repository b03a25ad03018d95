-- name: identify
INSERT OR IGNORE INTO desk VALUES (1, ?, NULL, 1);
-- name: desk
SELECT identity, cases, life FROM desk;
-- name: begun
UPDATE desk SET cases = ?;
-- name: begin_anew
UPDATE desk SET cases = NULL, life = life + 1;
-- name: add
INSERT OR IGNORE INTO sent VALUES (?, ?, ?, ?, ?, ?);
-- name: of_mail
SELECT key, case_id, conversation, at, life FROM sent WHERE mail = ? ORDER BY life DESC;
-- name: earlier
SELECT DISTINCT key, case_id, conversation, at FROM sent WHERE life < ? AND key <> '';
-- name: last
SELECT DISTINCT key, case_id, conversation, at FROM sent WHERE life = ? AND key <> '' ORDER BY at DESC LIMIT ?;
-- name: take
INSERT INTO taken VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET case_id = ?1, conversation = ?2 WHERE case_id < ?1;
-- name: newest
SELECT case_id, conversation FROM taken;
-- name: forget_newest
DELETE FROM taken;
