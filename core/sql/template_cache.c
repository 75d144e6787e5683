/*
 * A worker's cache of templates; see template.h.
 *
 * Entries lie in one array that the clock's hand goes round. An open-addressed index finds them by the
 * template's key; it is half empty at least, and deleting moves what follows back, so there are no
 * tombstones. Exact texts have an index of their own, in sets of four, that names an entry and the serial
 * number it had: where the entry has gone to another template, that is a miss.
 */
#include "sql/template.h"
#include "base/alloc.h"
#include "sql/template_key.h"

#include <howdah/error.h>
#include <string.h>

#define WAYS  4
#define EMPTY UINT32_MAX

struct slot {
    struct hd_template_entry e; /* the first member: callers have its address */
    uint32_t serial;            /* another one each time the entry changes */
    uint8_t used;               /* since the hand passed */
};

struct text_slot {
    struct hd_hash128 key;
    uint32_t entry;
    uint32_t serial; /* 0: empty */
};

struct hd_template_cache {
    struct hd_templates *templates;
    void (*drop)(void *plan);
    struct slot *slots; /* max; the first n are in use */
    uint32_t max, n, hand;
    uint32_t serial;
    uint32_t *index; /* mask + 1 numbers of slots, or EMPTY */
    uint32_t mask;
    struct text_slot *texts; /* (text_mask + 1) sets */
    uint32_t text_mask;
    uint32_t text_hand; /* which of a full set goes next */
    struct hd_scan scan;
    uint64_t hits, misses, evictions;
};

/* --- making and freeing --- */

static uint32_t power_of_two(size_t at_least)
{
    uint32_t n = 16;

    while (n < at_least)
        n *= 2;
    return n;
}

struct hd_template_cache *hd_template_cache_new(struct hd_templates *ts, size_t max, void (*drop)(void *plan))
{
    struct hd_template_cache *c = hd_calloc(1, sizeof(*c));
    uint32_t index;

    if (!c)
        return NULL;
    c->templates = ts;
    c->drop = drop;
    c->max = max < 1 ? 1 : max > (1u << 28) ? 1u << 28 : (uint32_t)max;
    index = power_of_two((size_t)c->max * 2);
    c->mask = index - 1;
    c->text_mask = index / WAYS - 1;
    c->slots = hd_calloc(c->max, sizeof(*c->slots));
    c->index = hd_malloc(index * sizeof(*c->index));
    c->texts = hd_calloc((size_t)index, sizeof(*c->texts));
    if (!c->slots || !c->index || !c->texts) {
        hd_template_cache_free(c);
        return NULL;
    }
    memset(c->index, 0xff, index * sizeof(*c->index)); /* EMPTY */
    return c;
}

void hd_template_cache_free(struct hd_template_cache *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->drop)
            c->drop(c->slots[i].e.plan);
        hd_template_release(c->slots[i].e.tmpl);
    }
    hd_scan_free(&c->scan);
    hd_free(c->texts);
    hd_free(c->index);
    hd_free(c->slots);
    hd_free(c);
}

void hd_template_cache_stats(const struct hd_template_cache *c, struct hd_template_cache_stats *out)
{
    *out = (struct hd_template_cache_stats){
        .entries = c->n, .max = c->max, .hits = c->hits, .misses = c->misses, .evictions = c->evictions};
}

const struct hd_scan *hd_template_cache_scan(const struct hd_template_cache *c)
{
    return &c->scan;
}

/* --- the index by key --- */

static inline uint32_t home_of(const struct hd_template_cache *c, struct hd_hash128 key)
{
    return (uint32_t)key.lo & c->mask;
}

static inline struct slot *find(struct hd_template_cache *c, struct hd_hash128 key)
{
    for (uint32_t i = home_of(c, key);; i = (i + 1) & c->mask) {
        struct slot *s;

        if (c->index[i] == EMPTY)
            return NULL;
        s = &c->slots[c->index[i]];
        if (hd_hash128_eq(s->e.tmpl->key, key))
            return s;
    }
}

static void index_add(struct hd_template_cache *c, uint32_t slot)
{
    uint32_t i = home_of(c, c->slots[slot].e.tmpl->key);

    while (c->index[i] != EMPTY)
        i = (i + 1) & c->mask;
    c->index[i] = slot;
}

/* Takes a slot out and closes the gap: what stands behind it moves up unless that is before its home. */
static void index_remove(struct hd_template_cache *c, uint32_t slot)
{
    uint32_t gap = home_of(c, c->slots[slot].e.tmpl->key), i;

    while (c->index[gap] != slot)
        gap = (gap + 1) & c->mask;
    for (i = (gap + 1) & c->mask; c->index[i] != EMPTY; i = (i + 1) & c->mask) {
        uint32_t home = home_of(c, c->slots[c->index[i]].e.tmpl->key);

        if (((i - home) & c->mask) >= ((i - gap) & c->mask)) {
            c->index[gap] = c->index[i];
            gap = i;
        }
    }
    c->index[gap] = EMPTY;
}

