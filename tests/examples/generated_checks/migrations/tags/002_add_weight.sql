-- Description: how well a tag fits

-- UP
ALTER TABLE tags ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
CREATE INDEX idx_tags_tag ON tags (tag);

-- DOWN
DROP INDEX idx_tags_tag;
ALTER TABLE tags DROP COLUMN weight;
