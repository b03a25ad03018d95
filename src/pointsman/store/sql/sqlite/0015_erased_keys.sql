-- The columns of the primary key of `erased_keys` come first, because `PRAGMA integrity_check` of SQLite 3.40 (Debian 12) otherwise
-- reports "NULL value in erased_keys.case_id" for each row of a sound file.

CREATE TEMP TABLE erased_keys_before AS SELECT process, tenant, name, digest, case_id FROM erased_keys;
DROP TABLE erased_keys;
CREATE TABLE erased_keys (
  process TEXT    NOT NULL,
  tenant  TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  case_id INTEGER NOT NULL,
  PRIMARY KEY (process, tenant, name, digest)
) STRICT, WITHOUT ROWID;
INSERT INTO erased_keys (process, tenant, name, digest, case_id) SELECT process, tenant, name, digest, case_id FROM erased_keys_before;
DROP TABLE erased_keys_before;
CREATE INDEX erased_keys_of_case ON erased_keys (case_id);