/* --- entries --- */

/* A slot for a new entry: a free one, or that of the first entry that was not used since the hand passed. */
static uint32_t make_room(struct hd_template_cache *c)
{
    struct slot *s;

    if (c->n < c->max)
        return c->n++;
    while (c->slots[c->hand].used) {
        c->slots[c->hand].used = 0;
        c->hand = c->hand + 1 == c->max ? 0 : c->hand + 1;
    }
    s = &c->slots[c->hand];
    index_remove(c, c->hand);
    if (c->drop)
        c->drop(s->e.plan);
    hd_template_release(s->e.tmpl);
    c->evictions++;
    return c->hand;
}

/* Adds a template; the cache takes over the caller's hold. */
static struct slot *add(struct hd_template_cache *c, struct hd_template *t)
{
    uint32_t at = make_room(c);
    struct slot *s = &c->slots[at];

    if (++c->serial == 0)
        c->serial = 1;
    *s = (struct slot){.e = {.tmpl = t}, .serial = c->serial};
    index_add(c, at);
    c->hand = at + 1 == c->max ? 0 : at + 1;
    return s;
}

/* The slot of a key, out of the process's table if need be. */
static struct slot *look_up(struct hd_template_cache *c, struct hd_hash128 key, const char *sql, size_t len,
                            uint32_t flags)
{
    struct slot *s = find(c, key);
    struct hd_template *t;

    if (HD_LIKELY(s != NULL)) {
        c->hits++;
        s->used = 1;
        return s;
    }
    c->misses++;
    t = hd_template_get_keyed(c->templates, key, sql, len, &c->scan, flags);
    return t ? add(c, t) : NULL;
}

static void no_scan(struct hd_template_cache *c)
{
    c->scan.n_literals = c->scan.n_params = 0;
    c->scan.hint_len = 0;
}

static struct slot *query(struct hd_template_cache *c, const char *sql, size_t len, uint32_t flags)
{
    struct slot *s;

    if (!sql || len > hd_templates_text_limit(c->templates)) {
        no_scan(c);
        return look_up(c, hd_key_too_long(), NULL, 0, 0);
    }
    if (HD_UNLIKELY(flags & HD_TEMPLATE_NONSTANDARD))
        no_scan(c);
    else if (hd_scan_normalize(sql, len, &c->scan) != HD_OK)
        return NULL;
    s = look_up(c, hd_key_template(sql, len, &c->scan, flags), sql, len, flags);
    if (HD_UNLIKELY(c->scan.flags))
        no_scan(c);
    return s;
}

struct hd_template_entry *hd_template_cache_query(struct hd_template_cache *c, const char *sql, size_t len,
                                                  uint32_t flags)
{
    struct slot *s = query(c, sql, len, flags);

    return s ? &s->e : NULL;
}

struct hd_template_entry *hd_template_cache_entry(struct hd_template_cache *c, struct hd_template *t)
{
    struct slot *s = find(c, t->key);

    no_scan(c);
    if (!s)
        s = add(c, hd_template_hold(t));
    s->used = 1;
    return &s->e;
}

/* --- exact texts --- */

/* Where the text stands, or the place that it is to take. */
static struct text_slot *find_text(struct hd_template_cache *c, struct hd_hash128 key)
{
    struct text_slot *set = &c->texts[((uint32_t)key.lo & c->text_mask) * WAYS], *room = NULL;

    for (int i = 0; i < WAYS; i++) {
        if (set[i].serial && hd_hash128_eq(set[i].key, key))
            return &set[i];
        if (!room && (!set[i].serial || c->slots[set[i].entry].serial != set[i].serial))
            room = &set[i];
    }
    return room ? room : &set[c->text_hand++ % WAYS];
}

struct hd_template_entry *hd_template_cache_exact(struct hd_template_cache *c, const char *sql, size_t len,
                                                  uint32_t flags)
{
    struct hd_hash128 key;
    struct text_slot *t;
    struct slot *s;

    if (!sql || len > hd_templates_text_limit(c->templates))
        return hd_template_cache_query(c, sql, len, flags);
    key = hd_key_text(sql, len, flags | HD_KEY_EXACT);
    t = find_text(c, key);
    s = &c->slots[t->entry];
    if (HD_LIKELY(t->serial && t->serial == s->serial && hd_hash128_eq(t->key, key))) {
        c->hits++;
        s->used = 1;
        no_scan(c);
        return &s->e;
    }
    s = query(c, sql, len, flags);
    if (!s)
        return NULL;
    *t = (struct text_slot){key, (uint32_t)(s - c->slots), s->serial};
    return &s->e;
}
