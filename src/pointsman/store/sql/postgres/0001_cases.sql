-- The tables of a PostgreSQL store. Every name is in the schema `pointsman`; a store in another schema has its name instead.
--
--   cases        one row for each case: where it stands. `engine` is the engine that runs the case, or ran it last. `waits` is true
--                while all calls of a running case are waiting.
--   journal      append-only: what a transition wrote, and its events as a JSON array of [kind, step, attempt, facts]. A transition
--                that writes several fields has a row for each, and only the first row has `at` and `events`. A row's place is
--                (tx, n): the number of its transaction, and its place there. A reader reads only up to the first transaction that is
--                still running, so it misses none that commits later. Revision 0 has the records of deletions.
--   effects      the ledger: for each idempotency key an intent, then its outcome
--   pauses       `closed` is null while the pause is open. `asks` is false for a sleep.
--   branches     where each branch of a parallel step stands
--   messages     messages to cases, also those that match no case yet
--   erased_keys  digests of the keys of erased cases
--   case_counts  how many cases there are of each process, status and place; running cases are counted as ready. Several rows count
--                the same (`shard`), so that engines do not wait for each other.
--   case_usage, day_usage  what the responses of models used; `shard` as in `case_counts`
--   search, words  what cases are found by: the values of searchable fields, and the words in them
--   engines      the engines that share the store: until when each has its lease, and when it was last heard, by the database's clock
--   commits      the number of the last batch that an engine committed on each of its lines (the connections that write batches), and that of
--                its transaction, so that it can find out whether an unanswered commit happened, and what it wrote
--   small_writes the number of each other transaction that an engine committed, until the engine knows that it did
--   limits       the state of each limit that was ever used, as JSON
--   definitions, schedules, blobs, meta  as their names say
--
-- All times are Unix seconds. Text is compared by its bytes (COLLATE "C"), as in SQLite.
--
-- A step of a running case changes no indexed column, so PostgreSQL writes no index entries for it (a heap-only tuple). That is why
-- some indexes are on generated columns, which are null while the case runs.

CREATE TABLE pointsman.cases (
  id            bigint PRIMARY KEY,
  process       text COLLATE "C" NOT NULL,
  version       integer NOT NULL,
  key           text COLLATE "C",
  status        text COLLATE "C" NOT NULL,
  revision      integer NOT NULL,
  fence         integer NOT NULL,
  wake_at       double precision,
  attempts      integer NOT NULL,
  steps         integer NOT NULL,
  step          text COLLATE "C",
  rule          text COLLATE "C",
  reason        text COLLATE "C",
  outcome       text COLLATE "C",
  created_at    double precision NOT NULL,
  updated_at    double precision NOT NULL,
  tenant        text COLLATE "C" NOT NULL DEFAULT '',
  priority      integer NOT NULL DEFAULT 0,
  correlation   text COLLATE "C",
  parent        bigint,
  inbox         integer NOT NULL DEFAULT 0,
  needs         text COLLATE "C",
  interruptions integer NOT NULL DEFAULT 0,
  waits         boolean NOT NULL DEFAULT false,
  engine        bigint,
  rank          integer NOT NULL GENERATED ALWAYS AS (-priority) STORED,
  need          text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(needs, '')) STORED,
  still_rule    text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN status <> 'running' THEN rule END) STORED,
  still_at      double precision GENERATED ALWAYS AS (CASE WHEN status <> 'running' THEN updated_at END) STORED,
  UNIQUE (process, tenant, key)
) WITH (fillfactor = 70);

