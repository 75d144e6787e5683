/*
 * Kinds of statement; see kinds.h. A text of one plain statement has the kind that the host says. For texts
 * of several statements, and for statements that wrap others, the words of the normalized text tell: it has
 * no literals and no comments, its keywords are in lower case, and quoted identifiers keep their quotes.
 */
#include "kinds.h"

#include <string.h>
#include <strings.h>

#define K(kind) GUARD_KIND(HD_KIND_##kind)

#define WRITES (K(INSERT) | K(UPDATE) | K(DELETE) | K(MERGE) | K(COPY_FROM) | K(TRUNCATE))
#define DML    (K(INSERT) | K(UPDATE) | K(DELETE) | K(MERGE))
#define TRANSACTION                                                                                          \
    (K(BEGIN) | K(COMMIT) | K(ROLLBACK) | K(SAVEPOINT) | K(RELEASE) | K(ROLLBACK_TO) | K(PREPARE_TXN) |      \
     K(COMMIT_PREPARED) | K(ROLLBACK_PREPARED))

struct name {
    const char *name;
    uint64_t kinds;
};

/* What a rule may say. */
static const struct name names[] = {
    {"select", K(SELECT)},
    {"insert", K(INSERT)},
    {"update", K(UPDATE)},
    {"delete", K(DELETE)},
    {"merge", K(MERGE)},
    {"copy", K(COPY_FROM) | K(COPY_TO)},
    {"copy_from", K(COPY_FROM)},
    {"copy_to", K(COPY_TO)},
    {"truncate", K(TRUNCATE)},
    {"writes", WRITES},
    {"ddl", K(DDL)},
    {"privilege", K(PRIVILEGE)},
    {"maintenance", K(MAINTENANCE)},
    {"do", K(DO)},
    {"call", K(CALL)},
    {"lock", K(LOCK)},
    {"load", K(LOAD)},
    {"explain", K(EXPLAIN)},
    {"set", K(SET) | K(SET_LOCAL)},
    {"reset", K(RESET)},
    {"show", K(SHOW)},
    {"discard", K(DISCARD)},
    {"prepare", K(PREPARE)},
    {"execute", K(EXECUTE)},
    {"deallocate", K(DEALLOCATE)},
    {"cursor", K(DECLARE) | K(FETCH) | K(CLOSE)},
    {"listen", K(LISTEN)},
    {"unlisten", K(UNLISTEN)},
    {"notify", K(NOTIFY)},
    {"transaction", TRANSACTION},
    {"other", K(OTHER)},
};

/* The first words of statements, for texts that hold several. */
static const struct name openings[] = {
    {"select", K(SELECT)},
    {"values", K(SELECT)},
    {"table", K(SELECT)},
    {"insert", K(INSERT)},
    {"update", K(UPDATE)},
    {"delete", K(DELETE)},
    {"merge", K(MERGE)},
    {"copy", K(COPY_FROM) | K(COPY_TO)},
    {"begin", K(BEGIN)},
    {"start", K(BEGIN)},
    {"commit", K(COMMIT) | K(COMMIT_PREPARED)},
    {"end", K(COMMIT)},
    {"rollback", K(ROLLBACK) | K(ROLLBACK_TO) | K(ROLLBACK_PREPARED)},
    {"abort", K(ROLLBACK)},
    {"savepoint", K(SAVEPOINT)},
    {"release", K(RELEASE)},
    {"set", K(SET) | K(SET_LOCAL)},
    {"reset", K(RESET)},
    {"show", K(SHOW)},
    {"prepare", K(PREPARE) | K(PREPARE_TXN)},
    {"execute", K(EXECUTE)},
    {"deallocate", K(DEALLOCATE)},
    {"declare", K(DECLARE)},
    {"fetch", K(FETCH)},
    {"move", K(FETCH)},
    {"close", K(CLOSE)},
    {"listen", K(LISTEN)},
    {"unlisten", K(UNLISTEN)},
    {"notify", K(NOTIFY)},
    {"discard", K(DISCARD)},
    {"lock", K(LOCK)},
    {"do", K(DO)},
    {"call", K(CALL)},
    {"load", K(LOAD)},
    {"explain", K(EXPLAIN)},
    {"truncate", K(TRUNCATE)},
    {"create", K(DDL)},
    {"alter", K(DDL)},
    {"drop", K(DDL)},
    {"comment", K(DDL)},
    {"security", K(DDL)},
    {"import", K(DDL)},
    {"grant", K(PRIVILEGE)},
    {"revoke", K(PRIVILEGE)},
    {"reassign", K(PRIVILEGE)},
    {"vacuum", K(MAINTENANCE)},
    {"analyze", K(MAINTENANCE)},
    {"analyse", K(MAINTENANCE)},
    {"cluster", K(MAINTENANCE)},
    {"reindex", K(MAINTENANCE)},
    {"checkpoint", K(MAINTENANCE)},
    {"refresh", K(MAINTENANCE)},
};

/* What CREATE, ALTER and DROP make a matter of privileges. */
static const char *const privilege_objects[] = {"role", "user", "group", "policy", "default", "owned"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int is(struct hd_str word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.ptr, text, word.len) == 0;
}

static uint64_t find(const struct name *table, size_t n, struct hd_str word)
{
    for (size_t i = 0; i < n; i++)
        if (is(word, table[i].name))
            return table[i].kinds;
    return 0;
}

