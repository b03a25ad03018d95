"""Who classifies and drafts: the rule-based model, and the protocol that another one would follow."""
