-- As the SQLite folder explains.
ALTER TABLE log_state ADD COLUMN shard BIGINT NOT NULL DEFAULT 0;
ALTER TABLE log_state ADD COLUMN first BIGINT NOT NULL DEFAULT 0;

CREATE TABLE log_shard (
    number BIGINT PRIMARY KEY CHECK (number >= 0),
    origin TEXT NOT NULL UNIQUE,
    first BIGINT NOT NULL,
    size BIGINT NOT NULL CHECK (size > 0),
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    note TEXT
);

ALTER TABLE log_tile ADD COLUMN shard BIGINT NOT NULL DEFAULT 0;
ALTER TABLE log_tile DROP CONSTRAINT log_tile_pkey;
ALTER TABLE log_tile ADD PRIMARY KEY (shard, level, n);
CREATE TRIGGER log_shard_keeps_how_it_ended BEFORE UPDATE OF number, origin, first, size, root ON log_shard
    FOR EACH STATEMENT EXECUTE FUNCTION only_ever_added_to();
CREATE TRIGGER log_shard_is_never_deleted BEFORE DELETE OR TRUNCATE ON log_shard
    FOR EACH STATEMENT EXECUTE FUNCTION only_ever_added_to();
