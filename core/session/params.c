/*
 * Interned sets of settings; see params.h.
 */
#include "session/params.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/hash.h"

#define BUCKETS 256

struct hd_params_table {
    struct hd_params *buckets[BUCKETS];
    size_t sets;
    uint64_t last_id;
};

/* What a server of version 9.4 to 18 reports, and whether a client may set it. */
static const struct {
    const char *name;
    int settable;
} reported[] = {
    {"application_name", 1},
    {"client_encoding", 1},
    {"DateStyle", 1},
    {"default_transaction_read_only", 1},
    {"in_hot_standby", 0},
    {"integer_datetimes", 0},
    {"IntervalStyle", 1},
    {"is_superuser", 0},
    {"scram_iterations", 1},
    {"search_path", 1},
    {"server_encoding", 0},
    {"server_version", 0},
    {"session_authorization", 1},
    {"standard_conforming_strings", 1},
    {"TimeZone", 1},
};

struct hd_params_table *hd_params_table_new(void)
{
    return hd_calloc(1, sizeof(struct hd_params_table));
}

void hd_params_table_free(struct hd_params_table *t)
{
    if (!t)
        return;
    HD_CHECK(t->sets == 0);
    hd_free(t);
}

int hd_param_settable(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(reported); i++)
        if (!strcasecmp(name, reported[i].name))
            return reported[i].settable;
    return 1;
}

int hd_param_known(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(reported); i++)
        if (!strcasecmp(name, reported[i].name))
            return 1;
    return 0;
}

int hd_param_reported(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(reported); i++)
        if (!strcasecmp(name, reported[i].name))
            return strcasecmp(name, "search_path") != 0 && strcasecmp(name, "scram_iterations") != 0;
    return 0;
}

static uint64_t content_hash(const struct hd_param_entry *e, uint32_t count)
{
    uint64_t h = count;

    for (uint32_t i = 0; i < count; i++) {
        h = h * 31 + hd_hash64(e[i].name, strlen(e[i].name));
        h = h * 31 + hd_hash64(e[i].value, strlen(e[i].value));
    }
    return h;
}

static int same(const struct hd_params *p, const struct hd_param_entry *e, uint32_t count)
{
    if (p->count != count)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(p->entries[i].name, e[i].name) || strcmp(p->entries[i].value, e[i].value))
            return 0;
    return 1;
}

/* One block: the struct, the entries, then all strings. In no table yet. */
static struct hd_params *build(const struct hd_param_entry *e, uint32_t count, uint64_t hash)
{
    size_t bytes = sizeof(struct hd_params) + count * sizeof(*e);
    struct hd_params *p;
    const char *name;
    char *s;

    for (uint32_t i = 0; i < count; i++)
        bytes += strlen(e[i].name) + strlen(e[i].value) + 2;
    p = hd_calloc(1, bytes);
    if (!p)
        return NULL;
    s = (char *)&p->entries[count];
    for (uint32_t i = 0; i < count; i++) {
        p->entries[i].name = s;
        s = stpcpy(s, e[i].name) + 1;
        p->entries[i].value = s;
        s = stpcpy(s, e[i].value) + 1;
    }
    p->refs = 1;
    p->count = count;
    p->hash = hash;
    name = hd_params_get(p, "application_name");
    if (name)
        p->application_name = (struct hd_str){name, strlen(name)};
    return p;
}

static struct hd_params *enter(struct hd_params_table *t, struct hd_params *p)
{
    if (!p)
        return NULL;
    p->table = t;
    p->id = ++t->last_id;
    p->next = t->buckets[p->hash % BUCKETS];
    t->buckets[p->hash % BUCKETS] = p;
    t->sets++;
    return p;
}

/* `e` is sorted and has no name twice. */
static struct hd_params *intern(struct hd_params_table *t, const struct hd_param_entry *e, uint32_t count)
{
    uint64_t hash = content_hash(e, count);

