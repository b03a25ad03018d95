"""For authors: hold the clock still, kill at any point, and prove a store."""
