-- The checkpoints of LangGraph threads, for pointsman.integrations.langgraph.
--
--   checkpoint_threads  the threads, by a number. A writer holds a key share lock on the row, and what deletes or copies locks it for
--                       update. `sweeps` counts the deletions of pieces: an engine that knows a piece knows it only until the next one.
--   checkpoint_lines    the namespaces of a thread, by a number: each is a line of checkpoints
--   checkpoints         a checkpoint without its channels' values; `versions` maps each channel to the version of its value (JSON), and `keys`
--                       to the version in checkpoint_values, where that is another one: two forks may give one version to two values
--   checkpoint_values   the values of channels, once for each version (JSON)
--   checkpoint_writes   what the tasks of a checkpoint's step have written so far
--   checkpoint_chunks   pieces of large values, once for each thread by the digest of their content; they go with the thread
--
-- `kind` is the serializer's name for the form of a value, `levels` how many levels of digests lead from `content` to its pieces.

CREATE TABLE pointsman.checkpoint_threads (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  thread text COLLATE "C" NOT NULL UNIQUE,
  sweeps bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

CREATE TABLE pointsman.checkpoint_lines (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  thread    bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  UNIQUE (thread, namespace)
);

CREATE TABLE pointsman.checkpoints (
  line     bigint NOT NULL,
  id       text COLLATE "C" NOT NULL,
  parent   text COLLATE "C",
  run      text COLLATE "C",
  versions text COLLATE "C" NOT NULL,
  keys     text COLLATE "C",
  kind     text COLLATE "C" NOT NULL,
  body     bytea NOT NULL,
  metadata text COLLATE "C" NOT NULL,
  PRIMARY KEY (line, id)
);
CREATE INDEX checkpoints_by_run ON pointsman.checkpoints (run) WHERE run IS NOT NULL;

CREATE TABLE pointsman.checkpoint_values (
  line    bigint NOT NULL,
  channel text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  kind    text COLLATE "C" NOT NULL,
  levels  integer NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (line, channel, version)
);

CREATE TABLE pointsman.checkpoint_writes (
  line       bigint NOT NULL,
  checkpoint text COLLATE "C" NOT NULL,
  task       text COLLATE "C" NOT NULL,
  place      integer NOT NULL,
  path       text COLLATE "C" NOT NULL,
  channel    text COLLATE "C" NOT NULL,
  kind       text COLLATE "C" NOT NULL,
  levels     integer NOT NULL,
  content    bytea NOT NULL,
  PRIMARY KEY (line, checkpoint, task, place)
);

CREATE TABLE pointsman.checkpoint_chunks (
  thread  bigint NOT NULL,
  digest  bytea NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (thread, digest)
);

-- Metadata as jsonb, to compare it. jsonb has no \u0000 and no half of a surrogate pair, so an escape of one is written in another way.
CREATE FUNCTION pointsman.comparable(metadata text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT regexp_replace(metadata, '\\u(0000|d[89a-f])', '\\ue000\1', 'g')::jsonb $$;
