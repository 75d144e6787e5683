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
};

#endif
