-- Which streams wait for which agency: notices it has to acknowledge, or that others have not acknowledged to it.
-- A row goes when the stream stops waiting, so that the list of an agency stays as short as its open matters.
CREATE TABLE stream_waits (
    agency TEXT NOT NULL,
    stream TEXT NOT NULL,
    PRIMARY KEY (agency, stream)
) STRICT, WITHOUT ROWID;
CREATE INDEX stream_waits_stream ON stream_waits (stream);
