-- The checkpoints of LangGraph threads, for pointsman.integrations.langgraph.
--
--   checkpoint_threads  the threads, by a number
--   checkpoint_lines    the namespaces of a thread, by a number: each is a line of checkpoints
--   checkpoints         a checkpoint without its channels' values; `versions` maps each channel to the version of its value (JSON), and `keys`
--                       to the version in checkpoint_values, where that is another one: two forks may give one version to two values
--   checkpoint_values   the values of channels, once for each version
--   checkpoint_writes   what the tasks of a checkpoint's step have written so far
--   checkpoint_chunks   pieces of large values, once for each thread by the digest of their content; they go with the thread
--
-- `kind` is the serializer's name for the form of a value, `levels` how many levels of digests lead from `content` to its pieces.

CREATE TABLE checkpoint_threads (
  id     INTEGER PRIMARY KEY,
  thread TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE checkpoint_lines (
  id        INTEGER PRIMARY KEY,
  thread    INTEGER NOT NULL,
  namespace TEXT    NOT NULL,
  UNIQUE (thread, namespace)
) STRICT;

CREATE TABLE checkpoints (
  line     INTEGER NOT NULL,
  id       TEXT    NOT NULL,
  parent   TEXT,
  run      TEXT,
  versions TEXT    NOT NULL,
  keys     TEXT,
  kind     TEXT    NOT NULL,
  body     BLOB    NOT NULL,
  metadata TEXT    NOT NULL,
  UNIQUE (line, id)
) STRICT;
CREATE INDEX checkpoints_by_run ON checkpoints (run) WHERE run IS NOT NULL;

CREATE TABLE checkpoint_values (
  line    INTEGER NOT NULL,
  channel TEXT    NOT NULL,
  version ANY     NOT NULL,
  kind    TEXT    NOT NULL,
  levels  INTEGER NOT NULL,
  content BLOB    NOT NULL,
  UNIQUE (line, channel, version)
) STRICT;

CREATE TABLE checkpoint_writes (
  line       INTEGER NOT NULL,
  checkpoint TEXT    NOT NULL,
  task       TEXT    NOT NULL,
  place      INTEGER NOT NULL,
  path       TEXT    NOT NULL,
  channel    TEXT    NOT NULL,
  kind       TEXT    NOT NULL,
  levels     INTEGER NOT NULL,
  content    BLOB    NOT NULL,
  UNIQUE (line, checkpoint, task, place)
) STRICT;

CREATE TABLE checkpoint_chunks (
  thread  INTEGER NOT NULL,
  digest  BLOB    NOT NULL,
  content BLOB    NOT NULL,
  UNIQUE (thread, digest)
) STRICT;
