"""What looks: the history of a case, and why it stands where it stands."""
