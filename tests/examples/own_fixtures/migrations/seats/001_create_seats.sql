-- Description: seats

-- UP
CREATE TABLE seats (
    id INTEGER PRIMARY KEY,
    taken_by TEXT
);

-- DOWN
DROP TABLE seats;
