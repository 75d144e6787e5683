/*
 * Fuzzes the scanner against libpg_query: the literals that both find are the same; replacing the literals
 * that the key leaves out changes neither the key nor libpg_query's normalization and fingerprint; and no
 * literal's content stands in the normalized text. What a literal is decoded to is what libpg_query's parser
 * makes of it.
 */
#include "sql/facts.h"
#include "sql/literal.h"
#include "sql/scan.h"
#include "base/strbuf.h"

#include <howdah/error.h>
#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TEXT 4096

/* The enum value of a literal's token, as far as literals go. */
static int is_literal_token(int token)
{
    return token == PG_QUERY__TOKEN__SCONST || token == PG_QUERY__TOKEN__USCONST ||
           token == PG_QUERY__TOKEN__BCONST || token == PG_QUERY__TOKEN__XCONST ||
           token == PG_QUERY__TOKEN__ICONST || token == PG_QUERY__TOKEN__FCONST;
}

static int token_fits(const struct hd_literal *lit, const PgQuery__ScanToken *t)
{
    uint32_t start = (uint32_t)t->start;

    switch ((enum hd_literal_kind)lit->kind) {
    case HD_LITERAL_NATIONAL:
        return t->token == PG_QUERY__TOKEN__SCONST && start == lit->offset + 1;
    case HD_LITERAL_UNICODE:
        return t->token == PG_QUERY__TOKEN__USCONST && start == lit->offset;
    case HD_LITERAL_BITS:
        return t->token == PG_QUERY__TOKEN__BCONST && start == lit->offset;
    case HD_LITERAL_HEX:
        return t->token == PG_QUERY__TOKEN__XCONST && start == lit->offset;
    case HD_LITERAL_INTEGER:
        return t->token == PG_QUERY__TOKEN__ICONST && start == lit->offset;
    case HD_LITERAL_NUMERIC:
        return t->token == PG_QUERY__TOKEN__FCONST && start == lit->offset;
    case HD_LITERAL_STRING:
    case HD_LITERAL_ESCAPE:
        return t->token == PG_QUERY__TOKEN__SCONST && start == lit->offset;
    }
    return 0;
}

/* Do libpg_query's scanner and ours see the same literals? */
static void compare_tokens(const char *text, const struct hd_scan *scan)
{
    PgQueryScanResult r = pg_query_scan(text);
    PgQuery__ScanResult *tokens = NULL;
    uint32_t seen = 0;

    if (!r.error)
        tokens = pg_query__scan_result__unpack(NULL, r.pbuf.len, (const uint8_t *)r.pbuf.data);
    if (tokens) {
        for (size_t i = 0; i < tokens->n_tokens; i++) {
            if (!is_literal_token((int)tokens->tokens[i]->token))
                continue;
            HD_CHECK(seen < scan->n_literals);
            HD_CHECK(token_fits(&scan->literals[seen], tokens->tokens[i]));
            seen++;
        }
        HD_CHECK(seen == scan->n_literals);
        pg_query__scan_result__free_unpacked(tokens, NULL);
    }
    pg_query_free_scan_result(r);
}

/* Another literal of the same kind. libpg_query's normalization keeps the N of N'', so that stays as it is.
 */
static void put_other(struct hd_strbuf *b, enum hd_literal_kind kind, unsigned n, char first)
{
    switch (kind) {
    case HD_LITERAL_STRING:
        hd_strbuf_printf(b, n % 2 ? "'other%u'" : "$q$other%u$q$", n);
        break;
    case HD_LITERAL_ESCAPE:
        hd_strbuf_printf(b, "E'other\\'%u'", n);
        break;
    case HD_LITERAL_UNICODE:
        hd_strbuf_printf(b, "u&'other%u'", n);
        break;
    case HD_LITERAL_NATIONAL:
        hd_strbuf_printf(b, "%c'other%u'", first, n);
        break;
    case HD_LITERAL_BITS:
        hd_strbuf_puts(b, "b'10010110'");
        break;
    case HD_LITERAL_HEX:
        hd_strbuf_puts(b, "x'90210abc'");
        break;
    case HD_LITERAL_INTEGER:
        hd_strbuf_printf(b, "9021%u", n % 100000);
        break;
    case HD_LITERAL_NUMERIC:
        hd_strbuf_printf(b, "9021.%ue2", n);
        break;
    }
}

