"""The models that classify and draft: the rules and templates, and the prompts and checks for language models."""
