-- Subscriptions that have not been ended: whose they are, until when, and under lock whom they are about. Without the keys
-- that lie apart from this database neither byte string says anything. A row goes when its subscription ends.
CREATE TABLE subscription (
    id TEXT PRIMARY KEY,
    agency TEXT NOT NULL,
    office TEXT,
    until INTEGER NOT NULL,
    lock_key BLOB NOT NULL,
    person BLOB NOT NULL
) STRICT;
CREATE INDEX subscription_agency ON subscription (agency, id);
CREATE INDEX subscription_until ON subscription (until);

-- Signals that wait for a subscription. Numbers are given inside the log's transaction and never twice, so that whoever
-- reads on after the last one has missed nothing. Which control fields hold is a value of the record, and under lock.
CREATE TABLE signal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    agency TEXT NOT NULL,
    office TEXT,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    exchange TEXT NOT NULL,
    lock_key BLOB NOT NULL,
    controls BLOB NOT NULL
) STRICT;
CREATE INDEX signal_agency ON signal (agency, id);
CREATE INDEX signal_subscription ON signal (subscription, id);
CREATE INDEX signal_at ON signal (at);
