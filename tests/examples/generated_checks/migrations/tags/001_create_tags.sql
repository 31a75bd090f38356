-- Description: one row for each tag of each thing

-- UP
CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    thing TEXT NOT NULL,
    tag TEXT NOT NULL
);

-- DOWN
DROP TABLE tags;
