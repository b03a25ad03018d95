-- name: table
CREATE TABLE IF NOT EXISTS guesses (
  sender BLOB NOT NULL,
  number BLOB NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (sender, number)
) WITHOUT ROWID;
-- name: index
CREATE INDEX IF NOT EXISTS guesses_at ON guesses (at);
-- name: forget
DELETE FROM guesses WHERE at <= ?;
-- name: forget_oldest
DELETE FROM guesses WHERE (sender, number) IN (SELECT sender, number FROM guesses ORDER BY at DESC LIMIT -1 OFFSET ?);
-- name: count
SELECT count(*) FROM guesses WHERE sender = ?;
-- name: add
INSERT INTO guesses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at;
-- name: remove
DELETE FROM guesses WHERE sender = ? AND number = ?;