-- The earliest due case: one look-up for each process, version and limit, even if thousands of cases wait for a limit.
CREATE INDEX cases_due ON pointsman.cases (process, version, need, wake_at) WHERE wake_at IS NOT NULL;
-- The tenant whose turn it is: one look-up for each tenant, however many cases it has.
CREATE INDEX cases_line ON pointsman.cases (rank, tenant, process, version, need, wake_at) WHERE wake_at IS NOT NULL;
-- The backlog, for the bounds of the intake.
CREATE INDEX cases_backlog ON pointsman.cases (process, tenant) WHERE status IN ('ready', 'running');
-- What an engine runs, for taking over.
CREATE INDEX cases_running ON pointsman.cases (engine) WHERE status = 'running';
-- The cases that wait for somebody.
CREATE INDEX cases_held ON pointsman.cases (status, id) WHERE status IN ('waiting', 'parked', 'blocked');
CREATE INDEX cases_correlated ON pointsman.cases (process, tenant, correlation) WHERE correlation IS NOT NULL AND status NOT IN ('done', 'cancelled');
CREATE INDEX cases_children ON pointsman.cases (parent) WHERE parent IS NOT NULL;
-- At its opening, an engine looks here for ready and waiting cases whose version it does not accept.
CREATE INDEX cases_versions ON pointsman.cases (process, version) WHERE status IN ('ready', 'waiting');
-- The cases that retention may delete.
CREATE INDEX cases_ended ON pointsman.cases (process, outcome, still_at, id) WHERE status IN ('done', 'cancelled');
-- The cases of a process in a status, also by the rule that led there.
CREATE INDEX cases_still ON pointsman.cases (process, status, still_rule) WHERE status <> 'running';
-- The newest changes.
CREATE INDEX cases_changed ON pointsman.cases (still_at, id) WHERE still_at IS NOT NULL;
CREATE INDEX cases_keyed ON pointsman.cases (key) WHERE key IS NOT NULL;
CREATE INDEX cases_corresponding ON pointsman.cases (correlation) WHERE correlation IS NOT NULL;
CREATE INDEX cases_of_tenant ON pointsman.cases (tenant) WHERE tenant <> '';

CREATE TABLE pointsman.journal (
  tx       bigint NOT NULL,
  n        integer NOT NULL,
  case_id  bigint NOT NULL,
  revision integer NOT NULL,
  at       double precision,
  events   text COLLATE "C",
  field    text COLLATE "C",
  appends  boolean NOT NULL DEFAULT false,
  writer   text COLLATE "C",
  value    text COLLATE "C",
  PRIMARY KEY (tx, n)
);
-- Finds the rows of a case, and the last write of each field without reading the earlier ones.
CREATE INDEX journal_of_case ON pointsman.journal (case_id, field, revision);
CREATE INDEX journal_expirations ON pointsman.journal (at) WHERE revision = 0;

CREATE TABLE pointsman.effects (
  key         text COLLATE "C" PRIMARY KEY,
  case_id     bigint NOT NULL,
  effect      text COLLATE "C" NOT NULL,
  arguments   text COLLATE "C" NOT NULL,
  status      text COLLATE "C" NOT NULL,
  attempts    integer NOT NULL,
  intended_at double precision NOT NULL,
  deadline    double precision NOT NULL,
  outcome     text COLLATE "C",
  error       text COLLATE "C"
) WITH (fillfactor = 80);
CREATE INDEX effects_of_case ON pointsman.effects (case_id);
CREATE INDEX effects_open ON pointsman.effects (status) WHERE status IN ('intended', 'in_doubt');

CREATE TABLE pointsman.pauses (
  case_id    bigint NOT NULL,
  revision   integer NOT NULL,
  name       text COLLATE "C" NOT NULL,
  token      text COLLATE "C" NOT NULL UNIQUE,
  digest     text COLLATE "C" NOT NULL,
  opened_at  double precision NOT NULL,
  closed     text COLLATE "C",
  closed_by  text COLLATE "C",
  closed_at  double precision,
  rung       integer NOT NULL DEFAULT 0,
  assignee   text COLLATE "C",
  expires_at double precision,
  asks       boolean NOT NULL DEFAULT true,
  PRIMARY KEY (case_id, revision)
);
CREATE INDEX pauses_of_case ON pointsman.pauses (case_id) WHERE closed IS NULL;
CREATE INDEX pauses_open ON pointsman.pauses (opened_at, case_id) WHERE closed IS NULL;
CREATE INDEX pauses_named ON pointsman.pauses (name, opened_at) WHERE closed IS NULL;
CREATE INDEX pauses_assigned ON pointsman.pauses (assignee, opened_at) WHERE closed IS NULL;
CREATE INDEX pauses_expiring ON pointsman.pauses (expires_at) WHERE closed IS NULL AND expires_at IS NOT NULL;

CREATE TABLE pointsman.branches (
  case_id  bigint NOT NULL,
  name     text COLLATE "C" NOT NULL,
  attempts integer NOT NULL,
  wake_at  double precision,
  outcome  text COLLATE "C",
  failure  text COLLATE "C",
  reads    text COLLATE "C" NOT NULL DEFAULT '',
  guard    text COLLATE "C",
  PRIMARY KEY (case_id, name)
);

