"""How fast the engine is, as ratios to the floor of the same run."""
