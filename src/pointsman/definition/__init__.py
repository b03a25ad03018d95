"""What an author writes: declarations, and the checks of them that run before any case."""
