DELETE FROM arrivals WHERE at <= ?;
