-- Yearly shards. Entries keep their positions in the whole history (`idx`); each shard has a tree of its own, whose first
-- leaf is the entry at `first`. The row of `log_state` is about the open shard; its size counts that shard's entries.
ALTER TABLE log_state ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log_state ADD COLUMN first INTEGER NOT NULL DEFAULT 0;

-- The closed ones, with the final checkpoint as soon as it is signed.
CREATE TABLE log_shard (
    number INTEGER PRIMARY KEY CHECK (number >= 0),
    origin TEXT NOT NULL UNIQUE,
    first INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (size > 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note TEXT
) STRICT;

-- The primary key of the tiles gets the shard, and SQLite cannot change one.
CREATE TABLE log_tile_of_shard (
    shard INTEGER NOT NULL DEFAULT 0,
    level INTEGER NOT NULL,
    n INTEGER NOT NULL,
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192),
    root BLOB NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (shard, level, n)
) STRICT;
INSERT INTO log_tile_of_shard (shard, level, n, hashes, root)
    SELECT 0, level, n, hashes, root FROM log_tile ORDER BY level, n;
DROP TABLE log_tile;
ALTER TABLE log_tile_of_shard RENAME TO log_tile;
CREATE TRIGGER log_tile_is_never_changed BEFORE UPDATE ON log_tile
BEGIN SELECT RAISE(ABORT, 'log_tile is only ever added to'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
BEGIN SELECT RAISE(ABORT, 'log_tile is only ever added to'); END;
CREATE TRIGGER log_shard_keeps_how_it_ended BEFORE UPDATE OF number, origin, first, size, root ON log_shard
BEGIN SELECT RAISE(ABORT, 'log_shard is only ever added to'); END;
CREATE TRIGGER log_shard_is_never_deleted BEFORE DELETE ON log_shard
BEGIN SELECT RAISE(ABORT, 'log_shard is only ever added to'); END;
