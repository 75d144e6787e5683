/*
 * The command registry: parsing a line, finding the command, results, and answers that come later, from other
 * threads, twice, or never.
 */
#include "unit.h"

#include "base/alloc.h"
#include "base/error.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/result.h"
#include "plug/words.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct hd_loop loop;
static struct hd_commands *commands;

/* What a caller was told. */
struct told {
    int times;
    int code;
    char name[64], error[HD_ERROR_TEXT], message[64], first[64];
    size_t rows;
    uint32_t columns;
    struct hd_loop *on; /* the loop of the thread that was told */
};

static void on_done(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct told *t = arg;
    char buf[HD_CELL_TEXT];
    size_t len;

    t->times++;
    t->code = code;
    t->on = hd_loop_current();
    snprintf(t->name, sizeof(t->name), "%s", name);
    snprintf(t->error, sizeof(t->error), "%s", err->text);
    if (!r)
        return;
    snprintf(t->message, sizeof(t->message), "%s", hd_result_message_text(r));
    t->rows = hd_result_row_count(r);
    t->columns = hd_result_column_count(r);
    if (t->rows)
        snprintf(t->first, sizeof(t->first), "%s", hd_result_cell_text(r, 0, 0, buf, &len));
}

static struct told ask(const char *line)
{
    struct told t = {0};

    hd_commands_call(commands, line, strlen(line), "ann", on_done, &t);
    return t;
}

static void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void set_up(void)
{
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    commands = hd_commands_new(&loop);
    CU_ASSERT_PTR_NOT_NULL_FATAL(commands);
}

static void tear_down(void)
{
    hd_commands_free(commands);
    hd_loop_close(&loop);
}

static char heard[256]; /* the arguments of the last call of `listen`, with bars between */

static int32_t listen_to(void *arg, const struct hd_call *call, struct hd_error *err)
{
    size_t len = 0;

    (void)err;
    heard[0] = 0;
    for (uint32_t i = 0; i < call->arg_count; i++)
        len += (size_t)snprintf(heard + len, sizeof(heard) - len, "%s|", call->args[i].ptr);
    snprintf(heard + len, sizeof(heard) - len, "%s", call->user.ptr);
    hd_result_message(call->result, arg);
    return HD_OK;
}

static void add(const char *name, hd_command_fn *fn, void *arg)
{
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, name, "[ARG…]", "what it does", 0, fn, arg, &err), HD_OK);
}

/* --- words ------------------------------------------------------------------------------------------------
 */

static void check_words(const char *line, const char *expected)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_words w;
    char got[256] = "";
    size_t len = 0;

    if (hd_words_parse(&w, &arena, line, strlen(line), &err))
        snprintf(got, sizeof(got), "! %s", err.text);
    else
        for (size_t i = 0; i < w.count; i++)
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%s", w.word[i].ptr,
                                    w.quoted[i] ? "'|" : "|");
    CU_ASSERT_STRING_EQUAL(got, expected);
    hd_arena_free(&arena);
}

static void test_words(void)
{
    check_words("", "");
    check_words(" \t\r\n;; ", "");
    check_words("show pools", "show|pools|");
    check_words("show pools ; ;", "show|pools|");
    check_words("a 'b c' \"d\"\"e\" 'it''s' ''", "a|b c'|d\"e'|it's'|'|");
    check_words("a'b'c", "a|b'|c|");
    check_words("a -- rest\n b", "a|b|");
    check_words("a/* x /* y */ z */b", "a|b|");
    check_words("--", "");
    check_words("top=10 a-b", "top=10|a-b|");
    check_words("a=\"b c\" d!~\"e ; -- 'f\" g=\"h\\\" i\",j=\"k\" \"l\"m",
                "a=\"b c\"|d!~\"e ; -- 'f\"|g=\"h\\\" i\",j=\"k\"|l'|m|");
    check_words("a= \"b\"", "a=|b'|");
    check_words("a=\"b", "! the quoted value is not closed: \" is missing");
    check_words("a=\"b\\\"", "! the quoted value is not closed: \" is missing");
    check_words("a=\"b\\", "! the quoted value is not closed: \" is missing");
    check_words("a; b", "! one command at a time: something stands behind the semicolon");
    check_words("a; -- b", "a|");
    check_words("a 'b", "! the quoted word is not closed: ' is missing");
    check_words("a \"b''", "! the quoted word is not closed: \" is missing");
    check_words("a 'b''", "! the quoted word is not closed: ' is missing");
    check_words("a /* /* */", "! the comment is not closed: */ is missing");
    check_words("/*", "! the comment is not closed: */ is missing");
    check_words("/*/", "! the comment is not closed: */ is missing");
}

