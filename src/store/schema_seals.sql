-- Every result is signed as it is stored, over the chain of all before it; what results rest on is kept by its hash.
CREATE TABLE result_seal (position INTEGER PRIMARY KEY, chain BLOB NOT NULL, jws TEXT NOT NULL);
CREATE TABLE kept (hash TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
-- Signed heads tell of the results too: there may be more than one of a size.
CREATE TABLE log_head_of_results (size INTEGER NOT NULL, results INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY (size, results));
INSERT INTO log_head_of_results SELECT size, 0, note FROM log_head;
DROP TABLE log_head;
ALTER TABLE log_head_of_results RENAME TO log_head;
