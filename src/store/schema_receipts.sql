-- Numbers that a gateway has declared dropped.
CREATE TABLE dropped_number (gateway TEXT NOT NULL, boot TEXT NOT NULL, ranges BLOB NOT NULL, PRIMARY KEY (gateway, boot)) WITHOUT ROWID;
