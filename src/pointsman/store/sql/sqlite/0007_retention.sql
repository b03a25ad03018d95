-- What becomes of cases that have ended.
--
--   erased_keys  the keys of starts and messages whose content was erased, as digests: what is delivered again is recognised

-- name is that of the message, and empty for a start.
CREATE TABLE erased_keys (
  process TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  PRIMARY KEY (process, name, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_keys_of_case ON erased_keys (case_id);

-- Which cases have been kept long enough. A case comes into it once, when it ends.
CREATE INDEX cases_ended ON cases (process, outcome, updated_at) WHERE status IN ('done', 'cancelled');
CREATE INDEX messages_of_case ON messages (case_id) WHERE case_id IS NOT NULL;
