/*
 * The options engine: parsing every type, every message that a wrong value brings, tables from other builds,
 * comparison for a reload, and printing that reads back.
 */
#include "unit.h"
#include "base/check.h"
#include "plug/nearest.h"
#include "plug/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct conf {
    int32_t flag;
    int32_t action;
    int64_t count;
    double ratio;
    int64_t bytes;
    int64_t wait;
    struct hd_str name;
    struct hd_str password;
    struct hd_str_list tables;
};

static const struct hd_option table[] = {
    {"flag", "yes", NULL, "a switch", 0, 0, HD_OPT_BOOL, HD_OPTF_RELOADABLE, offsetof(struct conf, flag), 0},
    {"action", "warn", "warn|refuse|throttle", "what to do", 0, 0, HD_OPT_ENUM, 0,
     offsetof(struct conf, action), 0},
    {"pool_size", "20", NULL, "how many", 1, 10000, HD_OPT_INT, HD_OPTF_RELOADABLE,
     offsetof(struct conf, count), 0},
    {"ratio", "0.5", NULL, "how much", -1, 1, HD_OPT_REAL, HD_OPTF_RELOADABLE, offsetof(struct conf, ratio),
     0},
    {"bytes", "64K", NULL, "memory", 1024, 1 << 30, HD_OPT_SIZE, HD_OPTF_RELOADABLE,
     offsetof(struct conf, bytes), 0},
    {"wait", "1500ms", NULL, "patience", 0, 0, HD_OPT_DURATION, HD_OPTF_RELOADABLE,
     offsetof(struct conf, wait), 0},
    {"name", NULL, NULL, "a name", 0, 0, HD_OPT_STRING, HD_OPTF_RELOADABLE, offsetof(struct conf, name), 0},
    {"password", NULL, NULL, "the secret", 0, 0, HD_OPT_SECRET, HD_OPTF_RELOADABLE,
     offsetof(struct conf, password), 0},
    {"tables", "a, b", NULL, "which", 0, 0, HD_OPT_LIST, HD_OPTF_RELOADABLE, offsetof(struct conf, tables),
     0},
};
static const struct hd_options options = HD_OPTIONS(struct conf, table);

/* One parse and what came of it. */
struct trial {
    struct hd_arena arena;
    struct hd_problems problems;
    struct hd_raw_key keys[16];
    char origins[16][16];
    struct hd_raw_section section;
    struct conf *conf;
};

/* Pairs of key and value, ended by NULL; the keys stand in lines 2 and on. */
static void try(struct trial *t, const struct hd_options *o, const char *const *pairs)
{
    memset(t, 0, sizeof(*t));
    for (; pairs[0]; pairs += 2) {
        uint32_t i = t->section.count++;

        snprintf(t->origins[i], sizeof(t->origins[i]), "t.ini:%u", i + 2);
        t->keys[i] = (struct hd_raw_key){pairs[0], pairs[1], t->origins[i]};
    }
    t->section.kind = "thing";
    t->section.name = "x";
    t->section.label = "[thing x]";
    t->section.origin = "t.ini:1";
    t->section.dir = "";
    t->section.keys = t->keys;
    t->conf = hd_options_parse(o, &t->section, &t->arena, &t->problems);
}
#define TRY(t, ...) try((t), &options, (const char *const[]){__VA_ARGS__, NULL, NULL})

static void end(struct trial *t)
{
    hd_arena_free(&t->arena);
    hd_problems_free(&t->problems);
}

/* Does some line hold the text? */
static int says(const struct trial *t, const char *text)
{
    for (const struct hd_problem *p = t->problems.first; p; p = p->next)
        if (strstr(p->text, text))
            return 1;
    for (const struct hd_problem *p = t->problems.first; p; p = p->next)
        printf("# %s\n", p->text);
    printf("# wanted: %s\n", text);
    return 0;
}

