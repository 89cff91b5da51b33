-- Finds targets that begin with an id and say more behind it; a whole one may be too long for such an index.

create index audit_log_target_start on audit_log (left(target, 100) collate "C");
