SELECT case_id, conversation, key FROM ids WHERE hash = ?;
