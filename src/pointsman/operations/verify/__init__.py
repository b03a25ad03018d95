"""Model checking: what can ever happen to a case of a process, and whether its invariants are kept."""
