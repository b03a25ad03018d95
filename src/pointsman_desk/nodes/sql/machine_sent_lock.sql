-- On PostgreSQL, two cases of one address would otherwise count side by side, each without the other.
SELECT pg_advisory_xact_lock(hashtextextended('desk_machine_sent', 0) # hashtextextended(encode(?, 'hex'), 0));
