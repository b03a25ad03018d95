INSERT OR REPLACE INTO desk_machine_sent (address, case_id, mail, at) VALUES (?, ?, ?, ?);