static void test_words_bounds(void)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_error err = HD_ERROR_INIT;
    struct hd_words w;
    static char line[HD_WORDS_BYTES + 1];

    for (size_t i = 0; i < sizeof(line); i++)
        line[i] = i % 2 ? ' ' : 'a';
    CU_ASSERT_EQUAL(hd_words_parse(&w, &arena, line, 2 * HD_WORDS_MAX, &err), HD_OK);
    CU_ASSERT_EQUAL(w.count, HD_WORDS_MAX);
    CU_ASSERT_EQUAL(hd_words_parse(&w, &arena, line, 2 * HD_WORDS_MAX + 1, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_words_parse(&w, &arena, line, sizeof(line), &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_words_parse(&w, &arena, "a\0b", 3, &err), HD_EINVAL);
    hd_arena_free(&arena);
}

/* --- finding ----------------------------------------------------------------------------------------------
 */

static void test_call(void)
{
    struct told t;

    set_up();
    add("SHOW", listen_to, "short");
    add("SHOW POOLS", listen_to, "long");
    t = ask("Show pools \"A b\" now;");
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT_EQUAL(t.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(t.name, "SHOW POOLS");
    CU_ASSERT_STRING_EQUAL(t.message, "long");
    CU_ASSERT_STRING_EQUAL(heard, "A b|now|ann");
    t = ask("show \"pools\"");
    CU_ASSERT_STRING_EQUAL(t.name, "SHOW");
    CU_ASSERT_STRING_EQUAL(heard, "pools|ann");
    t = ask(" ; -- nothing");
    CU_ASSERT_EQUAL(t.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(t.name, "");
    CU_ASSERT_EQUAL(t.columns, 0);
    t = ask("show 'x");
    CU_ASSERT_EQUAL(t.code, HD_EINVAL);
    tear_down();
}

static void test_unknown(void)
{
    struct told t;

    set_up();
    add("SHOW POOLS", listen_to, "");
    add("SHOW CLIENTS", listen_to, "");
    add("RELOAD", listen_to, "");
    t = ask("relaod");
    CU_ASSERT_EQUAL(t.code, HD_ENOENT);
    CU_ASSERT_STRING_EQUAL(t.error, "there is no command \"RELAOD\"; did you mean RELOAD?");
    t = ask("show pool");
    CU_ASSERT_STRING_EQUAL(t.error, "there is no command \"SHOW POOL\"; did you mean SHOW POOLS?");
    t = ask("show");
    CU_ASSERT_STRING_EQUAL(t.error, "SHOW what? One of: CLIENTS, HELP, POOLS");
    t = ask("frobnicate");
    CU_ASSERT_STRING_EQUAL(t.error, "there is no command \"FROBNICATE\"; HELP lists them all");
    t = ask("'relaod'");
    CU_ASSERT_EQUAL(t.code, HD_ENOENT);
    tear_down();
}

static void test_add_refusals(void)
{
    static const char *const bad[] = {"", "show", "SHOW ", " SHOW", "SHOW  X", "A B C D", "SHOW;", "SHÖW"};
    struct hd_error err = HD_ERROR_INIT;

    set_up();
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, bad[i], "", "", 0, listen_to, "", &err), HD_EINVAL);
    add("A B C", listen_to, "");
    CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, "A B C", "", "", 0, listen_to, "", &err), HD_EEXIST);
    CU_ASSERT_STRING_EQUAL(err.text, "there is a command A B C already");
    tear_down();
}

/* Of an alias and a command of one name the command is found, listed and asked, whichever came first. */
static void test_alias(void)
{
    struct hd_command_info info;
    struct told t;

    for (int alias_first = 0; alias_first < 2; alias_first++) {
        set_up();
        for (int i = 0; i < 2; i++) {
            int alias = i != alias_first;

            CU_ASSERT_EQUAL(hd_commands_add(commands, &loop + alias, "TEST", "", alias ? "alias" : "own",
                                            alias ? HD_CMDF_ALIAS : 0, listen_to, "", NULL),
                            HD_OK);
        }
        CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, "TEST", "", "", HD_CMDF_ALIAS, listen_to, "", NULL),
                        HD_EEXIST);
        CU_ASSERT_EQUAL(hd_commands_add(commands, &t, "TEST", "", "", 0, listen_to, "", NULL), HD_EEXIST);
        t = ask("help test");
        CU_ASSERT_EQUAL(t.rows, 1);
        CU_ASSERT_EQUAL(hd_commands_get(commands, "TEST", &info), HD_OK);
        CU_ASSERT_STRING_EQUAL(info.doc, "own");
        hd_commands_drop_owner(commands, &loop, "vendor");
        CU_ASSERT_EQUAL(hd_commands_get(commands, "TEST", &info), HD_OK);
        CU_ASSERT_STRING_EQUAL(info.doc, "alias");
        CU_ASSERT_EQUAL(ask("test").code, HD_OK);
        tear_down();
    }
}

