-- The sample data set: what law firms ("clients") keep about documents, and who looked at them when.
--
-- The skew is that of real systems: a few clients own most documents, a few documents get most of the attention,
-- new things are looked at more than old ones. The same data comes out each time. All of it is in one schema.

SET synchronous_commit = off;
SET max_parallel_workers_per_gather = 0;
SELECT setseed(0.42);

CREATE SCHEMA howdah_sample;
SET search_path = howdah_sample;

CREATE TABLE users (
    id         bigint PRIMARY KEY,
    client_id  int NOT NULL,
    name       text NOT NULL,
    email      text NOT NULL,
    role       text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE documents (
    id         bigint PRIMARY KEY,
    client_id  int NOT NULL,
    owner_id   bigint NOT NULL,
    title      text NOT NULL,
    kind       text NOT NULL,
    status     text NOT NULL,
    pages      int NOT NULL,
    views      int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE arbitration_analysis (
    id              bigint PRIMARY KEY,
    document_id     bigint NOT NULL,
    has_arbitration boolean NOT NULL,
    confidence      real NOT NULL,
    forum           text,
    summary         text NOT NULL,
    analyzed_at     timestamptz NOT NULL
);

CREATE TABLE user_activities (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     bigint NOT NULL,
    document_id bigint NOT NULL,
    action      text NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now()
);

-- 5,000 users of 400 clients.
INSERT INTO users
SELECT i, 1 + (400 * random() ^ 3)::int % 400, 'User ' || i, 'user' || i || '@example.com',
       (ARRAY['paralegal', 'attorney', 'attorney', 'partner', 'admin'])[1 + i % 5],
       timestamptz '2020-01-01' + random() * interval '5 years'
FROM generate_series(1, 5000) AS i;

-- 200,000 documents; younger ones have higher numbers.
INSERT INTO documents
SELECT i, 1 + (400 * random() ^ 3)::int % 400, 1 + (5000 * random() ^ 2)::int % 5000,
       (ARRAY['Lease', 'Employment agreement', 'Loan agreement', 'Terms of service', 'Supply contract'])[1 + i % 5]
           || ' no. ' || i,
       (ARRAY['contract', 'contract', 'contract', 'exhibit', 'letter'])[1 + (5 * random())::int % 5],
       (ARRAY['final', 'final', 'final', 'draft', 'review', 'archived'])[1 + (6 * random())::int % 6],
       1 + (80 * random() ^ 4)::int, 0, born, born
FROM (SELECT i, timestamptz '2020-01-01' + i * interval '13 minutes' AS born
      FROM generate_series(1, 200000) AS i) AS d;

-- Six documents in ten have been analyzed.
INSERT INTO arbitration_analysis
SELECT id, id, id % 3 = 0, (0.5 + random() / 2)::real,
       CASE WHEN id % 3 = 0 THEN (ARRAY['AAA', 'JAMS', 'ICC', 'LCIA'])[1 + (4 * random() ^ 2)::int % 4] END,
       'Clause ' || (1 + id % 40) || ' of document ' || id, updated_at + interval '1 hour'
FROM documents WHERE id % 10 < 6;

-- 200,000 things that users did, most of them to young documents.
INSERT INTO user_activities (user_id, document_id, action, happened_at)
SELECT 1 + (5000 * random() ^ 3)::int % 5000, 200000 - (199999 * random() ^ 4)::int,
       (ARRAY['view', 'view', 'view', 'edit', 'share', 'download'])[1 + (6 * random())::int % 6],
       timestamptz '2020-01-01' + i * interval '13 minutes'
FROM generate_series(1, 200000) AS i;

CREATE INDEX ON users (client_id);
CREATE INDEX ON documents (client_id, created_at);
CREATE INDEX ON documents (owner_id);
CREATE INDEX ON arbitration_analysis (document_id);
CREATE INDEX ON user_activities (user_id, happened_at);
CREATE INDEX ON user_activities (document_id);

ANALYZE users, documents, arbitration_analysis, user_activities;
