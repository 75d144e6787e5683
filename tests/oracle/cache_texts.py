"""
What sessions are made up of that are to show whether a cache of answers is right: the tables, reads that are worth
keeping, and whatever may make one of their answers wrong.

{n} is a small number, {id} one that is a key here and there, {what} a word. Rows always come in an order that PostgreSQL promises, and nothing is read that differs from one server to
the other: numbers of objects, the time.
"""

INT4 = 23
TEXT = 25

# As superuser, on both servers; in the end everything belongs to app.
SETUP = r"""
DROP SCHEMA IF EXISTS public, one, two CASCADE;
REASSIGN OWNED BY clerk TO app; DROP OWNED BY clerk;
GRANT clerk TO app, other;
CREATE SCHEMA public AUTHORIZATION app; CREATE SCHEMA one AUTHORIZATION app; CREATE SCHEMA two AUTHORIZATION app;
SET ROLE app; SET search_path = public;
GRANT USAGE ON SCHEMA public, one, two TO other, clerk;

CREATE TYPE mood AS ENUM ('sad', 'so', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE item (id int PRIMARY KEY, name text, amount numeric(12, 3), ratio float8, at timestamptz, day date,
  span interval, raw bytea, mood mood, tags text[], size positive, price money,
  double int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO item SELECT i, 'item ' || i, i / 7.0, i / 3.0, '2001-02-03 04:05:06Z'::timestamptz + i * interval '1 month',
  DATE '2001-02-03' + i, i * interval '1 day 02:03', decode('00ff' || lpad(i::text, 2, '0'), 'hex'),
  (ARRAY['sad', 'so', 'glad'])[1 + i % 3]::mood, ARRAY['t' || i, NULL], i, i FROM generate_series(1, 6) i;
CREATE TABLE owner (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE pet (id int PRIMARY KEY, owner int REFERENCES owner ON DELETE CASCADE ON UPDATE CASCADE, name text);
CREATE TABLE toy (id int PRIMARY KEY, pet int REFERENCES pet ON DELETE SET NULL ON UPDATE CASCADE, name text);
INSERT INTO owner SELECT i, 'owner ' || i FROM generate_series(1, 5) i;
INSERT INTO pet SELECT i, 1 + i % 4, 'pet ' || i FROM generate_series(1, 6) i;
INSERT INTO toy SELECT i, i, 'toy ' || i FROM generate_series(1, 6) i;
CREATE TABLE event (id int, at date, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_2023 PARTITION OF event FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
CREATE TABLE event_2024_a PARTITION OF event_2024 FOR VALUES IN (1, 2, 3);
CREATE TABLE event_2024_b PARTITION OF event_2024 DEFAULT;
INSERT INTO event SELECT i, make_date(2023 + i % 2, 1 + i, 1), 'event ' || i FROM generate_series(1, 6) i;
CREATE TABLE base (id int, v text); CREATE TABLE derived (more int) INHERITS (base);
INSERT INTO base VALUES (1, 'b'), (2, 'b'); INSERT INTO derived VALUES (3, 'd', 1);
CREATE TABLE log (n int, what text);
CREATE TABLE logged (id int, v text); INSERT INTO logged VALUES (1, 'l'), (2, 'l');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO log SELECT count(*), TG_TABLE_NAME || ' ' || TG_OP FROM log; RETURN NULL; END$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON logged FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TABLE shadow (id int, v text); CREATE TABLE ruled (id int, v text); INSERT INTO ruled VALUES (1, 'r');
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO shadow VALUES (NEW.id, NEW.v);
CREATE RULE instead AS ON DELETE TO ruled DO INSTEAD UPDATE shadow SET v = 'gone' WHERE id = OLD.id;
CREATE TABLE secret (id int PRIMARY KEY, who name, v text);
INSERT INTO secret VALUES (1, 'app', 'a'), (2, 'other', 'o'), (3, 'clerk', 'c');
CREATE POLICY own ON secret USING (who = current_user);
CREATE TABLE one.place (id int, v text); CREATE TABLE two.place (id int, v text); CREATE TABLE place (id int, v text);
INSERT INTO one.place VALUES (1, 'one'); INSERT INTO two.place VALUES (1, 'two'); INSERT INTO place VALUES (1, 'here');
CREATE TABLE scratch (a int, b text); INSERT INTO scratch VALUES (1, 'x');
CREATE SEQUENCE numbers;

CREATE VIEW cheap AS SELECT id, name, amount FROM item WHERE amount < 0.7;
CREATE VIEW cheaper AS SELECT * FROM cheap WHERE amount < 0.5 WITH CHECK OPTION;
CREATE VIEW pets AS SELECT o.name AS owner, p.name AS pet FROM owner o JOIN pet p ON p.owner = o.id;
CREATE VIEW secrets AS SELECT id, v FROM secret;
CREATE VIEW with_trigger AS SELECT id, v FROM base;
CREATE MATERIALIZED VIEW totals AS SELECT mood, count(*), sum(amount) FROM item GROUP BY mood;

CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE FUNCTION item_count() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM public.item';
CREATE FUNCTION constant() RETURNS text VOLATILE LANGUAGE sql AS $$SELECT 'always'::text$$;
CREATE FUNCTION label(item) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1.name || max(name) FROM public.owner';
CREATE FUNCTION peek() RETURNS text STABLE SECURITY DEFINER LANGUAGE sql AS
  $$SELECT string_agg(v, ',' ORDER BY id) FROM public.secret$$;
CREATE FUNCTION add_owner(int) RETURNS int VOLATILE LANGUAGE sql AS
  $$INSERT INTO public.owner VALUES ($1, 'added ' || $1) ON CONFLICT (id) DO UPDATE SET name = public.owner.name || '+'
    RETURNING id$$;
CREATE PROCEDURE move(int, int) LANGUAGE plpgsql AS
  $$BEGIN UPDATE public.pet SET owner = $2 WHERE id = $1; UPDATE public.base SET v = v || $2 WHERE id = $1; END$$;
CREATE PROCEDURE move_in_steps(int) LANGUAGE plpgsql AS
  $$BEGIN UPDATE public.base SET v = v || '1' WHERE id = $1; COMMIT; UPDATE public.base SET v = v || '2'; ROLLBACK; END$$;
CREATE FUNCTION put_base() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO public.base VALUES (NEW.id, 'put ' || NEW.v); RETURN NEW; END$$;
CREATE TRIGGER put INSTEAD OF INSERT OR UPDATE ON with_trigger FOR EACH ROW EXECUTE FUNCTION put_base();
CREATE FUNCTION plus(item, int) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT $1.amount + $2';
CREATE OPERATOR <+> (FUNCTION = plus, LEFTARG = item, RIGHTARG = int);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, one, two TO other;
GRANT SELECT ON item, owner, cheap, secret, secrets, event, place, one.place TO clerk;
RESET ROLE; RESET search_path
"""

