-- Erasable bodies lie sealed: each under a key of its own, wrapped by the key of an epoch that lies outside the database.
-- Bodies of entries that are kept for ever (kind `policy` and the like) stay in `log_slots`, in the clear.
CREATE TABLE log_body (
    idx INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    decision BLOB,
    operator BLOB,
    subject BLOB,
    -- The people the entry is found by.
    about BLOB,
    -- Terms to search by, keyed by the epoch like those of `log_subject`.
    who TEXT,
    office TEXT
) STRICT;
CREATE INDEX log_body_who ON log_body (who, idx) WHERE who IS NOT NULL;
CREATE INDEX log_body_office ON log_body (office, idx) WHERE office IS NOT NULL;
DROP INDEX log_slots_who;
DROP INDEX log_slots_office;
ALTER TABLE log_slots DROP COLUMN who;
ALTER TABLE log_slots DROP COLUMN office;

-- The epoch under which bodies are sealed now, what tells its key from another, and the first erasure since it began.
ALTER TABLE log_state ADD COLUMN body_epoch INTEGER NOT NULL DEFAULT 1;
ALTER TABLE log_state ADD COLUMN body_check TEXT;
ALTER TABLE log_state ADD COLUMN erased_at INTEGER;

-- What a claim keeps for a crash is about a person, too. Epoch 0: in the clear, from before.
ALTER TABLE claim ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN sealed BLOB;

-- 1: whatever is ordered, this body stays. Bodies in the clear from before are erasable like sealed ones.
ALTER TABLE log_slots ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
