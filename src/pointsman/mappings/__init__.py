"""Maps the errors of common clients to the outcome of an effect: not sent, rejected, or in doubt."""
