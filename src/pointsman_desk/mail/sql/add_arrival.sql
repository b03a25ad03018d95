INSERT OR IGNORE INTO arrivals (sender, key, at) VALUES (?, ?, ?);
