-- The statements of store/postgres/checkpoints.py.

-- name: lock_checkpoint_line
-- The numbers of a line and its thread, which nobody deletes from until the transaction ends.
SELECT l.id, t.id, t.sweeps FROM pointsman.checkpoint_threads AS t
  LEFT JOIN pointsman.checkpoint_lines AS l ON l.thread = t.id AND l.namespace = %(namespace)s
 WHERE t.thread = %(thread)s FOR KEY SHARE OF t;

-- name: insert_checkpoint_thread
INSERT INTO pointsman.checkpoint_threads (thread) VALUES (%(thread)s) ON CONFLICT DO NOTHING;

-- name: insert_checkpoint_line
INSERT INTO pointsman.checkpoint_lines (thread, namespace) VALUES (%(thread)s, %(namespace)s) ON CONFLICT DO NOTHING;

-- name: lock_checkpoint_threads
-- Keep all others out of these threads. The order is the same for all, so that two engines do not wait for each other.
SELECT id, thread FROM pointsman.checkpoint_threads WHERE thread = ANY(%(threads)s::text[]) ORDER BY id FOR UPDATE;

-- name: lock_run_threads
-- The same for the threads that have checkpoints of these runs.
SELECT id, thread FROM pointsman.checkpoint_threads
 WHERE id IN (SELECT l.thread FROM pointsman.checkpoints AS c JOIN pointsman.checkpoint_lines AS l ON l.id = c.line WHERE c.run = ANY(%(runs)s::text[]))
 ORDER BY id FOR UPDATE;

-- name: insert_checkpoint_chunks
INSERT INTO pointsman.checkpoint_chunks (thread, digest, content)
SELECT %(thread)s::bigint, d.digest, d.content FROM unnest(%(digests)s::bytea[], %(contents)s::bytea[]) AS d(digest, content) ON CONFLICT DO NOTHING;

-- name: insert_checkpoint_values
-- Returns the channels whose value was new.
INSERT INTO pointsman.checkpoint_values (line, channel, version, kind, levels, content)
SELECT %(line)s::bigint, g.* FROM unnest(%(channels)s::text[], %(versions)s::text[], %(kinds)s::text[], %(levels)s::integer[], %(contents)s::bytea[]) AS g
ON CONFLICT DO NOTHING RETURNING channel;

-- name: select_same_values
-- The channels whose value of this version is the given one.
SELECT v.channel
  FROM unnest(%(channels)s::text[], %(versions)s::text[], %(kinds)s::text[], %(levels)s::integer[], %(contents)s::bytea[])
       AS g(channel, version, kind, levels, content)
  JOIN pointsman.checkpoint_values AS v ON v.line = %(line)s AND v.channel = g.channel AND v.version = g.version
 WHERE v.kind = g.kind AND v.levels = g.levels AND v.content = g.content;

-- name: upsert_checkpoint
INSERT INTO pointsman.checkpoints (line, id, parent, run, versions, keys, kind, body, metadata)
VALUES (%(line)s, %(id)s, %(parent)s, %(run)s, %(versions)s, %(keys)s, %(kind)s, %(body)s, %(metadata)s)
ON CONFLICT (line, id) DO UPDATE SET parent = excluded.parent, run = excluded.run, versions = excluded.versions, keys = excluded.keys,
  kind = excluded.kind, body = excluded.body, metadata = excluded.metadata;

-- name: select_checkpoint_keys
SELECT versions, keys FROM pointsman.checkpoints WHERE line = %(line)s AND id = %(id)s AND keys IS NOT NULL;

-- name: insert_checkpoint_writes
-- A task that runs again writes the same as before, so its first writes stay.
INSERT INTO pointsman.checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content)
SELECT %(line)s::bigint, %(checkpoint)s, %(task)s, g.place, %(path)s, g.channel, g.kind, g.levels, g.content
  FROM unnest(%(places)s::integer[], %(channels)s::text[], %(kinds)s::text[], %(levels)s::integer[], %(contents)s::bytea[])
       AS g(place, channel, kind, levels, content)
