-- Numbers that were refused, for receipts; kept for good, also when the entry itself is gone.
CREATE TABLE refused_number (gateway TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (gateway, boot, seq)) WITHOUT ROWID;
