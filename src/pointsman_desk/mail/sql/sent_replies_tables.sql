-- desk: this desk. identity identifies it; cases is the database that it uses, NULL before the first run; life counts how often a
--   person has said that the cases were lost or restored.
-- sent: the replies that were sent or about to be sent, with a row for each mail that a reply answers, by the hash of the mail's
--   identity; key is the reply's key in the ledger. A copy of a reply, found in the outbox or the archive, has an empty key.
-- taken: the newest case with a mail.
CREATE TABLE IF NOT EXISTS desk (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  identity TEXT NOT NULL,
  cases TEXT,
  life INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS sent (
  mail BLOB NOT NULL,
  key TEXT NOT NULL,
  case_id INTEGER NOT NULL,
  conversation TEXT NOT NULL,
  at REAL NOT NULL,
  life INTEGER NOT NULL,
  PRIMARY KEY (mail, life, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_at ON sent (life, at);
CREATE TABLE IF NOT EXISTS taken (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  case_id INTEGER NOT NULL,
  conversation TEXT NOT NULL
);
