/*
 * The INI reader: what sections and keys come of a text, with which places, and every refusal.
 */
#include "unit.h"
#include "base/check.h"
#include "host/environment.h"
#include "host/ini.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct trial {
    struct hd_ini ini;
    struct hd_problems problems;
};

static void read_bytes(struct trial *t, const char *text, size_t len)
{
    memset(t, 0, sizeof(*t));
    hd_ini_parse(&t->ini, "a.ini", "/etc/x", text, len, &t->problems);
}

static void end(struct trial *t)
{
    hd_ini_free(&t->ini);
    hd_problems_free(&t->problems);
}

/* Everything that was read, on one line a section: "[k n]@1 key@2=value|key@3=value|" */
static const char *dump(const struct trial *t)
{
    static char out[4096];
    size_t n = 0;

    out[0] = 0;
    for (uint32_t i = 0; i < t->ini.count; i++) {
        const struct hd_raw_section *s = &t->ini.sections[i];

        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s@%s ", n ? "\n" : "", s->label,
                              strrchr(s->origin, ':') + 1);
        for (uint32_t k = 0; k < s->count; k++)
            n += (size_t)snprintf(out + n, sizeof(out) - n, "%s@%s=%s|", s->keys[k].key,
                                  strrchr(s->keys[k].origin, ':') + 1, s->keys[k].value);
    }
    return out;
}

static void expect(const char *text, const char *wanted)
{
    struct trial t;

    read_bytes(&t, text, strlen(text));
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    if (strcmp(dump(&t), wanted))
        printf("# got    %s\n# wanted %s\n", dump(&t), wanted);
    CU_ASSERT_STRING_EQUAL(dump(&t), wanted);
    end(&t);
}

/* One error with this text, and what is left of the file (NULL: never mind). */
static void expect_error(const char *text, const char *error, const char *wanted)
{
    struct trial t;

    read_bytes(&t, text, strlen(text));
    CU_ASSERT_EQUAL(t.problems.errors, 1);
    if (t.problems.errors != 1 || !strstr(t.problems.first->text, error))
        for (const struct hd_problem *p = t.problems.first; p; p = p->next)
            printf("# got    %s\n# wanted %s\n", p->text, error);
    CU_ASSERT(t.problems.first && strstr(t.problems.first->text, error));
    if (wanted)
        CU_ASSERT_STRING_EQUAL(dump(&t), wanted);
    end(&t);
}

static void sections(void)
{
    expect("", "");
    expect("; nothing\n# at all\n\n", "");
    expect("[host]\nworkers = auto\n", "[host]@1 workers@2=auto|");
    expect("[user *]", "[user *]@1 ");
    expect("\n[user *]\n[user a]\n\n[user b] ; last\nx=1", "[user *]@2 \n[user a]@3 \n[user b]@5 x@6=1|");
    expect("[ database   my shop  ]\n", "[database my shop]@1 ");
    expect("[database db.with-63-bytes-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nk=v\n",
           "[database db.with-63-bytes-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]@1 k@2=v|");
}

static void values(void)
{
    expect("[a]\nk = v ; comment\nl=;x\nm = a;b\nn =\no: p\n", "[a]@1 k@2=v|l@3=;x|m@4=a;b|n@5=|o@6=p|");
    expect("[a]\nk = \"quoted\" = x\n", "[a]@1 k@2=\"quoted\" = x|");
    expect("[a]\nk = v # no comment\n", "[a]@1 k@2=v # no comment|");
    expect("\xef\xbb\xbf[a]\r\nk = v\r\n  w\r\n", "[a]@1 k@2=v w|");
    expect("[a]\nk = v\nk = w\n", "[a]@1 k@2=v|k@3=w|");
    expect("[a]\nk = Zo\xc3\xab\n", "[a]@1 k@2=Zo\xc3\xab|");
}

static void continued(void)
{
    expect("[a]\nk = x,\n  y,\n\t z\nl = 1\n", "[a]@1 k@2=x, y, z|l@5=1|");
    expect("[a]\nk =\n  y\n", "[a]@1 k@2=y|");
    expect("[a]\nk = x, ; one\n  y, ; two\n  ; three\n  # four\n\n  z ; five\n", "[a]@1 k@2=x, y, z|");
    expect("[a]\nk = 127.0.0.1:1,\n  [::]:2\n", "[a]@1 k@2=127.0.0.1:1, [::]:2|");
    expect("[a]\nk = x\n  l = y\n", "[a]@1 k@2=x l = y|");
    expect("[a]\nak = 1\n[b]\nbk = 2\n  3\n", "[a]@1 ak@2=1|\n[b]@3 bk@4=2 3|");
    /* A key that inih would cut on the line that continues it. */
    expect("[a]\nkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk = x\n  y\n",
           "[a]@1 kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk@2=x y|");
}

