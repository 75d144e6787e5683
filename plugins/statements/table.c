/* The table of one worker; see table.h. Never publishes, and never reads another worker's. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static uint32_t slots_for(uint32_t max)
{
    uint32_t n = 64;

    while (n < 2 * max)
        n *= 2;
    return n;
}

static uint32_t slot_of(const struct stmts_table *t, uint64_t fingerprint, const struct stmts_db *db)
{
    uint64_t h = fingerprint ^ ((uint64_t)(db - t->dbs) * UINT64_C(0x9E3779B97F4A7C15));

    return (uint32_t)(h ^ (h >> 32)) & t->mask;
}

/* Puts entry number `index` into the first free slot of its chain. */
static void place(struct stmts_table *t, uint32_t index)
{
    const struct stmts_entry *e = t->entries[index];
    uint32_t i = slot_of(t, e->fingerprint, e->db);

    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = index + 1;
}

int32_t stmts_table_resize(struct stmts_table *t, uint32_t max)
{
    uint32_t room = max > t->count ? max : t->count;
    uint32_t n = slots_for(room);
    uint32_t *slots = calloc(n, sizeof(*slots));
    struct stmts_entry **entries = slots ? calloc(room ? room : 1, sizeof(struct stmts_entry *)) : NULL;

    if (!entries) {
        free(slots);
        return HD_ENOMEM;
    }
    if (t->count)
        memcpy(entries, t->entries, t->count * sizeof(struct stmts_entry *));
    free(t->slots);
    free(t->entries);
    t->slots = slots;
    t->entries = entries;
    t->mask = n - 1;
    t->max = max;
    for (uint32_t i = 0; i < t->count; i++)
        place(t, i);
    return HD_OK;
}

int32_t stmts_table_init(struct stmts_table *t, uint32_t max)
{
    memset(t, 0, sizeof(*t));
    memcpy(t->dbs[STMTS_DATABASES].name, "other", 6);
    t->dbs[STMTS_DATABASES].len = 5;
    return stmts_table_resize(t, max);
}

void stmts_table_reset(struct stmts_table *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        stmts_sketch_clear(&t->entries[i]->sketch);
        stmts_text_unref(t->entries[i]->text);
        free(t->entries[i]);
    }
    stmts_sketch_clear(&t->other.sketch);
    memset(&t->other, 0, sizeof(t->other));
    memset(t->slots, 0, ((size_t)t->mask + 1) * sizeof(*t->slots));
    t->count = 0;
    t->changes = NULL;
    t->generation++;
}

void stmts_table_free(struct stmts_table *t)
{
    stmts_table_reset(t);
    free(t->slots);
    free(t->entries);
    t->slots = NULL;
    t->entries = NULL;
}

int stmts_db_is(const struct stmts_db *db, struct hd_str name)
{
    return db->len == name.len && (!db->len || memcmp(db->name, name.ptr, db->len) == 0);
}

struct stmts_db *stmts_table_db(struct stmts_table *t, struct hd_str name)
{
    struct stmts_db *db;

    if (name.len >= sizeof(db->name))
        name.len = sizeof(db->name) - 1;
    for (uint32_t i = 0; i < t->db_count; i++)
        if (stmts_db_is(&t->dbs[i], name))
            return &t->dbs[i];
    if (t->db_count == STMTS_DATABASES)
        return &t->dbs[STMTS_DATABASES];
    db = &t->dbs[t->db_count++];
    memset(db, 0, sizeof(*db));
    if (name.len)
        memcpy(db->name, name.ptr, name.len);
    db->len = (uint32_t)name.len;
    return db;
}

struct stmts_entry *stmts_table_find(struct stmts_table *t, uint64_t fingerprint, const struct stmts_db *db)
{
    for (uint32_t i = slot_of(t, fingerprint, db); t->slots[i]; i = (i + 1) & t->mask) {
        struct stmts_entry *e = t->entries[t->slots[i] - 1];

        if (e->fingerprint == fingerprint && e->db == db)
            return e;
    }
    return NULL;
}

/* Cuts at `max` bytes, but not within a UTF-8 sequence. */
static struct stmts_text *text_new(struct hd_str from, uint32_t max)
{
    size_t len = from.len < max ? (size_t)from.len : max;
    struct stmts_text *text;

    while (len < from.len && len > 0 && ((unsigned char)from.ptr[len] & 0xC0) == 0x80)
        len--;
    text = malloc(sizeof(*text) + len);
    if (!text)
        return NULL;
    atomic_init(&text->refs, 1);
    text->len = (uint32_t)len;
    if (len)
        memcpy(text->bytes, from.ptr, len);
    return text;
}

struct stmts_entry *stmts_table_add(struct stmts_table *t, uint64_t fingerprint, struct stmts_db *db,
                                    struct hd_str text, uint32_t text_length)
{
    struct stmts_entry *e = t->count < t->max ? calloc(1, sizeof(*e)) : NULL;

    if (!e)
        return NULL;
    e->fingerprint = fingerprint;
    e->db = db;
    e->text = text_new(text, text_length);
    t->entries[t->count] = e;
    place(t, t->count++);
    return e;
}

static void sums_count(struct stmts_sums *s, const struct hd_outcome *o)
{
    s->min_ns = !s->calls || o->total_ns < s->min_ns ? o->total_ns : s->min_ns;
    s->max_ns = o->total_ns > s->max_ns ? o->total_ns : s->max_ns;
    s->calls++;
    s->errors += o->failed != 0;
    s->rows += o->rows;
    s->bytes += o->bytes;
    s->total_ns += o->total_ns;
    s->queue_ns += o->queue_ns;
}

void stmts_table_count(struct stmts_table *t, struct stmts_entry *e, const struct hd_outcome *o)
{
    if (!e->news.calls) {
        e->change = t->changes;
        t->changes = e;
    }
    sums_count(&e->all, o);
    sums_count(&e->news, o);
    stmts_sketch_add(&e->sketch, o->total_ns);
}

void stmts_sums_add(struct stmts_sums *to, const struct stmts_sums *from)
{
    if (!from->calls)
        return;
    to->min_ns = !to->calls || from->min_ns < to->min_ns ? from->min_ns : to->min_ns;
    to->max_ns = from->max_ns > to->max_ns ? from->max_ns : to->max_ns;
    to->calls += from->calls;
    to->errors += from->errors;
    to->rows += from->rows;
    to->bytes += from->bytes;
    to->total_ns += from->total_ns;
    to->queue_ns += from->queue_ns;
}

struct stmts_text *stmts_text_ref(struct stmts_text *text)
{
    if (text)
        atomic_fetch_add_explicit(&text->refs, 1, memory_order_relaxed);
    return text;
}

void stmts_text_unref(struct stmts_text *text)
{
    if (text && atomic_fetch_sub_explicit(&text->refs, 1, memory_order_acq_rel) == 1)
        free(text);
}
