-- The same columns as the SQLite folder explains. Leaves and bodies are canonical JSON, in which a member has one form;
-- reading it as JSON is not immutable in PostgreSQL, as a generated column must be.
ALTER TABLE log_entry
    ADD COLUMN at BIGINT GENERATED ALWAYS AS (substring(leaf from '"at":([0-9]+)')::bigint) STORED,
    ADD COLUMN consumer TEXT GENERATED ALWAYS AS (substring(leaf from '"consumer":"([^"]*)"')) STORED,
    ADD COLUMN provider TEXT GENERATED ALWAYS AS (substring(leaf from '"provider":"([^"]*)"')) STORED,
    ADD COLUMN purpose TEXT GENERATED ALWAYS AS (substring(leaf from '"purpose":"([^"]*)"')) STORED,
    ADD COLUMN record_type TEXT GENERATED ALWAYS AS (substring(leaf from '"record_type":"([^"]*)"')) STORED,
    ADD COLUMN code TEXT GENERATED ALWAYS AS (substring(leaf from '"code":"([^"]*)"')) STORED;
CREATE INDEX log_entry_at ON log_entry (at);
CREATE INDEX log_entry_kind ON log_entry (kind, idx);
CREATE INDEX log_entry_consumer ON log_entry (consumer, idx);
CREATE INDEX log_entry_provider ON log_entry (provider, idx);
CREATE INDEX log_entry_purpose ON log_entry (purpose, idx);
CREATE INDEX log_entry_record_type ON log_entry (record_type, idx);

ALTER TABLE log_slots
    ADD COLUMN who TEXT GENERATED ALWAYS AS (substring(operator from '"operator":"([^"]*)"')) STORED,
    ADD COLUMN office TEXT GENERATED ALWAYS AS (substring(operator from '"office":"([^"]*)"')) STORED;
CREATE INDEX log_slots_who ON log_slots (who, idx) WHERE who IS NOT NULL;
CREATE INDEX log_slots_office ON log_slots (office, idx) WHERE office IS NOT NULL;
