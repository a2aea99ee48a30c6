CREATE TABLE person (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    name TEXT NOT NULL,
    -- argon2id; NULL: none was set yet
    password TEXT,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    -- wrong passwords in a row, and until when no other is tried
    failures INTEGER NOT NULL DEFAULT 0,
    locked_until INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE role (
    person INTEGER NOT NULL REFERENCES person (id),
    project INTEGER NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'auditor', 'member')),
    PRIMARY KEY (person, project)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    hash BLOB PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES person (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_person ON session (person);

-- one-time links by which a person sets a password
CREATE TABLE invitation (
    hash BLOB PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES person (id),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    person INTEGER NOT NULL REFERENCES person (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX token_person ON token (person);

-- what the lists show; the queue and the receipts of the dataset are the truth
CREATE TABLE request (
    tracking_id TEXT PRIMARY KEY,
    project INTEGER NOT NULL,
    kind TEXT NOT NULL,
    regulation TEXT NOT NULL,
    disclosure TEXT NOT NULL,
    subjects INTEGER NOT NULL,
    suppress INTEGER NOT NULL,
    requested_by TEXT NOT NULL,
    approved_by TEXT,
    origin TEXT NOT NULL,
    -- what a client drew to know its request by
    subject_request_id TEXT,
    requested_at INTEGER NOT NULL,
    due INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX request_project ON request (project, tracking_id);
-- not UNIQUE: the command may repeat one, and that must hide no request
CREATE INDEX request_of_client ON request (project, subject_request_id) WHERE subject_request_id IS NOT NULL;
CREATE INDEX request_open ON request (project, due) WHERE ended_at IS NULL;
CREATE INDEX request_waiting ON request (project, tracking_id) WHERE ended_at IS NULL;

CREATE TABLE request_subject (
    -- under the service's key
    hash BLOB NOT NULL,
    tracking_id TEXT NOT NULL REFERENCES request (tracking_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    PRIMARY KEY (hash, tracking_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_subject_request ON request_subject (tracking_id);

-- the first answer to a key that a client drew
CREATE TABLE answered (
    project INTEGER NOT NULL,
    person INTEGER NOT NULL,
    key BLOB NOT NULL,
    asked BLOB NOT NULL,
    tracking_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (project, person, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    project INTEGER,
    about TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- a change of it shows whether the database can be written
CREATE TABLE written (at INTEGER NOT NULL) STRICT;
INSERT INTO written VALUES (0);
