/*
 * lastval() and currval(); see sequence.h.
 */
#include "session/sequence.h"

#include <string.h>

#include "base/alloc.h"
#include "session/server.h"
#include "sql/facts.h"

/* Of server->drawn_for: several sessions, or one at different times. */
#define MIXED UINT64_MAX

/* One database, for the life of the process: who asked once will ask again. */
struct hd_asking {
    struct hd_asking *next;
    _Atomic int asks;
    char name[];
};

/* Databases that are told apart; those beyond are all taken to ask. */
#define DATABASES_MAX 1000

static struct hd_asking *asking_of(struct hd_workers *all, const char *database)
{
    struct hd_asking *a;
    int n = 0;

    pthread_mutex_lock(&all->pools_lock);
    for (a = all->asking; a && strcmp(a->name, database); a = a->next)
        if (++n == DATABASES_MAX) {
            a->asks = 1; /* shared by all that have no place of their own */
            break;
        }
    if (!a && (a = hd_calloc(1, sizeof(*a) + strlen(database) + 1))) {
        strcpy(a->name, database);
        a->next = all->asking;
        all->asking = a;
    }
    pthread_mutex_unlock(&all->pools_lock);
    return a;
}

static struct hd_asking *asking(struct hd_session *s)
{
    if (!s->asking && !(s->asking = asking_of(s->w->all, s->pool->database)))
        s->pins |= HD_PIN_UNSURE;
    return s->asking;
}

static int asked_here(struct hd_session *s)
{
    struct hd_asking *a = asking(s);

    return a && atomic_load_explicit(&a->asks, memory_order_relaxed);
}

static void note_asked(struct hd_session *s)
{
    struct hd_asking *a = asking(s);

    if (a)
        atomic_store_explicit(&a->asks, 1, memory_order_relaxed);
}

void hd_sequences_free(struct hd_workers *all)
{
    while (all->asking) {
        struct hd_asking *a = all->asking;

        all->asking = a->next;
        hd_free(a);
    }
}

void hd_sequence_note(struct hd_session *s, uint64_t facts)
{
    if (facts & (HD_FACT_SEQUENCE | HD_FACT_MAY_SEQUENCE))
        s->draws = 1;
    if (facts & HD_FACT_LASTVAL)
        note_asked(s);
    if ((s->draws || s->drew) && asked_here(s))
        s->pins |= HD_PIN_SEQUENCE;
}

/* Has the server drawn for others, or for this session before it drew elsewhere? */
static int foreign(const struct hd_session *s, const struct hd_server *v)
{
    return v->drawn_for && (v->drawn_for != s->id || s->drew_at != v);
}

static int discard(struct hd_server *v)
{
    static const char sql[] = "DISCARD SEQUENCES";

    v->drawn_for = 0;
    return hd_server_inject_query(v, sql, sizeof(sql) - 1, HD_EXPECT_FORGETS);
}

int hd_sequence_guard(struct hd_session *s, int between)
{
    if (!s->server || !foreign(s, s->server) || s->pool->conf->pool_mode != HD_POOL_AUTO)
        return 0;
    return !between || discard(s->server);
}

void hd_sequence_announce(struct hd_session *s)
{
    if (s->pool->conf->pool_mode != HD_POOL_AUTO)
        return;
    note_asked(s);
    if (!s->unsynced)
        (void)hd_sequence_guard(s, 1);
}

int hd_sequence_linked(struct hd_session *s, struct hd_server *v)
{
    if (!foreign(s, v) || s->pool->conf->pool_mode != HD_POOL_AUTO || !asked_here(s))
        return HD_OK;
    return discard(v);
}

void hd_sequence_left(struct hd_session *s, struct hd_server *v)
{
    s->draws = 0;
    s->drew = 1;
    v->drawn_for = v->drawn_for && (v->drawn_for != s->id || s->drew_at != v) ? MIXED : s->id;
    if (s->drew_at == v)
        return;
    hd_sequence_forget_server(s);
    hd_sequence_forget_session(v);
    s->drew_at = v;
    v->drew = s;
}

void hd_sequence_discarded(struct hd_session *s, struct hd_server *v, int alone)
{
    v->drawn_for = 0;
    if (!s || !alone)
        return;
    s->draws = s->drew = 0;
    s->pins &= ~HD_PIN_SEQUENCE;
    hd_sequence_forget_server(s);
}

void hd_sequence_forget_server(struct hd_session *s)
{
    if (s->drew_at)
        s->drew_at->drew = NULL;
    s->drew_at = NULL;
}

void hd_sequence_forget_session(struct hd_server *v)
{
    if (v->drew)
        v->drew->drew_at = NULL;
    v->drew = NULL;
}