static void defaults(void)
{
    struct trial t;
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_options_check(&options, "test", &err), HD_OK);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    try(&t, &options, (const char *const[]){NULL});
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT_EQUAL(t.conf->flag, 1);
    CU_ASSERT_EQUAL(t.conf->action, 0);
    CU_ASSERT_EQUAL(t.conf->count, 20);
    CU_ASSERT_EQUAL(t.conf->ratio, 0.5);
    CU_ASSERT_EQUAL(t.conf->bytes, 65536);
    CU_ASSERT_EQUAL(t.conf->wait, 1500);
    CU_ASSERT_STRING_EQUAL(t.conf->name.ptr, "");
    CU_ASSERT_EQUAL(t.conf->tables.count, 2);
    CU_ASSERT_STRING_EQUAL(t.conf->tables.items[1].ptr, "b");
    end(&t);
}

static void values(void)
{
    struct trial t;

    TRY(&t, "flag", "Off", "action", "throttle", "pool_size", "10000", "ratio", "-1e-1", "bytes", "1G",
        "wait", "2h", "name", "Zoë, and more", "password", "s;e=c", "tables", "public.a,  b c ,d");
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT_EQUAL(t.conf->flag, 0);
    CU_ASSERT_EQUAL(t.conf->action, 2);
    CU_ASSERT_EQUAL(t.conf->count, 10000);
    CU_ASSERT_EQUAL(t.conf->ratio, -0.1);
    CU_ASSERT_EQUAL(t.conf->bytes, 1 << 30);
    CU_ASSERT_EQUAL(t.conf->wait, 7200000);
    CU_ASSERT_STRING_EQUAL(t.conf->name.ptr, "Zoë, and more");
    CU_ASSERT_STRING_EQUAL(t.conf->password.ptr, "s;e=c");
    CU_ASSERT_EQUAL(t.conf->tables.count, 3);
    CU_ASSERT_STRING_EQUAL(t.conf->tables.items[1].ptr, "b c");
    CU_ASSERT_EQUAL(t.conf->tables.items[1].len, 3);
    end(&t);
}

static void wrong_values(void)
{
    static const struct {
        const char *key, *value, *text;
    } cases[] = {
        {"flag", "maybe", "t.ini:2: flag must be yes or no, not \"maybe\""},
        {"flag", "", "t.ini:2: flag must be yes or no, not \"\""},
        {"action", "wran", "t.ini:2: action must be one of warn, refuse, throttle, not \"wran\""},
        {"action", "", "must be one of"},
        {"action", "warn|refuse", "must be one of"},
        {"pool_size", "0", "t.ini:2: pool_size must be between 1 and 10000, not 0"},
        {"pool_size", "10001", "t.ini:2: pool_size must be between 1 and 10000, not 10001"},
        {"pool_size", "-3", "t.ini:2: pool_size must be between 1 and 10000, not -3"},
        {"pool_size", "many", "t.ini:2: pool_size must be a whole number, not \"many\""},
        {"pool_size", "1.5", "must be a whole number"},
        {"pool_size", "0x10", "must be a whole number"},
        {"pool_size", "99999999999999999999", "must be a whole number"},
        {"pool_size", "", "must be a whole number, not \"\""},
        {"ratio", "1.01", "t.ini:2: ratio must be between -1 and 1, not 1.01"},
        {"ratio", "nan", "t.ini:2: ratio must be a number, not \"nan\""},
        {"ratio", "inf", "must be a number"},
        {"ratio", "0x1p3", "must be a number"},
        {"ratio", "1e999", "must be a number"},
        {"ratio", "", "must be a number"},
        {"bytes", "12", "t.ini:2: bytes must be between 1K and 1G, not 12"},
        {"bytes", "1T", "t.ini:2: bytes must be a size such as 4096, 64K, 256M or 1G, not \"1T\""},
        {"wait", "5 weeks",
         "t.ini:2: wait must be a duration such as 200ms, 30s, 5m, 2h or 1d, not \"5 weeks\""},
        {"wait", "-5s", "must be a duration"},
        {"tables", "a,,b", "t.ini:2: tables has an empty value between its commas"},
        {"tables", "a,", "t.ini:2: tables has an empty value"},
        {"pool_sise", "1", "t.ini:2: unknown key \"pool_sise\" in [thing x]; did you mean \"pool_size\"?"},
        {"pasword_file", "1", "unknown key \"pasword_file\" in [thing x]; did you mean \"password_file\"?"},
        {"Pool_size", "1", "did you mean \"pool_size\"?"},
        {"name_file", "1", "unknown key \"name_file\" in [thing x]"},
        {"quite_different", "1", "t.ini:2: unknown key \"quite_different\" in [thing x]"},
    };

    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        struct trial t;

        TRY(&t, cases[i].key, cases[i].value);
        CU_ASSERT_EQUAL(t.problems.errors, 1);
        CU_ASSERT(says(&t, cases[i].text));
        end(&t);
    }
}

