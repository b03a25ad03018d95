"""What does: claims cases, runs their steps, keeps the time. No SQL, no rule."""
