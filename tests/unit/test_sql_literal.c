/*
 * Literals decoded: what PostgreSQL makes of quotes, escapes and continued strings, and of which literals
 * that cannot be told.
 */
#include "unit.h"
#include "sql/literal.h"

#include <howdah/error.h>
#include <stdio.h>
#include <string.h>

static int decode(const char *sql, int utf8, char *out, size_t cap)
{
    struct hd_scan scan = HD_SCAN_INIT;
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_str text = {NULL, 0};
    int code;

    CU_ASSERT_EQUAL_FATAL(hd_scan_normalize(sql, strlen(sql), &scan), HD_OK);
    CU_ASSERT_EQUAL_FATAL(scan.flags, 0);
    CU_ASSERT_FATAL(scan.n_literals > 0);
    code = hd_literal_text(sql, strlen(sql), &scan.literals[0], utf8, &arena, &text);
    snprintf(out, cap, "%.*s", code ? 0 : (int)text.len, text.ptr);
    hd_arena_free(&arena);
    hd_scan_free(&scan);
    return code;
}

static void decoded(void)
{
    static const struct {
        const char *sql, *text;
    } cases[] = {
        {"select 5", "5"},
        {"select 007", "007"},
        {"select 5000000000", "5000000000"},
        {"select .5e-3", ".5e-3"},
        {"select ''", ""},
        {"select 'it'", "it"},
        {"select 'it''s'", "it's"},
        {"select ''''", "'"},
        {"select ''''''", "''"},
        {"select 'a\\n'", "a\\n"},
        {"select 'a'\n  'b'\t\r'''c'", "ab'c"},
        {"select 'a'\n''", "a"},
        {"select 'a' 'b'", "a"},
        {"select $$a'b\\n$$", "a'b\\n"},
        {"select $$$$", ""},
        {"select $t$ $$ $x$ $t$", " $$ $x$ "},
        {"select E'a\\tb\\n\\r\\f\\b'", "a\tb\n\r\f\b"},
        {"select e'\\'\\\\\\q''\\x'", "'\\q'x"},
        {"select E'\\101\\x41\\x4\\u0041\\U00000041\\1018\\x414'", "AA\004AAA8A4"},
        {"select E'\\501'", "A"},
        {"select E'a\\n'\n'\\tb'", "a\n\tb"},
        {"select U&'d\\0061t\\+000061 \\\\ '''", "data \\ '"},
        {"select U&'a' as x", "a"},
        {"select b'0101'", "0101"},
        {"select B'01'\n'11'", "0111"},
        {"select x'1Fa'", "000111111010"},
        {"select x''", ""},
    };
    char text[200];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CU_ASSERT_EQUAL(decode(cases[i].sql, 0, text, sizeof(text)), HD_OK);
        if (strcmp(text, cases[i].text) != 0)
            printf("# %s\n#   gives %s\n#   not   %s\n", cases[i].sql, text, cases[i].text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].text);
    }
}

static void code_points_are_those_of_utf8(void)
{
    static const struct {
        const char *sql, *text;
    } cases[] = {
        {"select E'\\u00e9'", "\xc3\xa9"},
        {"select E'\\u20ac\\U0001F600'", "\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"select E'\\ud83d\\ude00'", "\xf0\x9f\x98\x80"},
        {"select U&'\\00e9\\+01F600\\d83d\\+00de00'", "\xc3\xa9\xf0\x9f\x98\x80\xf0\x9f\x98\x80"},
    };
    char text[200];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CU_ASSERT_EQUAL(decode(cases[i].sql, 1, text, sizeof(text)), HD_OK);
        CU_ASSERT_STRING_EQUAL(text, cases[i].text);
        CU_ASSERT_EQUAL(decode(cases[i].sql, 0, text, sizeof(text)), HD_EUNSUPP);
    }
}

static void what_cannot_be_told(void)
{
    static const char *const cases[] = {
        "select N'x'",
        "select U&'d!0061' uescape '!'",
        "select U&'d\\0061'/**/uescape '!'",
        "select U&'d\\0061'--\nuescape '!'",
        "select U&'\\'",
        "select U&'\\006'",
        "select U&'\\006g'",
        "select U&'\\0000'",
        "select U&'\\+110000'",
        "select U&'\\d83d'",
        "select U&'\\d83dx'",
        "select U&'\\de00'",
        "select U&'\\d83d\\0061'",
        "select E'\\x80'",
        "select E'\\351'",
        "select E'\\0'",
        "select E'\\400'",
        "select E'\\u00'",
        "select E'\\ud83d'",
        "select E'\\ud83d\\n'",
        "select E'\\ud83d''\\ude00'",
        "select E'\\ud83d'\n'\\ude00'",
        "select b'2'",
        "select x'g'",
    };
    char text[200];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int code = decode(cases[i], 1, text, sizeof(text));

        if (code != HD_EUNSUPP)
            printf("# %s: %d %s\n", cases[i], code, text);
        CU_ASSERT_EQUAL(code, HD_EUNSUPP);
    }
}

UNIT_MAIN("sql_literal", {"literals decoded", decoded},
          {"code points are those of UTF-8", code_points_are_those_of_utf8},
          {"what cannot be told", what_cannot_be_told})
