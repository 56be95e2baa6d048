-- Entries are only ever added, each under the number after the last that was given, and once an entry is known to stand in the log nothing of it changes.
CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never deleted');
END;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
WHEN OLD.block IS NOT NULL OR NEW.id IS NOT OLD.id OR NEW.at IS NOT OLD.at OR NEW.who IS NOT OLD.who OR NEW.act IS NOT OLD.act
    OR NEW.subject IS NOT OLD.subject OR NEW.body IS NOT OLD.body OR NEW.sha256 IS NOT OLD.sha256
BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never changed');
END;
CREATE TRIGGER audit_follows BEFORE INSERT ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit entry follows the last') WHERE NEW.id <> 1 + max(
        (SELECT coalesce(max(id), 0) FROM audit), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0));
END;
