"""What an author writes: declarations, and the checks that are made of them before anything runs."""
