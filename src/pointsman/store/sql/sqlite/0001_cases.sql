-- The tables of a SQLite store. A case is only rows; a waiting case costs nothing else.
--
--   cases     one narrow row for each case, which each transition rewrites: its status, its step, and when it is due
--   fields    append-only: the writes of each transition; the state is the last write of each field
--   events    append-only, numbered in the order of their commits
--   effects   the ledger, one row for each idempotency key: the intent before the call, then the outcome
--   pauses    what each pause showed, its token, and who answered
--   branches  the branches of a case's parallel step; no rows between two parallel steps
--   blobs     large values by the hash of their content
--   meta      the engine's epoch, the database's incarnation, and the highest time so far

CREATE TABLE cases (
  id         INTEGER PRIMARY KEY,
  process    TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  key        TEXT,
  status     TEXT    NOT NULL,
  revision   INTEGER NOT NULL,
  fence      INTEGER NOT NULL,
  wake_at    REAL,
  attempts   INTEGER NOT NULL,
  steps      INTEGER NOT NULL,
  step       TEXT,
  rule       TEXT,
  reason     TEXT,
  outcome    TEXT,
  created_at REAL    NOT NULL,
  updated_at REAL    NOT NULL,
  UNIQUE (process, key)
) STRICT;

-- Due cases and timers: the only index that an engine reads when it wakes.
CREATE INDEX cases_due ON cases (wake_at) WHERE status = 'ready';
-- The cases that a crashed engine left running: at most as many as its concurrency.
CREATE INDEX cases_running ON cases (id) WHERE status = 'running';
-- The cases that wait for somebody.
CREATE INDEX cases_held ON cases (status, id) WHERE status IN ('waiting', 'parked');

CREATE TABLE fields (
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  field    TEXT    NOT NULL,
  value    TEXT,
  writer   TEXT    NOT NULL,
  PRIMARY KEY (case_id, revision, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  id       INTEGER PRIMARY KEY,
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  step     TEXT,
  attempt  INTEGER NOT NULL,
  at       REAL    NOT NULL,
  facts    TEXT    NOT NULL
) STRICT;
CREATE INDEX events_of_case ON events (case_id);

CREATE TABLE effects (
  key         TEXT    PRIMARY KEY,
  case_id     INTEGER NOT NULL,
  effect      TEXT    NOT NULL,
  arguments   TEXT    NOT NULL,
  status      TEXT    NOT NULL,
  attempts    INTEGER NOT NULL,
  intended_at REAL    NOT NULL,
  deadline    REAL    NOT NULL,
  outcome     TEXT,
  error       TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX effects_of_case ON effects (case_id);
CREATE INDEX effects_open ON effects (status) WHERE status IN ('intended', 'in_doubt');

CREATE TABLE pauses (
  case_id   INTEGER NOT NULL,
  revision  INTEGER NOT NULL,
  name      TEXT    NOT NULL,
  token     TEXT    NOT NULL UNIQUE,
  digest    TEXT    NOT NULL,
  opened_at REAL    NOT NULL,
  closed    TEXT,
  closed_by TEXT,
  closed_at REAL,
  PRIMARY KEY (case_id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE branches (
  case_id  INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  wake_at  REAL,
  outcome  TEXT,
  PRIMARY KEY (case_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
  sha256  TEXT    PRIMARY KEY,
  size    INTEGER NOT NULL,
  kept_at REAL    NOT NULL,
  content BLOB    NOT NULL
) STRICT;

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', '0'), ('incarnation', lower(hex(randomblob(16)))), ('clock', '0');

-- The current state of each case as one JSON object, for plain SQL.
CREATE VIEW states AS
SELECT id, process, version, status, revision, outcome,
       (SELECT json_group_object(field, json(value))
          FROM (SELECT field, value, max(revision) FROM fields WHERE case_id = cases.id GROUP BY field)
         WHERE value IS NOT NULL) AS state
  FROM cases;
