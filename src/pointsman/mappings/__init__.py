"""What the errors and answers of common clients say of an effect: not sent, rejected, or in doubt."""
