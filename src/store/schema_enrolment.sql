-- When a key ends; NULL: never. Keys of role enrol end.
ALTER TABLE api_key ADD COLUMN expires_at INTEGER;
-- What a key of role enrol was used for: it is used up with its row here. A token that was given with it is the hash of the salt and the
-- key, so that it can be told again to whom it was given, and stands nowhere.
CREATE TABLE enrolment (
    key_sha256 TEXT PRIMARY KEY, gateway TEXT NOT NULL, public_key TEXT NOT NULL, token_salt BLOB, at INTEGER NOT NULL) WITHOUT ROWID;
-- With which an enterprise's users are pseudonymised.
CREATE TABLE pseudonym_key (enterprise TEXT PRIMARY KEY, key BLOB NOT NULL, made_at INTEGER NOT NULL) WITHOUT ROWID;
-- Under another key, or one made anew, every user would count once more.
CREATE TRIGGER pseudonym_key_unchanged BEFORE UPDATE ON pseudonym_key BEGIN
    SELECT RAISE(ABORT, 'a pseudonym key is never changed');
END;
CREATE TRIGGER pseudonym_key_kept BEFORE DELETE ON pseudonym_key BEGIN
    SELECT RAISE(ABORT, 'a pseudonym key is never deleted');
END;
-- By which keys of the API it has been read.
CREATE TABLE pseudonym_key_reader (
    enterprise TEXT NOT NULL, key_sha256 TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (enterprise, key_sha256)) WITHOUT ROWID;
