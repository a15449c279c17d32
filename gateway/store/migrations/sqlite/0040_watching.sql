-- What people must look at: found in the entries, told to those who asked to be told, kept until it was.
CREATE TABLE alert (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    about TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_at ON alert (at, id);

-- The agencies whose officers must know.
CREATE TABLE alert_to (
    agency TEXT NOT NULL,
    at INTEGER NOT NULL,
    alert TEXT NOT NULL,
    PRIMARY KEY (agency, at, alert)
) STRICT, WITHOUT ROWID;

-- One row for each receiver: when it is tried next, until it was delivered.
CREATE TABLE alert_delivery (
    hook TEXT NOT NULL,
    alert TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    delivered INTEGER,
    PRIMARY KEY (hook, alert)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_delivery_due ON alert_delivery (hook, due) WHERE delivered IS NULL;

-- Up to which entry somebody who follows the log has come.
CREATE TABLE follower (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Time stamps over checkpoints (RFC 3161), the responses as they came.
CREATE TABLE log_stamp (
    size INTEGER NOT NULL,
    authority TEXT NOT NULL,
    at INTEGER NOT NULL,
    note TEXT NOT NULL,
    response BLOB NOT NULL,
    PRIMARY KEY (size, authority)
) STRICT;
CREATE INDEX log_stamp_authority ON log_stamp (authority, at);

-- In which blocks of 256 entries a field left or a layer withheld something. Says nothing of anybody.
CREATE TABLE log_facet (
    facet TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (facet, block)
) STRICT, WITHOUT ROWID;

-- What administrators did past the gateway, until the gateway has entered it.
CREATE TABLE admin_act (
    id TEXT PRIMARY KEY,
    act TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Further terms that sealed bodies are found by, keyed by the epoch like the others: the case, and the key of the seal.
ALTER TABLE log_body ADD COLUMN in_case TEXT;
ALTER TABLE log_body ADD COLUMN seal TEXT;
CREATE INDEX log_body_case ON log_body (in_case, idx) WHERE in_case IS NOT NULL;
CREATE INDEX log_body_seal ON log_body (seal, idx) WHERE seal IS NOT NULL;
