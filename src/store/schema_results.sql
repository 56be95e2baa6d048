-- Results are only ever added, each under the number after the last of its voucher.
CREATE TRIGGER result_unchanged BEFORE UPDATE ON result BEGIN
    SELECT RAISE(ABORT, 'a result is never changed');
END;
CREATE TRIGGER result_kept BEFORE DELETE ON result BEGIN
    SELECT RAISE(ABORT, 'a result is never deleted');
END;
CREATE TRIGGER result_follows BEFORE INSERT ON result BEGIN
    SELECT RAISE(ABORT, 'a result follows the last of its voucher and takes no place of another')
    WHERE NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM result WHERE voucher = NEW.voucher)
       OR EXISTS (SELECT 1 FROM result WHERE position = NEW.position);
END;
