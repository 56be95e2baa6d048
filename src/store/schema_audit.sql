-- Every administrative act. `body` is what stands in the evidence log, byte for byte, in the block of that number; NULL until it is known
-- to stand there.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL, act TEXT NOT NULL, subject TEXT NOT NULL,
    body BLOB NOT NULL, sha256 BLOB NOT NULL, block INTEGER);
CREATE INDEX audit_pending ON audit (id) WHERE block IS NULL;
CREATE INDEX audit_subject ON audit (subject, id);
