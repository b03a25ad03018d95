"""How good a model is at the desk's work: labelled mails, the model's answers to them, and the figures."""
