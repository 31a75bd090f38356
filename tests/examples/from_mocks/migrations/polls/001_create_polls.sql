-- Description: polls and votes

-- UP
CREATE TABLE polls (
    id INTEGER PRIMARY KEY,
    question TEXT NOT NULL CHECK (length(question) <= 200),
    options JSON TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    is_open BOOLEAN NOT NULL DEFAULT TRUE,
    asked_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE votes (
    id INTEGER PRIMARY KEY,
    poll INTEGER NOT NULL,
    voter TEXT NOT NULL,
    choice TEXT NOT NULL,
    UNIQUE (poll, voter)
);

-- DOWN
DROP TABLE votes;
DROP TABLE polls;
