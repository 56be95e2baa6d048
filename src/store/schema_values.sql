-- Facts of an hour tell of its values too: whatever was kept is read from the log again.
DELETE FROM run;
DELETE FROM sequence;
DELETE FROM clock_day;
DELETE FROM dropped_number;
DELETE FROM block_day;
DELETE FROM meta WHERE name = 'checkpoint';