CREATE TABLE pointsman.messages (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  process     text COLLATE "C" NOT NULL,
  tenant      text COLLATE "C" NOT NULL DEFAULT '',
  name        text COLLATE "C" NOT NULL,
  key         text COLLATE "C",
  correlation text COLLATE "C",
  case_id     bigint,
  status      text COLLATE "C" NOT NULL,
  body        text COLLATE "C" NOT NULL,
  at          double precision NOT NULL,
  UNIQUE (process, tenant, name, key)
);
CREATE INDEX messages_pending ON pointsman.messages (case_id, id) WHERE status = 'pending';
CREATE INDEX messages_held ON pointsman.messages (id) WHERE status = 'held';
CREATE INDEX messages_unmatched ON pointsman.messages (process, tenant, correlation, id) WHERE status = 'unmatched';
CREATE INDEX messages_of_case ON pointsman.messages (case_id) WHERE case_id IS NOT NULL;

CREATE TABLE pointsman.erased_keys (
  process text COLLATE "C" NOT NULL,
  tenant  text COLLATE "C" NOT NULL,
  name    text COLLATE "C" NOT NULL,
  digest  text COLLATE "C" NOT NULL,
  case_id bigint NOT NULL,
  PRIMARY KEY (process, tenant, name, digest)
);
CREATE INDEX erased_keys_of_case ON pointsman.erased_keys (case_id);

CREATE TABLE pointsman.case_usage (
  case_id       bigint NOT NULL,
  model         text COLLATE "C" NOT NULL,
  answers       bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cost          numeric NOT NULL,
  PRIMARY KEY (case_id, model)
);

CREATE TABLE pointsman.day_usage (
  process       text COLLATE "C" NOT NULL,
  day           integer NOT NULL,
  tenant        text COLLATE "C" NOT NULL,
  model         text COLLATE "C" NOT NULL,
  shard         integer NOT NULL,
  answers       bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cost          numeric NOT NULL,
  PRIMARY KEY (process, day, tenant, model, shard)
);

CREATE TABLE pointsman.search (
  field   text COLLATE "C" NOT NULL,
  value   text COLLATE "C" NOT NULL,
  case_id bigint NOT NULL,
  PRIMARY KEY (field, value, case_id)
);
CREATE INDEX search_of_case ON pointsman.search (case_id, field);

CREATE TABLE pointsman.words (
  word    text COLLATE "C" NOT NULL,
  case_id bigint NOT NULL,
  field   text COLLATE "C" NOT NULL,
  PRIMARY KEY (word, case_id, field)
);
CREATE INDEX words_of_case ON pointsman.words (case_id, field);

