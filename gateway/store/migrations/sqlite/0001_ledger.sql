-- The access log, the documents whose changes are entered in it, and what makes a token good for one exchange only.
-- The PostgreSQL folder holds the same schema with its own type names; both are tested with the same statements.

-- Where the log stands. One row; its lock is what puts the entries of several writers into one order.
CREATE TABLE log_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    frontier BLOB NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32),
    last_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

-- The leaves, in order and without gaps. Text, because they are ASCII; the tree hashes exactly these bytes.
CREATE TABLE log_entry (
    idx INTEGER PRIMARY KEY CHECK (idx >= 0),
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    leaf TEXT NOT NULL,
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
    UNIQUE (id, kind)
) STRICT;

-- The few entries that change the rules: found at every start without reading the whole log.
CREATE INDEX log_entry_rules ON log_entry (idx) WHERE kind IN ('open', 'policy', 'registry');

-- The erasable bodies beside the leaves. Erasing one sets salt and body to NULL.
CREATE TABLE log_slots (
    idx INTEGER PRIMARY KEY,
    decision_salt BLOB,
    decision TEXT,
    operator_salt BLOB,
    operator TEXT,
    subject_salt BLOB,
    subject TEXT
) STRICT;

-- Which entries are about a person: what answers "who looked at me". Erasable.
CREATE TABLE log_subject (
    subject TEXT NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (subject, idx)
) STRICT, WITHOUT ROWID;

-- Full tiles only: 256 hashes, and the hash over them, which is one hash of the tile above.
CREATE TABLE log_tile (
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192),
    root BLOB NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (level, n)
) STRICT;

-- Tokens already used, by SHA-256 of issuer key and jti, until they would be refused as expired anyway.
CREATE TABLE replay (
    token BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_expires ON replay (expires);

-- Exchanges that have begun and have no outcome yet, with the entry to write should they never get one.
CREATE TABLE claim (
    exchange TEXT PRIMARY KEY,
    replica TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    request_digest BLOB NOT NULL,
    interrupted TEXT NOT NULL
) STRICT;

-- Documents that are never overwritten, only added to: cases, consents.
CREATE TABLE stream (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    header TEXT
) STRICT;

CREATE TABLE stream_event (
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 1),
    event TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE stream_subject (
    subject TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (subject, stream)
) STRICT, WITHOUT ROWID;

-- Policy bundles, registry versions and the genesis, by their SHA-256, for ever: replay needs them.
CREATE TABLE artifact (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    kind TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Against our own mistakes; whoever owns the file can drop a trigger, and is found out by the tree.
CREATE TRIGGER log_entry_is_never_changed BEFORE UPDATE ON log_entry
BEGIN SELECT RAISE(ABORT, 'log_entry is only ever added to'); END;
CREATE TRIGGER log_entry_is_never_deleted BEFORE DELETE ON log_entry
BEGIN SELECT RAISE(ABORT, 'log_entry is only ever added to'); END;
CREATE TRIGGER log_tile_is_never_changed BEFORE UPDATE ON log_tile
BEGIN SELECT RAISE(ABORT, 'log_tile is only ever added to'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
BEGIN SELECT RAISE(ABORT, 'log_tile is only ever added to'); END;
CREATE TRIGGER stream_event_is_never_changed BEFORE UPDATE ON stream_event
BEGIN SELECT RAISE(ABORT, 'stream_event is only ever added to'); END;
