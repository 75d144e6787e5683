/*
 * Reading pgoutput; see pgoutput.h.
 */
#include "pgoutput.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_MIN 64 /* slots of the relations' table; a power of two */

/* A relation with all that it points to, in one allocation. */
struct relation {
    struct hd_stream_relation r;
    struct hd_stream_column columns[];
};

struct pgo_parser {
    struct relation **table; /* open addressing by OID */
    size_t slots, count;
    struct hd_stream_value *values; /* two rows */
    uint32_t *oids;
    size_t oid_room;
};

/* The rest of a message. `failed` stays once something was missing. */
struct reader {
    const uint8_t *p, *end;
    int failed;
};

/* --- reading -------------------------------------------------------------------------------------------- */

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *at = r->p;

    if (r->failed || (size_t)(r->end - r->p) < n) {
        r->failed = 1;
        return NULL;
    }
    r->p += n;
    return at;
}

static uint64_t number(struct reader *r, size_t bytes)
{
    const uint8_t *at = take(r, bytes);
    uint64_t n = 0;

    for (size_t i = 0; at && i < bytes; i++)
        n = n << 8 | at[i];
    return n;
}

static struct hd_str text(struct reader *r)
{
    const uint8_t *at = r->p;
    const uint8_t *nul = r->failed || at == r->end ? NULL : memchr(at, 0, (size_t)(r->end - at));

    if (!nul) {
        r->failed = 1;
        return (struct hd_str){"", 0};
    }
    r->p = nul + 1;
    return (struct hd_str){(const char *)at, (uint64_t)(nul - at)};
}

/* The message must have ended. */
static int ended(const struct reader *r)
{
    return r->failed || r->p != r->end ? HD_EPROTO : HD_OK;
}

/* --- relations ------------------------------------------------------------------------------------------ */

static size_t slot_of(const struct pgo_parser *p, uint32_t oid)
{
    size_t at = (oid * UINT32_C(2654435769)) & (p->slots - 1);

    while (p->table[at] && p->table[at]->r.oid != oid)
        at = (at + 1) & (p->slots - 1);
    return at;
}

static const struct relation *find(const struct pgo_parser *p, uint32_t oid)
{
    return p->slots ? p->table[slot_of(p, oid)] : NULL;
}

static int grow(struct pgo_parser *p)
{
    size_t old_slots = p->slots;
    struct relation **old = p->table, **fresh;

    if (p->count * 2 < old_slots)
        return HD_OK;
    fresh = calloc(old_slots ? old_slots * 2 : TABLE_MIN, sizeof(*fresh));
    if (!fresh)
        return HD_ENOMEM;
    p->table = fresh;
    p->slots = old_slots ? old_slots * 2 : TABLE_MIN;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i])
            p->table[slot_of(p, old[i]->r.oid)] = old[i];
    free(old);
    return HD_OK;
}

/* Keeps a relation in the place of an older one. */
static int keep(struct pgo_parser *p, struct relation *rel)
{
    size_t at;

    if (grow(p))
        return HD_ENOMEM;
    at = slot_of(p, rel->r.oid);
    if (!p->table[at] && p->count == PGO_MAX_RELATIONS)
        return HD_EFULL;
    if (!p->table[at])
        p->count++;
    free(p->table[at]);
    p->table[at] = rel;
    return HD_OK;
}

/* Copies a text behind the struct, NUL included. */
static struct hd_str copy(char **room, struct hd_str from)
{
    struct hd_str to = {*room, from.len};

    memcpy(*room, from.ptr, from.len);
    (*room)[from.len] = 0;
    *room += from.len + 1;
    return to;
}

static void read_columns(struct reader *r, struct relation *rel, char **room)
{
    for (uint32_t i = 0; i < rel->r.column_count && !r->failed; i++) {
        struct hd_stream_column *c = &rel->columns[i];
        uint32_t flags = (uint32_t)number(r, 1);
        struct hd_str name = text(r);

        c->flags = flags & HD_STREAM_COLUMN_KEY;
        c->type = (uint32_t)number(r, 4);
        c->typmod = (int32_t)number(r, 4);
        c->name = copy(room, name);
    }
}

