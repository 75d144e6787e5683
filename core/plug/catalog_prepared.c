/*
 * Prepared transactions of which it is known that they have defined nothing, so that their commit leaves the
 * catalog as it is; see catalog.h.
 */
#include "plug/catalog_parts.h"

#include <string.h>

static struct hd_hash128 key_of(struct hd_str node, struct hd_str dbname, struct hd_str gid)
{
    struct hd_hash128 h = hd_hash128(node.ptr, node.len);

    return hd_hash128_more(hd_hash128_more(h, dbname.ptr, dbname.len), gid.ptr, gid.len);
}

/* Under the lock. 1: it was there. */
static int forget(struct hd_catalog *c, struct hd_hash128 key)
{
    int found = 0;

    for (uint32_t i = 0; i < HD_CATALOG_PREPARED; i++) {
        if (!hd_hash128_eq(c->prepared[i], key))
            continue;
        c->prepared[i] = (struct hd_hash128){0, 0};
        found = 1;
    }
    return found;
}

void hd_catalog_prepared(struct hd_catalog *c, struct hd_str node, struct hd_str dbname, struct hd_str gid,
                         int defines)
{
    struct hd_hash128 key = key_of(node, dbname, gid);

    pthread_mutex_lock(&c->lock);
    if (!gid.len) {
        memset(c->prepared, 0, sizeof(c->prepared));
    } else {
        (void)forget(c, key);
        if (!defines)
            c->prepared[c->prepared_next++ % HD_CATALOG_PREPARED] = key;
    }
    pthread_mutex_unlock(&c->lock);
}

int hd_catalog_is_plain(struct hd_catalog *c, struct hd_str node, struct hd_str dbname, struct hd_str gid)
{
    int plain;

    pthread_mutex_lock(&c->lock);
    plain = gid.len && forget(c, key_of(node, dbname, gid));
    pthread_mutex_unlock(&c->lock);
    return plain;
}