/* The host's own command is found, though a plugin's was there before; one that comes later is refused. */
static void test_host_takes_name(void)
{
    struct hd_command_info info;

    set_up();
    CU_ASSERT_EQUAL(hd_commands_add(commands, &loop, "SHOW X", "", "theirs", 0, listen_to, "", NULL), HD_OK);
    CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, "SHOW X", "", "ours", 0, listen_to, "", NULL), HD_OK);
    CU_ASSERT_EQUAL(hd_commands_add(commands, &loop + 1, "SHOW X", "", "", 0, listen_to, "", NULL),
                    HD_EEXIST);
    CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, "SHOW X", "", "", 0, listen_to, "", NULL), HD_EEXIST);
    CU_ASSERT_EQUAL(hd_commands_get(commands, "SHOW X", &info), HD_OK);
    CU_ASSERT_STRING_EQUAL(info.doc, "ours");
    CU_ASSERT_EQUAL(ask("show help show").rows, 2);
    hd_commands_drop_owner(commands, &loop, "vendor");
    CU_ASSERT_EQUAL(ask("show x").code, HD_OK);
    tear_down();
}

static void test_help(void)
{
    struct told t;

    set_up();
    add("RELOAD", listen_to, "");
    t = ask("help");
    CU_ASSERT_EQUAL(t.rows, 3);
    CU_ASSERT_EQUAL(t.columns, 3);
    CU_ASSERT_STRING_EQUAL(t.first, "HELP");
    t = ask("show help rel");
    CU_ASSERT_EQUAL(t.rows, 1);
    CU_ASSERT_STRING_EQUAL(t.first, "RELOAD");
    tear_down();
}

/* --- results ----------------------------------------------------------------------------------------------
 */

static int32_t every_type(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result *r = call->result;

    (void)arg;
    (void)err;
    hd_result_columns(r, "t", HD_COL_TEXT, "i", HD_COL_INT, "r", HD_COL_REAL, "b", HD_COL_BOOL, "w",
                      HD_COL_TIME, NULL);
    hd_result_text(r, (struct hd_str){"äx", 3});
    hd_result_integer(r, INT64_MIN);
    hd_result_real(r, 0.1);
    hd_result_integer(r, 1);
    hd_result_integer(r, 1700000000000001);
    hd_result_null(r);
    hd_result_integer(r, 7);
    return HD_OK; /* three cells are missing */
}

static void check_types(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    static const char *const expected[] = {
        "äx", "-9223372036854775808", "0.1", "yes", "2023-11-14 22:13:20.000001+00", "", "7", "", "", ""};
    char buf[HD_CELL_TEXT];
    size_t len;

    (void)name;
    (void)err;
    *(int *)arg = 1;
    CU_ASSERT_EQUAL_FATAL(code, HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_result_row_count(r), 2);
    for (size_t i = 0; i < HD_ARRAY_LEN(expected); i++) {
        CU_ASSERT_STRING_EQUAL(hd_result_cell_text(r, i / 5, i % 5, buf, &len), expected[i]);
        CU_ASSERT_EQUAL(len, strlen(expected[i]));
        CU_ASSERT_EQUAL(hd_result_cell(r, i / 5, i % 5).is_null, i == 5 || i > 6);
    }
    CU_ASSERT_STRING_EQUAL(hd_result_column_name(r, 4), "w");
}

static void test_types(void)
{
    int called = 0;

    set_up();
    add("TYPES", every_type, NULL);
    hd_commands_call(commands, "types", 5, NULL, check_types, &called);
    CU_ASSERT_EQUAL(called, 1);
    tear_down();
}

