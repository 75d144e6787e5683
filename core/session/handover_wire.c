/*
 * Encoding and decoding; see handover_wire.h. In order: listener, database, user; statements and
 * transactions; settings, those of the startup packet; prepared statements by name; the unnamed one.
 */
#include "session/handover_wire.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

/* --- encoding --------------------------------------------------------------------------------------------
 */

static void put_number(struct hd_strbuf *out, uint64_t n)
{
    hd_strbuf_add(out, &n, sizeof(n));
}

static void put_bytes(struct hd_strbuf *out, const void *bytes, size_t len)
{
    put_number(out, len);
    hd_strbuf_add(out, bytes, len);
}

static void put_text(struct hd_strbuf *out, const char *text)
{
    put_bytes(out, text, strlen(text) + 1);
}

static void put_prep(struct hd_strbuf *out, const struct hd_moved_prep *p)
{
    put_number(out, p->sql_len);
    put_bytes(out, p->body, p->len);
}

static void put_params(struct hd_strbuf *out, const struct hd_moved_params *p)
{
    put_number(out, p->count);
    for (uint32_t i = 0; i < p->count; i++) {
        put_text(out, p->entries[i].name);
        put_text(out, p->entries[i].value);
    }
}

void hd_moved_encode(const struct hd_moved *m, struct hd_strbuf *out)
{
    put_text(out, m->listener);
    put_text(out, m->database);
    put_text(out, m->user);
    put_number(out, m->statements);
    put_number(out, m->transactions);
    put_params(out, &m->params);
    put_params(out, &m->startup);
    put_number(out, m->name_count);
    for (uint32_t i = 0; i < m->name_count; i++) {
        put_text(out, m->names[i].name);
        put_prep(out, &m->names[i].prep);
        put_number(out, m->names[i].rows);
    }
    put_number(out, m->has_unnamed != 0);
    if (m->has_unnamed)
        put_prep(out, &m->unnamed);
}

/* --- decoding --------------------------------------------------------------------------------------------
 * Twice over the bytes: once to see that they are right and how much there is of everything, once more to
 * point to it. */

struct reader {
    const uint8_t *at;
    size_t left;
    int bad;
    struct hd_param_entry *entries; /* where settings go; NULL: they are only counted */
    struct hd_moved_name *names;
    uint64_t entry_count;
};

static const uint8_t *get(struct reader *r, uint64_t len)
{
    const uint8_t *p = r->at;

    if (r->bad || len > r->left) {
        r->bad = 1;
        return NULL;
    }
    r->at += len;
    r->left -= len;
    return p;
}

static uint64_t get_number(struct reader *r)
{
    const uint8_t *p = get(r, sizeof(uint64_t));
    uint64_t n = 0;

    if (p)
        memcpy(&n, p, sizeof(n));
    return n;
}

/* How many things follow of which each takes `each` bytes at least. */
static uint32_t get_count(struct reader *r, size_t each)
{
    uint64_t n = get_number(r);

    if (n > r->left / each || n > UINT32_MAX)
        r->bad = 1;
    return r->bad ? 0 : (uint32_t)n;
}

/* Never NULL. */
static const char *get_text(struct reader *r)
{
    uint64_t len = get_number(r);
    const uint8_t *p = get(r, len);

    if (p && len && !p[len - 1] && !memchr(p, 0, len - 1))
        return (const char *)p;
    r->bad = 1;
    return "";
}

/* The text of the statement with its NUL, and a number of types with the types. */
static struct hd_moved_prep get_prep(struct reader *r)
{
    uint64_t sql_len = get_number(r), len = get_number(r), types;
    const uint8_t *body = get(r, len);

    if (body && len <= UINT32_MAX && len >= 3 && sql_len <= len - 3 && !body[sql_len] &&
        !memchr(body, 0, sql_len)) {
        types = (uint64_t)body[sql_len + 1] << 8 | body[sql_len + 2];
        if (len == sql_len + 3 + 4 * types)
            return (struct hd_moved_prep){body, (uint32_t)len, (uint32_t)sql_len};
    }
    r->bad = 1;
    return (struct hd_moved_prep){NULL, 0, 0};
}

static void get_params(struct reader *r, struct hd_moved_params *out)
{
    struct hd_param_entry *to = r->entries ? r->entries + r->entry_count : NULL;
    uint32_t n = get_count(r, 2 * sizeof(uint64_t));

    for (uint32_t i = 0; i < n && !r->bad; i++) {
        struct hd_param_entry e = {.name = get_text(r)};

        e.value = get_text(r);
        if (to)
            to[i] = e;
    }
    r->entry_count += n;
    *out = (struct hd_moved_params){to, n};
}

static void get_names(struct reader *r, struct hd_moved *m)
{
    m->name_count = get_count(r, 4 * sizeof(uint64_t));
    m->names = r->names;
    for (uint32_t i = 0; i < m->name_count && !r->bad; i++) {
        struct hd_moved_name n = {.name = get_text(r)};

        n.prep = get_prep(r);
        n.rows = get_number(r);
        if (r->names)
            r->names[i] = n;
    }
}

static void get_all(struct reader *r, struct hd_moved *m)
{
    uint64_t has;

    m->listener = get_text(r);
    m->database = get_text(r);
    m->user = get_text(r);
    m->statements = get_number(r);
    m->transactions = get_number(r);
    get_params(r, &m->params);
    get_params(r, &m->startup);
    get_names(r, m);
    has = get_number(r);
    m->has_unnamed = has == 1;
    if (m->has_unnamed)
        m->unnamed = get_prep(r);
    if (has > 1 || r->left)
        r->bad = 1;
}

int hd_moved_decode(const uint8_t *bytes, size_t len, struct hd_moved *m)
{
    struct reader r = {.at = bytes, .left = len};
    size_t names;

    memset(m, 0, sizeof(*m));
    get_all(&r, m);
    if (r.bad)
        return HD_EINVAL;
    names = m->name_count * sizeof(*r.names);
    m->room = hd_malloc(names + r.entry_count * sizeof(*r.entries) + 1);
    if (!m->room)
        return HD_ENOMEM;
    r = (struct reader){.at = bytes, .left = len, .names = m->room};
    r.entries = (struct hd_param_entry *)((char *)m->room + names);
    get_all(&r, m);
    return HD_OK;
}

void hd_moved_free(struct hd_moved *m)
{
    hd_free(m->room);
    m->room = NULL;
}
