DELETE FROM desk_machine_sent WHERE at <= ?;
