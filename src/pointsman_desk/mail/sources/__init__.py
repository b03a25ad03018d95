"""Sources of mails."""
