SELECT case_id, mail, at FROM desk_machine_sent WHERE address = ?;
