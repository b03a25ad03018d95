-- Definitions, and an index of cases by version.
--
--   definitions  each definition that an engine was opened with, and when it was first seen

CREATE TABLE definitions (
  process     TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  fingerprint TEXT    NOT NULL,
  seen_at     REAL    NOT NULL,
  PRIMARY KEY (process, version, fingerprint)
) STRICT, WITHOUT ROWID;

-- At its opening, an engine looks here for ready and waiting cases whose version it does not accept.
CREATE INDEX cases_versions ON cases (process, version) WHERE status IN ('ready', 'waiting');
