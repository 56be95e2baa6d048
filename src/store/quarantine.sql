CREATE TABLE quarantine (
    position INTEGER PRIMARY KEY AUTOINCREMENT, received_at INTEGER NOT NULL, sender_kind TEXT NOT NULL, sender TEXT NOT NULL,
    label TEXT, faults TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX quarantine_sender ON quarantine (sender_kind, sender, position);