static void several_faults(void)
{
    struct trial t;

    TRY(&t, "flag", "x", "pool_size", "7", "pool_size", "8", "nmae", "y", "wait", "z");
    CU_ASSERT_EQUAL(t.problems.errors, 4);
    CU_ASSERT(says(&t, "t.ini:2: flag"));
    CU_ASSERT(says(&t, "t.ini:4: pool_size is given twice in [thing x]; the first stands at t.ini:3"));
    CU_ASSERT(says(&t, "t.ini:5: unknown key \"nmae\" in [thing x]; did you mean \"name\"?"));
    CU_ASSERT(says(&t, "t.ini:6: wait"));
    CU_ASSERT_STRING_EQUAL(hd_problems_first(&t.problems), t.problems.first->text);
    end(&t);
}

static void required(void)
{
    static const struct hd_option req[] = {
        {"node", NULL, NULL, "the node behind it", 0, 0, HD_OPT_STRING, HD_OPTF_REQUIRED,
         offsetof(struct conf, name), 0},
        {"size", NULL, NULL, "its size", 1, 9, HD_OPT_INT, HD_OPTF_REQUIRED, offsetof(struct conf, count), 0},
    };
    static const struct hd_options o = HD_OPTIONS(struct conf, req);
    struct hd_error err = HD_ERROR_INIT;
    struct trial t;

    CU_ASSERT_EQUAL(hd_options_check(&o, "test", &err), HD_OK);
    try(&t, &o, (const char *const[]){NULL});
    CU_ASSERT_EQUAL(t.problems.errors, 2);
    CU_ASSERT(says(&t, "t.ini:1: [thing x] needs the key node: the node behind it"));
    CU_ASSERT(says(&t, "t.ini:1: [thing x] needs the key size: its size"));
    end(&t);
}

static void keys_of_somebody_else(void)
{
    static const struct hd_option own[] = {
        {"extra", NULL, NULL, "x", 0, 0, HD_OPT_STRING, 0, offsetof(struct conf, name), 0}};
    static const struct hd_options o = HD_OPTIONS(struct conf, own);
    struct trial t;

    TRY(&t, "extra", "1", "flag", "no", "password_file", "/nowhere", "pool_sizes", "3");
    end(&t);
    TRY(&t, "flag", "no", "extra", "1", "pool_sizes", "3");
    hd_problems_free(&t.problems);
    t.section.also = &options;
    CU_ASSERT_PTR_NOT_NULL(hd_options_parse(&o, &t.section, &t.arena, &t.problems));
    CU_ASSERT_EQUAL(t.problems.errors, 1);
    CU_ASSERT(says(&t, "did you mean \"pool_size\"?"));
    end(&t);
}

/* Writes a file of that mode and returns its path, which the caller unlinks. */
static const char *secret_file(const char *bytes, size_t len, mode_t mode)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof(path), "/tmp/hd_test_options_XXXXXX");
    fd = mkstemp(path);
    CU_ASSERT(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && !fchmod(fd, mode));
    close(fd);
    return path;
}

static void secret_from_file(void)
{
    const char *path = secret_file("hush;  \n", 8, 0600);
    struct trial t;

    TRY(&t, "password_file", path);
    CU_ASSERT_EQUAL(t.problems.errors + t.problems.warnings, 0);
    CU_ASSERT_STRING_EQUAL(t.conf->password.ptr, "hush;  ");
    end(&t);

    TRY(&t, "password", "x", "password_file", path);
    CU_ASSERT(says(&t, "t.ini:3: password_file and password (t.ini:2) are both given in [thing x]"));
    end(&t);

    CU_ASSERT_EQUAL(chmod(path, 0644), 0);
    TRY(&t, "password_file", path);
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT_EQUAL(t.problems.warnings, 1);
    CU_ASSERT(says(&t, "can be read by everybody: chmod 0600 it"));
    unlink(path);
    end(&t);

    TRY(&t, "password_file", path);
    CU_ASSERT(says(&t, "t.ini:2: cannot open /tmp/hd_test_options_"));
    CU_ASSERT(says(&t, "No such file"));
    end(&t);
}

