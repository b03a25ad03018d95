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
DELETE FROM main.guesses WHERE at <= ?;
-- name: forget_oldest
-- PostgreSQL knows no LIMIT -1, and SQLite no OFFSET without a LIMIT.
DELETE FROM main.guesses WHERE (sender, number) IN (SELECT sender, number FROM main.guesses ORDER BY at DESC LIMIT 9000000000 OFFSET ?);
-- name: count
SELECT count(*) FROM main.guesses WHERE sender = ?;
-- name: add
INSERT INTO main.guesses VALUES (?, ?, ?) ON CONFLICT (sender, number) DO UPDATE SET at = excluded.at;
-- name: remove
DELETE FROM main.guesses WHERE sender = ? AND number = ?;
