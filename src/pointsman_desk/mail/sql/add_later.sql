INSERT OR IGNORE INTO later (case_id, later, conversation) VALUES (?, ?, ?);
