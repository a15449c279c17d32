-- As the SQLite folder explains.
CREATE TABLE log_hold (
    id TEXT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (id, first)
);

ALTER TABLE log_state ADD COLUMN minimum BIGINT NOT NULL DEFAULT 0;