static void odd_secret_files(void)
{
    static char big[70000];
    const char *path;
    struct trial t;

    TRY(&t, "password_file", "/tmp");
    CU_ASSERT(says(&t, "t.ini:2: /tmp must be a regular file"));
    end(&t);

    path = secret_file("a\0b", 3, 0600);
    TRY(&t, "password_file", path);
    CU_ASSERT(says(&t, "holds a zero byte"));
    unlink(path);
    end(&t);

    memset(big, 'x', sizeof(big));
    path = secret_file(big, sizeof(big), 0600);
    TRY(&t, "password_file", path);
    CU_ASSERT(says(&t, "File too large"));
    unlink(path);
    end(&t);

    path = secret_file("one\r\n", 5, 0600);
    TRY(&t, "password_file", path);
    CU_ASSERT_STRING_EQUAL(t.conf->password.ptr, "one");
    unlink(path);
    end(&t);
}

static void relative_paths(void)
{
    struct hd_arena a = HD_ARENA_INIT;

    CU_ASSERT_STRING_EQUAL(hd_path_from(&a, "/etc/x", "y"), "/etc/x/y");
    CU_ASSERT_STRING_EQUAL(hd_path_from(&a, "/etc/x", "/y"), "/y");
    CU_ASSERT_STRING_EQUAL(hd_path_from(&a, "", "y"), "y");
    hd_arena_free(&a);
}

/* --- tables ----------------------------------------------------------------------------------------------
 */

/* A table of one entry that starts out right, for a case to spoil. */
static int check_one(struct hd_option o, char *text)
{
    struct hd_options t = {sizeof(t), sizeof(o), 1, sizeof(struct conf), &o};
    struct hd_error err = HD_ERROR_INIT;
    int rc = hd_options_check(&t, "it", &err);

    snprintf(text, 200, "%s", err.text);
    return rc;
}

static void bad_entries(void)
{
    const struct hd_option good = {"key", "1", NULL, "doc", 0, 0, HD_OPT_INT, 0, offsetof(struct conf, count),
                                   0};
    struct hd_option o;
    char text[200];

    CU_ASSERT_EQUAL(check_one(good, text), HD_OK);
#define SPOIL(change, wanted)                                                                                \
    o = good;                                                                                                \
    change;                                                                                                  \
    CU_ASSERT_EQUAL(check_one(o, text), HD_EINVAL);                                                          \
    CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted));
    SPOIL(o.key = NULL, "has no key of lower case letters")
    SPOIL(o.key = "", "has no key")
    SPOIL(o.key = "Key", "has no key")
    SPOIL(o.key = "a key", "has no key")
    SPOIL(o.type = 0, "option key has type 0")
    SPOIL(o.type = 10, "option key has type 10, which this host does not know")
    SPOIL(o.offset = sizeof(struct conf), "outside its struct")
    SPOIL(o.offset = sizeof(struct conf) - 4, "outside its struct")
    SPOIL(o.offset = UINT32_MAX, "outside its struct")
    SPOIL(o.offset = 4, "not aligned")
    SPOIL(o.doc = NULL, "no documentation")
    SPOIL((o.min = 2, o.max = 1), "range whose end lies before its start")
    SPOIL((o.min = 5, o.max = 9), "the default of option key: must be between 5 and 9, not 1")
    SPOIL(o.default_value = "x", "the default of option key: must be a whole number")
    SPOIL((o.type = HD_OPT_ENUM, o.default_value = NULL), "an enum without choices")
#undef SPOIL
}

static int check_table(struct hd_options o, const char *wanted)
{
    struct hd_error err = HD_ERROR_INIT;

    return hd_options_check(&o, "it", &err) == HD_EINVAL && strstr(err.text, wanted);
}