enum which { NONE, OUTSIDE_KEY, ALL };

/* The text with blanks around each literal, and other literals in place of which. */
static void respell(struct hd_strbuf *b, const char *text, size_t len, const struct hd_scan *scan,
                    enum which which)
{
    size_t at = 0;

    for (uint32_t i = 0; i < scan->n_literals; i++) {
        const struct hd_literal *lit = &scan->literals[i];

        hd_strbuf_add(b, text + at, lit->offset - at);
        hd_strbuf_putc(b, ' ');
        if (which == ALL || (which == OUTSIDE_KEY && !lit->in_key))
            put_other(b, (enum hd_literal_kind)lit->kind, i, text[lit->offset]);
        else
            hd_strbuf_add(b, text + lit->offset, lit->len);
        hd_strbuf_putc(b, ' ');
        at = lit->offset + lit->len;
    }
    hd_strbuf_add(b, text + at, len - at);
}

static void same_for_libpg_query(const char *a, const char *b)
{
    PgQueryNormalizeResult na = pg_query_normalize(a), nb = pg_query_normalize(b);
    PgQueryFingerprintResult fa = pg_query_fingerprint(a), fb = pg_query_fingerprint(b);

    if (!na.error) {
        HD_CHECK(!nb.error);
        HD_CHECK(strcmp(na.normalized_query, nb.normalized_query) == 0);
    }
    if (!fa.error) {
        HD_CHECK(!fb.error);
        HD_CHECK(fa.fingerprint == fb.fingerprint);
    }
    pg_query_free_normalize_result(na);
    pg_query_free_normalize_result(nb);
    pg_query_free_fingerprint_result(fa);
    pg_query_free_fingerprint_result(fb);
}

static void scan_respelled(struct hd_strbuf *b, struct hd_scan *out, const char *text,
                           const struct hd_scan *scan, enum which which)
{
    respell(b, text, strlen(text), scan, which);
    HD_CHECK(hd_scan_normalize(hd_strbuf_str(b), b->len, out) == HD_OK);
    HD_CHECK(out->flags == 0);
}

static void compare_siblings(const char *text, const struct hd_scan *scan)
{
    struct hd_scan mine = HD_SCAN_INIT, sibling = HD_SCAN_INIT, other = HD_SCAN_INIT;
    struct hd_strbuf a = HD_STRBUF_INIT, b = HD_STRBUF_INIT, c = HD_STRBUF_INIT;
    struct hd_facts *facts = NULL;

    scan_respelled(&a, &mine, text, scan, NONE);
    scan_respelled(&b, &sibling, text, scan, OUTSIDE_KEY);
    scan_respelled(&c, &other, text, scan, ALL);
    HD_CHECK(hd_hash128_eq(mine.key, sibling.key));
    HD_CHECK(strcmp(mine.text, sibling.text) == 0);
    HD_CHECK(strcmp(mine.text, other.text) == 0); /* so it holds no literal's content */
    HD_CHECK(hd_facts_parse(hd_strbuf_str(&a), a.len, &mine, &facts) == HD_OK);
    if (!(facts->flags & HD_FACT_UNSURE))
        same_for_libpg_query(hd_strbuf_str(&a), hd_strbuf_str(&b));
    hd_facts_free(facts);
    hd_scan_free(&mine);
    hd_scan_free(&sibling);
    hd_scan_free(&other);
    hd_strbuf_free(&a);
    hd_strbuf_free(&b);
    hd_strbuf_free(&c);
}

