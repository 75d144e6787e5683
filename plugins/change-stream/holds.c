/*
 * Consumers and their holds. The list of those that are told changes only under both locks; who joins waits
 * until no transaction is half told, and then until a snapshot shows that all transactions have ended that
 * were under way: of those, some commits may have been told already, or never will be.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

static struct stream *find(struct plugin *p, struct hd_str node, struct hd_str dbname)
{
    for (struct stream *s = p->streams; s; s = s->next)
        if (!atomic_load(&s->stop) && strlen(s->node) == node.len && strlen(s->dbname) == dbname.len &&
            !memcmp(s->node, node.ptr, node.len) && !memcmp(s->dbname, dbname.ptr, dbname.len))
            return s;
    return NULL;
}

/* The stream of that database, made if there is none. Under the plugin's lock. */
static int32_t get_stream(struct plugin *p, struct hd_str node, struct hd_str dbname, struct stream **out,
                          int *made, struct hd_error *err)
{
    int32_t code;

    *made = 0;
    if (p->stopping)
        return hd_error_set(err, HD_EBUSY, "the plugin is stopping");
    *out = find(p, node, dbname);
    if (*out)
        return HD_OK;
    if (p->stream_count >= (uint32_t)p->conf->max_streams)
        return hd_error_set(err, HD_EFULL, "there are %u streams already (max_streams)", p->stream_count);
    code = cs_stream_new(p, node, dbname, out, err);
    if (code)
        return code;
    *made = 1;
    return HD_OK;
}

static void join(struct stream *s, struct hd_stream *h)
{
    h->stream = s;
    pthread_mutex_lock(&s->lock);
    h->next = s->joining;
    s->joining = h;
    pthread_mutex_unlock(&s->lock);
}

int32_t cs_open(void *self, struct hd_str node, struct hd_str dbname,
                const struct hd_stream_consumer *consumer, void *arg, hd_stream **out, struct hd_error *err)
{
    struct plugin *p = self;
    struct hd_stream *h = calloc(1, sizeof(*h));
    struct stream *s = NULL;
    int made;
    int32_t code;

    if (!h)
        return hd_error_set(err, HD_ENOMEM, "no memory for a stream's consumer");
    h->consumer = consumer;
    h->arg = arg;
    pthread_mutex_lock(&p->lock);
    code = get_stream(p, node, dbname, &s, &made, err);
    if (!code)
        join(s, h);
    if (!code && made) {
        code = cs_stream_run(s, err);
        if (code) {
            cs_stream_free(s);
        } else {
            s->next = p->streams;
            p->streams = s;
            p->stream_count++;
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (code) {
        free(h);
        return code;
    }
    cs_wake(s);
    *out = h;
    return HD_OK;
}

/* Takes it out of the list that it is in. */
static int unlink_from(struct hd_stream **list, struct hd_stream *h)
{
    for (; *list; list = &(*list)->next) {
        if (*list == h) {
            *list = h->next;
            return 1;
        }
    }
    return 0;
}

void cs_close(hd_stream *h)
{
    struct stream *s = h->stream;
    struct plugin *p = s->plugin;

    pthread_mutex_lock(&p->lock); /* so that nobody finds a stream that has just lost its last consumer */
    pthread_mutex_lock(&s->calling);
    pthread_mutex_lock(&s->lock);
    if (!unlink_from(&s->holds, h))
        unlink_from(&s->joining, h);
    if (!s->holds && !s->joining)
        atomic_store(&s->stop, 1);
    pthread_mutex_unlock(&s->lock);
    cs_waiters_end(s, h, HD_ECANCELLED);
    cs_wake(s);
    pthread_mutex_unlock(&s->calling);
    pthread_mutex_unlock(&p->lock);
    free(h);
}

/* --- the stream's side --------------------------------------------------------------------------------- */

static void tell_state(struct hd_stream *h, uint32_t state, uint64_t lsn)
{
    h->told = 1;
    if (h->consumer->state)
        h->consumer->state(h->arg, state, lsn);
}

void cs_holds_join(struct stream *s)
{
    struct hd_stream *h;

    if (s->in_transaction)
        return;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        h = s->joining;
        if (h) {
            s->joining = h->next;
            h->next = s->holds;
            s->holds = h;
        }
        pthread_mutex_unlock(&s->lock);
        if (!h)
            return;
        h->joined = s->repl != NULL;
        h->until_xid = 0;
        h->fence = cs_next_fence(s);
        if (!h->told)
            tell_state(h, HD_STREAM_STARTING, 0);
        if (h->joined)
            cs_cover_tell(s, h);
    }
}

int cs_holds_want_fence(const struct stream *s)
{
    for (const struct hd_stream *h = s->holds; h; h = h->next)
        if (h->joined && !h->until_xid && s->fences_done < h->fence)
            return 1;
    return 0;
}

int cs_holds_want_snapshot(const struct stream *s)
{
    for (const struct hd_stream *h = s->holds; h; h = h->next)
        if (h->joined && !atomic_load(&h->running))
            return 1;
    return 0;
}

void cs_holds_snapshot(struct stream *s)
{
    for (struct hd_stream *h = s->holds; h; h = h->next) {
        if (!h->joined || atomic_load(&h->running))
            continue;
        if (!h->until_xid && s->fences_done >= h->fence)
            h->until_xid = s->xmax;
        if (!h->until_xid || s->xmin < h->until_xid)
            continue;
        atomic_store(&h->running, 1);
        atomic_store(&s->state, HD_STREAM_RUNNING);
        tell_state(h, HD_STREAM_RUNNING, atomic_load(&s->position));
    }
}

void cs_holds_lost(struct stream *s, const char *reason)
{
    for (struct hd_stream *h = s->holds; h; h = h->next) {
        int was = h->joined;

        atomic_store(&h->running, 0);
        h->joined = 0;
        h->until_xid = 0;
        h->fence = cs_next_fence(s);
        if (was && h->consumer->lost)
            h->consumer->lost(h->arg, reason);
        if (was)
            tell_state(h, HD_STREAM_STARTING, 0);
    }
}

void cs_holds_end(struct stream *s)
{
    cs_holds_join(s);
    for (struct hd_stream *h = s->holds; h; h = h->next)
        tell_state(h, HD_STREAM_STOPPED, 0);
}

/* The slot is there: those who wait are told of changes from its beginning on. */
void cs_holds_begin(struct stream *s)
{
    s->told_start = 1;
    for (struct hd_stream *h = s->holds; h; h = h->next) {
        h->joined = 1;
        h->until_xid = 0;
        h->fence = cs_next_fence(s);
        cs_cover_tell(s, h);
    }
}

void cs_tell_coverage(struct stream *s, uint32_t oid, uint32_t covered, const char *reason)
{
    CS_TELL(s, coverage, oid, covered, reason);
}

void cs_tell_changed(struct stream *s, uint32_t what)
{
    CS_TELL(s, changed, what);
}
