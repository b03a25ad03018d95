"""Measure a model: labelled mails, the model's answers, and the figures."""
