DELETE FROM arrivals WHERE sender = ? AND at <= ?;
