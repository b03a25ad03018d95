-- The records of deletions, at revision 0, are deleted after a year. This index finds them by their time.

CREATE INDEX journal_expirations ON journal (at) WHERE revision = 0;
