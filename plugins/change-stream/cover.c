/*
 * Which tables the stream covers. What consumers ask for is looked at (cover_look.c). A table that was added
 * to the publication while the stream runs counts only once all transactions have ended that were under way
 * then: what those had written before is not published. From then on each question to the server compares
 * the table's row in the publication with what it was: who takes it out, even for a moment, is found out by
 * the next question.
 */
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 200
#define RETRY_NS  (UINT64_C(30000) * NS_PER_MS)
#define AGAIN_NS  (UINT64_C(1000) * NS_PER_MS)

/* --- lists of OIDs ------------------------------------------------------------------------------------- */

int cs_ids_add(struct ids *ids, uint32_t id)
{
    if (ids->count == ids->room) {
        size_t room = ids->room ? ids->room * 2 : 32;
        uint32_t *grown = realloc(ids->list, room * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        ids->list = grown;
        ids->room = room;
    }
    ids->list[ids->count++] = id;
    return HD_OK;
}

/* --- tables: under the lock ---------------------------------------------------------------------------- */

/* Where the table stands, or would. */
static uint32_t place(const struct stream *s, uint32_t oid)
{
    uint32_t low = 0, high = s->table_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (s->tables[mid].oid < oid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct table *cs_cover_find(const struct stream *s, uint32_t oid)
{
    uint32_t at = place(s, oid);

    return at < s->table_count && s->tables[at].oid == oid ? &s->tables[at] : NULL;
}

/* Somebody asks for a table that was refused: not more often than so. */
static int32_t ask_again(struct stream *s, struct table *t)
{
    uint64_t now = cs_now();

    if (t->state == COVER_REFUSED && now + RETRY_NS >= t->retry_ns + AGAIN_NS) {
        t->retry_ns = now;
        s->tables_new = 1;
    }
    return HD_OK;
}

static int32_t add(struct stream *s, uint32_t oid)
{
    uint32_t at = place(s, oid);

    if (at < s->table_count && s->tables[at].oid == oid)
        return ask_again(s, &s->tables[at]);
    if (s->table_count >= (uint32_t)s->plugin->conf->max_tables)
        return HD_EFULL;
    if (s->table_count == s->table_room) {
        uint32_t room = s->table_room ? s->table_room * 2 : 64;
        struct table *grown = realloc(s->tables, room * sizeof(*grown));

        if (!grown)
            return HD_ENOMEM;
        s->tables = grown;
        s->table_room = room;
    }
    memmove(&s->tables[at + 1], &s->tables[at], (s->table_count - at) * sizeof(s->tables[0]));
    s->tables[at] = (struct table){.oid = oid, .state = COVER_WANTED, .reason = ""};
    s->table_count++;
    s->tables_new = 1;
    return HD_OK;
}

int32_t cs_cover(hd_stream *h, const uint32_t *oids, uint32_t count)
{
    struct stream *s = h->stream;
    int32_t code = HD_OK;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < count && !code; i++)
        code = add(s, oids[i]);
    pthread_mutex_unlock(&s->lock);
    cs_wake(s);
    return code;
}

int32_t cs_covered(hd_stream *h, uint32_t oid)
{
    struct stream *s = h->stream;
    const struct table *t;
    int32_t covered;

    if (!atomic_load(&h->running))
        return 0;
    pthread_mutex_lock(&s->lock);
    t = cs_cover_find(s, oid);
    covered = t && t->state == COVERED;
    pthread_mutex_unlock(&s->lock);
    return covered;
}

uint32_t cs_cover_count(struct stream *s)
{
    uint32_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++)
        n += s->tables[i].state == COVERED;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* The next table from that OID on that there is something to say of; 0: none. */
static uint32_t next_told(struct stream *s, uint32_t oid, uint32_t *covered, const char **reason)
{
    uint32_t found = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t at = place(s, oid); at < s->table_count && !found; at++) {
        const struct table *t = &s->tables[at];

        if (t->state != COVERED && t->state != COVER_REFUSED)
            continue;
        found = t->oid;
        *covered = t->state == COVERED;
        *reason = t->reason;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

void cs_cover_tell(struct stream *s, const struct hd_stream *h)
{
    uint32_t oid = 0, covered = 0;
    const char *reason = "";

    while (h->consumer->coverage && (oid = next_told(s, oid, &covered, &reason)))
        h->consumer->coverage(h->arg, oid++, covered, reason);
}

/* Changes a table's state, and tells of it where consumers see that. [the stream's thread] */
void cs_cover_set(struct stream *s, uint32_t oid, enum cover_state state, const char *reason)
{
    struct table *t;
    int told = 0;

    pthread_mutex_lock(&s->lock);
    t = cs_cover_find(s, oid);
    if (t) {
        told = (t->state == COVERED) != (state == COVERED) ||
               (state == COVER_REFUSED && strcmp(t->reason, reason) != 0);
        t->state = state;
        t->reason = reason;
        t->retry_ns = cs_now() + RETRY_NS;
        if (state == COVER_REFUSED)
            t->initial = 0;
    }
    pthread_mutex_unlock(&s->lock);
    if (told)
        cs_tell_coverage(s, oid, state == COVERED, reason);
}

/* --- fingerprints -------------------------------------------------------------------------------------- */

void cs_cover_ask(struct stream *s)
{
    s->watched.count = s->fresh.count = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++) {
        const struct table *t = &s->tables[i];

        if (t->state == COVER_MEMBER || (s->reverify && (t->state == COVER_WATCHED || t->state == COVERED)))
            cs_ids_add(&s->fresh, t->oid);
        else if (t->state == COVER_WATCHED || t->state == COVERED)
            cs_ids_add(&s->watched, t->oid);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Are those that were asked about all there, as they were? */
static int watched_as_ever(struct stream *s, const char *answer)
{
    size_t count = 0;
    int64_t print = 0;
    char *end;

    if (!s->watched.count)
        return 1;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->watched.count; i++) {
        const struct table *t = cs_cover_find(s, s->watched.list[i]);

        if (t) {
            count++;
            print ^= t->print;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return strtoull(answer, &end, 10) == count && strtoll(end, NULL, 10) == print;
}

/* The fingerprint of one table in "OID PRINT,OID PRINT"; 0: it is not there. */
static int fresh_print(const char *answer, uint32_t oid, int64_t *print)
{
    char *end;

    for (const char *at = answer; *at; at = *end ? end + 1 : end) {
        uint32_t one = (uint32_t)strtoul(at, &end, 10);

        *print = strtoll(end, &end, 10);
        if (one == oid)
            return 1;
        if (*end && *end != ',')
            return 0;
    }
    return 0;
}

static void take_fresh(struct stream *s, uint32_t oid, const char *answer)
{
    int64_t print = 0;
    int there = fresh_print(answer, oid, &print), member, same;
    struct table *t;

    pthread_mutex_lock(&s->lock);
    t = cs_cover_find(s, oid);
    member = t && t->state == COVER_MEMBER;
    same = t && t->print == print;
    if (there && member) {
        t->state = COVER_WATCHED;
        t->print = print;
        t->until_xid = t->initial;
    }
    pthread_mutex_unlock(&s->lock);
    if (!there || (!member && !same))
        cs_cover_set(s, oid, COVER_REFUSED, "it was taken out of the publication");
}

int cs_cover_answer(struct stream *s, const char *watched, const char *fresh)
{
    if (!watched_as_ever(s, watched)) {
        s->reverify = 1;
        return HD_PENDING;
    }
    for (size_t i = 0; i < s->fresh.count; i++)
        take_fresh(s, s->fresh.list[i], fresh);
    s->reverify = 0;
    return HD_OK;
}

/* Have all ended that may have written the table before its changes were published? Under the lock. */
static int writers_ended(const struct stream *s, struct table *t)
{
    if (!t->until_xid && s->fences_done >= t->fence)
        t->until_xid = s->xmax;
    return t->until_xid && s->xmin >= t->until_xid;
}

void cs_cover_snapshot(struct stream *s)
{
    uint32_t done[64];
    size_t n;

    do {
        n = 0;
        pthread_mutex_lock(&s->lock);
        for (uint32_t i = 0; i < s->table_count && n < 64; i++)
            if (s->tables[i].state == COVER_WATCHED && writers_ended(s, &s->tables[i]))
                done[n++] = s->tables[i].oid;
        pthread_mutex_unlock(&s->lock);
        for (size_t i = 0; i < n; i++)
            cs_cover_set(s, done[i], COVERED, "");
    } while (n == 64);
}

int cs_cover_want_fence(struct stream *s)
{
    int want = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count && !want; i++) {
        const struct table *t = &s->tables[i];

        want = t->state == COVER_WATCHED && !t->until_xid && s->fences_done < t->fence;
    }
    pthread_mutex_unlock(&s->lock);
    return want;
}

int cs_cover_want_snapshot(struct stream *s)
{
    int want = s->reverify;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count && !want; i++)
        want = s->tables[i].state == COVER_MEMBER || s->tables[i].state == COVER_WATCHED;
    pthread_mutex_unlock(&s->lock);
    return want;
}

/* --- ending -------------------------------------------------------------------------------------------- */

/* All of it has to be looked at again. Consumers know, by lost(). */
void cs_cover_lost(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->table_count; i++)
        s->tables[i] = (struct table){.oid = s->tables[i].oid, .state = COVER_WANTED, .reason = ""};
    s->tables_new = s->table_count > 0;
    pthread_mutex_unlock(&s->lock);
}

void cs_cover_free(struct stream *s)
{
    free(s->tables);
    free(s->watched.list);
    free(s->fresh.list);
    free(s->initial.list);
    free(s->batch.list);
}
