-- What spot checks found. Rows are only ever added; a correction names the row whose place it takes, once.
CREATE TABLE spot_check_outcome (
    number INTEGER PRIMARY KEY AUTOINCREMENT, voucher TEXT NOT NULL, supplier TEXT NOT NULL, outcome TEXT NOT NULL, note TEXT NOT NULL,
    checked_on TEXT NOT NULL, corrects INTEGER UNIQUE REFERENCES spot_check_outcome (number),
    recorded_at INTEGER NOT NULL, recorded_by TEXT NOT NULL);
CREATE INDEX spot_check_outcome_voucher ON spot_check_outcome (voucher);
CREATE TRIGGER spot_check_outcome_unchanged BEFORE UPDATE ON spot_check_outcome BEGIN
    SELECT RAISE(ABORT, 'an outcome of a spot check is never changed: add one that corrects it');
END;
CREATE TRIGGER spot_check_outcome_kept BEFORE DELETE ON spot_check_outcome BEGIN
    SELECT RAISE(ABORT, 'an outcome of a spot check is never deleted: add one that corrects it');
END;
CREATE TRIGGER spot_check_outcome_follows BEFORE INSERT ON spot_check_outcome BEGIN
    SELECT RAISE(ABORT, 'an outcome takes no place of another') 
    WHERE EXISTS (SELECT 1 FROM spot_check_outcome WHERE number = NEW.number OR corrects = NEW.corrects);
END;