static void dollars(void)
{
    setenv("HD_TEST_A", "from env", 1);
    setenv("HD_TEST_EMPTY", "", 1);
    unsetenv("HD_TEST_NO");
    expect("[a]\nk = <${HD_TEST_A}>\n", "[a]@1 k@2=<from env>|");
    expect("[a]\nk = ${HD_TEST_NO:-x:-y}${HD_TEST_EMPTY:-z}${HD_TEST_EMPTY}${HD_TEST_NO:-}\n",
           "[a]@1 k@2=x:-yz|");
    expect("[a]\nk = ${HD_TEST_NO:-one\n  two}\n", "[a]@1 k@2=one two|");
    expect("[a]\nk = a$$b$$${HD_TEST_NO:-c}$$$\n", "[a]@1 k@2=a$b$c$$|");
    expect("[a]\nk = $${HD_TEST_A}\n", "[a]@1 k@2=${HD_TEST_A}|");
    expect("[a]\nk = SCRAM-SHA-256$4096:c2FsdA==$a/+=:b=\n",
           "[a]@1 k@2=SCRAM-SHA-256$4096:c2FsdA==$a/+=:b=|");
    expect_error(
        "[a]\nk = x\nl = ${HD_TEST_NO}\nm = 1\n",
        "a.ini:3: ${HD_TEST_NO} is not set in the environment; set it, or write ${HD_TEST_NO:-default}",
        "[a]@1 k@2=x|m@4=1|");
    expect_error("[a]\nl = ${HOME\n", "a.ini:2: \"${\" has no closing \"}\"", "[a]@1 ");
    expect_error("[a]\nl = ${}\n", "a.ini:2: ${} is neither ${NAME} nor ${NAME:-default}", "[a]@1 ");
    expect_error("[a]\nl = ${1X}\n", "a.ini:2: ${1X} is neither", "[a]@1 ");
    expect_error("[a]\nl = ${A-B}\n", "a.ini:2: ${A-B} is neither", "[a]@1 ");
}

static void refusals(void)
{
    char text[1024];

    expect_error("k = v\n[a]\n", "a.ini:1: a key must stand in a section", "[a]@2 ");
    expect_error("[a\nk = v\n[b]\n", "a.ini:1: the section's header has no closing \"]\"", "[b]@3 ");
    expect_error("[a] b\nk = v\n  w\n[b]\n", "a.ini:1: nothing but a comment may follow", "[b]@4 ");
    expect_error("[]\n[b]\n", "a.ini:1: a section's header is [kind] or [kind name]", "[b]@2 ");
    expect_error("[a]\nno value\n  more\nk = v\n",
                 "a.ini:2: expected \"key = value\", \"[section]\" or a comment", "[a]@1 k@4=v|");
    expect_error("[a]\nk = v\nno value", "a.ini:3: expected \"key = value\"", "[a]@1 k@2=v|");
    expect_error("[a]\n= v\n  w\nk = v\n", "a.ini:2: there is no key in front of the \"=\"", "[a]@1 k@4=v|");
    expect_error("[a]\nx = 1\n[b]\n  k = v\n", "a.ini:4: an indented line continues the value above it",
                 "[a]@1 x@2=1|\n[b]@3 ");
    expect_error("[a]\nk = \x01\n  more\nl = 1\n", "a.ini:2: the line holds the control character 0x01",
                 "[a]@1 l@4=1|");
    expect_error("[a\x02]\nk = v\n", "a.ini:1: the line holds the control character 0x02", "");

    snprintf(text, sizeof(text), "[a]\nk = v\nl = %0194d\n  more\nm = %0195d\n  more\nn = 2\n", 0, 0);
    expect_error(text, "a.ini:5: the line has 199 bytes, but at most 198 are read: continue the value", NULL);
    snprintf(text, sizeof(text), "[a]\nk = 1\n  %0300d\n  more\nn = 2\n", 0);
    expect_error(text, "a.ini:3: the line has 302 bytes", "[a]@1 n@5=2|");
    snprintf(text, sizeof(text), "[a %0300d]\nk = 1\n", 0);
    expect_error(text, "a.ini:1: a section's header is", "");
}

static void longest_line(void)
{
    char text[1024], value[200];
    struct trial t;

    memset(value, 'x', 194);
    value[194] = 0;
    snprintf(text, sizeof(text), "[a]\nk = %s\r\nl = 2\n", value);
    read_bytes(&t, text, strlen(text));
    CU_ASSERT_EQUAL(t.problems.errors, 0);
    CU_ASSERT_STRING_EQUAL(t.ini.sections[0].keys[0].value, value);
    CU_ASSERT_EQUAL(t.ini.sections[0].count, 2);
    end(&t);
}