static int32_t misuse(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result *r = call->result;

    (void)err;
    switch (*(int *)arg) {
    case 0: /* a cell without columns */
        hd_result_integer(r, 1);
        break;
    case 1: /* a column behind cells */
        hd_result_column(r, "a", HD_COL_INT);
        hd_result_integer(r, 1);
        hd_result_column(r, "b", HD_COL_INT);
        break;
    case 2: /* another type */
        hd_result_column(r, "a", HD_COL_INT);
        hd_result_cstr(r, "x");
        break;
    case 3: /* an unknown type */
        hd_result_column(r, "a", 99);
        break;
    case 4: /* a code that is none */
        return 17;
    case 5: /* too many columns */
        for (int i = 0; i <= HD_RESULT_COLUMNS; i++)
            hd_result_column(r, "a", HD_COL_INT);
        break;
    case 6: /* too large */
        hd_result_column(r, "a", HD_COL_TEXT);
        for (size_t i = 0; i <= HD_RESULT_BYTES / 65536; i++) {
            static const char big[65536];

            hd_result_text(r, (struct hd_str){big, sizeof(big)});
        }
        break;
    }
    return HD_OK;
}

static void test_misuse(void)
{
    static const int codes[] = {HD_EINVAL, HD_EINVAL, HD_EINVAL, HD_EINVAL, HD_EFAIL, HD_EINVAL, HD_EFULL};
    int which;

    set_up();
    add("MISUSE", misuse, &which);
    for (which = 0; which < (int)HD_ARRAY_LEN(codes); which++) {
        struct told t = ask("misuse");

        CU_ASSERT_EQUAL(t.code, codes[which]);
        CU_ASSERT_NOT_EQUAL(t.error[0], 0);
    }
    tear_down();
}

static void ask_without_memory(void *arg)
{
    struct told t = ask("types a b 'c'");

    (void)arg;
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT(t.code == HD_OK || t.code == HD_ENOMEM);
}

static void test_no_memory(void)
{
    set_up();
    add("TYPES", every_type, NULL);
    CU_ASSERT(unit_each_alloc_failure(ask_without_memory, NULL) > 3 || !unit_can_fail_alloc());
    tear_down();
}

/* --- later answers ----------------------------------------------------------------------------------------
 */

static hd_result *held;

static int32_t hold(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    held = call->result;
    return HD_PENDING;
}

static void test_pending(void)
{
    struct told t = {0};
    struct hd_error err = HD_ERROR_INIT;

    set_up();
    add("HOLD", hold, NULL);
    CU_ASSERT_PTR_NOT_NULL(hd_commands_call(commands, "hold", 4, "", on_done, &t));
    turn();
    CU_ASSERT_EQUAL(t.times, 0);
    hd_result_message(held, "at last");
    hd_result_finish(held, HD_OK, NULL);
    CU_ASSERT_EQUAL(t.times, 0);
    hd_result_finish(held, HD_OK, NULL); /* a second time: dropped */
    turn();
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT_STRING_EQUAL(t.message, "at last");
    hd_result_finish(held, HD_OK, NULL); /* and once it is over */

    t = (struct told){0};
    hd_commands_call(commands, "hold", 4, "", on_done, &t);
    hd_fail(&err, HD_EIO, "the disk is on fire");
    hd_result_finish(held, HD_EIO, &err);
    turn();
    CU_ASSERT_EQUAL(t.code, HD_EIO);
    CU_ASSERT_STRING_EQUAL(t.error, "the disk is on fire");
    tear_down();
}

static int32_t finish_and_return(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    hd_result_message(call->result, "both");
    hd_result_finish(call->result, HD_OK, NULL);
    return HD_OK;
}

static void test_finish_and_return(void)
{
    struct told t = {0};

    set_up();
    add("BOTH", finish_and_return, NULL);
    hd_commands_call(commands, "both", 4, "", on_done, &t);
    turn();
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT_STRING_EQUAL(t.message, "both");
    tear_down();
}

static void test_forget(void)
{
    struct told t = {0};
    struct hd_command_call *call;

    set_up();
    add("HOLD", hold, NULL);
    call = hd_commands_call(commands, "hold", 4, "", on_done, &t);
    hd_command_forget(call);
    hd_result_finish(held, HD_OK, NULL);
    turn();
    CU_ASSERT_EQUAL(t.times, 0);
    tear_down();
}

