/*
 * Looking things up in a configuration snapshot, and its counted life; see settings.h.
 */
#include "session/settings.h"
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

struct hd_settings *hd_settings_hold(struct hd_settings *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void hd_settings_release(struct hd_settings *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    hd_arena_free(&s->arena);
    hd_free(s);
}

/* Users, databases and nodes all begin with their name, and stand in its order. */
static int by_name(const void *key, const void *entry)
{
    return strcmp(key, *(const char *const *)entry);
}

static const void *find(const char *name, const void *entries, uint32_t count, size_t size)
{
    return count ? bsearch(name, entries, count, size, by_name) : NULL;
}

const struct hd_user_conf *hd_settings_user(const struct hd_settings *s, const char *name)
{
    const struct hd_user_conf *u = find(name, s->users, s->user_count, sizeof(*u));

    return u ? u : find("*", s->users, s->user_count, sizeof(*u));
}

const struct hd_user_conf *hd_settings_user_of(const struct hd_settings *s, const struct hd_database_conf *d,
                                               const char *name)
{
    static const struct hd_user_conf stranger = {.name = "*", .origin = "auth_query"};
    const struct hd_user_conf *u = hd_settings_user(s, name);

    return u || !d || !d->auth_query ? u : &stranger;
}

const struct hd_database_conf *hd_settings_database(const struct hd_settings *s, const char *name)
{
    const struct hd_database_conf *d = find(name, s->databases, s->database_count, sizeof(*d));

    return d ? d : find("*", s->databases, s->database_count, sizeof(*d));
}

const struct hd_node_conf *hd_settings_node(const struct hd_settings *s, const char *name)
{
    return find(name, s->nodes, s->node_count, sizeof(struct hd_node_conf));
}

const struct hd_peer_conf *hd_settings_peer(const struct hd_settings *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->peer_count; i++)
        if (s->peers[i].id == id)
            return &s->peers[i];
    return NULL;
}

static int in_network(const struct hd_network *n, int family, const uint8_t *address)
{
    unsigned whole = n->bits / 8, rest = n->bits % 8;

    if (n->family != family || memcmp(n->address, address, whole))
        return 0;
    return !rest || !((n->address[whole] ^ address[whole]) >> (8 - rest));
}

int hd_listener_allows(const struct hd_listener_conf *l, const struct sockaddr *peer)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)peer;
    const uint8_t *address = (const uint8_t *)&v4->sin_addr;
    int family = peer->sa_family;

    if (family != AF_INET && family != AF_INET6)
        return 1;
    if (family == AF_INET6)
        address = v6->sin6_addr.s6_addr;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        family = AF_INET;
        address += 12;
    }
    for (uint32_t i = 0; i < l->network_count; i++)
        if (in_network(&l->networks[i], family, address))
            return 1;
    return l->network_count == 0;
}
