-- Which definitions have worked on these cases, and the cases by their version.
--
--   definitions  each definition of a process that an engine was opened with, and when it was first

CREATE TABLE definitions (
  process     TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  fingerprint TEXT    NOT NULL,
  seen_at     REAL    NOT NULL,
  PRIMARY KEY (process, version, fingerprint)
) STRICT, WITHOUT ROWID;

-- What an engine that is opened finds by: the cases in the line or waiting whose version it does not accept.
CREATE INDEX cases_versions ON cases (process, version) WHERE status IN ('ready', 'waiting');
