-- Signed heads of the log, as handed out; size: blocks.
CREATE TABLE log_head (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
