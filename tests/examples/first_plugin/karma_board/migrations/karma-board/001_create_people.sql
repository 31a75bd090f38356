-- Description: people and their points

-- UP
CREATE TABLE people (
    name TEXT PRIMARY KEY,
    points INTEGER NOT NULL DEFAULT 0
);

-- DOWN
DROP TABLE people;
