CREATE INDEX IF NOT EXISTS desk_machine_sent_at ON desk_machine_sent (at);
