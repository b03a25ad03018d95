-- One journal instead of two tables. A transition appends one row, so a commit of many cases writes few pages.
--
--   journal  append-only: what a transition wrote, and its events as a JSON array of [kind, step, attempt, facts]. `id` is the number
--            of the first event; the others follow it. A transition that writes several fields has a row for each field, and only
--            the first row has `at` and `events`.
--   fields   now a view, with the columns of the table: field values, and items added to logs
--   events   now a view, with the columns of the table: one row per event
--
-- The engine inserts its transitions into two more views. Their triggers write a whole commit in one statement:
--
--   starts   creates a case and the first row of its journal, or does nothing if its key is known
--   moves    moves a case and appends to its journal, or does nothing if the case is not at the expected revision, fence and inbox.
--            A row without `status` means a running case that stays running and does not wait.

DROP VIEW states;

CREATE TABLE journal (
  id       INTEGER PRIMARY KEY,
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  at       REAL,
  events   TEXT,
  field    TEXT,
  appends  INTEGER NOT NULL DEFAULT 0,
  writer   TEXT,
  value    TEXT
) STRICT;
INSERT INTO journal (id, case_id, revision, at, events)
  SELECT id, case_id, revision, at,
         '[[' || json_quote(kind) || ',' || json_quote(step) || ',' || attempt || ',' || char(10) || replace(facts, char(10), ' ') || ']]'
    FROM events ORDER BY id;
INSERT INTO journal (case_id, revision, field, appends, writer, value)
  SELECT case_id, revision, field, appends, writer, value FROM fields ORDER BY case_id, revision, field;
DROP TABLE events;
DROP TABLE fields;
-- Finds the rows of a case, and the last write of each field without reading the earlier ones.
CREATE INDEX journal_of_case ON journal (case_id, field, revision);

CREATE VIEW fields AS SELECT case_id, field, revision, appends, writer, value FROM journal WHERE field IS NOT NULL;

CREATE VIEW events AS
SELECT journal.id + event.key AS id, case_id, revision, json_extract(event.value, '$[0]') AS kind, json_extract(event.value, '$[1]') AS step,
       json_extract(event.value, '$[2]') AS attempt, at, json_extract(event.value, '$[3]') AS facts
  FROM journal CROSS JOIN json_each(journal.events) AS event;

CREATE VIEW starts (id, process, version, key, revision, fence, status, wake_at, attempts, steps, step, rule, reason, outcome, needs, at, tenant, priority, correlation,
                    parent, engine, journal, events, field, appends, writer, value) AS
SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 WHERE FALSE;

CREATE TRIGGER start INSTEAD OF INSERT ON starts WHEN NEW.id > 0 BEGIN
  INSERT INTO cases (id, process, version, key, status, revision, fence, wake_at, attempts, steps, step, rule, reason, outcome, created_at, updated_at, tenant,
                     priority, correlation, parent, needs, engine)
    VALUES (NEW.id, NEW.process, NEW.version, NEW.key, NEW.status, NEW.revision, NEW.fence, NEW.wake_at, NEW.attempts, NEW.steps, NEW.step, NEW.rule, NEW.reason,
            NEW.outcome, NEW.at, NEW.at, NEW.tenant, NEW.priority, NEW.correlation, NEW.parent, NEW.needs, NEW.engine)
    ON CONFLICT (process, tenant, key) DO NOTHING;
  INSERT INTO journal (id, case_id, revision, at, events, field, appends, writer, value)
    SELECT NEW.journal, NEW.id, NEW.revision, NEW.at, NEW.events, NEW.field, NEW.appends, NEW.writer, NEW.value WHERE changes() = 1;
END;

CREATE VIEW moves (id, revision, fence, inbox, attempts, steps, step, rule, at, engine, journal, events, field, appends, writer, value,
                   status, claims, takes, wake_at, reason, outcome, needs, version, interruptions) AS
SELECT 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 WHERE FALSE;

CREATE TRIGGER move INSTEAD OF INSERT ON moves BEGIN
  UPDATE cases
     SET revision = revision + 1, fence = fence + coalesce(NEW.claims, 0), inbox = inbox - coalesce(NEW.takes, 0), attempts = NEW.attempts,
         steps = NEW.steps, step = NEW.step, rule = NEW.rule, reason = NEW.reason, interruptions = coalesce(NEW.interruptions, 0), waits = 0,
         engine = coalesce(NEW.engine, engine), updated_at = NEW.at
   WHERE id = NEW.id AND revision = NEW.revision AND fence = NEW.fence AND inbox = coalesce(NEW.inbox, inbox);
  INSERT INTO journal (id, case_id, revision, at, events, field, appends, writer, value)
    SELECT NEW.journal, NEW.id, NEW.revision + 1, NEW.at, NEW.events, NEW.field, NEW.appends, NEW.writer, NEW.value WHERE changes() = 1;
  -- A statement of its own: SQLite checks every index on the columns that a statement sets, even if their values stay the same.
  UPDATE cases
     SET status = coalesce(NEW.status, 'running'), wake_at = NEW.wake_at, outcome = NEW.outcome, needs = NEW.needs,
         version = coalesce(NEW.version, version)
   WHERE id = NEW.id AND changes() = 1
     AND (NEW.status IS NOT NULL OR status <> 'running' OR wake_at IS NOT NULL OR outcome IS NOT NULL OR needs IS NOT NULL);
END;

-- The current state of every case as one JSON object, for plain SQL.
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