static int read_relation(struct pgo_parser *p, struct reader *r, struct pgo_message *out)
{
    uint32_t oid = (uint32_t)number(r, 4);
    struct hd_str schema = text(r), name = text(r);
    uint32_t identity = (uint32_t)number(r, 1), columns = (uint32_t)number(r, 2);
    struct relation *rel;
    char *room;
    int code;

    if (r->failed || columns > PGO_MAX_COLUMNS)
        return HD_EPROTO;
    /* The names, with their NULs, are no longer than what is left of the message, but for one that is
     * missing. */
    rel = calloc(1, sizeof(*rel) + columns * sizeof(rel->columns[0]) + schema.len + name.len + 3 +
                        (size_t)(r->end - r->p));
    if (!rel)
        return HD_ENOMEM;
    room = (char *)&rel->columns[columns];
    rel->r = (struct hd_stream_relation){.size = sizeof(rel->r),
                                         .oid = oid,
                                         .identity = identity,
                                         .column_count = columns,
                                         .schema = copy(&room, schema),
                                         .name = copy(&room, name),
                                         .columns = rel->columns};
    read_columns(r, rel, &room);
    code = ended(r);
    if (!code)
        code = keep(p, rel);
    if (code) {
        free(rel);
        return code;
    }
    out->kind = PGO_RELATION;
    out->relation = &rel->r;
    return HD_OK;
}

/* --- rows ----------------------------------------------------------------------------------------------- */

static void read_value(struct reader *r, struct hd_stream_value *v)
{
    *v = (struct hd_stream_value){.kind = HD_STREAM_NULL};
    switch (number(r, 1)) {
    case 'n':
        break;
    case 'u':
        v->kind = HD_STREAM_UNCHANGED;
        break;
    case 't':
        v->kind = HD_STREAM_TEXT;
        v->text.len = number(r, 4);
        v->text.ptr = (const char *)take(r, v->text.len);
        break;
    default:
        r->failed = 1;
    }
}

/* A row of that relation into one half of the scratch; `key`: only the identity's columns are told. */
static const struct hd_stream_value *read_tuple(struct pgo_parser *p, struct reader *r,
                                                const struct hd_stream_relation *rel, int half, int key)
{
    struct hd_stream_value *values = p->values + (size_t)half * PGO_MAX_COLUMNS;

    if (number(r, 2) != rel->column_count)
        r->failed = 1;
    for (uint32_t i = 0; i < rel->column_count && !r->failed; i++) {
        read_value(r, &values[i]);
        if (key && !(rel->columns[i].flags & HD_STREAM_COLUMN_KEY))
            values[i] = (struct hd_stream_value){.kind = HD_STREAM_ABSENT};
    }
    return values;
}

static int read_row(struct pgo_parser *p, struct reader *r, uint32_t kind, struct pgo_message *out)
{
    const struct relation *rel = find(p, (uint32_t)number(r, 4));
    struct hd_stream_row *row = &out->row;
    uint64_t part = number(r, 1);

    if (r->failed || !rel)
        return HD_EPROTO;
    *row = (struct hd_stream_row){.size = sizeof(*row), .kind = kind, .relation = &rel->r};
    if (kind != HD_STREAM_INSERT && (part == 'K' || part == 'O')) {
        row->old = read_tuple(p, r, &rel->r, 0, part == 'K');
        part = kind == HD_STREAM_UPDATE ? number(r, 1) : 0;
    } else if (kind == HD_STREAM_DELETE) {
        return HD_EPROTO;
    }
    if (kind != HD_STREAM_DELETE) {
        if (part != 'N')
            return HD_EPROTO;
        row->new_row = read_tuple(p, r, &rel->r, 1, 0);
    }
    out->kind = PGO_ROW;
    return ended(r);
}

