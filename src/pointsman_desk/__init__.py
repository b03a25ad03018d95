"""A customer-service mail desk: mails are classified, answered from facts, held for a person where it matters, and sent once."""
