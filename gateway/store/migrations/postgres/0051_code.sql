-- Auditors ask for codes that seldom come, or never: without this the whole log is read to say so.
CREATE INDEX log_entry_code ON log_entry (code, idx) WHERE code IS NOT NULL;
