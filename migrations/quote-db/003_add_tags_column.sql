-- Migration: 003_add_tags_column.sql
-- Description: Add tags (a JSON array), filled from the hashtags in the texts
-- Author: The pytest-rosey developers
-- Date: 2026-11-21
-- Dependencies: 002_add_score_column.sql
-- Breaking Changes: No (new column with a default)
--
-- "Keep #Circulating the #tapes" becomes ["circulating", "tapes"]: every hashtag once, in lower
-- case, in the order of the text. Quotes of MST3K also get "mst3k" and "classic". A hashtag is
-- '#' and what follows it of letters, digits and '_'; letters beyond ASCII belong to it (spaces
-- and punctuation beyond ASCII do not) and keep their case, so that both engines agree.

-- UP (sqlite): one step per '#', then one per character of the hashtag behind it
ALTER TABLE quotes ADD COLUMN tags JSON TEXT DEFAULT '[]' CHECK (json_valid(tags));

WITH RECURSIVE
    hash (id, place, rest) AS (
        SELECT id, 1, substr(text, instr(text, '#') + 1)
        FROM quotes
        WHERE instr(text, '#') > 0
        UNION ALL
        SELECT id, place + 1, substr(rest, instr(rest, '#') + 1)
        FROM hash
        WHERE instr(rest, '#') > 0
    ),
    grown (id, place, rest, size, code) AS (
        SELECT id, place, rest, 0, unicode(rest) FROM hash
        UNION ALL
        SELECT id, place, rest, size + 1, unicode(substr(rest, size + 2, 1))
        FROM grown
        WHERE code BETWEEN 48 AND 57  -- 0-9
            OR code BETWEEN 65 AND 90  -- A-Z
            OR code = 95  -- _
            OR code BETWEEN 97 AND 122  -- a-z
            OR code BETWEEN 192 AND 8191  -- letters of other scripts
            OR code BETWEEN 8304 AND 12287
            OR code >= 12352
    ),
    tag (id, place, name) AS (
        SELECT id, place, lower(substr(rest, 1, max(size)))
        FROM grown
        GROUP BY id, place
        HAVING max(size) > 0
        UNION ALL
        SELECT id, 1000001, 'mst3k' FROM quotes WHERE author = 'MST3K'
        UNION ALL
        SELECT id, 1000002, 'classic' FROM quotes WHERE author = 'MST3K'
    ),
    once (id, place, name) AS (
        SELECT id, min(place), name FROM tag GROUP BY id, name
    ),
    found (id, tags) AS (
        SELECT DISTINCT id, json_group_array(name) OVER (
            PARTITION BY id ORDER BY place
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
        FROM once
    )
UPDATE quotes SET tags = found.tags FROM found WHERE found.id = quotes.id;

-- UP (postgresql): the same with a regular expression
ALTER TABLE quotes ADD COLUMN tags JSONB DEFAULT '[]';

WITH
    tag (id, place, name) AS (
        SELECT quotes.id, hash.place, lower(hash.match[1] COLLATE "C")
        FROM quotes
        CROSS JOIN LATERAL regexp_matches(
            quotes.text, '#([0-9A-Z_a-z\u00C0-\u1FFF\u2070-\u2FFF\u3040-\U0010FFFF]+)', 'g'
        ) WITH ORDINALITY AS hash (match, place)
        UNION ALL
        SELECT id, 1000001, 'mst3k' FROM quotes WHERE author = 'MST3K'
        UNION ALL
        SELECT id, 1000002, 'classic' FROM quotes WHERE author = 'MST3K'
    ),
    once (id, place, name) AS (
        SELECT id, min(place), name FROM tag GROUP BY id, name
    ),
    found (id, tags) AS (
        SELECT id, jsonb_agg(name ORDER BY place) FROM once GROUP BY id
    )
UPDATE quotes SET tags = found.tags FROM found WHERE found.id = quotes.id;

-- DOWN (sqlite): rebuild the table without the column; see 002 for the order of the steps
CREATE TABLE quotes_new (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL CHECK (length(text) >= 1 AND length(text) <= 1000),
    author TEXT DEFAULT 'Unknown' CHECK (length(author) <= 100),
    added_by TEXT NOT NULL CHECK (length(added_by) <= 50),
    timestamp INTEGER NOT NULL CHECK (timestamp > 0),
    score INTEGER DEFAULT 0 CHECK (score >= -100 AND score <= 100)
);

INSERT INTO sqlite_sequence (name, seq)
SELECT 'quotes_new', seq FROM sqlite_sequence WHERE name = 'quotes';

INSERT INTO quotes_new (id, text, author, added_by, timestamp, score)
SELECT id, text, author, added_by, timestamp, score FROM quotes;

DROP TABLE quotes;
ALTER TABLE quotes_new RENAME TO quotes;

CREATE INDEX idx_quotes_author ON quotes (author);
CREATE INDEX idx_quotes_timestamp ON quotes (timestamp DESC);
CREATE INDEX idx_quotes_added_by ON quotes (added_by);
CREATE INDEX idx_quotes_score ON quotes (score DESC);

-- DOWN (postgresql): the column goes, everything else stays
ALTER TABLE quotes DROP COLUMN tags;
