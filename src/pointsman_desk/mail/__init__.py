"""Read, compose, receive and send mails."""
