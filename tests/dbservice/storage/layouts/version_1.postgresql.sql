CREATE TABLE _idempotency (
    plugin text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    fingerprint text NOT NULL,
    kind text NOT NULL,
    reply text NOT NULL,
    answered_at double precision NOT NULL
);
CREATE TABLE _imports (
    plugin text NOT NULL,
    session text NOT NULL,
    part bigint NOT NULL,
    text text NOT NULL,
    sent_at double precision NOT NULL
);
CREATE TABLE _kv (
    plugin text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL,
    expires_at double precision
);
CREATE TABLE _migrations (
    plugin text NOT NULL,
    version text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at text NOT NULL,
    applied_by text NOT NULL,
    execution_ms double precision NOT NULL,
    state text NOT NULL
);
CREATE TABLE _namespaces (
    prefix text NOT NULL COLLATE pg_catalog."C",
    plugin text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE _schema_version (
    version bigint NOT NULL
);
CREATE TABLE notes__notes (
    id bigint NOT NULL,
    body text NOT NULL
);
INSERT INTO _idempotency VALUES ('notes', 'once', 'c0193415aca525886aaa001f9cdbdf78dabaaa8f032edefd7412efd75f7a069c', 'KvValue', '{"success":true,"value":3}', 1700000000);
INSERT INTO _imports VALUES ('other', 'half', 0, '{"half":true}
', 1700000000);
INSERT INTO _kv VALUES ('notes', 'colour', '{"a":[1,null,"é"]}', NULL);
INSERT INTO _kv VALUES ('notes', 'brief', '7', 1700000060);
INSERT INTO _kv VALUES ('notes', 'visits', '3', NULL);
INSERT INTO _migrations VALUES ('notes', '001', '001_create_notes', 'b488a24e2508b32a7df33c7c6d7c862baa779e397f5bea81dc3f7e41609bc378', '2023-11-14T22:13:20.000000Z', 'unknown', 15.474, 'applied');
INSERT INTO _namespaces VALUES ('notes__', 'notes');
INSERT INTO _namespaces VALUES ('other__', 'other');
INSERT INTO _schema_version VALUES (4);
INSERT INTO notes__notes VALUES (1, 'kept');
ALTER TABLE ONLY _idempotency
    ADD CONSTRAINT _idempotency_pkey PRIMARY KEY (plugin, key);
ALTER TABLE ONLY _imports
    ADD CONSTRAINT _imports_pkey PRIMARY KEY (plugin, part);
ALTER TABLE ONLY _kv
    ADD CONSTRAINT _kv_pkey PRIMARY KEY (plugin, key);
ALTER TABLE ONLY _migrations
    ADD CONSTRAINT _migrations_pkey PRIMARY KEY (plugin, version);
ALTER TABLE ONLY _namespaces
    ADD CONSTRAINT _namespaces_pkey PRIMARY KEY (prefix);
ALTER TABLE ONLY notes__notes
    ADD CONSTRAINT notes__notes_pkey PRIMARY KEY (id);
CREATE INDEX _idempotency_age ON _idempotency USING btree (answered_at);
CREATE INDEX _kv_expiry ON _kv USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE TABLE _layout (version BIGINT NOT NULL);
INSERT INTO _layout VALUES (1);
