-- Migration: 002_add_score_column.sql
-- Description: Add a score to every quote, for voting and for the top list
-- Author: The pytest-rosey developers
-- Date: 2026-11-21
-- Dependencies: 001_create_quotes_table.sql
-- Breaking Changes: No (new column with a default)

-- UP: the column and its index
ALTER TABLE quotes ADD COLUMN score INTEGER DEFAULT 0 CHECK (score >= -100 AND score <= 100);
CREATE INDEX idx_quotes_score ON quotes (score DESC);

-- UP (sqlite): quotes older than a year start with 5 points
-- strftime() gives text; the cast makes this a comparison of numbers.
UPDATE quotes SET score = 5
WHERE timestamp < CAST(strftime('%s', 'now', '-1 year') AS INTEGER);

-- UP (postgresql): quotes older than a year start with 5 points
UPDATE quotes SET score = 5
WHERE timestamp < extract(EPOCH FROM now() - INTERVAL '1 year');

-- DOWN (sqlite): rebuild the table without the column
-- The counter behind AUTOINCREMENT moves first, so that the copy keeps counting where the old
-- table stood even if its newest quotes were deleted. Dropping a table drops its indexes.
CREATE TABLE quotes_new (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL CHECK (length(text) >= 1 AND length(text) <= 1000),
    author TEXT DEFAULT 'Unknown' CHECK (length(author) <= 100),
    added_by TEXT NOT NULL CHECK (length(added_by) <= 50),
    timestamp INTEGER NOT NULL CHECK (timestamp > 0)
);

INSERT INTO sqlite_sequence (name, seq)
SELECT 'quotes_new', seq FROM sqlite_sequence WHERE name = 'quotes';

INSERT INTO quotes_new (id, text, author, added_by, timestamp)
SELECT id, text, author, added_by, timestamp FROM quotes;

DROP INDEX idx_quotes_score;
DROP TABLE quotes;
ALTER TABLE quotes_new RENAME TO quotes;

CREATE INDEX idx_quotes_author ON quotes (author);
CREATE INDEX idx_quotes_timestamp ON quotes (timestamp DESC);
CREATE INDEX idx_quotes_added_by ON quotes (added_by);

-- DOWN (postgresql): the column goes, everything else stays
DROP INDEX idx_quotes_score;
ALTER TABLE quotes DROP COLUMN score;