CREATE TABLE pointsman.engines (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  lease_until double precision NOT NULL,
  heard_at    double precision NOT NULL,
  accepts     text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

CREATE TABLE pointsman.commits (
  engine bigint NOT NULL,
  line   integer NOT NULL,
  number bigint NOT NULL,
  tx     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (engine, line)
) WITH (fillfactor = 50);

CREATE TABLE pointsman.small_writes (
  engine bigint NOT NULL,
  number bigint NOT NULL,
  PRIMARY KEY (engine, number)
);

CREATE TABLE pointsman.limits (
  name  text COLLATE "C" PRIMARY KEY,
  state text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE pointsman.definitions (
  process     text COLLATE "C" NOT NULL,
  version     integer NOT NULL,
  fingerprint text COLLATE "C" NOT NULL,
  seen_at     double precision NOT NULL,
  PRIMARY KEY (process, version, fingerprint)
);

CREATE TABLE pointsman.schedules (
  process text COLLATE "C" NOT NULL,
  name    text COLLATE "C" NOT NULL,
  since   double precision NOT NULL,
  last    double precision NOT NULL,
  PRIMARY KEY (process, name)
);

CREATE TABLE pointsman.blobs (
  sha256  text COLLATE "C" PRIMARY KEY,
  size    bigint NOT NULL,
  kept_at double precision NOT NULL,
  content bytea NOT NULL
);

CREATE TABLE pointsman.meta (
  name  text COLLATE "C" PRIMARY KEY,
  value text COLLATE "C" NOT NULL
);
-- `era` is added to the numbers of transactions: a cluster that the database is moved to has lower ones.
INSERT INTO pointsman.meta VALUES ('incarnation', replace(gen_random_uuid()::text, '-', '')), ('cases', '0'), ('era', '0');

CREATE TABLE pointsman.case_counts (
  process text COLLATE "C" NOT NULL,
  status  text COLLATE "C" NOT NULL,
  place   text COLLATE "C" NOT NULL,
  shard   integer NOT NULL,
  cases   bigint NOT NULL,
  PRIMARY KEY (process, status, place, shard)
) WITH (fillfactor = 50);

-- The place at which a case is counted: the step at which it waits, is parked or is blocked, and the outcome of a case that is done.
CREATE FUNCTION pointsman.place_of(status text, step text, outcome text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN status IN ('waiting', 'parked', 'blocked') THEN coalesce(step, '') WHEN status = 'done' THEN coalesce(outcome, '') ELSE '' END $$;

-- The status under which a case is counted: a running case as ready, because cases change to and fro too often.
CREATE FUNCTION pointsman.counted_as(status text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE status WHEN 'running' THEN 'ready' ELSE status END $$;

-- The rows that this session counts in. Any two sessions may share them, but then one waits for the other, so the lines of an engine do not.
CREATE FUNCTION pointsman.shard() RETURNS integer LANGUAGE sql STABLE AS
$$ SELECT coalesce(nullif(current_setting('pointsman.shard', true), '')::integer, pg_backend_pid()) % 16 $$;

CREATE FUNCTION pointsman.count_new_cases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pointsman.case_counts (process, status, place, shard, cases)
    SELECT process, pointsman.counted_as(status) AS bucket, pointsman.place_of(status, step, outcome) AS place, pointsman.shard(), count(*)
      FROM new_cases GROUP BY process, bucket, place ORDER BY process, bucket, place
    ON CONFLICT (process, status, place, shard) DO UPDATE SET cases = case_counts.cases + excluded.cases;
  RETURN NULL;
END $$;

CREATE FUNCTION pointsman.count_moved_cases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pointsman.case_counts (process, status, place, shard, cases)
    SELECT process, bucket, place, pointsman.shard(), sum(cases)
      FROM (SELECT process, pointsman.counted_as(status) AS bucket, pointsman.place_of(status, step, outcome) AS place, -1 AS cases FROM old_cases
            UNION ALL
            SELECT process, pointsman.counted_as(status), pointsman.place_of(status, step, outcome), 1 FROM new_cases) AS changes
     GROUP BY process, bucket, place HAVING sum(cases) <> 0 ORDER BY process, bucket, place
    ON CONFLICT (process, status, place, shard) DO UPDATE SET cases = case_counts.cases + excluded.cases;
  RETURN NULL;
END $$;

CREATE FUNCTION pointsman.count_deleted_cases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pointsman.case_counts (process, status, place, shard, cases)
    SELECT process, pointsman.counted_as(status) AS bucket, pointsman.place_of(status, step, outcome) AS place, pointsman.shard(), -count(*)
      FROM old_cases GROUP BY process, bucket, place ORDER BY process, bucket, place
    ON CONFLICT (process, status, place, shard) DO UPDATE SET cases = case_counts.cases + excluded.cases;
  RETURN NULL;
END $$;

CREATE TRIGGER count_new_cases AFTER INSERT ON pointsman.cases REFERENCING NEW TABLE AS new_cases
  FOR EACH STATEMENT EXECUTE FUNCTION pointsman.count_new_cases();
CREATE TRIGGER count_moved_cases AFTER UPDATE ON pointsman.cases REFERENCING OLD TABLE AS old_cases NEW TABLE AS new_cases
  FOR EACH STATEMENT EXECUTE FUNCTION pointsman.count_moved_cases();
CREATE TRIGGER count_deleted_cases AFTER DELETE ON pointsman.cases REFERENCING OLD TABLE AS old_cases
  FOR EACH STATEMENT EXECUTE FUNCTION pointsman.count_deleted_cases();

CREATE VIEW pointsman.fields AS SELECT case_id, field, revision, appends, writer, value FROM pointsman.journal WHERE field IS NOT NULL;

CREATE VIEW pointsman.events AS
SELECT tx, n, case_id, revision, event.value ->> 0 AS kind, event.value ->> 1 AS step, (event.value ->> 2)::integer AS attempt, at, event.value -> 3 AS facts
  FROM pointsman.journal CROSS JOIN json_array_elements(events::json) AS event WHERE events IS NOT NULL;

-- Begin the batch with this number on a line of an engine, or raise: it was given up.
CREATE FUNCTION pointsman.begin_batch(of_engine bigint, of_line integer, batch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE pointsman.commits SET number = batch, tx = pg_current_xact_id()::text::bigint WHERE engine = of_engine AND line = of_line AND number = batch - 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'batch % of engine % was given up', batch, of_engine USING ERRCODE = 'PM001';
  END IF;
END $$;

-- The database's time (Unix seconds), which never runs backwards here although a clock can. Tests add `skew` seconds.
CREATE FUNCTION pointsman.store_time(skew double precision) RETURNS double precision LANGUAGE sql STABLE AS $$
  SELECT greatest(extract(epoch FROM clock_timestamp())::double precision + skew, (SELECT max(heard_at) FROM pointsman.engines))
$$;
