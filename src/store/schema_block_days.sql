-- By day of receipt (Asia/Shanghai): the first and the last block of the log that hold what came on it. Whatever was kept is read from
-- the log again, so that every day has its blocks.
CREATE TABLE block_day (day TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
DELETE FROM run;
DELETE FROM sequence;
DELETE FROM clock_day;
DELETE FROM dropped_number;
DELETE FROM meta WHERE name = 'checkpoint';
