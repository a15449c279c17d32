-- What auditors search by, computed from the leaf and the operator's body. Nothing is stored twice: the values live in
-- the indexes alone, and those of an erased body go with it. A text that is not JSON has none of them.
ALTER TABLE log_entry ADD COLUMN at INTEGER AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'at' END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN consumer TEXT AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'consumer' END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN provider TEXT AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'provider' END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN purpose TEXT AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'purpose' END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN record_type TEXT AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'record_type' END) VIRTUAL;
ALTER TABLE log_entry ADD COLUMN code TEXT AS (CASE WHEN json_valid(leaf) THEN leaf ->> 'code' END) VIRTUAL;
CREATE INDEX log_entry_at ON log_entry (at);
CREATE INDEX log_entry_kind ON log_entry (kind, idx);
CREATE INDEX log_entry_consumer ON log_entry (consumer, idx);
CREATE INDEX log_entry_provider ON log_entry (provider, idx);
CREATE INDEX log_entry_purpose ON log_entry (purpose, idx);
CREATE INDEX log_entry_record_type ON log_entry (record_type, idx);

ALTER TABLE log_slots ADD COLUMN who TEXT AS (CASE WHEN json_valid(operator) THEN operator ->> 'operator' END) VIRTUAL;
ALTER TABLE log_slots ADD COLUMN office TEXT AS (CASE WHEN json_valid(operator) THEN operator ->> 'office' END) VIRTUAL;
CREATE INDEX log_slots_who ON log_slots (who, idx) WHERE who IS NOT NULL;
CREATE INDEX log_slots_office ON log_slots (office, idx) WHERE office IS NOT NULL;
