-- Facts of devices, usage and lines, and the index of identities, stand in files of their own (runs); here stands which there are.
-- Whatever was kept otherwise is read from the log again.
DROP TABLE device_day;
DROP TABLE usage_day;
DROP TABLE carrier_day;
DROP TABLE identity;
DELETE FROM sequence;
DELETE FROM clock_day;
DELETE FROM dropped_number;
DELETE FROM meta WHERE name = 'checkpoint';
CREATE TABLE run (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, records INTEGER NOT NULL) WITHOUT ROWID;
