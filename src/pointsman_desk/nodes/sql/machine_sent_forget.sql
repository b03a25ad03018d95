DELETE FROM desk_machine_sent WHERE address = ? AND at <= ?;