static void bad_heads(void)
{
    struct hd_options o = options;
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_options_check(&(struct hd_options){0, 0, 0, 0, NULL}, "it", &err), HD_OK);
    o.size = 8;
    CU_ASSERT(check_table(o, "a head of 8 bytes"));
    o = options, o.stride = 8;
    CU_ASSERT(check_table(o, "entries have 8 bytes"));
    o = options, o.stride = 100000;
    CU_ASSERT(check_table(o, "entries have 100000 bytes"));
    o = options, o.stride = 66;
    CU_ASSERT(check_table(o, "entries have 66 bytes"));
    o = options, o.count = 1u << 30;
    CU_ASSERT(check_table(o, "options, expected at most"));
    o = options, o.conf_size = UINT32_MAX;
    CU_ASSERT(check_table(o, "configuration struct has"));
    o = options, o.table = NULL;
    CU_ASSERT(check_table(o, "is missing"));
}

static void bad_pairs(void)
{
    struct hd_option two[] = {table[2], table[2]};
    struct hd_options o = HD_OPTIONS(struct conf, two);

    CU_ASSERT(check_table(o, "option pool_size is in the table twice"));
    two[1].key = "other";
    CU_ASSERT(check_table(o, "options pool_size and other share memory"));
    two[0] = table[7];
    two[1].key = "password_file";
    CU_ASSERT(check_table(o, "option password_file has the name that reads secret password from a file"));
}

/* Entries of a plugin that was built with a longer hd_option. */
static void longer_stride(void)
{
    struct {
        struct hd_option o;
        uint64_t future[2];
    } big[] = {{table[2], {1, 2}}, {table[6], {3, 4}}};
    struct hd_options o = {sizeof(o), sizeof(big[0]), 2, sizeof(struct conf), &big[0].o};
    struct hd_error err = HD_ERROR_INIT;
    struct trial t;

    CU_ASSERT_EQUAL(hd_options_check(&o, "it", &err), HD_OK);
    try(&t, &o, (const char *const[]){"name", "n", "pool_size", "3", NULL});
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT_EQUAL(t.conf->count, 3);
    CU_ASSERT_STRING_EQUAL(t.conf->name.ptr, "n");
    end(&t);
}

/* --- comparing and printing -------------------------------------------------------------------------------
 */

static void compare(void)
{
    struct trial a, b;

    TRY(&a, "action", "warn", "name", "n", "password", "p");
    TRY(&b, "action", "refuse", "name", "m", "password", "q");
    hd_options_compare(&options, a.conf, b.conf, &b.section, &b.problems);
    CU_ASSERT_EQUAL(b.problems.errors, 1);
    CU_ASSERT(says(&b, "t.ini:2: action in [thing x] cannot change while the host runs (it is \"warn\")"));
    CU_ASSERT(!hd_options_equal(&options, a.conf, b.conf));
    CU_ASSERT(hd_options_equal(&options, a.conf, a.conf));
    end(&b);
    TRY(&b, "name", "n", "password", "p", "tables", "a,b");
    CU_ASSERT(hd_options_equal(&options, a.conf, b.conf));
    end(&b);
    TRY(&b, "name", "n", "password", "p", "tables", "a,c");
    CU_ASSERT(!hd_options_equal(&options, a.conf, b.conf));
    end(&a);
    end(&b);
}

static void printing(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;
    struct trial t;

    TRY(&t, "name", "costs $5 ${x}", "password", "hush", "tables", "a,b", "ratio", "0.1", "bytes", "1500");
    hd_options_print(&options, t.conf, &out);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&out), "flag = yes\n"
                                                "action = warn\n"
                                                "pool_size = 20\n"
                                                "ratio = 0.1\n"
                                                "bytes = 1500\n"
                                                "wait = 1500ms\n"
                                                "name = costs $$5 $${x}\n"
                                                "password = ********\n"
                                                "tables = a, b\n");
    CU_ASSERT_PTR_NULL(strstr(hd_strbuf_str(&out), "hush"));
    hd_strbuf_free(&out);
    end(&t);
}

