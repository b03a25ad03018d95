-- ids: where an identifier leads, by a hash of its kind and its text; key is the hash of the identity of the mail that brought it.
-- later: the cases that came of a case.
CREATE TABLE IF NOT EXISTS ids (
  hash BLOB PRIMARY KEY,
  case_id INTEGER NOT NULL,
  conversation TEXT NOT NULL,
  key BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS later (
  case_id INTEGER,
  later INTEGER,
  conversation TEXT NOT NULL,
  PRIMARY KEY (case_id, later)
) WITHOUT ROWID;
-- arrivals: the mails of each sender in the last hour, once each.
CREATE TABLE IF NOT EXISTS arrivals (
  sender BLOB NOT NULL,
  key BLOB NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (sender, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrivals_at ON arrivals (at);