ON CONFLICT DO NOTHING;

-- name: replace_checkpoint_writes
-- An error, an interrupt or an answer replaces the one before.
INSERT INTO pointsman.checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content)
SELECT %(line)s::bigint, %(checkpoint)s, %(task)s, g.place, %(path)s, g.channel, g.kind, g.levels, g.content
  FROM unnest(%(places)s::integer[], %(channels)s::text[], %(kinds)s::text[], %(levels)s::integer[], %(contents)s::bytea[])
       AS g(place, channel, kind, levels, content)
ON CONFLICT (line, checkpoint, task, place) DO UPDATE SET path = excluded.path, channel = excluded.channel, kind = excluded.kind,
  levels = excluded.levels, content = excluded.content;

-- name: select_checkpoint
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM pointsman.checkpoint_threads AS t
  JOIN pointsman.checkpoint_lines AS l ON l.thread = t.id
  JOIN pointsman.checkpoints AS c ON c.line = l.id
 WHERE t.thread = %(thread)s AND l.namespace = %(namespace)s AND c.id = %(id)s;

-- name: select_latest_checkpoint
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM pointsman.checkpoint_threads AS t
  JOIN pointsman.checkpoint_lines AS l ON l.thread = t.id
  JOIN pointsman.checkpoints AS c ON c.line = l.id
 WHERE t.thread = %(thread)s AND l.namespace = %(namespace)s ORDER BY c.id DESC LIMIT 1;

-- name: select_checkpoint_values
SELECT v.line, v.channel, v.version, v.kind, v.levels, v.content
  FROM unnest(%(lines)s::bigint[], %(channels)s::text[], %(versions)s::text[]) AS w(line, channel, version)
  JOIN pointsman.checkpoint_values AS v ON v.line = w.line AND v.channel = w.channel AND v.version = w.version;

-- name: select_checkpoint_writes
-- The order is that in which LangGraph applies them: writes_sort_key of langgraph.checkpoint.base.
SELECT v.line, v.checkpoint, v.task, v.channel, v.kind, v.levels, v.content
  FROM unnest(%(lines)s::bigint[], %(ids)s::text[]) AS w(line, id)
  JOIN pointsman.checkpoint_writes AS v ON v.line = w.line AND v.checkpoint = w.id
 ORDER BY v.path, v.task, v.place;

-- name: select_checkpoint_chunks
SELECT v.digest, v.content FROM unnest(%(threads)s::bigint[], %(digests)s::bytea[]) AS w(thread, digest)
  JOIN pointsman.checkpoint_chunks AS v ON v.thread = w.thread AND v.digest = w.digest;

-- name: search_checkpoint_thread
-- A page of a thread's checkpoints, the newest first. An entry of `filter` fits a checkpoint whose metadata has the same value.
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM pointsman.checkpoint_threads AS t
  JOIN pointsman.checkpoint_lines AS l ON l.thread = t.id
  JOIN pointsman.checkpoints AS c ON c.line = l.id
 WHERE t.thread = %(thread)s AND (%(namespace)s::text IS NULL OR l.namespace = %(namespace)s) AND (%(id)s::text IS NULL OR c.id = %(id)s)
   AND (%(before)s::text IS NULL OR c.id < %(before)s) AND (%(after)s::text IS NULL OR (c.id, l.id) < (%(after)s, %(line)s::bigint))
   AND NOT EXISTS (SELECT 1 FROM jsonb_each(pointsman.comparable(%(filter)s)) AS f
                    WHERE nullif(pointsman.comparable(c.metadata) -> f.key, 'null') IS DISTINCT FROM nullif(f.value, 'null'))
 ORDER BY c.id DESC, l.id DESC LIMIT %(limit)s;

