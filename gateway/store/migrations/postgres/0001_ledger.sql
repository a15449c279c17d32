-- The same schema as the SQLite folder holds, where every table is explained.

CREATE TABLE log_state (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    frontier BYTEA NOT NULL,
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    last_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);

CREATE TABLE log_entry (
    idx BIGINT PRIMARY KEY CHECK (idx >= 0),
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    leaf TEXT NOT NULL,
    leaf_hash BYTEA NOT NULL CHECK (octet_length(leaf_hash) = 32),
    UNIQUE (id, kind)
);

CREATE INDEX log_entry_rules ON log_entry (idx) WHERE kind IN ('open', 'policy', 'registry');

CREATE TABLE log_slots (
    idx BIGINT PRIMARY KEY,
    decision_salt BYTEA,
    decision TEXT,
    operator_salt BYTEA,
    operator TEXT,
    subject_salt BYTEA,
    subject TEXT
);

CREATE TABLE log_subject (
    subject TEXT NOT NULL,
    idx BIGINT NOT NULL,
    PRIMARY KEY (subject, idx)
);

CREATE TABLE log_tile (
    level BIGINT NOT NULL,
    n BIGINT NOT NULL,
    hashes BYTEA NOT NULL CHECK (octet_length(hashes) = 8192),
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (level, n)
);

CREATE TABLE replay (
    token BYTEA PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX replay_expires ON replay (expires);

CREATE TABLE claim (
    exchange TEXT PRIMARY KEY,
    replica TEXT NOT NULL,
    claimed_at BIGINT NOT NULL,
    request_digest BYTEA NOT NULL,
    interrupted TEXT NOT NULL
);

CREATE TABLE stream (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    epoch BIGINT NOT NULL CHECK (epoch >= 1),
    header TEXT
);

CREATE TABLE stream_event (
    stream TEXT NOT NULL,
    seq BIGINT NOT NULL CHECK (seq >= 1),
    event TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
);

CREATE TABLE stream_subject (
    subject TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (subject, stream)
);

CREATE TABLE artifact (
    sha256 BYTEA PRIMARY KEY CHECK (octet_length(sha256) = 32),
    kind TEXT NOT NULL,
    bytes BYTEA NOT NULL
);

CREATE FUNCTION only_ever_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME;
END
$$;

CREATE TRIGGER log_entry_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entry
    FOR EACH STATEMENT EXECUTE FUNCTION only_ever_added_to();
CREATE TRIGGER log_tile_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON log_tile
    FOR EACH STATEMENT EXECUTE FUNCTION only_ever_added_to();
CREATE TRIGGER stream_event_is_never_changed BEFORE UPDATE ON stream_event
    FOR EACH STATEMENT EXECUTE FUNCTION only_ever_added_to();
