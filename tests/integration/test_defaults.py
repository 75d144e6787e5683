"""What servers have for settings that nobody has set: known to filters, for PostgreSQL is the oracle, and kept up."""

import os

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, main, merge, test, wait_for

# A connection is asked again after ten seconds.
LATER = 30

NAMES = """
array_nulls backslash_quote bytea_output composite_type_mismatch default_text_search_config default_transaction_deferrable
default_transaction_isolation default_transaction_read_only escape_string_warning extra_float_digits
gin_fuzzy_search_limit lc_messages lc_monetary lc_numeric lc_time quote_all_identifiers role row_security search_path
session_replication_role timezone_abbreviations transform_null_equals xmlbinary xmloption
""".split()

# Of those that a session may set none is left out but what changes no answer: how it is found, how long that may take,
# what is logged, and what only writing looks at.
HARMLESS = """
allow_in_place_tablespaces allow_system_table_mods application_name backend_flush_after backtrace_functions
check_function_bodies client_connection_check_interval client_min_messages commit_delay commit_siblings
compute_query_id constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction
deadlock_timeout debug_discard_caches debug_pretty_print debug_print_parse debug_print_plan debug_print_rewritten
default_statistics_target default_table_access_method default_tablespace default_toast_compression
dynamic_library_path effective_cache_size effective_io_concurrency exit_on_error extension_destdir
force_parallel_mode gin_pending_list_limit output_plugin_libraries session_preload_libraries
from_collapse_limit geqo geqo_effort geqo_generations geqo_pool_size geqo_seed geqo_selection_bias geqo_threshold
hash_mem_multiplier idle_in_transaction_session_timeout idle_session_timeout ignore_invalid_pages jit
jit_above_cost jit_debugging_support jit_dump_bitcode jit_expressions jit_inline_above_cost jit_optimize_above_cost
jit_profiling_support jit_provider jit_tuple_deforming join_collapse_limit lock_timeout log_duration
log_error_verbosity log_executor_stats log_lock_waits log_min_duration_sample log_min_duration_statement
log_min_error_statement log_min_messages log_parameter_max_length log_parameter_max_length_on_error
log_parser_stats log_planner_stats log_replication_commands log_statement log_statement_sample_rate
log_statement_stats log_temp_files log_transaction_sample_rate logical_decoding_work_mem maintenance_io_concurrency
maintenance_work_mem max_parallel_maintenance_workers max_parallel_workers max_parallel_workers_per_gather
max_stack_depth min_parallel_index_scan_size min_parallel_table_scan_size parallel_leader_participation
parallel_setup_cost parallel_tuple_cost password_encryption plan_cache_mode random_page_cost recursive_worktable_factor
seq_page_cost stats_fetch_consistency statement_timeout synchronize_seqscans synchronous_commit tcp_keepalives_count
tcp_keepalives_idle tcp_keepalives_interval tcp_user_timeout temp_buffers temp_file_limit temp_tablespaces
trace_notify trace_sort track_activities track_counts track_functions track_io_timing track_wal_io_timing
update_process_title vacuum_cost_delay vacuum_cost_limit vacuum_cost_page_dirty vacuum_cost_page_hit
vacuum_cost_page_miss vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age
vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age wal_compression
wal_consistency_checking wal_init_zero wal_recycle wal_sender_timeout wal_skip_threshold work_mem seed
transaction_deferrable transaction_isolation transaction_read_only session_authorization
""".split()

LIBRARIES = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs"))
pg = Postgres()
pg.execute("CREATE TABLE item (id int PRIMARY KEY, raw bytea); INSERT INTO item VALUES (1, '\\x0102'); GRANT ALL ON item TO app")


def sections(**host):
    plugins = {"plugin " + name: {"enabled": "yes", "library": "%s/%s.so" % (LIBRARIES, name)} for name in ("depends", "keep")}
    return merge(sides.pool_modes(pg, plugins, pool_size=4), {"host": {"workers": 1, **host}})


