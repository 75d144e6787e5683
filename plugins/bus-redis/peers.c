/*
 * A table that is searched from its beginning: there are few hosts. One that finds no place takes that of the
 * host which was not heard for the longest time; that one will have a gap when it is heard again.
 */
#include "bus-redis/peers.h"

#include <string.h>

static struct br_peer *place_for(struct br_peers *p, const struct br_host_id *host)
{
    struct br_peer *oldest = &p->peer[0];

    for (int i = 0; i < BR_PEERS_MAX; i++)
        if (p->peer[i].next && !memcmp(&p->peer[i].host, host, sizeof(*host)))
            return &p->peer[i];
    for (int i = 0; i < BR_PEERS_MAX && oldest->next; i++)
        if (!p->peer[i].next || p->peer[i].heard_ms < oldest->heard_ms)
            oldest = &p->peer[i];
    memset(oldest, 0, sizeof(*oldest));
    oldest->host = *host;
    oldest->next = 1;
    return oldest;
}

int br_peers_note(struct br_peers *p, const struct br_message *m, uint64_t now_ms, int *old)
{
    struct br_peer *peer = place_for(p, &m->host);
    /* A beat has the number of the message before it. */
    uint64_t number = m->number + (m->kind == BR_BEAT);
    int gap = number != peer->next;

    *old = number < peer->next;
    peer->heard_ms = now_ms;
    peer->silent = 0;
    if (*old)
        return 0;
    peer->next = number + (m->kind != BR_BEAT);
    peer->received += m->kind != BR_BEAT;
    peer->gaps += (uint64_t)gap;
    return gap;
}

int br_peers_look(struct br_peers *p, uint32_t silent, uint32_t forget)
{
    int fallen = 0;

    for (int i = 0; i < BR_PEERS_MAX; i++) {
        struct br_peer *peer = &p->peer[i];

        if (!peer->next)
            continue;
        fallen += ++peer->silent == silent;
        if (peer->silent >= forget)
            memset(peer, 0, sizeof(*peer));
    }
    return fallen;
}

void br_peers_clear(struct br_peers *p)
{
    memset(p, 0, sizeof(*p));
}
