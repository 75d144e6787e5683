/*
 * The result cache as a place for values of one's own: bytes under keys, for a time. Capability
 * "howdah.cache/1", of the plugin "cache".
 *
 * Values lie in the cache's stores, apart from answers: where one of its stores is shared, in that alone, and
 * all hosts that share it see them; else in this host's. Nothing ends a value but its time, set() and
 * erase(), CACHE FLUSH, and CACHE INVALIDATE PATTERN: no write of a table does. A store may lose any value at
 * any time.
 *
 * Calls never block, and what comes of them is told by `done`: exactly once, on a worker's thread, and maybe
 * before the call has returned. What has come back is seen by all calls in this host that are made after it.
 * Keys and values are copied. A plugin may stop when all its calls have come back, not before; a `done` may
 * make further calls.
 */
#ifndef HOWDAH_CACHE_H
#define HOWDAH_CACHE_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_CACHE "howdah.cache/1"

/*
 * Capability "howdah.cache/1". `self` is the plugin's instance. Each call returns HD_PENDING, and `done` will
 * come; or an error, and it will not: HD_EINVAL, the key is empty or longer than max_key_bytes, the value
 * longer than max_value_bytes, or there is no function to call; HD_EFULL, max_calls are under way; HD_ENOMEM;
 * HD_EBUSY, the cache stops. Since ABI 0.1.
 */
struct hd_cache_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Looks a key up. done's code: HD_OK, and `value` is valid during the call [worker]; HD_ENOENT, it is not
     * there, or no store could be asked. [any] */
    int32_t (*get)(void *self, struct hd_str key, void (*done)(void *arg, int32_t code, struct hd_str value),
                   void *arg);
    /* Keeps a value for `ttl_ms`, 0: the cache's ttl, in the place of an older one. done's code [worker]:
     * HD_OK, kept, or on its way to a shared store; HD_EFULL, not admitted, HD_EBUSY, no store could be
     * asked: nothing is kept, nor the older one where it could be dropped. `done` may be NULL. [any] */
    int32_t (*set)(void *self, struct hd_str key, struct hd_str value, uint64_t ttl_ms,
                   void (*done)(void *arg, int32_t code), void *arg);
    /* Drops a value, if it is there. done's code [worker]: HD_OK. `done` may be NULL. [any] */
    int32_t (*erase)(void *self, struct hd_str key, void (*done)(void *arg, int32_t code), void *arg);
    /* As get(); but where the key is not there, loader(loader_arg, key, handle) is called [worker], which
     * must not block, and may begin what takes longer. Whoever has the value then calls loaded() with the
     * handle. Of a key one load is under way at a time in this host: further calls of load() wait for it, and
     * their own loaders are not called. done's code is get()'s; that which was given to loaded(); or
     * HD_ETIMEOUT, when loaded() was not called within load_timeout. The value is kept for `ttl_ms`, unless
     * set() or erase() came for its key meanwhile. `key` is borrowed for the loader's call. [any] */
    int32_t (*load)(void *self, struct hd_str key, uint64_t ttl_ms,
                    void (*loader)(void *loader_arg, struct hd_str key, uint64_t handle), void *loader_arg,
                    void (*done)(void *arg, int32_t code, struct hd_str value), void *arg);
    /* Completes a load, also from within the loader. HD_OK: the value is kept, and given to all who wait; one
     * that is too long to be kept is only given. An error code: it is given to all who wait, and nothing is
     * kept, so that the next load() loads again. Returns HD_OK; a handle whose load is over already is let
     * pass. HD_EINVAL: neither HD_OK nor an error; HD_ENOMEM, HD_EFULL: nothing was done, it may be called
     * again. [any] */
    int32_t (*loaded)(void *self, uint64_t handle, int32_t code, struct hd_str value);
};

#ifdef __cplusplus
}
#endif
#endif
