SELECT at FROM arrivals WHERE sender = ?;
