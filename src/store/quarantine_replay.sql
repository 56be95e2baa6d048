-- What it takes to find an entry again, to read it anew, and to say what became of it.
ALTER TABLE quarantine ADD COLUMN boot TEXT;
ALTER TABLE quarantine ADD COLUMN seq INTEGER;
ALTER TABLE quarantine ADD COLUMN topic TEXT;
ALTER TABLE quarantine ADD COLUMN replayable INTEGER NOT NULL DEFAULT 1;
ALTER TABLE quarantine ADD COLUMN replayed_at INTEGER;
ALTER TABLE quarantine ADD COLUMN outcome TEXT;
-- Something for the row itself, so that many small entries are bounded too.
ALTER TABLE quarantine ADD COLUMN bytes INTEGER GENERATED ALWAYS AS (length(body) + length(CAST(faults AS BLOB)) + 200) VIRTUAL;
UPDATE quarantine SET replayable = 0
    WHERE EXISTS (SELECT 1 FROM json_each(faults) WHERE value ->> 'code' IN ('qos0', 'not_authorised'));
CREATE INDEX quarantine_received ON quarantine (received_at);

-- The size is at hand without reading every entry.
CREATE TABLE quarantine_size (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO quarantine_size SELECT 1, count(*), coalesce(sum(bytes), 0) FROM quarantine;
CREATE TRIGGER quarantine_added AFTER INSERT ON quarantine BEGIN
    UPDATE quarantine_size SET entries = entries + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER quarantine_removed AFTER DELETE ON quarantine BEGIN
    UPDATE quarantine_size SET entries = entries - 1, bytes = bytes - OLD.bytes;
END;
CREATE TRIGGER quarantine_faults_changed AFTER UPDATE OF faults ON quarantine BEGIN
    UPDATE quarantine_size SET bytes = bytes - OLD.bytes + NEW.bytes;
END;

-- Facts about refusals that findings rest on. They are kept for good, also when the entry itself is gone.
CREATE TABLE conflict (
    number INTEGER PRIMARY KEY, enterprise TEXT NOT NULL, sender_kind TEXT NOT NULL, sender TEXT NOT NULL,
    identity TEXT NOT NULL, digest BLOB NOT NULL, day TEXT NOT NULL, received_at INTEGER NOT NULL, position INTEGER NOT NULL,
    UNIQUE (enterprise, sender_kind, sender, identity, digest));
CREATE INDEX conflict_day ON conflict (enterprise, day);
CREATE TABLE future_refusal (
    number INTEGER PRIMARY KEY, enterprise TEXT NOT NULL, day TEXT NOT NULL, gateway TEXT NOT NULL,
    UNIQUE (enterprise, day, gateway));
