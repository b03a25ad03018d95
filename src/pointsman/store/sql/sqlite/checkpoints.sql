-- The statements of store/sqlite_checkpoints.py.

-- name: select_line
SELECT l.id, l.thread FROM checkpoint_threads AS t JOIN checkpoint_lines AS l ON l.thread = t.id WHERE t.thread = ? AND l.namespace = ?;

-- name: select_thread
SELECT id FROM checkpoint_threads WHERE thread = ?;

-- name: insert_thread
INSERT INTO checkpoint_threads (thread) VALUES (?) RETURNING id;

-- name: insert_line
INSERT INTO checkpoint_lines (thread, namespace) VALUES (?, ?) RETURNING id;

-- name: select_lines
SELECT id, namespace FROM checkpoint_lines WHERE thread = ? ORDER BY id;

-- name: insert_chunk
INSERT INTO checkpoint_chunks (thread, digest, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: select_chunk
SELECT content FROM checkpoint_chunks WHERE thread = ? AND digest = ?;

-- name: insert_value
INSERT INTO checkpoint_values (line, channel, version, kind, levels, content) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: same_value
-- Whether the value of this version is the given one.
SELECT kind = ? AND levels = ? AND content = ? FROM checkpoint_values WHERE line = ? AND channel = ? AND version = ?;

-- name: upsert_checkpoint
INSERT OR REPLACE INTO checkpoints (line, id, parent, run, versions, keys, kind, body, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: select_keys
SELECT versions, keys FROM checkpoints WHERE line = ? AND id = ? AND keys IS NOT NULL;

-- name: insert_write
-- A task that runs again writes the same as before, so its first writes stay.
INSERT INTO checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: replace_write
-- An error, an interrupt or an answer replaces the one before.
INSERT OR REPLACE INTO checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: select_checkpoint
SELECT id, parent, versions, coalesce(keys, versions), kind, body, metadata FROM checkpoints WHERE line = ? AND id = ?;

-- name: select_latest_checkpoint
SELECT id, parent, versions, coalesce(keys, versions), kind, body, metadata FROM checkpoints WHERE line = ? ORDER BY id DESC LIMIT 1;

-- name: select_values
-- The values of the channels of a checkpoint, by the map of their keys.
SELECT v.channel, v.kind, v.levels, v.content
  FROM json_each(:keys) AS j
  JOIN checkpoint_values AS v ON v.line = :line AND v.channel = j.key AND v.version = j.value;

-- name: select_channel_writes
-- The order is that in which LangGraph applies them: writes_sort_key of langgraph.checkpoint.base.
SELECT task, channel, kind, levels, content FROM checkpoint_writes WHERE line = ? AND checkpoint = ? ORDER BY path, task, place;

-- name: search_thread
-- A page of a thread's checkpoints, the newest first. An entry of `filter` fits a checkpoint whose metadata has the same value.
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM checkpoint_threads AS t
  JOIN checkpoint_lines AS l ON l.thread = t.id
  JOIN checkpoints AS c ON c.line = l.id
 WHERE t.thread = :thread AND (:namespace IS NULL OR l.namespace = :namespace) AND (:id IS NULL OR c.id = :id)
   AND (:before IS NULL OR c.id < :before) AND (c.id, l.id) < (:after, :line)
   AND NOT EXISTS (
     SELECT 1 FROM json_each(:filter) AS f WHERE (SELECT m.value FROM json_each(c.metadata) AS m WHERE m.key = f.key) IS NOT f.value)
 ORDER BY c.id DESC, l.id DESC LIMIT :limit;

-- name: search_checkpoints
-- The same for all threads.
SELECT t.thread, l.namespace, l.id, l.thread, c.id, c.parent, c.versions, coalesce(c.keys, c.versions), c.kind, c.body, c.metadata
  FROM checkpoints AS c
  JOIN checkpoint_lines AS l ON l.id = c.line
  JOIN checkpoint_threads AS t ON t.id = l.thread
 WHERE (:namespace IS NULL OR l.namespace = :namespace) AND (:id IS NULL OR c.id = :id)
   AND (:before IS NULL OR c.id < :before) AND (c.id, l.id) < (:after, :line)
   AND NOT EXISTS (
     SELECT 1 FROM json_each(:filter) AS f WHERE (SELECT m.value FROM json_each(c.metadata) AS m WHERE m.key = f.key) IS NOT f.value)
 ORDER BY c.id DESC, l.id DESC LIMIT :limit;

-- name: count_thread
-- The numbers of checkpoints and writes of a thread.
SELECT (SELECT count(*) FROM checkpoint_lines AS l JOIN checkpoints AS c ON c.line = l.id WHERE l.thread = t.id),
       (SELECT count(*) FROM checkpoint_lines AS l JOIN checkpoint_writes AS w ON w.line = l.id WHERE l.thread = t.id)
  FROM checkpoint_threads AS t WHERE t.thread = ?;

-- name: delete_thread
DELETE FROM checkpoint_threads WHERE id = ?;

-- name: delete_lines
DELETE FROM checkpoint_lines WHERE thread = ?;

-- name: delete_line_checkpoints
DELETE FROM checkpoints WHERE line IN (SELECT id FROM checkpoint_lines WHERE thread = ?);

-- name: delete_line_values
DELETE FROM checkpoint_values WHERE line IN (SELECT id FROM checkpoint_lines WHERE thread = ?);

-- name: delete_line_writes
DELETE FROM checkpoint_writes WHERE line IN (SELECT id FROM checkpoint_lines WHERE thread = ?);

-- name: delete_thread_chunks
DELETE FROM checkpoint_chunks WHERE thread = ?;

-- name: delete_other_checkpoints
-- Delete a line's checkpoints but these.
DELETE FROM checkpoints WHERE line = ? AND id NOT IN (SELECT value FROM json_each(?));

-- name: delete_other_writes
DELETE FROM checkpoint_writes WHERE line = ? AND checkpoint NOT IN (SELECT value FROM json_each(?));

-- name: delete_other_values
-- Delete the values that no checkpoint of the line has.
DELETE FROM checkpoint_values
 WHERE line = :line AND (channel, version) NOT IN
       (SELECT j.key, j.value FROM checkpoints AS c, json_each(coalesce(c.keys, c.versions)) AS j WHERE c.line = :line);

-- name: select_run_lines
-- The lines that have checkpoints of these runs.
SELECT DISTINCT c.line, l.thread FROM checkpoints AS c JOIN checkpoint_lines AS l ON l.id = c.line
 WHERE c.run IN (SELECT value FROM json_each(?));

-- name: select_other_runs
-- The checkpoints of a line that belong to none of these runs.
SELECT id FROM checkpoints WHERE line = ? AND (run IS NULL OR run NOT IN (SELECT value FROM json_each(?)));

-- name: select_chunked
-- What refers to the chunks of a thread.
SELECT v.levels, v.content FROM checkpoint_lines AS l JOIN checkpoint_values AS v ON v.line = l.id WHERE l.thread = :thread AND v.levels > 0
UNION ALL
SELECT w.levels, w.content FROM checkpoint_lines AS l JOIN checkpoint_writes AS w ON w.line = l.id WHERE l.thread = :thread AND w.levels > 0;

-- name: select_digests
SELECT digest FROM checkpoint_chunks WHERE thread = ?;

-- name: delete_chunk
DELETE FROM checkpoint_chunks WHERE thread = ? AND digest = ?;

-- name: copy_chunks
INSERT INTO checkpoint_chunks (thread, digest, content) SELECT :target, digest, content FROM checkpoint_chunks WHERE thread = :source
ON CONFLICT DO NOTHING;

-- name: copy_checkpoints
INSERT OR REPLACE INTO checkpoints (line, id, parent, run, versions, keys, kind, body, metadata)
SELECT :target, id, parent, run, versions, keys, kind, body, metadata FROM checkpoints WHERE line = :source;

-- name: copy_values
INSERT OR REPLACE INTO checkpoint_values (line, channel, version, kind, levels, content)
SELECT :target, channel, version, kind, levels, content FROM checkpoint_values WHERE line = :source;

-- name: copy_writes
INSERT OR REPLACE INTO checkpoint_writes (line, checkpoint, task, place, path, channel, kind, levels, content)
SELECT :target, checkpoint, task, place, path, channel, kind, levels, content FROM checkpoint_writes WHERE line = :source;