static void long_lines(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT, value = HD_STRBUF_INIT;
    const char *p;

    for (int i = 0; i < 60; i++)
        hd_strbuf_printf(&value, "%sword%d", i ? ", " : "", i);
    hd_option_print_line("list", hd_strbuf_str(&value), &out);
    for (p = hd_strbuf_str(&out); *p; p += strcspn(p, "\n") + 1)
        CU_ASSERT(strcspn(p, "\n") < 150);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&out), "\n    word"));
    hd_strbuf_reset(&out);
    hd_option_print_line("empty", "", &out);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&out), "empty =\n");
    hd_strbuf_free(&out);
    hd_strbuf_free(&value);
}

static void sample_and_manual(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;

    hd_options_print_sample(&options, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&out), "; how many (1 to 10000)\n;pool_size = 20\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(hd_strbuf_str(&out),
               "; what to do (warn, refuse or throttle); a change needs a restart\n;action = warn\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(hd_strbuf_str(&out), "; the secret; or password_file = PATH\n;password =\n"));
    hd_strbuf_reset(&out);
    hd_options_print_manual(&options, &out);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(hd_strbuf_str(&out), ".TP\n\\fBpool_size\\fR (int, default 20)\n\\&how many (1 to 10000).\n"));
    hd_strbuf_free(&out);
}

static void nearest(void)
{
    static const char *const words[] = {"main", "replica", "shop"};

    CU_ASSERT_STRING_EQUAL(hd_nearest("mian", words, 3), "main");
    CU_ASSERT_STRING_EQUAL(hd_nearest("replcia1", words, 3), "replica");
    CU_ASSERT_PTR_NULL(hd_nearest("warehouse", words, 3));
    CU_ASSERT_PTR_NULL(hd_nearest("", words, 3));
    CU_ASSERT_PTR_NULL(hd_nearest("x", words, 0));
    CU_ASSERT_EQUAL(hd_edit_distance("abc", "acb"), 1);
    CU_ASSERT_EQUAL(hd_edit_distance("", "acb"), 3);
    CU_ASSERT_EQUAL(hd_edit_distance("ABC", "abc"), 0);
    CU_ASSERT_EQUAL(hd_edit_distance("kitten", "sitting"), 3);
}

static void too_many_problems(void)
{
    struct hd_problems p = HD_PROBLEMS_INIT;
    unsigned lines = 0;

    for (int i = 0; i < HD_PROBLEMS_MAX * 2; i++)
        hd_problem(&p, NULL, "line %d", i);
    for (struct hd_problem *n = p.first; n; n = n->next)
        lines++;
    CU_ASSERT_EQUAL(lines, HD_PROBLEMS_MAX);
    CU_ASSERT_EQUAL(p.errors, HD_PROBLEMS_MAX * 2);
    hd_problems_free(&p);
    CU_ASSERT(!hd_problems_any(&p));
}

static void parse_without_memory(void *arg)
{
    struct trial t;

    (void)arg;
    TRY(&t, "name", "n", "tables", "a,b,c", "pool_size", "x", "nmae", "q");
    if (t.conf && !t.problems.no_memory)
        CU_ASSERT_EQUAL(t.problems.errors, 2);
    end(&t);
}

static void failing_allocations(void)
{
    int runs = unit_each_alloc_failure(parse_without_memory, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || runs > 0);
}

UNIT_MAIN("options", {"defaults", defaults}, {"values of every type", values}, {"wrong values", wrong_values},
          {"several faults at once", several_faults}, {"required keys", required},
          {"keys of somebody else", keys_of_somebody_else}, {"a secret from a file", secret_from_file},
          {"odd secret files", odd_secret_files}, {"relative paths", relative_paths},
          {"bad entries in a table", bad_entries}, {"bad heads of a table", bad_heads},
          {"entries that clash", bad_pairs}, {"a longer stride", longer_stride},
          {"comparison for a reload", compare}, {"printing as an INI", printing},
          {"long lines are continued", long_lines}, {"sample and manual", sample_and_manual},
          {"nearest words", nearest}, {"problems are bounded", too_many_problems},
          {"failing allocations", failing_allocations})
