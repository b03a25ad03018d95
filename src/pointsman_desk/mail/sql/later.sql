SELECT later, conversation FROM later WHERE case_id = ? ORDER BY later;