# Reads: first those that are plain, more than once so that they are taken more often.
READS = (
    "SELECT * FROM item ORDER BY id",
    "SELECT * FROM item WHERE id = {id}",
    "SELECT name, amount FROM item WHERE id = {id}",
    "SELECT count(*), sum(amount), max(ratio), min(at) FROM item",
    "SELECT id, at, day, span, raw, ratio, price FROM item WHERE id <= {id} ORDER BY id",
    "SELECT mood, count(*) FROM item GROUP BY mood ORDER BY mood",
    "SELECT id, tags, tags[1], array_length(tags, 1) FROM item ORDER BY id",
    "SELECT id, to_char(at, 'Day DD Mon YYYY HH24:MI TZ'), at::date, at::text, span::text, raw::text, ratio::text"
    " FROM item ORDER BY id",
    "SELECT double, size, price FROM item WHERE id BETWEEN {id} AND {id} + 2 ORDER BY 1",
    "SELECT * FROM cheap ORDER BY id",
    "SELECT * FROM cheaper ORDER BY id",
    "SELECT count(*) FROM cheaper WHERE amount > 0.{n}",
    "SELECT * FROM totals ORDER BY mood",
    "SELECT * FROM event ORDER BY id, at",
    "SELECT count(*), max(what) FROM event WHERE at >= '2024-01-01'",
    "SELECT * FROM event_2024 ORDER BY id",
    "SELECT * FROM event_2024_a ORDER BY id",
    "SELECT * FROM base ORDER BY id, v",
    "SELECT * FROM ONLY base ORDER BY id, v",
    "SELECT * FROM derived ORDER BY id, v, more",
    "SELECT o.name, count(p.id) FROM owner o LEFT JOIN pet p ON p.owner = o.id GROUP BY o.id, o.name ORDER BY o.id",
    "SELECT * FROM owner ORDER BY id",
    "SELECT * FROM owner WHERE id = {id}",
    "SELECT * FROM pet ORDER BY id",
    "SELECT * FROM toy ORDER BY id",
    "SELECT pet, count(*) FROM toy GROUP BY pet ORDER BY pet",
    "SELECT * FROM pets ORDER BY 1, 2",
    "SELECT * FROM log ORDER BY n, what",
    "SELECT * FROM logged ORDER BY id, v",
    "SELECT * FROM shadow ORDER BY id, v",
    "SELECT * FROM ruled ORDER BY id, v",
    "SELECT * FROM secret ORDER BY id",
    "SELECT * FROM secrets ORDER BY id",
    "SELECT * FROM place ORDER BY id, v",
    "SELECT * FROM one.place ORDER BY id, v",
    "SELECT * FROM scratch ORDER BY 1, 2",
    "SELECT a FROM scratch ORDER BY a",
    "SELECT id, name FROM owner WHERE name LIKE 'owner%' ORDER BY id LIMIT {n}",
    "WITH x AS (SELECT * FROM item WHERE amount > 0.{n}) SELECT count(*) FROM x, owner",
    "SELECT (SELECT name FROM owner WHERE id = {id}), EXISTS (SELECT FROM toy WHERE pet IS NULL)",
    "SELECT id FROM owner UNION SELECT id FROM pet EXCEPT SELECT id FROM toy ORDER BY 1",
    "SELECT id, rank() OVER (ORDER BY mood, id) FROM item ORDER BY id",
    "SELECT id, 'a\\b' || name FROM owner ORDER BY id",
    "SELECT id FROM item WHERE name = NULL ORDER BY id",
    "SELECT id, name FROM item WHERE at > '2001-05-03 04:05' ORDER BY id",
    "SELECT '1/2/2003'::date, id FROM owner ORDER BY id",
    "SELECT id, 1::float8 / 3, '\\x00ff'::bytea, interval '1 day 02:03', timestamptz '2001-02-03 04:05Z' FROM owner ORDER BY id",
    "SELECT id, upper(name), lower(mood::text), round(amount, 1), (amount > 0.5)::text FROM item ORDER BY id",
    "SELECT count(*) FROM secret, owner",
    # What must not be kept, or only with care.
    "SELECT now() > '2001-01-01', id FROM owner ORDER BY id",
    "SELECT id FROM item WHERE at < 'now' ORDER BY id",
    "SELECT id FROM item WHERE day < 'today' ORDER BY id",
    "SELECT current_user, session_user, id FROM owner ORDER BY id",
    "SELECT coalesce(current_setting('my.thing', true), ''), id FROM owner ORDER BY id",
    "SELECT last_value, is_called FROM numbers",
    "SELECT id, table_to_xml('owner', true, false, '')::text FROM toy ORDER BY id",
    "SELECT id, has_table_privilege('other', 'item', 'SELECT') FROM owner ORDER BY id",
    "SELECT count(*) FROM pg_class WHERE relname IN ('scratch', 'item', 'made')",
    "SELECT count(*) FROM information_schema.columns WHERE table_name = 'scratch'",
    "SELECT to_regclass('scratch') IS NULL, id FROM owner ORDER BY id",
    "SELECT id, event.tableoid::regclass::text FROM event ORDER BY id, at",
)

