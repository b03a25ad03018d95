"""A customer-service mail desk: it classifies mails, answers them from facts, asks a person where it matters, and sends each reply once."""
