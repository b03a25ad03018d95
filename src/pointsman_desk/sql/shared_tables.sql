-- The tables of desks that share a database; `main` stands for their schema, which exists. What each table holds is said in
-- mail/sql/sent_replies_tables.sql, mail/sql/threads_tables.sql, shop/sql/guesses.sql and nodes/sql/machine_sent_table.sql. Besides:
-- facts: what all desks must agree on, such as the secret.
-- mailboxes: which desk reads a mailbox, until when, and how far it has been read (a bookmark, as JSON).
CREATE TABLE IF NOT EXISTS main.desk (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  identity TEXT NOT NULL,
  cases TEXT,
  life INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS main.sent (
  mail BYTEA NOT NULL,
  key TEXT NOT NULL,
  case_id BIGINT NOT NULL,
  conversation TEXT NOT NULL,
  at DOUBLE PRECISION NOT NULL,
  life INTEGER NOT NULL,
  PRIMARY KEY (mail, life, key)
);
CREATE INDEX IF NOT EXISTS sent_at ON main.sent (life, at);
CREATE TABLE IF NOT EXISTS main.taken (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  case_id BIGINT NOT NULL,
  conversation TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS main.ids (
  hash BYTEA PRIMARY KEY,
  case_id BIGINT NOT NULL,
  conversation TEXT NOT NULL,
  key BYTEA NOT NULL
);
CREATE TABLE IF NOT EXISTS main.later (
  case_id BIGINT,
  later BIGINT,
  conversation TEXT NOT NULL,
  PRIMARY KEY (case_id, later)
);
CREATE TABLE IF NOT EXISTS main.arrivals (
  sender BYTEA NOT NULL,
  key BYTEA NOT NULL,
  at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (sender, key)
);
CREATE INDEX IF NOT EXISTS arrivals_at ON main.arrivals (at);
CREATE TABLE IF NOT EXISTS main.guesses (
  sender BYTEA NOT NULL,
  number BYTEA NOT NULL,
  at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (sender, number)
);
CREATE INDEX IF NOT EXISTS guesses_at ON main.guesses (at);
CREATE TABLE IF NOT EXISTS main.machine_sent (
  address BYTEA NOT NULL,
  case_id BIGINT NOT NULL,
  mail BYTEA NOT NULL,
  at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (address, case_id, mail)
);
CREATE INDEX IF NOT EXISTS machine_sent_at ON main.machine_sent (at);
CREATE TABLE IF NOT EXISTS main.facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS main.mailboxes (
  name TEXT PRIMARY KEY,
  reader TEXT NOT NULL DEFAULT '',
  until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
  bookmark TEXT
);