uint64_t guard_kinds_named(struct hd_str name)
{
    for (size_t i = 0; i < COUNT(names); i++)
        if (name.len == strlen(names[i].name) && strncasecmp(name.ptr, names[i].name, name.len) == 0)
            return names[i].kinds;
    return 0;
}

/* Insertions, deletions and exchanges that make one word the other; words are cut at 31 letters. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[32];

    a_len = a_len < 31 ? a_len : 31;
    b_len = b_len < 31 ? b_len : 31;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned corner = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = corner + (a[i - 1] != b[j - 1]);

            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

const char *guard_kinds_nearest(struct hd_str name)
{
    const char *nearest = names[0].name;
    unsigned best = ~0u;

    for (size_t i = 0; i < COUNT(names); i++) {
        unsigned d = distance(name.ptr, name.len, names[i].name, strlen(names[i].name));

        if (d < best) {
            best = d;
            nearest = names[i].name;
        }
    }
    return nearest;
}

/* --- words of the normalized text -------------------------------------------------------------------------
 */

/* Bytes above 127 are letters, as they are to PostgreSQL. */
static int in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (unsigned char)c >= 128;
}

/* Takes the next token off `rest`: a word, a quoted identifier, or one character; empty at the end. */
static struct hd_str next_token(struct hd_str *rest)
{
    struct hd_str t;
    uint64_t n = 1;

    while (rest->len && (*rest->ptr == ' ' || *rest->ptr == '\n' || *rest->ptr == '\t')) {
        rest->ptr++;
        rest->len--;
    }
    t.ptr = rest->ptr;
    t.len = 0;
    if (!rest->len)
        return t;
    if (*t.ptr == '"') {
        while (n < rest->len && t.ptr[n] != '"')
            n++;
        n += n < rest->len;
    } else if (in_word(*t.ptr)) {
        while (n < rest->len && in_word(t.ptr[n]))
            n++;
    }
    t.len = n;
    rest->ptr += n;
    rest->len -= n;
    return t;
}

/* Statements that wrap others. */
static int wraps(uint64_t kinds)
{
    return (kinds & (K(EXPLAIN) | K(PREPARE) | K(DECLARE) | K(COPY_TO))) != 0;
}

/* The kind of a statement within a statement: `word` may open one where it follows `before`. */
static uint64_t inner_kind(struct hd_str before, struct hd_str word, int wrapped)
{
    static const char *const words[] = {"as", "explain", "analyze", "analyse", "verbose"};
    uint64_t kind = find(openings, COUNT(openings), word);

    if (is(before, "(") || is(before, ")"))
        return kind & (wrapped ? DML | K(SELECT) | K(EXECUTE) : DML);
    if (wrapped && is(before, "for")) /* of a cursor; FOR UPDATE is none */
        return kind & K(SELECT);
    for (size_t i = 0; wrapped && i < COUNT(words); i++)
        if (is(before, words[i]))
            return kind & (DML | K(SELECT) | K(EXECUTE));
    return 0;
}

static uint64_t opening_kind(struct hd_str word, struct hd_str rest)
{
    uint64_t kind = find(openings, COUNT(openings), word);

    if (kind == K(DDL)) {
        struct hd_str object = next_token(&rest);

        for (size_t i = 0; i < COUNT(privilege_objects); i++)
            if (is(object, privilege_objects[i]))
                return K(PRIVILEGE);
        return kind;
    }
    if (is(word, "(") || is(word, "with"))
        return K(SELECT);
    return kind ? kind : K(OTHER);
}

/* All kinds that the words tell of. A ';' begins another statement; one within a routine's body does no harm
 * but to name more kinds. */
static uint64_t kinds_by_words(struct hd_str text)
{
    struct hd_str before = {";", 1}, token;
    uint64_t all = 0, opening = 0;

    while ((token = next_token(&text)).len) {
        if (is(before, ";") && !is(token, ";"))
            all |= opening = opening_kind(token, text);
        else
            all |= inner_kind(before, token, wraps(opening));
        before = token;
    }
    return all;
}

/* What a wrapper wraps. EXPLAIN runs it only with ANALYZE, without which its writes are no fact. */
static uint64_t wrapped_kinds(uint64_t own, const struct hd_template_info *info)
{
    uint64_t wrapped = kinds_by_words(info->text) & (DML | K(SELECT) | K(EXECUTE));

    if (own & K(EXPLAIN) && !memmem(info->text.ptr, info->text.len, "analy", 5))
        return 0;
    return own & K(EXPLAIN) && !(info->facts & HD_FACT_WRITES) ? wrapped & ~DML : wrapped;
}

uint64_t guard_kinds_of(const struct hd_template_info *info)
{
    uint64_t own = info->kind < 64 ? GUARD_KIND(info->kind) : 0;

    if (info->facts & HD_FACT_MULTI || info->kind == HD_KIND_MULTI)
        return own | kinds_by_words(info->text);
    /* One statement: the host knows its kind; the words can only add what it wraps. */
    if (wraps(own))
        own |= wrapped_kinds(own, info);
    else if (info->facts & HD_FACT_WRITES)
        own |= kinds_by_words(info->text) & DML;
    if (info->facts & HD_FACT_DEFINES && !(own & (K(DDL) | K(PRIVILEGE))))
        own |= K(DDL);
    return own;
}
