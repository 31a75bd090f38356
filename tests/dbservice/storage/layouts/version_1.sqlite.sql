BEGIN TRANSACTION;
CREATE TABLE _idempotency (
    plugin TEXT  NOT NULL, key TEXT  NOT NULL, fingerprint TEXT NOT NULL,
    kind TEXT NOT NULL, reply TEXT NOT NULL, answered_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (plugin, key)
) WITHOUT ROWID
;
INSERT INTO "_idempotency" VALUES('notes','once','c0193415aca525886aaa001f9cdbdf78dabaaa8f032edefd7412efd75f7a069c','KvValue','{"success":true,"value":3}',1700000000.0);
CREATE TABLE _imports (
    plugin TEXT NOT NULL, session TEXT NOT NULL, part BIGINT NOT NULL, text TEXT NOT NULL,
    sent_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (plugin, part)
);
INSERT INTO "_imports" VALUES('other','half',0,'{"half":true}
',1700000000.0);
CREATE TABLE _kv (
    plugin TEXT  NOT NULL, key TEXT  NOT NULL, value TEXT NOT NULL,
    expires_at DOUBLE PRECISION,
    PRIMARY KEY (plugin, key)
) WITHOUT ROWID
;
INSERT INTO "_kv" VALUES('notes','brief','7',1700000060.0);
INSERT INTO "_kv" VALUES('notes','colour','{"a":[1,null,"é"]}',NULL);
INSERT INTO "_kv" VALUES('notes','visits','3',NULL);
CREATE TABLE _migrations (
            plugin TEXT NOT NULL,
            version TEXT NOT NULL,
            name TEXT NOT NULL,
            checksum TEXT NOT NULL,
            applied_at TEXT NOT NULL,
            applied_by TEXT NOT NULL,
            execution_ms REAL NOT NULL,
            state TEXT NOT NULL,
            PRIMARY KEY (plugin, version)
        );
INSERT INTO "_migrations" VALUES('notes','001','001_create_notes','b488a24e2508b32a7df33c7c6d7c862baa779e397f5bea81dc3f7e41609bc378','2023-11-14T22:13:20.000000Z','unknown',0.089,'applied');
CREATE TABLE _namespaces (prefix TEXT  PRIMARY KEY, plugin TEXT  NOT NULL) WITHOUT ROWID;
INSERT INTO "_namespaces" VALUES('notes__','notes');
INSERT INTO "_namespaces" VALUES('other__','other');
CREATE TABLE notes__notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO "notes__notes" VALUES(1,'kept');
CREATE INDEX _kv_expiry ON _kv (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX _idempotency_age ON _idempotency (answered_at);
CREATE TABLE _layout (version BIGINT NOT NULL);
INSERT INTO _layout VALUES (1);
COMMIT;