static void many_sections(void)
{
    struct hd_strbuf b = HD_STRBUF_INIT;
    struct trial t;

    for (int i = 0; i < 1000; i++)
        hd_strbuf_printf(&b, "[user u%d]\nk = %d\nbroken\n", i, i);
    read_bytes(&t, b.data, b.len);
    CU_ASSERT_EQUAL(t.ini.count, 1000);
    CU_ASSERT_EQUAL(t.problems.errors, 1000);
    CU_ASSERT_STRING_EQUAL(t.ini.sections[999].keys[0].value, "999");
    hd_strbuf_free(&b);
    end(&t);
}

static void binary(void)
{
    struct trial t;

    read_bytes(&t, "[a]\nk = \0\n", 10);
    CU_ASSERT_EQUAL(t.problems.errors, 1);
    CU_ASSERT_STRING_EQUAL(t.problems.first->text, "a.ini: holds a zero byte: it is no text file");
    end(&t);
}

/* --- files -----------------------------------------------------------------------------------------------
 */

static char folder[] = "/tmp/hd_test_ini_XXXXXX";

static void put(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static void drop(const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    CU_ASSERT_EQUAL(remove(path), 0);
}

static void read_path(struct trial *t, const char *name)
{
    char path[128];

    memset(t, 0, sizeof(*t));
    snprintf(path, sizeof(path), "%s%s%s", folder, *name ? "/" : "", name);
    hd_ini_read(&t->ini, path, &t->problems);
}

static void files(void)
{
    static const char *const names[] = {"20-b.ini",   "10-a.conf", ".hidden.ini",
                                        "readme.txt", "30.ini~",   ".ini"};
    struct trial t;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    read_path(&t, "");
    CU_ASSERT_PTR_NOT_NULL(
        strstr(hd_problems_first(&t.problems), "there is no *.ini or *.conf file in this folder"));
    end(&t);

    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        put(names[i], i ? "[x]\nk = 1\n" : "[y]\nk = 2\nz\n");
    read_path(&t, "");
    CU_ASSERT_STRING_EQUAL(dump(&t), "[x]@1 k@2=1|\n[y]@1 k@2=2|");
    CU_ASSERT_STRING_EQUAL(t.ini.sections[0].dir, folder);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.ini.sections[0].keys[0].origin, "/10-a.conf:2"));
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_problems_first(&t.problems), "/20-b.ini:3: expected"));
    end(&t);

    read_path(&t, "20-b.ini");
    CU_ASSERT_STRING_EQUAL(dump(&t), "[y]@1 k@2=2|");
    CU_ASSERT_STRING_EQUAL(t.ini.sections[0].dir, folder);
    end(&t);

    read_path(&t, "none.ini");
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_problems_first(&t.problems), "none.ini: cannot open it: No such file"));
    end(&t);
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        drop(names[i]);
    rmdir(folder);
}

static void huge_file(void)
{
    struct trial t = {.ini = {.count = 0}};

    hd_ini_read(&t.ini, "/dev/zero", &t.problems);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(hd_problems_first(&t.problems), "/dev/zero: cannot read it: File too large"));
    end(&t);
}

static void environment(void)
{
    setenv("PGTZ", "Mars/Olympus", 1);
    setenv("PGHOST", "", 1);
    CU_ASSERT_EQUAL(hd_environment_keep_pg(), 0);
    CU_ASSERT_PTR_NULL(getenv("PGTZ"));
    CU_ASSERT_PTR_NULL(getenv("PGHOST"));
    expect("[a]\nk = ${PGTZ} ${PGHOST:-h}\n", "[a]@1 k@2=Mars/Olympus h|");
    CU_ASSERT_EQUAL(hd_environment_keep_pg(), 0);
    CU_ASSERT_STRING_EQUAL(hd_environment_get("PGTZ"), "Mars/Olympus");
    hd_environment_free();
    CU_ASSERT_PTR_NULL(hd_environment_get("PGTZ"));
}

static void read_without_memory(void *arg)
{
    static const char text[] = "[a]\nk = v\n  w\n[b c]\nx = ${HOME:-a} b\ny = 2\nz\n";
    struct trial t;

    (void)arg;
    read_bytes(&t, text, strlen(text));
    CU_ASSERT(t.problems.no_memory || (t.ini.count == 2 && t.problems.errors == 1));
    end(&t);
}

static void failing_allocations(void)
{
    int runs = unit_each_alloc_failure(read_without_memory, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || runs > 2);
}

UNIT_MAIN("config_ini", {"sections", sections}, {"values and comments", values},
          {"continued values", continued}, {"dollars", dollars}, {"refusals", refusals},
          {"the longest line", longest_line}, {"many sections and faults", many_sections},
          {"a binary file", binary}, {"files and folders", files}, {"a file without end", huge_file},
          {"the environment", environment}, {"failing allocations", failing_allocations})