static void test_owner_goes(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct told t = {0}, u;
    int owner;

    set_up();
    CU_ASSERT_EQUAL(hd_commands_add(commands, &owner, "HOLD", NULL, NULL, 0, hold, NULL, &err), HD_OK);
    add("HOST", listen_to, "here");
    hd_commands_call(commands, "hold", 4, "", on_done, &t);
    hd_commands_drop_owner(commands, &owner, NULL);
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT_EQUAL(t.code, HD_ECANCELLED);
    CU_ASSERT_STRING_EQUAL(t.error, "HOLD: the plugin stopped");
    hd_result_message(held, "too late"); /* its memory is still there */
    hd_result_finish(held, HD_OK, NULL);
    turn();
    CU_ASSERT_EQUAL(t.times, 1);
    u = ask("hold");
    CU_ASSERT_EQUAL(u.code, HD_ENOENT);
    u = ask("host");
    CU_ASSERT_STRING_EQUAL(u.message, "here");
    tear_down();
}

static int32_t drop_myself(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)call;
    (void)err;
    hd_commands_drop_owner(commands, arg, NULL);
    return HD_OK;
}

static void test_owner_goes_inside(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct told t;
    int owner;

    set_up();
    CU_ASSERT_EQUAL(hd_commands_add(commands, &owner, "GO", NULL, NULL, 0, drop_myself, &owner, &err), HD_OK);
    t = ask("go");
    CU_ASSERT_EQUAL(t.times, 1);
    CU_ASSERT_EQUAL(t.code, HD_ECANCELLED);
    turn();
    tear_down();
}

static void test_free_with_pending(void)
{
    struct told t = {0}, u = {0};

    set_up();
    add("HOLD", hold, NULL);
    hd_commands_call(commands, "hold", 4, "", on_done, &t);
    hd_result_finish(held, HD_OK, NULL); /* its answer is on the way when the registry goes */
    hd_commands_call(commands, "hold", 4, "", on_done, &u);
    hd_commands_free(commands);
    CU_ASSERT_EQUAL(u.code, HD_ECANCELLED);
    CU_ASSERT_EQUAL(t.times, 0);
    turn();
    CU_ASSERT_EQUAL(t.times, 1);
    hd_result_finish(held, HD_OK, NULL);
    hd_loop_close(&loop);
}

/* --- other threads ----------------------------------------------------------------------------------------
 */

static void *finish_elsewhere(void *arg)
{
    hd_result_message(arg, "from afar");
    hd_result_finish(arg, HD_OK, NULL);
    return NULL;
}

static int32_t spawn(void *arg, const struct hd_call *call, struct hd_error *err)
{
    pthread_t *thread = arg;

    (void)err;
    CU_ASSERT_EQUAL(pthread_create(thread, NULL, finish_elsewhere, call->result), 0);
    return HD_PENDING;
}

static void test_finish_elsewhere(void)
{
    struct told t = {0};
    pthread_t thread;

    set_up();
    add("SPAWN", spawn, &thread);
    hd_commands_call(commands, "spawn", 5, "", on_done, &t);
    while (!t.times)
        uv_run(&loop.uv, UV_RUN_ONCE);
    pthread_join(thread, NULL);
    CU_ASSERT_STRING_EQUAL(t.message, "from afar");
    tear_down();
}

enum { ASKERS = 3, QUESTIONS = 200 };

struct asker {
    pthread_t thread;
    struct hd_loop loop;
    int answers, wrong;
};

static _Atomic int askers_left;

static void count_answer(void *arg, const hd_result *r, const char *name, int code,
                         const struct hd_error *err)
{
    struct asker *a = arg;

    (void)err;
    a->answers++;
    if (code || strcmp(name, "LISTEN") || strcmp(hd_result_message_text(r), "ok") ||
        hd_loop_current() != &a->loop)
        a->wrong++;
    if (a->answers == QUESTIONS - QUESTIONS / 10)
        hd_loop_stop(&a->loop);
}

static void *ask_from_worker(void *arg)
{
    struct asker *a = arg;

    CU_ASSERT_EQUAL(hd_loop_init(&a->loop), HD_OK);
    for (int i = 0; i < QUESTIONS; i++) {
        struct hd_command_call *call =
            hd_commands_call_from(commands, &a->loop, "listen x", 8, "ann", count_answer, a);

        if (i % 10 == 0)
            hd_command_forget(call);
    }
    hd_loop_run(&a->loop);
    atomic_fetch_sub(&askers_left, 1);
    uv_async_send(&loop.wake);
    return NULL;
}

