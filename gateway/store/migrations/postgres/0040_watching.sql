-- What people must look at: found in the entries, told to those who asked to be told, kept until it was.
CREATE TABLE alert (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    about TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX alert_at ON alert (at, id);

-- The agencies whose officers must know.
CREATE TABLE alert_to (
    agency TEXT NOT NULL,
    at BIGINT NOT NULL,
    alert TEXT NOT NULL,
    PRIMARY KEY (agency, at, alert)
);

-- One row for each receiver: when it is tried next, until it was delivered.
CREATE TABLE alert_delivery (
    hook TEXT NOT NULL,
    alert TEXT NOT NULL,
    due BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    delivered BIGINT,
    PRIMARY KEY (hook, alert)
);
CREATE INDEX alert_delivery_due ON alert_delivery (hook, due) WHERE delivered IS NULL;

-- Up to which entry somebody who follows the log has come.
CREATE TABLE follower (
    name TEXT PRIMARY KEY,
    next BIGINT NOT NULL
);

-- Time stamps over checkpoints (RFC 3161), the responses as they came.
CREATE TABLE log_stamp (
    size BIGINT NOT NULL,
    authority TEXT NOT NULL,
    at BIGINT NOT NULL,
    note TEXT NOT NULL,
    response BYTEA NOT NULL,
    PRIMARY KEY (size, authority)
);
CREATE INDEX log_stamp_authority ON log_stamp (authority, at);

-- In which blocks of 256 entries a field left or a layer withheld something. Says nothing of anybody.
CREATE TABLE log_facet (
    facet TEXT NOT NULL,
    block BIGINT NOT NULL,
    PRIMARY KEY (facet, block)
);

-- What administrators did past the gateway, until the gateway has entered it.
CREATE TABLE admin_act (
    id TEXT PRIMARY KEY,
    act TEXT NOT NULL
);

-- Further terms that sealed bodies are found by, keyed by the epoch like the others: the case, and the key of the seal.
ALTER TABLE log_body ADD COLUMN in_case TEXT;
ALTER TABLE log_body ADD COLUMN seal TEXT;
CREATE INDEX log_body_case ON log_body (in_case, idx) WHERE in_case IS NOT NULL;
CREATE INDEX log_body_seal ON log_body (seal, idx) WHERE seal IS NOT NULL;