# They call functions of which the text says nothing; a session that has called one is trusted less from then on.
FUNCTION_READS = (
    "SELECT id, twice(id) FROM owner ORDER BY id",
    "SELECT id, item_count() FROM owner ORDER BY id",
    "SELECT id, constant() FROM owner ORDER BY id",
    "SELECT i.id, i.label FROM item i ORDER BY id",
    "SELECT i.id, i <+> {n} FROM item i ORDER BY id",
    "SELECT id, peek() FROM owner ORDER BY id",
)
# Of these the binary form has numbers of objects in it, or PostgreSQL has none.
TEXT_READS = (
    "SELECT o, p FROM owner o JOIN pet p ON p.owner = o.id ORDER BY p.id",
    "SELECT i FROM item i ORDER BY id",
    "SELECT array_agg(mood ORDER BY id) FROM item",
    "SELECT id, row_to_json(p) FROM pet p ORDER BY id",
)

# With parameters: the text, the types told, values.
WITH_VALUES = (
    ("SELECT * FROM item WHERE id = $1", [INT4], ["1", "2", "3"]),
    ("SELECT * FROM item WHERE id = $1", [], ["1", "2", "3"]),
    ("SELECT * FROM owner WHERE id = $1", [], ["1", "2", "9"]),
    ("SELECT name FROM owner WHERE name = $1", [TEXT], ["owner 1", "owner 2", None]),
    ("SELECT id, $1::text FROM owner ORDER BY id", [], ["x", "\u00e4", None]),
    ("SELECT id FROM item WHERE at < $1 ORDER BY id", [], ["2001-06-01", "now", "2001-05-03 04:05"]),
    ("SELECT id FROM item WHERE day = $1 ORDER BY id", [], ["5/2/2001", "2001-02-05", "yesterday"]),
    ("SELECT id FROM item WHERE mood = $1 ORDER BY id", [], ["sad", "glad", "none"]),
    ("SELECT * FROM event WHERE at = $1", [], ["2023-03-01", "2024-02-01"]),
    ("SELECT id, amount + $1 FROM item ORDER BY id", [], ["1", "1.50"]),
    ("SELECT count(*) FROM pet WHERE owner = ANY ($1)", [], ["{1,2}", "{}"]),
    ("SELECT * FROM cheap WHERE id < $1 ORDER BY id", [INT4], ["3", "5"]),
    ("SELECT v FROM secret WHERE id = $1", [INT4], ["1", "2", "3"]),
    ("SELECT v FROM place WHERE id = $1", [INT4], ["1"]),
)

