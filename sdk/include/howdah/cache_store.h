/*
 * Cache stores: where the result cache keeps answers. Capability "howdah.cache-store/1".
 *
 * A store keeps values under keys, within a bound, and gives them back byte for byte. It knows nothing of
 * SQL: whether a value may still be used is said by its head, which is the cache's own. A store may lose any
 * value at any time; it must never give a value under another key than its own, nor one that is cut or
 * changed.
 */
#ifndef HOWDAH_CACHE_STORE_H
#define HOWDAH_CACHE_STORE_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_CACHE_STORE "howdah.cache-store/1"

/* Traits of a store. Since ABI 0.1. */
#define HD_STORE_SHARED 1u /* other processes see its values, or they outlive this one */

/* A key: equal bytes are the same key, whatever the hash. Borrowed for the call, but see get(). Since ABI
 * 0.1. */
struct hd_cache_key {
    uint32_t size;
    uint32_t reserved;
    uint64_t hash;       /* of `bytes`, well mixed in all its bits; the same in every process */
    struct hd_str bytes; /* binary */
};

/* A value. To put(): borrowed for the call. From get(): valid until release(), and aligned to nothing. Since
 * ABI 0.1. */
struct hd_cache_value {
    uint32_t size;
    uint32_t reserved;
    struct hd_str head;     /* the cache's own */
    struct hd_str describe; /* a RowDescription message, or empty */
    struct hd_str bytes;    /* messages of the answer */
    uint64_t left_ms;       /* how long it may be kept; from get(): what of that is left */
    uint64_t cost_ns;       /* time that it took to make: what is lost when it is dropped */
    void *ref;              /* the store's own, for release() */
};

/* What a store has done since it was started. Since ABI 0.1. */
struct hd_cache_store_stats {
    uint32_t size;
    uint32_t up;        /* 1; 0: it cannot be reached, and get() says HD_EBUSY */
    uint64_t entries;   /* now */
    uint64_t bytes;     /* now, keys and bookkeeping included */
    uint64_t max_bytes; /* bound; 0: its own, elsewhere */
    uint64_t hits;
    uint64_t misses;
    uint64_t puts;
    uint64_t rejected; /* puts that were not admitted */
    uint64_t evictions;
    uint64_t errors;   /* values that were wrong, connections that failed */
    uint64_t bypassed; /* calls that were not tried since it was down or slow */
};

/* Capability "howdah.cache-store/1". `self` is the plugin's instance. Since ABI 0.1. */
struct hd_cache_store_v1 {
    uint32_t size;
    uint32_t traits; /* HD_STORE_… */
    /* Looks a key up. HD_OK: *value is filled, to be given to release() once. HD_ENOENT: not there. HD_EBUSY:
     * not tried. HD_PENDING: done(arg, code, value) comes on this worker, exactly once, later than the
     * return, with HD_OK and a value that needs no release and is valid during the call, or one of the codes
     * above; the key's bytes must stay until then. `done` may be NULL where traits has no HD_STORE_SHARED:
     * such a store never says HD_PENDING. [worker] */
    int32_t (*get)(void *self, const struct hd_cache_key *key, struct hd_cache_value *value,
                   void (*done)(void *arg, int32_t code, const struct hd_cache_value *value), void *arg);
    /* Gives back what get() returned with HD_OK. [any] */
    void (*release)(void *self, struct hd_cache_value *value);
    /* Keeps a value, in the place of an older one of the key. Everything is copied. HD_OK: kept, or on its
     * way; HD_EFULL: not admitted; HD_EBUSY: not tried; HD_EINVAL: too long for this store. [worker] */
    int32_t (*put)(void *self, const struct hd_cache_key *key, const struct hd_cache_value *value);
    /* Drops one value, if it is there. [worker] */
    void (*erase)(void *self, const struct hd_cache_key *key);
    /* Drops all values; of a shared store those of its own namespace. done(arg, code) once, on the control
     * thread or before the return; NULL: nobody waits. [control] */
    void (*flush)(void *self, void (*done)(void *arg, int32_t code), void *arg);
    /* Fills what both know. [any] */
    int32_t (*stats)(void *self, struct hd_cache_store_stats *out);
    /* A clock that all processes share that use the same values: gives a number that is greater than every
     * number that was given before this call, to whomever. HD_PENDING: done(arg, code, tick) comes on this
     * worker, exactly once, later than the return, with HD_OK, or HD_EBUSY: there is none to be had now.
     * HD_EBUSY: not tried, done does not come. What has HD_STORE_SHARED has this; else it may be NULL.
     * [worker] */
    int32_t (*tick)(void *self, void (*done)(void *arg, int32_t code, uint64_t tick), void *arg);
};

#ifdef __cplusplus
}
#endif
#endif