static int read_truncate(struct pgo_parser *p, struct reader *r, struct pgo_message *out)
{
    size_t n = number(r, 4);

    number(r, 1);
    if (r->failed || (size_t)(r->end - r->p) != n * 4)
        return HD_EPROTO;
    if (n > p->oid_room) {
        uint32_t *grown = realloc(p->oids, n * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        p->oids = grown;
        p->oid_room = n;
    }
    for (size_t i = 0; i < n; i++)
        p->oids[i] = (uint32_t)number(r, 4);
    out->kind = PGO_TRUNCATE;
    out->oids = p->oids;
    out->oid_count = (uint32_t)n;
    return ended(r);
}

/* --- the rest ------------------------------------------------------------------------------------------- */

static int read_begin(struct reader *r, struct pgo_message *out)
{
    out->kind = PGO_BEGIN;
    out->lsn = number(r, 8);
    number(r, 8);
    out->xid = (uint32_t)number(r, 4);
    return ended(r);
}

static int read_commit(struct reader *r, struct pgo_message *out)
{
    out->kind = PGO_COMMIT;
    number(r, 1);
    out->lsn = number(r, 8);
    out->end_lsn = number(r, 8);
    number(r, 8);
    return ended(r);
}

static int read_message(struct reader *r, struct pgo_message *out)
{
    out->kind = PGO_MESSAGE;
    out->transactional = number(r, 1) & 1;
    out->lsn = number(r, 8);
    out->prefix = text(r);
    out->content.len = number(r, 4);
    out->content.ptr = (const char *)take(r, out->content.len);
    return ended(r);
}

int pgo_parse(struct pgo_parser *p, const void *data, size_t len, struct pgo_message *out)
{
    struct reader r = {data, (const uint8_t *)data + len, 0};

    memset(out, 0, sizeof(*out));
    switch (number(&r, 1)) {
    case 'R':
        return read_relation(p, &r, out);
    case 'B':
        return read_begin(&r, out);
    case 'C':
        return read_commit(&r, out);
    case 'I':
        return read_row(p, &r, HD_STREAM_INSERT, out);
    case 'U':
        return read_row(p, &r, HD_STREAM_UPDATE, out);
    case 'D':
        return read_row(p, &r, HD_STREAM_DELETE, out);
    case 'T':
        return read_truncate(p, &r, out);
    case 'M':
        return read_message(&r, out);
    case 'Y':
    case 'O':
        return HD_OK;
    default:
        return HD_EPROTO;
    }
}

/* --- envelopes ------------------------------------------------------------------------------------------ */

int pgo_unwrap(const void *data, size_t len, struct pgo_envelope *out)
{
    struct reader r = {data, (const uint8_t *)data + len, 0};

    memset(out, 0, sizeof(*out));
    switch (number(&r, 1)) {
    case 'w':
        out->start = number(&r, 8);
        number(&r, 8);
        number(&r, 8);
        out->inside = r.p;
        out->inside_len = (size_t)(r.end - r.p);
        return r.failed ? HD_EPROTO : HD_OK;
    case 'k':
        out->keepalive = 1;
        out->end = number(&r, 8);
        number(&r, 8);
        out->reply_wanted = number(&r, 1) != 0;
        return ended(&r);
    default:
        return HD_EPROTO;
    }
}

static uint8_t *put(uint8_t *at, uint64_t n)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(n >> shift);
    return at;
}

void pgo_status(uint8_t *out, uint64_t lsn, int64_t now_us_since_2000, int want_reply)
{
    *out++ = 'r';
    out = put(out, lsn);
    out = put(out, lsn);
    out = put(out, lsn);
    out = put(out, (uint64_t)now_us_since_2000);
    *out = want_reply ? 1 : 0;
}

/* --- life ----------------------------------------------------------------------------------------------- */

struct pgo_parser *pgo_new(void)
{
    struct pgo_parser *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->values = calloc(2 * (size_t)PGO_MAX_COLUMNS, sizeof(*p->values));
    if (!p->values) {
        free(p);
        return NULL;
    }
    return p;
}

void pgo_reset(struct pgo_parser *p)
{
    for (size_t i = 0; i < p->slots; i++)
        free(p->table[i]);
    free(p->table);
    p->table = NULL;
    p->slots = p->count = 0;
}

void pgo_free(struct pgo_parser *p)
{
    if (!p)
        return;
    pgo_reset(p);
    free(p->oids);
    free(p->values);
    free(p);
}
