CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('register_revision', 0);

CREATE TABLE register_row (list TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (list, key)) WITHOUT ROWID;

CREATE TABLE device_day (
    enterprise TEXT NOT NULL, day TEXT NOT NULL, device TEXT NOT NULL, facts BLOB NOT NULL,
    PRIMARY KEY (enterprise, day, device)) WITHOUT ROWID;
CREATE TABLE usage_day (
    enterprise TEXT NOT NULL, product TEXT NOT NULL, day TEXT NOT NULL, user TEXT NOT NULL, function_module TEXT NOT NULL,
    channel TEXT NOT NULL, facts BLOB NOT NULL,
    PRIMARY KEY (enterprise, product, day, user, function_module, channel)) WITHOUT ROWID;
CREATE TABLE carrier_day (
    enterprise TEXT NOT NULL, product TEXT NOT NULL, day TEXT NOT NULL, line TEXT NOT NULL,
    sessions INTEGER NOT NULL, bytes INTEGER NOT NULL, devices INTEGER,
    PRIMARY KEY (enterprise, product, day, line)) WITHOUT ROWID;
CREATE TABLE sequence (
    gateway TEXT NOT NULL, boot TEXT NOT NULL, ranges BLOB NOT NULL, last_at INTEGER,
    PRIMARY KEY (gateway, boot)) WITHOUT ROWID;
CREATE TABLE identity (key BLOB PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE result (
    position INTEGER PRIMARY KEY AUTOINCREMENT, voucher TEXT NOT NULL, sequence INTEGER NOT NULL, verdict TEXT NOT NULL,
    judged_at INTEGER NOT NULL, body TEXT NOT NULL, explanation TEXT NOT NULL,
    UNIQUE (voucher, sequence));

CREATE TABLE api_key (
    sha256 TEXT PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, scope TEXT, created_at INTEGER NOT NULL) WITHOUT ROWID;
