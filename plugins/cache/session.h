/*
 * What the cache keeps for a session.
 */
#ifndef CACHE_SESSION_H
#define CACHE_SESSION_H

#include "context.h"
#include "writes.h"

struct cache_session {
    struct cache_context context;
    struct cache_writes writes;
    uint32_t
        captures; /* reads of its own that are on their way: others may wait for them, so it waits for none */
    uint32_t reserved;
};

#endif