    for (struct hd_params *p = t->buckets[hash % BUCKETS]; p; p = p->next)
        if (p->hash == hash && same(p, e, count))
            return hd_params_hold(p);
    return enter(t, build(e, count, hash));
}

/* Puts one pair into a sorted array; a value of NULL takes the name out. Returns the new count. */
static uint32_t put(struct hd_param_entry *e, uint32_t count, const char *name, const char *value)
{
    uint32_t at = 0;
    int cmp = 1;

    while (at < count && (cmp = strcasecmp(e[at].name, name)) < 0)
        at++;
    if (at < count && cmp == 0) {
        if (value) {
            e[at].value = value;
            return count;
        }
        memmove(&e[at], &e[at + 1], (count - at - 1) * sizeof(*e));
        return count - 1;
    }
    if (!value)
        return count;
    memmove(&e[at + 1], &e[at], (count - at) * sizeof(*e));
    e[at] = (struct hd_param_entry){name, value};
    return count + 1;
}

struct hd_params *hd_params_make(struct hd_params_table *t, const struct hd_param_entry *pairs,
                                 uint32_t count)
{
    struct hd_param_entry *e = hd_malloc((count + 1) * sizeof(*e));
    struct hd_params *p;
    uint32_t n = 0;

    if (!e)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        n = put(e, n, pairs[i].name, pairs[i].value);
    p = intern(t, e, n);
    hd_free(e);
    return p;
}

struct hd_params *hd_params_with(struct hd_params *base, const char *name, const char *value)
{
    struct hd_param_entry *e = hd_malloc((base->count + 1) * sizeof(*e));
    struct hd_params *p;

    if (!e)
        return NULL;
    memcpy(e, base->entries, base->count * sizeof(*e));
    p = intern(base->table, e, put(e, base->count, name, value));
    hd_free(e);
    return p;
}

struct hd_params *hd_params_reported(struct hd_params *base)
{
    struct hd_param_entry *e = hd_malloc((base->count + 1) * sizeof(*e));
    struct hd_params *p;
    uint32_t n = 0;

    if (!e)
        return NULL;
    for (uint32_t i = 0; i < base->count; i++)
        if (hd_param_reported(base->entries[i].name))
            e[n++] = base->entries[i];
    p = intern(base->table, e, n);
    hd_free(e);
    return p;
}

struct hd_params_copy *hd_params_copy(const struct hd_params *p)
{
    return (struct hd_params_copy *)build(p->entries, p->count, p->hash);
}

struct hd_params *hd_params_like(struct hd_params_table *t, const struct hd_params_copy *copy)
{
    const struct hd_params *p = (const struct hd_params *)copy;

    return intern(t, p->entries, p->count);
}

struct hd_params *hd_params_from_copy(struct hd_params_table *t, struct hd_params_copy *copy)
{
    struct hd_params *set = hd_params_like(t, copy);

    hd_params_copy_free(copy);
    return set;
}

void hd_params_copy_free(struct hd_params_copy *copy)
{
    hd_free(copy);
}

struct hd_params *hd_params_hold(struct hd_params *p)
{
    p->refs++;
    return p;
}

void hd_params_drop(struct hd_params *p)
{
    struct hd_params **at;

    if (!p || --p->refs)
        return;
    for (at = &p->table->buckets[p->hash % BUCKETS]; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    p->table->sets--;
    hd_free(p);
}

const char *hd_params_get(const struct hd_params *p, const char *name)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (!strcasecmp(p->entries[i].name, name))
            return p->entries[i].value;
    return NULL;
}

/* An E'' literal: right whatever standard_conforming_strings says, and free of bytes that an encoding could
 * misread. */
void hd_params_literal(struct hd_strbuf *sql, const char *s)
{
    hd_strbuf_puts(sql, "E'");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '\'' || c == '\\') {
            hd_strbuf_putc(sql, (char)c);
            hd_strbuf_putc(sql, (char)c);
        } else if (c < ' ' || c >= 127) {
            hd_strbuf_printf(sql, "\\x%02x", c);
        } else {
            hd_strbuf_putc(sql, (char)c);
        }
    }
    hd_strbuf_putc(sql, '\'');
}

