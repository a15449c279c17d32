-- As the SQLite folder explains.
CREATE TABLE log_body (
    idx BIGINT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    decision BYTEA,
    operator BYTEA,
    subject BYTEA,
    about BYTEA,
    who TEXT,
    office TEXT
);
CREATE INDEX log_body_who ON log_body (who, idx) WHERE who IS NOT NULL;
CREATE INDEX log_body_office ON log_body (office, idx) WHERE office IS NOT NULL;
ALTER TABLE log_slots DROP COLUMN who, DROP COLUMN office;

ALTER TABLE log_state ADD COLUMN body_epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE log_state ADD COLUMN body_check TEXT;
ALTER TABLE log_state ADD COLUMN erased_at BIGINT;

ALTER TABLE claim ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN sealed BYTEA;

-- 1: whatever is ordered, this body stays. Bodies in the clear from before are erasable like sealed ones.
ALTER TABLE log_slots ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
