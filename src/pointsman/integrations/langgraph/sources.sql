-- The statements of sources.py, on the databases of LangGraph's savers.

-- name: sqlite_threads
SELECT thread_id, count(*) FROM checkpoints GROUP BY thread_id ORDER BY thread_id;

-- name: sqlite_checkpoints
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints WHERE thread_id = ?
 ORDER BY checkpoint_ns, checkpoint_id;

-- name: sqlite_writes
SELECT checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value FROM writes WHERE thread_id = ?
 ORDER BY checkpoint_ns, checkpoint_id, task_id, idx;

-- name: sqlite_older_writes
-- The same in a file from before writes had a path.
SELECT checkpoint_ns, checkpoint_id, task_id, '', idx, channel, type, value FROM writes WHERE thread_id = ?
 ORDER BY checkpoint_ns, checkpoint_id, task_id, idx;

-- name: sqlite_paths
SELECT count(*) FROM pragma_table_info('writes') WHERE name = 'task_path';

-- name: postgres_threads
SELECT thread_id, count(*) FROM checkpoints GROUP BY thread_id ORDER BY thread_id;

-- name: postgres_checkpoints
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata FROM checkpoints WHERE thread_id = %s
 ORDER BY checkpoint_ns, checkpoint_id;

-- name: postgres_values
-- The values of a checkpoint's channels at their versions (a JSON object).
SELECT b.channel, b.type, b.blob FROM jsonb_each_text(%s::jsonb) AS v JOIN checkpoint_blobs AS b ON b.channel = v.key AND b.version = v.value
 WHERE b.thread_id = %s AND b.checkpoint_ns = %s AND b.type <> 'empty';

-- name: postgres_writes
SELECT checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob FROM checkpoint_writes WHERE thread_id = %s
 ORDER BY checkpoint_ns, checkpoint_id, task_id, idx;
