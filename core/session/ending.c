/*
 * The end of transactions that filters want to hear of; see ending.h.
 */
#include "session/ending.h"

#include <string.h>

#include "session/client.h"
#include "session/pool.h"

/* A Query that goes on behind what has ended: what it has written, and what it writes yet, is one execution.
 */
static int goes_on(const struct hd_expect *head, uint8_t message)
{
    const struct hd_stmt *st = head->ref;

    return head->kind == HD_EXPECT_QUERY && message == HD_MSG_COMMAND_COMPLETE && st &&
           !(head->flags & HD_EXPECT_REPLACE) && st->tmpl->facts->n_statements != 1;
}

/* Calls fn for every execution that filters have begun and that is, in part at least, of a later transaction.
 */
static void each_behind(struct hd_session *s, struct hd_server *v, uint8_t message,
                        void (*fn)(struct hd_session *s, const struct hd_stmt *st, void *arg), void *arg)
{
    uint32_t first = v && v->expects.count && !goes_on(hd_expects_head(&v->expects), message) ? 1 : 0;

    for (uint32_t i = first; v && i < v->expects.count; i++) {
        const struct hd_expect *e = hd_expects_at(&v->expects, i);
        const struct hd_stmt *st = e->ref;

        if ((e->kind == HD_EXPECT_EXECUTE || e->kind == HD_EXPECT_QUERY) && !(e->flags & HD_EXPECT_REPLACE) &&
            st && st->exec.plan)
            fn(s, st, arg);
    }
    if (s->pending && s->pending->exec.plan)
        fn(s, s->pending, arg);
}

static void find_first(struct hd_session *s, const struct hd_stmt *st, void *arg)
{
    uint64_t *first = arg;

    (void)s;
    if (st->exec.handle < *first)
        *first = st->exec.handle;
}

static void touch(struct hd_session *s, const struct hd_stmt *st, void *arg)
{
    (void)arg;
    hd_chain_touch(&s->chain, st->exec.plan);
}

static struct hd_transaction end_of(const struct hd_session *s, uint32_t end, uint64_t behind)
{
    const struct hd_pool *p = s->server ? s->server->pool : s->pool;

    return (struct hd_transaction){
        .size = sizeof(struct hd_transaction),
        .end = end,
        .session_id = s->id,
        .database = s->pool->names.database,
        .user = s->pool->names.user,
        .node = p->names.node,
        .dbname = p->names.dbname,
        .behind = behind,
    };
}

static int tell(struct hd_session *s, uint32_t end, uint64_t behind)
{
    const struct hd_transaction t = end_of(s, end, behind);

    return hd_chain_end(s->w->chain, &s->chain, &t, 1);
}

static int is(const struct hd_frame *f, const char *tag)
{
    size_t n = strlen(tag) + 1;

    return hd_frame_body_len(f) == n && !memcmp(hd_frame_body(f), tag, n);
}

/* A Query of one statement outside a block is committed before it is answered. */
static int commits_alone(const struct hd_server *v, const struct hd_stmt *st)
{
    return v->txn == HD_TXN_IDLE && st && st->tmpl->facts->n_statements == 1;
}

/* HD_END_… where the message tells the client of the end; else 0. COMMIT AND CHAIN is one, too. */
static uint32_t end_told_by(const struct hd_server *v, const struct hd_frame *f, const struct hd_expect *head)
{
    if (f->type == HD_MSG_READY_FOR_QUERY && hd_frame_body(f)[0] == HD_TXN_IDLE)
        return v->rolled_back ? HD_END_ROLLED_BACK : HD_END_UNKNOWN;
    if (f->type != HD_MSG_COMMAND_COMPLETE ||
        (head->kind != HD_EXPECT_EXECUTE && head->kind != HD_EXPECT_QUERY))
        return 0;
    if (is(f, "COMMIT") || is(f, "COMMIT PREPARED"))
        return HD_END_COMMITTED;
    if (is(f, "PREPARE TRANSACTION"))
        return HD_END_PREPARED;
    return head->kind == HD_EXPECT_QUERY && commits_alone(v, head->ref) && !is(f, "BEGIN") &&
                   !is(f, "START TRANSACTION")
               ? HD_END_UNKNOWN
               : 0;
}

int hd_ending_holds(struct hd_server *v, const struct hd_frame *f)
{
    struct hd_session *s = v->session;
    const struct hd_expect *head = hd_expects_head(&v->expects);
    uint64_t behind = UINT64_MAX;
    uint32_t end;

    if (s->ending != HD_ENDING_HELD) {
        end = head && !(head->flags & (HD_EXPECT_SWALLOW | HD_EXPECT_REPLACE)) ? end_told_by(v, f, head) : 0;
        if (!end)
            return 0;
        each_behind(s, v, f->type, find_first, &behind);
        if (tell(s, end, behind) == HD_OK) {
            s->ending = HD_ENDING_NONE;
            each_behind(s, v, f->type, touch, NULL);
            return 0;
        }
        s->ending = HD_ENDING_HELD;
    }
    hd_link_pause(&v->link);
    return 1;
}

void hd_ending_resumed(struct hd_session *s)
{
    if (s->ending != HD_ENDING_HELD)
        return;
    s->ending = HD_ENDING_RESUMED; /* whoever is left is told when the message is looked at again */
    if (s->server)
        hd_link_resume(&s->server->link);
}

void hd_ending_lost(struct hd_session *s, uint32_t end, struct hd_leaving leaving)
{
    struct hd_transaction t;

    if (HD_LIKELY(!s->chain.touched && !s->ending))
        return;
    s->ending = HD_ENDING_NONE;
    t = end_of(s, end, UINT64_MAX);
    hd_settle_tell(s, leaving, &t);
}