-- name: search_checkpoints
-- The same for all threads.
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM pointsman.checkpoints AS c
  JOIN pointsman.checkpoint_lines AS l ON l.id = c.line
  JOIN pointsman.checkpoint_threads AS t ON t.id = l.thread
 WHERE (%(namespace)s::text IS NULL OR l.namespace = %(namespace)s) AND (%(id)s::text IS NULL OR c.id = %(id)s)
   AND (%(before)s::text IS NULL OR c.id < %(before)s) AND (%(after)s::text IS NULL OR (c.id, l.id) < (%(after)s, %(line)s::bigint))
   AND NOT EXISTS (SELECT 1 FROM jsonb_each(pointsman.comparable(%(filter)s)) AS f
                    WHERE nullif(pointsman.comparable(c.metadata) -> f.key, 'null') IS DISTINCT FROM nullif(f.value, 'null'))
 ORDER BY c.id DESC, l.id DESC LIMIT %(limit)s;

-- name: select_checkpoint_line
SELECT l.id FROM pointsman.checkpoint_threads AS t JOIN pointsman.checkpoint_lines AS l ON l.thread = t.id
 WHERE t.thread = %(thread)s AND l.namespace = %(namespace)s;

-- name: count_checkpoint_thread
-- The numbers of checkpoints and writes of a thread.
SELECT (SELECT count(*) FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoints AS c ON c.line = l.id WHERE l.thread = t.id),
       (SELECT count(*) FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_writes AS w ON w.line = l.id WHERE l.thread = t.id)
  FROM pointsman.checkpoint_threads AS t WHERE t.thread = %(thread)s;

-- name: delete_checkpoint_thread
WITH lines AS (DELETE FROM pointsman.checkpoint_lines WHERE thread = %(thread)s RETURNING id),
     rows AS (DELETE FROM pointsman.checkpoints WHERE line IN (SELECT id FROM lines)),
     vals AS (DELETE FROM pointsman.checkpoint_values WHERE line IN (SELECT id FROM lines)),
     writes AS (DELETE FROM pointsman.checkpoint_writes WHERE line IN (SELECT id FROM lines)),
     chunks AS (DELETE FROM pointsman.checkpoint_chunks WHERE thread = %(thread)s)
DELETE FROM pointsman.checkpoint_threads WHERE id = %(thread)s;

-- name: delete_checkpoint_runs
-- Delete the checkpoints of runs in these threads, and return their lines.
DELETE FROM pointsman.checkpoints AS c USING pointsman.checkpoint_lines AS l
 WHERE l.id = c.line AND l.thread = ANY(%(threads)s::bigint[]) AND c.run = ANY(%(runs)s::text[]) RETURNING c.line;

-- name: select_latest_of_lines
-- The latest checkpoint of each line of a thread.
SELECT l.id, l.namespace, c.id, c.metadata FROM pointsman.checkpoint_lines AS l
 CROSS JOIN LATERAL (SELECT id, metadata FROM pointsman.checkpoints WHERE line = l.id ORDER BY id DESC LIMIT 1) AS c WHERE l.thread = %(thread)s;

-- name: select_checkpoint_parent
SELECT parent, coalesce(keys, versions) FROM pointsman.checkpoints WHERE line = %(line)s AND id = %(id)s;

-- name: delete_other_checkpoints
-- Delete a line's checkpoints but these.
DELETE FROM pointsman.checkpoints WHERE line = %(line)s AND NOT id = ANY(%(ids)s::text[]);

-- name: delete_writes_without_checkpoint
DELETE FROM pointsman.checkpoint_writes AS w
 WHERE w.line = ANY(%(lines)s::bigint[]) AND NOT EXISTS (SELECT 1 FROM pointsman.checkpoints AS c WHERE c.line = w.line AND c.id = w.checkpoint);

