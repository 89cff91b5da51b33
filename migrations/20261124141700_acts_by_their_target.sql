-- Who paused this, who cancelled that: acts are looked up by what they were done to.

-- A target may be longer than a B-tree takes (the filter of a bulk change), and is only ever asked for whole.
create index audit_log_target on audit_log using hash (target);
