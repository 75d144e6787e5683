/*
 * From messages to values; see answer.h.
 */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

#include "tags.h"

/* --- conditions ---------------------------------------------------------------------------------------- */

/* Marks of one read: more are tables alone. */
#define MAX_MARKS 96

static void add_condition(struct cache_head *h, const struct cache_cell *cell)
{
    h->conditions[h->count++] = (struct cache_condition){cell, cache_epoch(cell)};
}

static uint32_t find_marks(struct cache *self, const struct cache_bound *b, const struct hd_statement *st,
                           struct cache_mark *marks)
{
    uint32_t n = cache_rows_marks(b->rows_of, self->host, self->statement, st, marks, MAX_MARKS);

    return n <= MAX_MARKS ? n : cache_rows_tables(b->rows_of, marks, MAX_MARKS);
}

/* Those that an answer with rows does not hang on come last. */
static int add_marks(struct cache *self, struct cache_capture *c, const struct cache_mark *marks, uint32_t n)
{
    for (uint32_t absent = 0; absent < 2; absent++) {
        for (uint32_t i = 0; i < n; i++) {
            struct cache_table *t;
            const struct cache_cell *cell;

            if ((marks[i].unless_rows != 0) != absent)
                continue;
            t = cache_database_table(c->db, marks[i].oid, self->epochs.max_tables);
            cell = t ? cache_table_cell(t, &marks[i]) : NULL;
            if (!cell)
                return HD_EFULL;
            add_condition(&c->head, cell);
            c->absences += absent;
        }
    }
    return HD_OK;
}

static int is_unsettled(const struct cache_capture *c)
{
    for (uint64_t i = 0; i < c->head.count; i++)
        if (cache_is_unsettled(c->head.conditions[i].cell))
            return 1;
    return 0;
}

struct cache_capture *cache_capture_new(struct cache *self, const struct cache_bound *b,
                                        const struct cache_policy *policy, const struct hd_statement *st,
                                        enum cache_bypass *why)
{
    struct cache_mark marks[MAX_MARKS];
    uint32_t n = find_marks(self, b, st, marks);
    struct cache_tagged tags;
    struct cache_capture *c;
    size_t count;

    cache_tags_find(self, policy, st, &tags);
    count = n + tags.count + CACHE_FIXED_CONDITIONS;
    c = n <= MAX_MARKS ? calloc(1, sizeof(*c) + count * sizeof(struct cache_condition)) : NULL;
    *why = CACHE_BYPASS_BOUND;
    if (!c)
        return NULL;
    c->policy = *policy;
    c->policy.hint = (struct hd_str){NULL, 0}; /* is gone with the statement */
    c->described = (st->flags & HD_STMT_DESCRIBED) != 0;
    c->db = b->scope->db;
    cache_shared_note(self, c, marks, n);
    c->head.nonce = self->nonce;
    c->head.generation = b->generation;
    add_condition(&c->head, &self->epochs.everything);
    add_condition(&c->head, &c->db->written);
    add_condition(&c->head, &c->db->schema);
    for (uint32_t i = 0; i < tags.count; i++)
        add_condition(&c->head, tags.cells[i]);
    if (!add_marks(self, c, marks, n)) {
        if (!is_unsettled(c)) {
            cache_shared_noted(self, c, b);
            return c;
        }
        *why = CACHE_BYPASS_UNSETTLED;
    }
    free(c);
    return NULL;
}

void cache_capture_free(struct cache_capture *c)
{
    free(c->answer.p);
    free(c);
}

struct hd_str cache_capture_head(const struct cache_capture *c)
{
    return (struct hd_str){(const char *)&c->head,
                           sizeof(c->head) + c->head.count * sizeof(c->head.conditions[0])};
}

int cache_capture_holds(const struct cache_capture *c)
{
    for (uint64_t i = 0; i < c->head.count; i++)
        if (cache_epoch(c->head.conditions[i].cell) != c->head.conditions[i].epoch)
            return 0;
    return 1;
}

/* A store need not keep it aligned. */
int32_t cache_head_check(const struct cache *self, struct hd_str head, uint64_t generation)
{
    int32_t code = HD_OK;
    struct cache_head h;
    struct cache_condition c;

    if (head.len < sizeof(h))
        return HD_ENOENT;
    memcpy(&h, head.ptr, sizeof(h));
    if (h.nonce != self->nonce || h.generation != generation ||
        h.count != (head.len - sizeof(h)) / sizeof(c) || (head.len - sizeof(h)) % sizeof(c))
        return HD_ENOENT;
    for (uint64_t i = 0; i < h.count; i++) {
        memcpy(&c, head.ptr + sizeof(h) + i * sizeof(c), sizeof(c));
        if (cache_epoch(c.cell) != c.epoch)
            return HD_ENOENT;
        if (cache_is_unsettled(c.cell))
            code = HD_EBUSY;
    }
    return code;
}

/* --- messages ------------------------------------------------------------------------------------------ */

void cache_capture_data(struct cache_capture *c, struct hd_str bytes)
{
    if (c->dropped)
        return;
    if (c->answer.len + bytes.len > c->max_bytes) {
        c->dropped = 1;
        free(c->answer.p);
        c->answer = (struct cache_bytes){0};
        return;
    }
    cache_put(&c->answer, bytes.ptr, bytes.len);
    c->dropped = c->answer.failed;
}

static uint32_t length_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/*
 * What is kept is brought together where it is: the description at the front of the bytes, the rest behind
 * it. Notices and notifications are for those who were there, and a report of a setting means that it has
 * changed under way: with such an answer nothing is kept.
 */
int cache_capture_split(struct cache_capture *c, struct hd_str *describe, struct hd_str *bytes)
{
    size_t described = 0, to = 0;
    int ended = 0;

    for (size_t at = 0; at < c->answer.len;) {
        uint8_t *m = c->answer.p + at;
        size_t left = c->answer.len - at, len = left >= 5 ? 1 + (size_t)length_at(m + 1) : 0;

        if (len < 5 || len > left || ended > 1)
            return 0;
        at += len;
        if (*m == 'Z')
            continue;
        if (ended || (*m != 'T' && *m != 'D' && *m != 'C') || (*m == 'T' && to))
            return 0;
        memmove(c->answer.p + to, m, len);
        to += len;
        described = *m == 'T' ? len : described;
        ended = *m == 'C';
    }
    if (!to)
        return 0;
    *describe = (struct hd_str){(const char *)c->answer.p, described};
    *bytes = (struct hd_str){(const char *)c->answer.p + described, to - described};
    if (to > described && c->answer.p[described] == 'D')
        c->head.count -= c->absences; /* what was looked for is there */
    return ended && (described != 0) == (c->described != 0);
}
