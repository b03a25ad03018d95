"""What decides: pure functions of a process and a snapshot. No clock, no database, no event loop."""
