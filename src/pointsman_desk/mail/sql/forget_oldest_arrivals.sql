DELETE FROM arrivals WHERE sender = ?1 AND at < (SELECT at FROM arrivals WHERE sender = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2);