WRITES = (
    "INSERT INTO item (id, name, amount, mood) VALUES ({id}, '{what}', 0.{n}, 'sad')",
    "INSERT INTO item (id, name) VALUES ({id}, '{what}') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id",
    "INSERT INTO item (id, name) VALUES ({id}, '{what}') ON CONFLICT DO NOTHING",
    "INSERT INTO owner VALUES ({id}, '{what} {id}')",
    "INSERT INTO base SELECT id, name FROM owner WHERE id = {id}",
    "INSERT INTO event VALUES ({id}, '2024-0{n}-02', '{what}')",
    "INSERT INTO event_2023 VALUES ({id}, '2023-0{n}-03', '{what}')",
    "INSERT INTO event VALUES ({id}, '2030-01-01', 'nowhere')",
    "INSERT INTO toy VALUES ({id}, {n}, '{what}')",
    "INSERT INTO ruled VALUES ({id}, '{what}')",
    "INSERT INTO logged VALUES ({id}, '{what}')",
    "INSERT INTO cheaper VALUES ({id} + 20, '{what}', 0.{n})",
    "INSERT INTO with_trigger VALUES ({id}, '{what}')",
    "INSERT INTO secret VALUES ({id}, 'other', '{what}')",
    "INSERT INTO derived VALUES ({id}, '{what}', {n})",
    "INSERT INTO place VALUES ({id}, '{what}')",
    "INSERT INTO one.place VALUES ({id}, '{what}')",
    "INSERT INTO scratch VALUES ({id}, '{what}')",
    "UPDATE item SET amount = amount + 0.01, name = '{what}' WHERE id = {id}",
    "UPDATE item SET ratio = ratio * 1.1, at = at + interval '1 day', span = span * 2, mood = 'glad', tags = tags || 'u'",
    "UPDATE owner SET name = name || '.' WHERE id = {id}",
    "UPDATE owner SET id = id + 100 WHERE id = {id}",
    "UPDATE pet SET name = name || '.'",
    "UPDATE cheap SET name = '{what}' WHERE id = {id}",
    "UPDATE cheaper SET amount = amount + 0.2",
    "UPDATE event SET at = at + 366 WHERE id = {id} AND at < '2024-01-01'",
    "UPDATE base SET v = '{what}' WHERE id = {id}",
    "UPDATE ONLY base SET v = v || '-'",
    "UPDATE logged SET v = '{what}' WHERE id = {id}",
    "UPDATE with_trigger SET v = 'x' WHERE id = {id}",
    "UPDATE secret SET v = v || '!'",
    "UPDATE place SET v = '{what}'",
    "UPDATE item SET name = o.name FROM owner o WHERE o.id = item.id AND item.id = {id}",
    "DELETE FROM item WHERE id = {id}",
    "DELETE FROM owner WHERE id = {id}",
    "DELETE FROM pet WHERE id = {id} RETURNING name",
    "DELETE FROM pet USING owner WHERE owner.id = pet.owner AND owner.id = {id}",
    "DELETE FROM ruled",
    "DELETE FROM cheaper WHERE id > 20",
    "DELETE FROM base WHERE id = {id}",
    "DELETE FROM event WHERE id = {id}",
    "MERGE INTO item USING (VALUES ({id})) v (x) ON id = x WHEN MATCHED THEN UPDATE SET name = 'merged'"
    " WHEN NOT MATCHED THEN INSERT (id, name) VALUES (x, 'new')",
    "MERGE INTO owner o USING pet p ON o.id = p.owner AND p.id = {id} WHEN MATCHED THEN UPDATE SET name = o.name || 'm'",
    "WITH gone AS (DELETE FROM toy WHERE id = {id} RETURNING *) SELECT count(*) FROM gone",
    "WITH gone AS (DELETE FROM toy RETURNING *) INSERT INTO shadow SELECT id, name FROM gone",
    "WITH changed AS (UPDATE item SET name = name || '~' RETURNING id) SELECT * FROM changed ORDER BY id",
    "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO base VALUES ({id}, 'explained')",
    "EXPLAIN (COSTS OFF) DELETE FROM base",
    "SELECT nextval('numbers')",
    "SELECT id INTO made FROM owner",
    "CREATE TABLE made AS SELECT * FROM base",
    "DROP TABLE IF EXISTS made",
    "NOTIFY channel_a, '{what}'",
    "SELECT count(*) FROM item FOR UPDATE",
    "SELECT id FROM item WHERE id = {id} FOR SHARE",
    "SELECT 1 / (id - id) FROM item",
)
FUNCTION_WRITES = (
    "SELECT add_owner({id})",
    "SELECT add_owner(id) FROM toy WHERE id = {id}",
    "CALL move({id}, {n})",
    "CALL move_in_steps({id})",
    "DO $$ BEGIN UPDATE owner SET name = name || 'd' WHERE id = {id}; END $$",
    "DO $$ BEGIN EXECUTE 'UPDATE ' || 'item SET amount = 0'; END $$",
)
PREPARED = (
    "PREPARE w AS UPDATE item SET name = 'by EXECUTE' WHERE id = {id}",
    "PREPARE r AS SELECT * FROM item ORDER BY id",
    "EXECUTE w",
    "EXECUTE r",
    "DEALLOCATE ALL",
)
# They shut others out until their transaction ends.
EXCLUSIVE_WRITES = (
    "TRUNCATE toy",
    "TRUNCATE owner CASCADE",
    "TRUNCATE event_2024",
    "TRUNCATE ONLY base",
    "TRUNCATE item RESTART IDENTITY",
    "REFRESH MATERIALIZED VIEW totals",
    "REFRESH MATERIALIZED VIEW totals WITH NO DATA",
    "LOCK TABLE item IN ACCESS EXCLUSIVE MODE",
)
SCHEMA = (
    "ALTER TABLE scratch ADD COLUMN IF NOT EXISTS c int DEFAULT {n}",
    "ALTER TABLE scratch DROP COLUMN IF EXISTS c",
    "ALTER TABLE scratch RENAME COLUMN b TO bb",
    "ALTER TABLE scratch RENAME COLUMN bb TO b",
    "ALTER TABLE scratch ALTER COLUMN a TYPE bigint",
    "ALTER TABLE scratch ALTER COLUMN a TYPE int",
    "ALTER TABLE scratch ALTER COLUMN b TYPE text USING b || '?'",
    "DROP TABLE IF EXISTS scratch",
    "DROP TABLE IF EXISTS scratch; CREATE TABLE scratch (a int, b text); INSERT INTO scratch VALUES ({n}, 'again')",
    "DROP TABLE IF EXISTS scratch; CREATE TABLE scratch (b text, a int); GRANT SELECT ON scratch TO other",
    "CREATE VIEW scratch AS SELECT id AS a, name AS b FROM owner",
    "DROP VIEW IF EXISTS scratch",
    "ALTER TABLE scratch RENAME TO scratched; ALTER TABLE place RENAME TO scratch",
    "ALTER TABLE one.place RENAME TO was; ALTER TABLE two.place SET SCHEMA one",
    "CREATE OR REPLACE VIEW cheap AS SELECT id, name, amount FROM item WHERE amount < 0.{n}",
    "CREATE OR REPLACE VIEW pets AS SELECT name AS owner, name AS pet FROM pet",
    "ALTER VIEW cheap RENAME TO cheap2",
    "ALTER TABLE event DETACH PARTITION event_2023",
    "ALTER TABLE event ATTACH PARTITION event_2023 FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
    "CREATE TABLE IF NOT EXISTS event_2030 PARTITION OF event FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
    "DROP TABLE IF EXISTS event_2030",
    "ALTER TABLE derived NO INHERIT base",
    "ALTER TABLE derived INHERIT base",
    "CREATE TABLE IF NOT EXISTS derived_too () INHERITS (base)",
    "CREATE TRIGGER more AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION note()",
    "DROP TRIGGER IF EXISTS more ON item",
    "CREATE TRIGGER on_part AFTER INSERT ON event_2024_a FOR EACH STATEMENT EXECUTE FUNCTION note()",
    "ALTER TABLE logged DISABLE TRIGGER note",
    "ALTER TABLE logged ENABLE TRIGGER note",
    "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN UPDATE public.owner SET name = name || 'n'; RETURN NULL; END$$",
    "CREATE OR REPLACE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * {n}'",
    "CREATE OR REPLACE FUNCTION one.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT -$1'",
    "CREATE OR REPLACE FUNCTION add_owner(int) RETURNS int VOLATILE LANGUAGE sql AS"
    " $$UPDATE public.pet SET name = name || 'f' RETURNING id$$",
    "CREATE OR REPLACE FUNCTION lower(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'mine'::text$$",
    "DROP FUNCTION IF EXISTS lower(text)",
    "CREATE INDEX IF NOT EXISTS by_name ON item (name)",
    "DROP INDEX IF EXISTS by_name",
    "ALTER TABLE item ALTER COLUMN amount TYPE numeric(14, 4)",
    "ALTER TABLE item ALTER COLUMN amount TYPE numeric(12, 3)",
    "ALTER TYPE mood RENAME VALUE 'so' TO 'so so'",
    "ALTER TYPE mood RENAME VALUE 'so so' TO 'so'",
    "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'happy' BEFORE 'so'",
    "ALTER DOMAIN positive DROP CONSTRAINT IF EXISTS positive_check",
    "CREATE RULE gone AS ON DELETE TO base DO INSTEAD DELETE FROM toy",
    "DROP RULE IF EXISTS gone ON base",
    "ALTER TABLE pet DROP CONSTRAINT IF EXISTS pet_owner_fkey",
    "ALTER TABLE toy DROP CONSTRAINT IF EXISTS toy_pet_fkey;"
    " ALTER TABLE toy ADD CONSTRAINT toy_pet_fkey FOREIGN KEY (pet) REFERENCES pet ON DELETE CASCADE ON UPDATE CASCADE",
    "ALTER SCHEMA two RENAME TO three",
    "ALTER SCHEMA three RENAME TO two",
    "CREATE TABLE IF NOT EXISTS one.item (id int, name text); GRANT SELECT ON one.item TO other",
    "COMMENT ON TABLE item IS '{what}'",
)
PRIVILEGES = (
    "REVOKE SELECT ON item, owner FROM other",
    "GRANT SELECT ON item, owner TO other",
    "REVOKE SELECT ON item FROM clerk",
    "GRANT SELECT ON item TO clerk",
    "REVOKE USAGE ON SCHEMA one FROM other, clerk",
    "GRANT USAGE ON SCHEMA one TO other, clerk",
    "REVOKE SELECT ON owner FROM other; GRANT SELECT (id) ON owner TO other",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk",
    "GRANT SELECT ON secret TO PUBLIC",
    "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE secret DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE secret FORCE ROW LEVEL SECURITY",
    "ALTER TABLE secret NO FORCE ROW LEVEL SECURITY",
    "ALTER POLICY own ON secret USING (true)",
    "CREATE POLICY all_of_it ON secret USING (id > {n})",
    "DROP POLICY IF EXISTS all_of_it ON secret",
    "ALTER VIEW secrets SET (security_invoker = true)",
    "ALTER VIEW secrets RESET (security_invoker)",
    "REVOKE clerk FROM other",
    "GRANT clerk TO other",
    "REVOKE EXECUTE ON FUNCTION twice(int) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION twice(int) TO PUBLIC",
    "ALTER TABLE owner OWNER TO clerk",
)
SETTINGS = (
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TimeZone = 'UTC'",
    "SET TimeZone = 'America/New_York'",
    "SET DateStyle = 'German'",
    "SET DateStyle = 'SQL, DMY'",
    "SET DateStyle = 'ISO, MDY'",
    "SET IntervalStyle = 'iso_8601'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = -5",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'escape'",
    "SET bytea_output = 'hex'",
    "SET client_encoding = 'LATIN1'",
    "SET client_encoding = 'UTF8'",
    "SET client_encoding = 'SJIS'",
    "SET search_path = one, public",
    "SET search_path = two, one, public",
    "SET search_path = public",
    "SET search_path = public, pg_catalog",
    "SET search_path = '$user', nowhere",
    "SET lc_monetary = 'C'",
    "SET lc_time = 'C.UTF-8'",
    "SET standard_conforming_strings = off",
    "SET standard_conforming_strings = on",
    "SET escape_string_warning = off",
    "SET transform_null_equals = on",
    "SET transform_null_equals = off",
    "SET xmlbinary = 'hex'",
    "SET row_security = off",
    "SET row_security = on",
    "SET my.thing = '{what}'",
    "SET work_mem = '{n}MB'",
    "SET enable_seqscan = off",
    "SET statement_timeout = '20s'",
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_isolation = 'read committed'",
    "SET default_transaction_read_only = on",
    "SET default_transaction_read_only = off",
    "SET ROLE clerk",
    "SET ROLE clerk",
    "SET ROLE NONE",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION other",
    "SET SESSION AUTHORIZATION app",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('search_path', 'one', {bool})",
    "SELECT set_config('TimeZone', 'Asia/Tokyo', {bool})",
    "SELECT set_config('role', 'clerk', {bool})",
    "SET LOCAL search_path = one",
    "RESET ALL",
    "DISCARD ALL",
    "RESET search_path",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
TEMPORARY = (
    "CREATE TEMP TABLE item (id int, name text)",
    "CREATE TEMP TABLE place AS SELECT 7 AS id, 'temp' AS v",
    "CREATE TEMP VIEW owner AS SELECT 1 AS id, 'temporary' AS name",
    "INSERT INTO pg_temp.place VALUES ({id}, 'temp')",
    "DROP TABLE IF EXISTS pg_temp.item, pg_temp.place",
    "DROP VIEW IF EXISTS pg_temp.owner",
    "DISCARD TEMP",
)
KEPT = (
    "LISTEN channel_a",
    "UNLISTEN *",
    "SELECT pg_advisory_lock({n})",
    "SELECT pg_advisory_unlock({n})",
    "SELECT pg_advisory_unlock_all()",
    "DECLARE held CURSOR WITH HOLD FOR SELECT * FROM item ORDER BY id",
    "FETCH 2 FROM held",
    "CLOSE held",
)
BEGINS = (
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "BEGIN; UPDATE item SET name = name || 'b' WHERE id = {id}",
)
IN_BLOCKS = (
    "SAVEPOINT s",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "SET LOCAL search_path = two",
    "SET LOCAL TimeZone = 'Asia/Tokyo'",
    "SET LOCAL ROLE clerk",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "DECLARE c CURSOR FOR SELECT * FROM item ORDER BY id",
    "FETCH 2 FROM c",
    "UPDATE item SET name = 'by cursor' WHERE CURRENT OF c",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT 1 / 0",
)
ENDS = (
    "COMMIT",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "PREPARE TRANSACTION 'p{n}'",
    "PREPARE TRANSACTION 'p{n}'",
)
TWO_PHASE = ("COMMIT PREPARED 'p{n}'", "COMMIT PREPARED 'p{n}'", "ROLLBACK PREPARED 'p{n}'")

# Called by number, as a few old drivers do.
CALLS = (("add_owner(int)", ["{id}"]), ("item_count()", []), ("twice(int)", ["{n}"]))

COPIES = (
    ("COPY owner FROM STDIN", "{id}\tcopied {id}\n"),
    ("COPY item (id, name) FROM STDIN", "{id}\tcopied\n"),
    ("COPY event FROM STDIN", "{id}\t2024-0{n}-05\tcopied\n"),
    ("COPY logged FROM STDIN", "{id}\tcopied\n"),
    ("COPY cheap FROM STDIN", "{id}\tcopied\t0.1\n"),
)