static void test_ask_from_workers(void)
{
    struct asker askers[ASKERS] = {0};

    set_up();
    add("LISTEN", listen_to, "ok");
    atomic_store(&askers_left, ASKERS);
    for (int i = 0; i < ASKERS; i++)
        CU_ASSERT_EQUAL(pthread_create(&askers[i].thread, NULL, ask_from_worker, &askers[i]), 0);
    while (atomic_load(&askers_left))
        uv_run(&loop.uv, UV_RUN_ONCE);
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        turn(); /* forgotten calls may still have been on their way */
        hd_loop_close(&askers[i].loop);
        CU_ASSERT_EQUAL(askers[i].wrong, 0);
        CU_ASSERT_EQUAL(askers[i].answers, QUESTIONS - QUESTIONS / 10);
    }
    tear_down();
}

static void *ask_and_end(void *arg)
{
    struct hd_loop *mine = arg;

    CU_ASSERT_EQUAL(hd_loop_init(mine), HD_OK);
    hd_commands_call_from(commands, mine, "listen x", 8, "ann", count_answer, NULL);
    hd_commands_call_from(commands, mine, "hold", 4, "ann", count_answer, NULL);
    hd_loop_close(mine);
    return NULL;
}

static void test_asking_loop_ends(void)
{
    struct hd_loop *its = malloc(sizeof(*its));
    pthread_t thread;

    CU_ASSERT_PTR_NOT_NULL_FATAL(its);
    set_up();
    add("LISTEN", listen_to, "ok");
    add("HOLD", hold, NULL);
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, ask_and_end, its), 0);
    pthread_join(thread, NULL);
    hd_commands_drop_loop(commands, its);
    free(its);
    held = NULL;
    turn(); /* both are run now, and answered to nobody */
    CU_ASSERT_PTR_NOT_NULL(held);
    hd_result_finish(held, HD_OK, NULL);
    turn();
    tear_down();
}

static void check_rest(const char *line, const char *expected)
{
    struct told t;

    heard[0] = 0;
    t = ask(line);
    CU_ASSERT_EQUAL(t.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(heard, expected);
}

/* All behind the name as one argument, whatever it is. */
static void test_rest_of_the_line(void)
{
    struct hd_error err = HD_ERROR_INIT;
    char many[400] = "CACHE EXPLAIN", rest[420];

    set_up();
    CU_ASSERT_EQUAL(hd_commands_add(commands, NULL, "CACHE EXPLAIN", "[STATEMENT]", "", HD_CMDF_RAW,
                                    listen_to, "raw", &err),
                    HD_OK);
    add("CACHE", listen_to, "words");
    check_rest("cache explain select 'a''b', \"C\" -- d ; \n from /* e */ t",
               "select 'a''b', \"C\" -- d ; \n from /* e */ t|ann");
    check_rest("/* x */ cache /* y */ explain\n\tselect 1 ; ; ", "select 1|ann");
    check_rest("cache explain 'it''s'", "it's|ann");
    check_rest("cache explain 'a' 'b'", "'a' 'b'|ann");
    check_rest("cache explain select 'open", "select 'open|ann");
    check_rest("cache explain 'open", "'open|ann");
    check_rest("cache explain select 1; select 2", "select 1; select 2|ann");
    check_rest("cache explain", "ann");
    check_rest("cache explain ;", "ann");
    check_rest("cache 'it''s' x", "it's|x|ann");
    for (int i = 0; i < 80; i++)
        strcat(many, " a");
    snprintf(rest, sizeof(rest), "%s|ann", many + strlen("CACHE EXPLAIN "));
    check_rest(many, rest);
    CU_ASSERT_EQUAL(ask("cache 'open").code, HD_EINVAL);
    CU_ASSERT_EQUAL(ask("explain 'open").code, HD_EINVAL);
    tear_down();
}

UNIT_MAIN("commands", {"words", test_words}, {"the rest of the line", test_rest_of_the_line},
          {"bounds of a line", test_words_bounds}, {"longest name wins", test_call},
          {"unknown commands get a hint", test_unknown}, {"names that are refused", test_add_refusals},
          {"an alias gives way", test_alias}, {"the host takes a name", test_host_takes_name},
          {"help", test_help}, {"types of cells", test_types}, {"misuse of a result", test_misuse},
          {"no memory", test_no_memory}, {"pending", test_pending},
          {"finish and return", test_finish_and_return}, {"the asker is gone", test_forget},
          {"the owner goes", test_owner_goes}, {"the owner goes inside", test_owner_goes_inside},
          {"the registry goes", test_free_with_pending}, {"finish elsewhere", test_finish_elsewhere},
          {"workers ask", test_ask_from_workers}, {"the asking loop ends", test_asking_loop_ends})