def client(host, database="shop_auto", **more):
    return host.wire(database=database, **more)


def setting(w, name):
    """What a filter is told of it: "=VALUE", "none", or "unsure"."""
    rows = w.exchange(pgwire.query("/* setting %s */ SELECT 'the server'" % name))
    return rows[1].row()[0].decode() if b"depends" in rows[0].body else "the server"


def becomes(w, name, value):
    wait_for(lambda: setting(w, name) == value, LATER, "%s to be %s" % (name, value))


def oracle(name):
    with pg.connect(user="app", password="secret") as c:
        return c.execute("SELECT current_setting(%s, true)", (name,)).fetchone()[0]


def backends():
    return {row[0] for row in pg.execute(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend' AND application_name"
        " NOT LIKE 'howdah%' AND datname = 'shop'")}


def reset():
    pg.execute("ALTER ROLE app RESET ALL; ALTER ROLE app IN DATABASE shop RESET ALL; ALTER DATABASE shop RESET ALL")


def reload_config(sql, name, value):
    pg.execute(sql)
    pg.execute("SELECT pg_reload_conf()")
    wait_for(lambda: oracle(name) == value, what="the server to reload")


@test("every setting that a session may have is known, or changes no answer")
def complete():
    with Host(pg, sections()) as host, client(host) as w:
        equal(setting(w, "xmloption"), "=content")
        unknown = [
            name for name, in pg.execute("SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')")
            if setting(w, name) == "none" and name not in HARMLESS and not name.startswith("enable_")
        ]
        equal(unknown, [])


@test("what PostgreSQL has for them, from its configuration, the database, the role")
def known():
    pg.execute("ALTER ROLE app SET bytea_output = escape; ALTER DATABASE shop SET search_path = other, public")
    pg.execute("ALTER ROLE app IN DATABASE shop SET extra_float_digits = -2; ALTER ROLE app SET lc_monetary = 'C'")
    pg.execute("ALTER DATABASE shop SET own.thing = 'x,''=y'; ALTER ROLE app SET own.other = ''; ALTER ROLE postgres SET own.none = 'z'")
    with Host(pg, sections()) as host, client(host) as w:
        for name in NAMES + ["own.thing", "own.other"]:
            equal((name, setting(w, name)), (name, "=" + oracle(name)))
        equal(setting(w, "own.none"), "none")
        w.query("SET bytea_output = hex")
        becomes(w, "bytea_output", "=hex")
        with client(host) as other:
            equal(setting(other, "bytea_output"), "=escape")
        w.query("RESET bytea_output")
        becomes(w, "bytea_output", "=escape")
        for mode in ("transaction", "session"):
            with client(host, "shop_" + mode) as other:
                equal(setting(other, "bytea_output"), "unsure")
    pg.execute("ALTER ROLE postgres RESET own.none")
    reset()


@test("newer connections have others: the older ones go, and what was kept is not given again")
def newer():
    sql = "/* keep */ SELECT raw FROM item WHERE id = 1"
    with Host(pg, sections()) as host, client(host) as w:
        equal([w.query(sql), w.query(sql), setting(w, "bytea_output")], [[["\\x0102"]], [["\\x0102"]], "=hex"])
        before = backends()
        pg.execute("ALTER ROLE app SET bytea_output = escape")
        equal([w.query(sql), setting(w, "bytea_output")], [[["\\x0102"]], "=hex"])  # as its servers still have it
        with client(host) as busy:
            busy.query("BEGIN")
            busy.query("SELECT 1")
            equal(setting(busy, "bytea_output"), "=hex")  # of its own server
            w.query("SELECT 1")  # makes another server
            becomes(w, "bytea_output", "=escape")
            equal(w.query(sql), [["\\001\\002"]])
            equal([setting(busy, "bytea_output"), busy.query("SELECT raw FROM item WHERE id = 1")], ["=hex", [["\\x0102"]]])
            busy.query("COMMIT")
            wait_for(lambda: not backends() & before, what="the older servers to go")
            becomes(busy, "bytea_output", "=escape")
            equal(busy.query(sql), [["\\001\\002"]])
    reset()


