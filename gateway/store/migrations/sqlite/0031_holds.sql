-- Entries whose bodies nobody may erase for now, by order. A row goes when the hold is lifted; both acts are in the log.
CREATE TABLE log_hold (
    id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (id, first)
) STRICT;

-- Entries before this one are not served any more (c2sp.org/tlog-tiles, pruning). Their leaves and tiles stay.
ALTER TABLE log_state ADD COLUMN minimum INTEGER NOT NULL DEFAULT 0;
