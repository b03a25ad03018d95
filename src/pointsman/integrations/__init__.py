"""Use an engine inside another framework."""
