-- Keys belong to tenants: the same start key, message key or correlation key of two tenants identifies two things.
--
--   cases, messages, erased_keys  a key is unique in a process and tenant; messages and erased keys have the tenant of their case
--
-- The tables are copied and refilled, not renamed, because an author's view may read them.

DROP VIEW states;

CREATE TEMP TABLE cases_before AS
  SELECT id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant, priority,
         correlation, parent, inbox, needs FROM cases;
CREATE TEMP TABLE messages_before AS SELECT messages.*, coalesce(cases.tenant, '') AS tenant FROM messages LEFT JOIN cases ON cases.id = messages.case_id;
CREATE TEMP TABLE erased_keys_before AS
  SELECT erased_keys.*, coalesce(cases.tenant, '') AS tenant FROM erased_keys LEFT JOIN cases ON cases.id = erased_keys.case_id;
DROP TABLE cases;
DROP TABLE messages;
DROP TABLE erased_keys;

CREATE TABLE cases (
  id          INTEGER PRIMARY KEY,
  process     TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  key         TEXT,
  status      TEXT    NOT NULL,
  revision    INTEGER NOT NULL,
  fence       INTEGER NOT NULL,
  wake_at     REAL,
  attempts    INTEGER NOT NULL,
  steps       INTEGER NOT NULL,
  step        TEXT,
  rule        TEXT,
  reason      TEXT,
  outcome     TEXT,
  created_at  REAL    NOT NULL,
  updated_at  REAL    NOT NULL,
  tenant      TEXT    NOT NULL DEFAULT '',
  priority    INTEGER NOT NULL DEFAULT 0,
  correlation TEXT,
  parent      INTEGER,
  inbox       INTEGER NOT NULL DEFAULT 0,
  needs       TEXT,
  -- As columns, because a comparison of rows looks into an index of columns only, and none of them may be NULL.
  rank        INTEGER NOT NULL GENERATED ALWAYS AS (-priority) VIRTUAL,
  need        TEXT    NOT NULL GENERATED ALWAYS AS (coalesce(needs, '')) VIRTUAL,
  UNIQUE (process, tenant, key)
) STRICT;
INSERT INTO cases (id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant,
                   priority, correlation, parent, inbox, needs)
  SELECT * FROM cases_before ORDER BY id;
DROP TABLE cases_before;

-- The earliest due case: one look-up for each process and limit, even if thousands of cases wait for a limit.
CREATE INDEX cases_due ON cases (process, need, wake_at) WHERE wake_at IS NOT NULL;
-- The tenant whose turn it is: one look-up for each tenant, however many cases it has.
CREATE INDEX cases_line ON cases (rank, tenant, process, need, wake_at) WHERE wake_at IS NOT NULL;
-- The backlog, for the bounds of the intake, and the cases that a crashed engine left running.
CREATE INDEX cases_running ON cases (status, process, tenant) WHERE status IN ('ready', 'running');
-- The cases that wait for somebody.
CREATE INDEX cases_held ON cases (status, id) WHERE status IN ('waiting', 'parked', 'blocked');
CREATE INDEX cases_correlated ON cases (process, tenant, correlation) WHERE correlation IS NOT NULL AND status NOT IN ('done', 'cancelled');
CREATE INDEX cases_children ON cases (parent) WHERE parent IS NOT NULL;
-- At its opening, an engine looks here for ready and waiting cases whose version it does not accept.
CREATE INDEX cases_versions ON cases (process, version) WHERE status IN ('ready', 'waiting');
-- The cases that retention may delete. A case enters this index once, when it ends.
CREATE INDEX cases_ended ON cases (process, outcome, updated_at) WHERE status IN ('done', 'cancelled');

CREATE TABLE messages (
  id          INTEGER PRIMARY KEY,
  process     TEXT NOT NULL,
  name        TEXT NOT NULL,
  key         TEXT,
  correlation TEXT,
  case_id     INTEGER,
  status      TEXT NOT NULL,
  body        TEXT NOT NULL,
  at          REAL NOT NULL,
  tenant      TEXT NOT NULL DEFAULT '',
  UNIQUE (process, tenant, name, key)
) STRICT;
INSERT INTO messages (id, process, name, key, correlation, case_id, status, body, at, tenant) SELECT * FROM messages_before ORDER BY id;
DROP TABLE messages_before;
CREATE INDEX messages_pending ON messages (case_id, id) WHERE status = 'pending';
CREATE INDEX messages_held ON messages (id) WHERE status = 'held';
CREATE INDEX messages_unmatched ON messages (process, tenant, correlation, id) WHERE status = 'unmatched';
CREATE INDEX messages_of_case ON messages (case_id) WHERE case_id IS NOT NULL;

CREATE TABLE erased_keys (
  process TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  tenant  TEXT    NOT NULL DEFAULT '',
  PRIMARY KEY (process, tenant, name, digest)
) STRICT, WITHOUT ROWID;
INSERT INTO erased_keys (process, name, digest, case_id, tenant) SELECT * FROM erased_keys_before;
DROP TABLE erased_keys_before;
CREATE INDEX erased_keys_of_case ON erased_keys (case_id);

-- The current state of each case as one JSON object, for plain SQL.
CREATE VIEW states AS
SELECT id, process, version, status, revision, outcome,
       (SELECT json_group_object(field, json(value))
          FROM (SELECT field,
                       CASE WHEN since > appended
                            THEN (SELECT value FROM fields WHERE case_id = cases.id AND fields.field = last.field AND fields.revision = since)
                            ELSE (SELECT '[' || coalesce(group_concat(substr(value, 2, length(value) - 2), ','), '') || ']'
                                    FROM (SELECT value FROM fields
                                           WHERE case_id = cases.id AND fields.field = last.field AND fields.revision >= since AND value <> '[]'
                                           ORDER BY fields.revision))
                       END AS value
                  FROM (SELECT field, max(iif(appends, 0, revision)) AS since, max(iif(appends, revision, 0)) AS appended
                          FROM fields WHERE case_id = cases.id GROUP BY field) AS last)
         WHERE value IS NOT NULL) AS state
  FROM cases;
