-- Copies of pushed records that wait for their recipients, under lock: without the keys that lie apart from this database
-- neither column says anything. A row goes when its copy was handed over or cancelled; of a dead one the copy goes, and
-- the row stays a month, to be counted.
CREATE TABLE parcel (
    id TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    due INTEGER,
    holder TEXT,
    dead_at INTEGER,
    lock_key BLOB,
    copy BLOB
) STRICT;
CREATE INDEX parcel_due ON parcel (recipient, due) WHERE due IS NOT NULL;
CREATE INDEX parcel_holder ON parcel (holder) WHERE holder IS NOT NULL;
CREATE INDEX parcel_dead ON parcel (dead_at) WHERE dead_at IS NOT NULL;
