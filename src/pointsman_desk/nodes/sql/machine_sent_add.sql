INSERT INTO desk_machine_sent (address, case_id, mail, at) VALUES (?, ?, ?, ?)
ON CONFLICT (address, case_id, mail) DO UPDATE SET at = excluded.at;