-- name: delete_values_without_checkpoint
WITH kept AS MATERIALIZED (
  SELECT DISTINCT c.line, j.key COLLATE "C" AS channel, j.value::text COLLATE "C" AS version
    FROM pointsman.checkpoints AS c CROSS JOIN json_each(coalesce(c.keys, c.versions)::json) AS j WHERE c.line = ANY(%(lines)s::bigint[]))
DELETE FROM pointsman.checkpoint_values AS v
 WHERE v.line = ANY(%(lines)s::bigint[])
   AND NOT EXISTS (SELECT 1 FROM kept AS k WHERE k.line = v.line AND k.channel = v.channel AND k.version = v.version);

-- name: select_chunked
-- What refers to the chunks of a thread.
SELECT v.levels, v.content FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_values AS v ON v.line = l.id
 WHERE l.thread = %(thread)s AND v.levels > 0
UNION ALL
SELECT w.levels, w.content FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_writes AS w ON w.line = l.id
 WHERE l.thread = %(thread)s AND w.levels > 0;

-- name: select_checkpoint_digests
SELECT digest FROM pointsman.checkpoint_chunks WHERE thread = %(thread)s;

-- name: delete_checkpoint_chunks
DELETE FROM pointsman.checkpoint_chunks WHERE thread = %(thread)s AND digest = ANY(%(digests)s::bytea[]);

-- name: count_checkpoint_sweep
UPDATE pointsman.checkpoint_threads SET sweeps = sweeps + 1 WHERE id = %(thread)s;

-- name: copy_checkpoint_lines
INSERT INTO pointsman.checkpoint_lines (thread, namespace) SELECT %(target)s::bigint, namespace FROM pointsman.checkpoint_lines WHERE thread = %(source)s
ON CONFLICT DO NOTHING;

-- name: copy_checkpoint_chunks
INSERT INTO pointsman.checkpoint_chunks (thread, digest, content)
SELECT %(target)s::bigint, digest, content FROM pointsman.checkpoint_chunks WHERE thread = %(source)s ON CONFLICT DO NOTHING;

-- name: copy_checkpoints
INSERT INTO pointsman.checkpoints (line, id, parent, run, versions, keys, kind, body, metadata)
SELECT o.id, c.id, c.parent, c.run, c.versions, c.keys, c.kind, c.body, c.metadata
  FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_lines AS o ON o.thread = %(target)s AND o.namespace = l.namespace
  JOIN pointsman.checkpoints AS c ON c.line = l.id WHERE l.thread = %(source)s
ON CONFLICT (line, id) DO UPDATE SET parent = excluded.parent, run = excluded.run, versions = excluded.versions, keys = excluded.keys,
  kind = excluded.kind, body = excluded.body, metadata = excluded.metadata;

-- name: copy_checkpoint_values
INSERT INTO pointsman.checkpoint_values (line, channel, version, kind, levels, content)
SELECT o.id, v.channel, v.version, v.kind, v.levels, v.content
  FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_lines AS o ON o.thread = %(target)s AND o.namespace = l.namespace
  JOIN pointsman.checkpoint_values AS v ON v.line = l.id WHERE l.thread = %(source)s
ON CONFLICT (line, channel, version) DO UPDATE SET kind = excluded.kind, levels = excluded.levels, content = excluded.content;

-- name: copy_checkpoint_writes
INSERT INTO pointsman.checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content)
SELECT o.id, w.checkpoint, w.task, w.place, w.path, w.channel, w.kind, w.levels, w.content
  FROM pointsman.checkpoint_lines AS l JOIN pointsman.checkpoint_lines AS o ON o.thread = %(target)s AND o.namespace = l.namespace
  JOIN pointsman.checkpoint_writes AS w ON w.line = l.id WHERE l.thread = %(source)s
ON CONFLICT (line, checkpoint, task, place) DO UPDATE SET path = excluded.path, channel = excluded.channel, kind = excluded.kind,
  levels = excluded.levels, content = excluded.content;