/* set_config takes a value as a startup packet does; SET would quote a list (search_path) differently. */
static void put_set(struct hd_strbuf *sql, int first, const char *name, const char *value)
{
    hd_strbuf_puts(sql, first ? "SELECT pg_catalog.set_config(" : ", pg_catalog.set_config(");
    hd_params_literal(sql, name);
    hd_strbuf_puts(sql, ", ");
    hd_params_literal(sql, value);
    hd_strbuf_puts(sql, ", false)");
}

static void put_quoted_name(struct hd_strbuf *sql, const char *name)
{
    /* "a.b" is a custom setting of class a: each part is an identifier */
    hd_strbuf_putc(sql, '"');
    for (; *name; name++) {
        if (*name == '"')
            hd_strbuf_putc(sql, '"');
        if (*name == '.')
            hd_strbuf_puts(sql, "\".\"");
        else
            hd_strbuf_putc(sql, *name);
    }
    hd_strbuf_putc(sql, '"');
}

void hd_params_set_sql(const struct hd_params *p, struct hd_strbuf *sql)
{
    for (uint32_t i = 0; i < p->count; i++)
        put_set(sql, i == 0, p->entries[i].name, p->entries[i].value);
}

/* Is this one of `want` to be put in place of what `have` has? */
static int differs(const struct hd_params *have, const struct hd_param_entry *e)
{
    const char *now = hd_params_get(have, e->name);

    return hd_param_settable(e->name) && (!now || strcmp(now, e->value) != 0);
}

static int is_role(const char *name)
{
    return !strcasecmp(name, "role");
}

/* How many settings but the role and the user differ. */
static int others_differ(const struct hd_params *have, const struct hd_params *want)
{
    int n = 0;

    for (uint32_t i = 0; i < want->count; i++)
        n += !is_role(want->entries[i].name) && differs(have, &want->entries[i]);
    for (uint32_t i = 0; i < have->count; i++)
        n += !is_role(have->entries[i].name) && hd_param_settable(have->entries[i].name) &&
             !hd_params_get(want, have->entries[i].name);
    return n;
}

/* Takes back what only `have` has. */
static int put_resets(const struct hd_params *have, const struct hd_params *want, struct hd_strbuf *sql,
                      int n)
{
    for (uint32_t i = 0; i < have->count; i++) {
        const char *name = have->entries[i].name;

        if (is_role(name) || hd_params_get(want, name) || !hd_param_settable(name))
            continue;
        hd_strbuf_puts(sql, n++ ? "; RESET " : "RESET ");
        put_quoted_name(sql, name);
    }
    return n;
}

/* A role may lack the right to set the rest: it is left first, and taken on last. So is another user. */
int hd_params_sync_sql(const struct hd_params *have, const struct hd_params *want, struct hd_strbuf *sql)
{
    static const char user[] = "session_authorization";
    const char *role = hd_params_get(want, "role"), *now = hd_params_get(have, "role");
    const char *who = hd_params_get(want, user), *was = hd_params_get(have, user);
    int other = others_differ(have, want), n = 0, sets = 0;
    int same_role = role == now || (role && now && !strcmp(role, now));

    if (!other && same_role)
        return 0;
    if (now && strcmp(now, "none"))
        hd_strbuf_puts(sql, n++ ? "; RESET ROLE" : "RESET ROLE");
    n = put_resets(have, want, sql, n);
    if (n && want->count)
        hd_strbuf_puts(sql, "; ");
    if (who && (!was || strcmp(who, was)))
        put_set(sql, sets++ == 0, user, who);
    for (uint32_t i = 0; i < want->count; i++) {
        const struct hd_param_entry *e = &want->entries[i];

        if (!is_role(e->name) && strcasecmp(e->name, user) && differs(have, e))
            put_set(sql, sets++ == 0, e->name, e->value);
    }
    if (role && (strcmp(role, "none") || !now))
        put_set(sql, sets++ == 0, "role", role);
    return n + sets;
}
