-- Retention and erasure.
--
--   erased_keys  digests of the keys of erased starts and messages, so that the engine still recognises duplicates

-- `name` is the message's name; for a start it is empty.
CREATE TABLE erased_keys (
  process TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  PRIMARY KEY (process, name, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_keys_of_case ON erased_keys (case_id);

-- The cases that retention may delete. A case enters this index once, when it ends.
CREATE INDEX cases_ended ON cases (process, outcome, updated_at) WHERE status IN ('done', 'cancelled');
CREATE INDEX messages_of_case ON messages (case_id) WHERE case_id IS NOT NULL;
