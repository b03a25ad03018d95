-- An identifier keeps its conversation; within it, the newest case counts.
INSERT INTO ids (hash, case_id, conversation, key) VALUES (?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET case_id = excluded.case_id WHERE conversation = excluded.conversation;