@test("a configuration that is reloaded changes connections that are there: that is found, on all workers")
def reloaded():
    with Host(pg, sections(workers=2)) as host:
        clients = [client(host) for _ in range(4)]
        for w in clients:
            w.query("SELECT 1")
            becomes(w, "bytea_output", "=hex")
        before = backends()
        reload_config("ALTER SYSTEM SET bytea_output = escape", "bytea_output", "escape")
        for w in clients:
            w.query("SELECT 1")
            becomes(w, "bytea_output", "=escape")
        assert backends() & before, (backends(), before)  # those that were there have been asked
        clients[0].query("SET bytea_output = hex")  # a session's own is not taken for the servers'
        becomes(clients[0], "bytea_output", "=hex")
        reload_config("ALTER SYSTEM SET xmloption = document", "xmloption", "document")
        for w in clients:
            w.query("SELECT 1")
            becomes(w, "xmloption", "=document")
        equal([setting(w, "bytea_output") for w in clients], ["=hex"] + 3 * ["=escape"])
        for w in clients:
            w.close()
    pg.execute("ALTER SYSTEM RESET ALL")
    reload_config("SELECT 1", "xmloption", "content")


@test("what a session has left unseen on its server is not taken for the servers'")
def unseen():
    with Host(pg, sections()) as host, client(host) as w, client(host) as pinned:
        pinned.query("DO $$ BEGIN PERFORM set_config('bytea_output', 'escape', false); END $$")
        pinned.query("SELECT 1")
        equal(setting(pinned, "bytea_output"), "unsure")
        equal(setting(w, "bytea_output"), "=hex")
        becomes(w, "bytea_output", "unsure")  # the only server cannot be asked any more
        w.query("SELECT 1")  # makes another
        reload_config("ALTER SYSTEM SET xmloption = document", "xmloption", "document")
        becomes(w, "xmloption", "=document")  # everybody has been asked by then who may be
        pinned.query("SELECT 1")
        equal([setting(pinned, "bytea_output"), setting(w, "bytea_output")], ["unsure", "=hex"])
        reload_config("ALTER SYSTEM RESET xmloption", "xmloption", "content")


@test("where they change all the time nothing is taken for the pool's, and servers are left alone")
def restless():
    with Host(pg, sections()) as host, client(host) as w, client(host) as other:
        for i in range(6):
            pg.execute("ALTER ROLE app SET extra_float_digits = %d" % -i)
            other.query("BEGIN")
            other.query("SELECT 1")
            w.query("SELECT 1")  # on a new one, which has others
            other.query("COMMIT")
        equal(setting(w, "extra_float_digits"), "unsure")
        before = backends()
        for _ in range(20):
            w.query("SELECT 1")
        equal(backends() & before, before)
        other.query("BEGIN")
        other.query("SELECT 1")
        assert setting(other, "extra_float_digits").startswith("=")  # its own server's are known
        other.query("COMMIT")
    reset()


@test("filters that are switched on later know them, too")
def later():
    off = merge(sections(), {"plugin depends": {"enabled": "no"}, "plugin keep": {"enabled": "no"}})
    with Host(pg, off) as host, client(host) as w, client(host) as setter:
        w.query("SELECT 1")
        setter.query("SET bytea_output = escape")
        setter.query("SELECT 1")
        host.console("PLUGIN depends ENABLE")
        wait_for(lambda: w.query("SELECT 1") and setting(w, "xmloption") == "=content", LATER, "the servers to be asked")
        equal([setting(w, "bytea_output"), setting(setter, "bytea_output")], ["=hex", "=escape"])


main()
