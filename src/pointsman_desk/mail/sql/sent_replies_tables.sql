-- desk: this desk. identity tells it from other ones; cases is the database that it works on, NULL before there is one; life counts
--   how often a person has said that the cases were lost or put back.
-- sent: the replies that left, or were about to, one row for each mail that a reply answers, by the hash of the mail's identity;
--   key is the reply's in the ledger of the cases. Copies of replies that were found without their mail have an empty key.
-- taken: the newest case that a mail came to.
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
