-- Tables and indexes for people who look for cases. A step of a running case writes to none of them.
--
--   case_counts  how many cases there are of each process, status and place. The place is the step at which a case waits, is parked or
--                is blocked, and the outcome of a case that is done. Running cases are counted as ready: they change to and fro too often.
--   pauses       `asks` is 1 if a person can answer the pause, and 0 for a sleep
--   search       the values of the fields that are declared as searchable, in the form that is compared
--   words        the words in those values

CREATE TABLE case_counts (
  process TEXT    NOT NULL,
  status  TEXT    NOT NULL,
  place   TEXT    NOT NULL,
  cases   INTEGER NOT NULL,
  PRIMARY KEY (process, status, place)
) STRICT, WITHOUT ROWID;
INSERT INTO case_counts (process, status, place, cases)
  SELECT process, iif(status = 'running', 'ready', status) AS bucket,
         CASE WHEN status IN ('waiting', 'parked', 'blocked') THEN coalesce(step, '') WHEN status = 'done' THEN coalesce(outcome, '') ELSE '' END AS place,
         count(*)
    FROM cases GROUP BY process, bucket, place;

CREATE TRIGGER count_new_case AFTER INSERT ON cases BEGIN
  INSERT INTO case_counts (process, status, place, cases)
    VALUES (NEW.process, iif(NEW.status = 'running', 'ready', NEW.status),
            CASE WHEN NEW.status IN ('waiting', 'parked', 'blocked') THEN coalesce(NEW.step, '')
                 WHEN NEW.status = 'done' THEN coalesce(NEW.outcome, '') ELSE '' END, 1)
    ON CONFLICT (process, status, place) DO UPDATE SET cases = cases + 1;
END;

CREATE TRIGGER count_moved_case AFTER UPDATE OF status, step, outcome ON cases
  WHEN (OLD.status NOT IN ('ready', 'running') OR NEW.status NOT IN ('ready', 'running'))
   AND (OLD.status <> NEW.status OR OLD.step IS NOT NEW.step OR OLD.outcome IS NOT NEW.outcome)
BEGIN
  UPDATE case_counts SET cases = cases - 1
   WHERE process = OLD.process AND status = iif(OLD.status = 'running', 'ready', OLD.status)
     AND place = CASE WHEN OLD.status IN ('waiting', 'parked', 'blocked') THEN coalesce(OLD.step, '')
                      WHEN OLD.status = 'done' THEN coalesce(OLD.outcome, '') ELSE '' END;
  INSERT INTO case_counts (process, status, place, cases)
    VALUES (NEW.process, iif(NEW.status = 'running', 'ready', NEW.status),
            CASE WHEN NEW.status IN ('waiting', 'parked', 'blocked') THEN coalesce(NEW.step, '')
                 WHEN NEW.status = 'done' THEN coalesce(NEW.outcome, '') ELSE '' END, 1)
    ON CONFLICT (process, status, place) DO UPDATE SET cases = cases + 1;
END;

CREATE TRIGGER count_deleted_case AFTER DELETE ON cases BEGIN
  UPDATE case_counts SET cases = cases - 1
   WHERE process = OLD.process AND status = iif(OLD.status = 'running', 'ready', OLD.status)
     AND place = CASE WHEN OLD.status IN ('waiting', 'parked', 'blocked') THEN coalesce(OLD.step, '')
                      WHEN OLD.status = 'done' THEN coalesce(OLD.outcome, '') ELSE '' END;
END;

-- The cases of a process in a status, also by the rule that led there. A running case is in none of the two indexes, so no step changes them.
CREATE INDEX cases_still ON cases (process, status, rule) WHERE status <> 'running';
-- The newest changes.
CREATE INDEX cases_changed ON cases (updated_at) WHERE status <> 'running';
CREATE INDEX cases_keyed ON cases (key) WHERE key IS NOT NULL;
CREATE INDEX cases_corresponding ON cases (correlation) WHERE correlation IS NOT NULL;
CREATE INDEX cases_of_tenant ON cases (tenant) WHERE tenant <> '';

ALTER TABLE pauses ADD COLUMN asks INTEGER NOT NULL DEFAULT 1;
UPDATE pauses SET asks = 0
 WHERE closed IS NULL
   AND EXISTS (SELECT 1 FROM events WHERE events.case_id = pauses.case_id AND events.revision = pauses.revision AND kind = 'sleeping');
CREATE INDEX pauses_of_case ON pauses (case_id) WHERE closed IS NULL;
CREATE INDEX pauses_open ON pauses (opened_at, case_id) WHERE closed IS NULL;
CREATE INDEX pauses_named ON pauses (name, opened_at) WHERE closed IS NULL;
CREATE INDEX pauses_assigned ON pauses (assignee, opened_at) WHERE closed IS NULL;
CREATE INDEX pauses_expiring ON pauses (expires_at) WHERE closed IS NULL AND expires_at IS NOT NULL;

CREATE TABLE search (
  field   TEXT    NOT NULL,
  value   TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  PRIMARY KEY (field, value, case_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_of_case ON search (case_id, field);

CREATE TABLE words (
  word    TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  field   TEXT    NOT NULL,
  PRIMARY KEY (word, case_id, field)
) STRICT, WITHOUT ROWID;
CREATE INDEX words_of_case ON words (case_id, field);
