-- Clocks by gateway and day of receipt. Filled from here on; for what was accepted before, `tally rebuild` reads the log anew.
CREATE TABLE clock_day (
    gateway TEXT NOT NULL, day TEXT NOT NULL, enterprise TEXT NOT NULL, facts BLOB NOT NULL,
    PRIMARY KEY (gateway, day, enterprise)) WITHOUT ROWID;
CREATE INDEX clock_day_enterprise ON clock_day (enterprise, day);

-- How many numbers of a boot are missing, so that the total is at hand without reading every range.
ALTER TABLE sequence ADD COLUMN missing INTEGER;
CREATE INDEX sequence_missing ON sequence (missing) WHERE missing > 0;
