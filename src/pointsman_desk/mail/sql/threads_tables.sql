-- ids: the case of each identifier, by a hash of its kind and text; key is the hash of the identity of its mail.
-- later: the cases that followed from a case.
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
-- arrivals: the mails of each sender in the last hour, each once.
CREATE TABLE IF NOT EXISTS arrivals (
  sender BLOB NOT NULL,
  key BLOB NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (sender, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrivals_at ON arrivals (at);