/* The content of a constant as the parser has it; an integer as text in `digits`. */
static const char *content_of(const PgQuery__AConst *c, char *digits, size_t cap)
{
    switch (c->val_case) {
    case PG_QUERY__A__CONST__VAL_SVAL:
        return c->sval->sval;
    case PG_QUERY__A__CONST__VAL_FVAL:
        return c->fval->fval;
    case PG_QUERY__A__CONST__VAL_BSVAL:
        return c->bsval->bsval;
    case PG_QUERY__A__CONST__VAL_IVAL:
        snprintf(digits, cap, "%d", c->ival->ival);
        return digits;
    default:
        return NULL;
    }
}

static const PgQuery__AConst *only_constant(const PgQuery__ParseResult *tree)
{
    const PgQuery__SelectStmt *select;

    if (tree->n_stmts != 1 || tree->stmts[0]->stmt->node_case != PG_QUERY__NODE__NODE_SELECT_STMT)
        return NULL;
    select = tree->stmts[0]->stmt->select_stmt;
    if (select->n_target_list != 1 ||
        select->target_list[0]->res_target->val->node_case != PG_QUERY__NODE__NODE_A_CONST)
        return NULL;
    return select->target_list[0]->res_target->val->a_const;
}

static int same_number(const char *a, const char *b)
{
    return strtol(a, NULL, 10) == strtol(b, NULL, 10);
}

static void compare_contents(const struct hd_literal *lit, const char *mine, const PgQuery__AConst *c)
{
    char digits[16];
    const char *theirs = content_of(c, digits, sizeof(digits));

    HD_CHECK(theirs != NULL);
    if (lit->kind == HD_LITERAL_INTEGER)
        HD_CHECK(same_number(mine, theirs));
    else if (lit->kind == HD_LITERAL_BITS)
        HD_CHECK(theirs[0] == 'b' && strcmp(mine, theirs + 1) == 0);
    else if (lit->kind == HD_LITERAL_HEX) /* each of its digits has become four */
        HD_CHECK(theirs[0] == 'x' && strlen(mine) == 4 * strlen(theirs + 1));
    else
        HD_CHECK(strcmp(mine, theirs) == 0);
}

/* One literal by itself, through our decoder and through the parser. */
static void compare_decoded(const char *text, size_t len, const struct hd_literal *lit)
{
    struct hd_arena arena = HD_ARENA_INIT;
    struct hd_strbuf sql = HD_STRBUF_INIT;
    PgQueryProtobufParseResult r;
    PgQuery__ParseResult *tree = NULL;
    const PgQuery__AConst *c;
    struct hd_str mine;

    hd_strbuf_puts(&sql, "select ");
    hd_strbuf_add(&sql, text + lit->offset, lit->len);
    r = pg_query_parse_protobuf(hd_strbuf_str(&sql));
    if (hd_literal_text(text, len, lit, 1, &arena, &mine) == HD_OK && !r.error) {
        char *copy = hd_arena_strndup(&arena, mine.ptr, mine.len);

        HD_CHECK(copy && strlen(copy) == mine.len);
        tree = pg_query__parse_result__unpack(NULL, r.parse_tree.len, (const uint8_t *)r.parse_tree.data);
        c = tree ? only_constant(tree) : NULL;
        if (c)
            compare_contents(lit, copy, c);
    }
    if (tree)
        pg_query__parse_result__free_unpacked(tree, NULL);
    pg_query_free_protobuf_parse_result(r);
    hd_strbuf_free(&sql);
    hd_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_scan scan = HD_SCAN_INIT;
    char text[MAX_TEXT + 1];

    if (size > MAX_TEXT)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    HD_CHECK(hd_scan_normalize(text, size, &scan) == HD_OK);
    HD_CHECK(scan.len < scan.cap && scan.text[scan.len] == 0);
    if (!scan.flags) {
        compare_tokens(text, &scan);
        compare_siblings(text, &scan);
        for (uint32_t i = 0; i < scan.n_literals && i < 8; i++)
            compare_decoded(text, size, &scan.literals[i]);
    }
    hd_scan_free(&scan);
    return 0;
}
