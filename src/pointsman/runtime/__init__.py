"""The runtime claims cases, performs the commands of the machine and keeps the timers. It contains no SQL and decides nothing about a case."""
